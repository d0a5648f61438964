"""What a storm has left: its story, and the jobs as they are stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from cherga.rules.codec import decode
from cherga.words.job import Attempt, JobRow
from cherga.words.push import JobHead
from tests.chaos.storm.diary import Story, Try

_read_attempts = msgspec.msgpack.Decoder(list[Attempt]).decode
_read_head = msgspec.msgpack.Decoder(JobHead).decode


class Violation(Struct, frozen=True):
    """A promise that did not hold, by its number in the documentation, and the job with which it did not."""

    promise: int
    job: str
    words: str


class Evidence(Struct):
    """What was told, what is stored, and how much slower than usual the machine was."""

    story: Story
    rows: dict[str, JobRow]
    slowness: float = 1.0

    def tries(self, row: JobRow) -> list[Try]:
        return self.story.tries.get(str(row.id), [])

    def history(self) -> Iterator[tuple[JobRow, Attempt]]:
        """What every job remembers of its attempts."""
        return ((row, attempt) for row in self.rows.values() for attempt in attempts_of(row))

    def of_task(self, *tasks: str) -> Iterator[JobRow]:
        return (row for row in self.rows.values() if row.task in tasks)


def attempts_of(row: JobRow) -> list[Attempt]:
    return _read_attempts(row.attempts) if row.attempts else []


def head_of(row: JobRow) -> JobHead:
    return _read_head(row.head) if row.head else JobHead()


def number_of(row: JobRow) -> Any:
    """What the job was given to answer."""
    return decode(row.payload)["n"]


def result_of(row: JobRow) -> Any:
    return None if row.result is None else decode(row.result)
