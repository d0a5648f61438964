"""``--json``: one document for a command, one line for each update of a job that is followed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
import msgspec

from cherga.cli.output import Done, Follow, Listing, Page, note, refuse_to_repeat
from cherga.cli.records import full_record
from cherga.cli.values import to_json
from cherga.client.handle import Job
from cherga.client.live import LiveUpdate


class Documents:
    """Writes JSON."""

    def listing(self, listing: Listing) -> None:
        _write(listing.data)

        if listing.footer:
            note(listing.footer)

    def page(self, page: Page) -> None:
        _write(page.data)

    def done(self, done: Done) -> None:
        _write(done.data)

    @contextmanager
    def follow(self) -> Iterator[Follow]:
        yield _write_update

    def log(self, job: Job[Any], line: str) -> None:
        _write_line({"job": str(job.id), "log": line})

    def repeat(self, show: Callable[[], object]) -> None:
        refuse_to_repeat()

    def ended(self, job: Job[Any]) -> None:
        _write_line({"event": "end", **full_record(job, job.family)})

    @contextmanager
    def counting(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        yield lambda _: None


def _write_update(job: Job[Any], update: LiveUpdate) -> None:
    _write_line({"event": "update", **update.public()})


def _write(data: Any) -> None:
    click.echo(msgspec.json.format(to_json(data), indent=2))


def _write_line(data: Any) -> None:
    click.echo(to_json(data))
