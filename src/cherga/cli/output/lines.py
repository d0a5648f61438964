"""A pipe gets plain lines: fields with a tab between them, no heads, no colour, times in UTC."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from cherga.cli.output import Done, Follow, Listing, Page, Section, note, refuse_to_repeat
from cherga.cli.values import json_text, printable, unpack
from cherga.client.handle import Job
from cherga.client.live import LiveUpdate
from cherga.words.job import JobState


class Lines:
    """Writes lines of tab-separated fields."""

    def listing(self, listing: Listing) -> None:
        for row in listing.rows:
            _write([cell.text for cell in row])

        if listing.footer:
            note(listing.footer)

    def page(self, page: Page) -> None:
        _write(["task", page.title.text])
        _write(["state", page.state.text])

        for section in page.sections:
            _write_section(section)

    def done(self, done: Done) -> None:
        for line in done.lines:
            _write(line)

    @contextmanager
    def follow(self) -> Iterator[Follow]:
        yield Follower()

    def log(self, job: Job[Any], line: str) -> None:
        _write([line])

    def repeat(self, show: Callable[[], object]) -> None:
        refuse_to_repeat()

    def ended(self, job: Job[Any]) -> None:
        _write([job.status.value, str(job.id), job.reason or "", _last_word(job)])

    @contextmanager
    def counting(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        yield lambda _: None


class Follower:
    """Writes what is new in each update: the kind first, then its fields."""

    def __init__(self) -> None:
        self._seen: LiveUpdate | None = None

    def __call__(self, job: Job[Any], update: LiveUpdate) -> None:
        seen, self._seen = self._seen, update

        if seen is None:
            _write(["job", str(job.id), job.task_name])

        for line in update.logs:
            _write(["log", line])

        for value in update.values:
            _write(["value", json_text(value)])

        if update.progress and (seen is None or seen.progress != update.progress):
            _write(_progress_fields(update))

        if update.meta and (seen is None or seen.meta != update.meta):
            _write(["meta", json_text(update.meta)])

        if update.unserved and (seen is None or seen.unserved != update.unserved):
            note(update.unserved)

        if not update.final and (seen is None or seen.state is not update.state):
            _write(["state", update.state.value])


def _progress_fields(update: LiveUpdate) -> list[str]:
    """Percent, done, total and note; empty where nobody knows."""
    progress = update.progress
    assert progress is not None
    percent = "" if progress.percent is None else f"{progress.percent:.1f}"
    return ["progress", percent, f"{progress.done:g}", "" if progress.total is None else f"{progress.total:g}", progress.note]


def _last_word(job: Job[Any]) -> str:
    """The result of a job that succeeded, else why it did not."""
    if job.status is JobState.SUCCEEDED:
        return json_text(unpack(job.row.result))

    if job.status is JobState.FAILED and job.error:
        return f"{job.error.type}: {job.error.message}"

    return job.message or ""


def _write_section(section: Section) -> None:
    prefix = f"{section.name}." if section.name else ""

    for name, cell in section.pairs:
        _write([f"{prefix}{name}", cell.text])

    if section.block is not None:
        for line in section.block.splitlines():
            _write([section.name, line])


def _write(fields: Sequence[str]) -> None:
    click.echo("\t".join(printable(field) for field in fields))
