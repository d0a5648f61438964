"""``./dev demo fastapi_reports``: the reports with a worker, on this machine alone.

``python run_demo.py`` starts it and stops at Ctrl-C; ``--check`` tries it without a person and exits 0 or 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

HOME = Path(__file__).resolve().parent
sys.path[:0] = [str(HOME), str(HOME.parent)]

from stage import command  # noqa: E402 - found beside this file, wherever it was started from
from trial import check, stack  # noqa: E402

PAUSE = 0.4
"""Seconds that a report waits at each month, for show: without it a year is added up before you look."""

WELCOME = """
  Reports   {}

  Try: make a report, or several, and look at them in two windows.
  Ctrl-C stops everything.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration; return the exit code."""
    parser = command.options("Reports of a bookshop, made by a worker, on loopback.")
    parser.add_argument(
        "--pause", type=float, default=PAUSE, metavar="SECONDS", help="wait at each month, for show (default: %(default)s)"
    )
    return command.run(parser, argv, show=_show, check=_check)


def _show(data: Path, options: argparse.Namespace) -> None:
    print("Starting the site and a worker …", flush=True)

    with stack.running(data, port=options.port, pause=options.pause) as running:
        print(
            f"\n  Reports   {running.url}\n\n  Try: make a report, or several, in two windows. Ctrl-C stops everything.\n",
            flush=True,
        )
        code = running.worker.wait()

    raise RuntimeError(f"the worker has ended with exit code {code}")


def _check(data: Path, options: argparse.Namespace, log: Path) -> bool:
    with log.open("wb") as worker_log, stack.running(data, options.port, options.pause, worker_log) as running:
        return check.run(running)


if __name__ == "__main__":
    sys.exit(main())
