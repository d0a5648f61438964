"""Visitors: nobody logs in here, and each browser sees its own reports."""

from __future__ import annotations

import re
import secrets
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request, Response

from cherga import Job
from reports.tasks import cherga

COOKIE = "visitor"
ONE_YEAR = 31_536_000


def get_visitor(request: Request, response: Response) -> str:
    """The visitor's own name, which is given at the first visit."""
    known = request.cookies.get(COOKIE, "")

    if re.fullmatch(r"[0-9a-f]{32}", known):
        return known

    name = secrets.token_hex(16)
    response.set_cookie(COOKIE, name, max_age=ONE_YEAR, httponly=True, samesite="lax")
    return name


Visitor = Annotated[str, Depends(get_visitor)]


def owner_of(visitor: str) -> str:
    return f"visitor:{visitor}"


async def get_report(id: str, visitor: Visitor) -> Job[Any]:
    """The visitor's own job of that id; 404 for every other."""
    try:
        job = await cherga.aget(id)
    except ValueError:
        job = None

    if job is None or job.owner != owner_of(visitor):
        raise HTTPException(404, "there is no such report")

    return job


OwnJob = Annotated[Job[Any], Depends(get_report)]
