"""The target of a command: its application and its broker, and the options that name them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from msgspec import Struct

F = TypeVar("F", bound=Callable[..., Any])

APP = "CHERGA_APP"
NAMESPACE = "CHERGA_NAMESPACE"


class Target(Struct, frozen=True):
    """The values of ``-A``, ``-u`` and ``--namespace``; None where they are not given."""

    app: str | None = None
    url: str | None = None
    namespace: str | None = None

    def else_take(self, other: Target) -> Target:
        """The target with the other's words where this one says nothing."""
        return Target(self.app or other.app, self.url or other.url, self.namespace or other.namespace)


def read_environment(environment: Mapping[str, str]) -> Target:
    """The target that the environment names.

    Its ``CHERGA_BROKER_URL`` is left out: an application reads it itself, and only where its code names no broker.
    """
    return Target(app=environment.get(APP), namespace=environment.get(NAMESPACE))


def choose_target(ctx: click.Context, own: Target) -> Target:
    """The command's own options, then those before the command (``cherga -A … jobs``), then the environment."""
    return own.else_take(ctx.find_object(Target) or Target()).else_take(read_environment(os.environ))


APP_HELP = "The application: module:name.  [env: CHERGA_APP]"
URL_HELP = "The broker.  [env: CHERGA_BROKER_URL]"
NAMESPACE_HELP = "The application's name, where -u does not tell it.  [env: CHERGA_NAMESPACE]"


app_option = click.option("-A", "--app", "app_name", metavar="TARGET", help=APP_HELP)
url_option = click.option("-u", "--url", metavar="URL", help=URL_HELP)
namespace_option = click.option("--namespace", metavar="NAME", help=NAMESPACE_HELP)


def target_options(function: F) -> F:
    """Add ``-A``, ``-u`` and ``--namespace``, passed on as ``app_name``, ``url`` and ``namespace``."""
    return app_option(url_option(namespace_option(function)))
