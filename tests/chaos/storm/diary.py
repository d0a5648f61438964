"""The diary of a storm: every process appends its lines to one file, and what became of each job is read from it."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

DIARY = "DIARY"
"""The environment variable that names the file."""
DEADLY = "suicide"
"""The task whose jobs kill their process as soon as they have begun."""
AFTER_A_FREEZE = 1.0
"""Seconds after which a process that stood still has begun everything that it had claimed before."""


class Line(Struct, omit_defaults=True):
    """What one process did at one moment of the machine's monotonic clock, which all of them share."""

    event: str
    at: float
    pid: int
    job: str = ""
    task: str = ""
    key: str = ""
    """The value of its limit or unique key."""
    claim: int = 0
    given: float = 0.0
    """When the broker handed the job out, by the broker's clock."""
    worker: str = ""
    step: int = -1
    """The producer's step that asked for these jobs."""
    jobs: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()
    """The processes that a deed was done to."""
    words: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


def write(event: str, /, **fields: Any) -> None:
    """Append a line to the diary that the environment names."""
    append(os.environ[DIARY], event, **fields)


def append(path: Path | str, event: str, /, **fields: Any) -> None:
    """Append a line in one write, so that a kill at any moment leaves whole lines alone."""
    line = _encode(Line(event, time.monotonic(), os.getpid(), **fields))
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    try:
        os.write(fd, line + b"\n")
    finally:
        os.close(fd)


def read(path: Path) -> list[Line]:
    """All lines, in the order of their moments."""
    return sorted(map(_decode, path.read_bytes().splitlines()), key=lambda line: line.at) if path.exists() else []


class Try(Struct):
    """One attempt at a job, from its first line to its last one, or to the death of its process."""

    job: str
    task: str
    key: str
    claim: int
    given: float
    worker: str
    pid: int
    began: float
    ended: float
    how: str = ""
    """``end`` or ``raise``; empty for one that never came to its end."""
    superseded: bool = False
    """Its process stood still for longer than its lease: another one may have begun the job meanwhile."""


class Freeze(Struct, frozen=True):
    """A process that stood still for longer than its lease."""

    pid: int
    began: float
    ended: float


class Story(Struct):
    """What the lines tell."""

    lines: list[Line]
    tries: dict[str, list[Try]]
    """The attempts at each job, in their order."""
    killed: dict[int, float]
    """The processes that were killed, and when they still lived."""
    freezes: list[Freeze]

    def of(self, event: str) -> Iterator[Line]:
        return (line for line in self.lines if line.event == event)

    def all_tries(self) -> Iterator[Try]:
        return (one for tries in self.tries.values() for one in tries)

    def timeline(self, job: str) -> list[Line]:
        """All that happened to a job, and to the processes that ran it."""
        hosts = {one.pid for one in self.tries.get(job, [])}
        return [line for line in self.lines if line.job == job or job in line.jobs or hosts.intersection(line.pids)]


def tell(lines: list[Line], lease: float) -> Story:
    """The story of these lines, of sessions that have this lease."""
    killed = {pid: line.at for line in reversed(lines) for pid in _victims(line)}
    freezes = [one for one in _freezes(lines) if one.ended - one.began > lease / 2]
    tries = defaultdict(list)

    for one in _tries(lines, killed):
        tries[one.job].append(one)
        _supersede(one, freezes)

    return Story(lines, tries, killed, freezes)


def _victims(line: Line) -> tuple[int, ...]:
    """Those that this line tells the death of."""
    if line.event == "begin" and line.task == DEADLY:
        return (line.pid,)

    return line.pids if line.event == "kill" else ()


def _tries(lines: list[Line], killed: dict[int, float]) -> list[Try]:
    last = {line.pid: line.at for line in lines}
    found: dict[tuple[str, int, int], Try] = {}

    for line in lines:
        at = (line.job, line.claim, line.pid)

        if line.event == "begin":
            lost = killed.get(line.pid, last[line.pid])
            found[at] = Try(line.job, line.task, line.key, line.claim, line.given, line.worker, line.pid, line.at, lost)
        elif line.event in {"end", "raise"} and at in found:
            found[at].ended, found[at].how = line.at, line.event

    return list(found.values())


def _freezes(lines: list[Line]) -> Iterator[Freeze]:
    since: dict[int, float] = {}

    for line in lines:
        for pid in line.pids:
            if line.event == "freeze":
                since[pid] = line.at
            elif line.event == "thaw" and pid in since:
                yield Freeze(pid, since.pop(pid), line.at)


def _supersede(one: Try, freezes: list[Freeze]) -> None:
    for freeze in freezes:
        if one.pid == freeze.pid and one.ended >= freeze.began and one.began <= freeze.ended + AFTER_A_FREEZE:
            one.superseded = True
            one.ended = max(one.began, min(one.ended, freeze.began))
