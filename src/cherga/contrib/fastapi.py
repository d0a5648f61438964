"""FastAPI: the same as for Starlette, for an application of FastAPI's.

A task's dependencies are Cherga's own: FastAPI's ``Depends`` lives on a request, which a job has not, and is refused by name.
"""

from __future__ import annotations

from fastapi import FastAPI

from cherga.contrib import starlette


class Cherga(starlette.Cherga):
    """The tasks of a FastAPI application."""

    kind = FastAPI


__all__ = ["Cherga"]
