"""Tasks that are declared before their application is known: what they answer to until then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from cherga.client.handle import Job
from cherga.rules.settings import Settings
from cherga.words.departure import Wish
from cherga.words.errors import ConfigError
from cherga.words.push import NewJob


class Nobody:
    """Sends nothing: jobs go through the application's own task, which a late one finds."""

    max_payload = Settings().max_payload

    def send(self, jobs: Sequence[NewJob], wish: Wish | None = None) -> list[Job[Any]]:
        _refuse(jobs)

    async def asend(self, jobs: Sequence[NewJob], wish: Wish | None = None) -> list[Job[Any]]:
        _refuse(jobs)


def _refuse(jobs: Sequence[NewJob]) -> NoReturn:
    raise ConfigError(f"expected task {jobs[0].task} to belong to an application before it is enqueued")


NOBODY = Nobody()
