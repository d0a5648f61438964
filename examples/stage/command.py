"""The command of a demonstration: its options, the folder of its files, and how it ends."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

Show = Callable[[Path, argparse.Namespace], None]
"""Runs the demonstration in that folder until somebody stops it; raises ``RuntimeError`` that says why it cannot go on."""
Check = Callable[[Path, argparse.Namespace, Path], bool]
"""Tries everything without a person, while the worker writes to the file given last; whether all was as expected."""


def options(description: str) -> argparse.ArgumentParser:
    """The options that every demonstration has."""
    parser = argparse.ArgumentParser(prog="demo", description=description)
    parser.add_argument("--check", action="store_true", help="try it without a person; exit 0 when all is well, else 1")
    parser.add_argument("--port", type=int, default=0, help="port of the site (default: a free one)")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="keep its files there (default: a temporary folder)")

    return parser


def run(parser: argparse.ArgumentParser, argv: Sequence[str] | None, *, show: Show, check: Check) -> int:
    """Run the demonstration; return the exit code."""
    given = parser.parse_args(argv)

    for stream in (sys.stdout, sys.stderr):
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")  # texts in more than one alphabet

    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)

    try:
        with _folder(given.data) as data:
            return _checked(check, data, given) if given.check else _shown(show, data, given)
    except KeyboardInterrupt:
        print("\nStopped.")
        return 1 if given.check else 0
    except (OSError, RuntimeError) as error:
        print(f"The demo cannot go on: {error}", file=sys.stderr)
        return 1


def _shown(show: Show, data: Path, given: argparse.Namespace) -> int:
    show(data, given)
    return 0


def _checked(check: Check, data: Path, given: argparse.Namespace) -> int:
    log = data / "worker.log"
    passed = False

    try:
        passed = check(data, given, log)
    finally:
        if not passed and log.exists():
            print("\nWhat the worker wrote:\n" + log.read_text(encoding="utf-8", errors="replace"), file=sys.stderr)

    return 0 if passed else 1


@contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted
    else:
        with tempfile.TemporaryDirectory(prefix="cherga-demo-") as name:
            yield Path(name)


def _stop(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
