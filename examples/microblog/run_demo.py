"""``./dev demo``: the microblog with everything around it, on this machine alone.

``python run_demo.py`` starts it and stops at Ctrl-C; ``--check`` tries it without a person and exits 0 or 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

HOME = Path(__file__).resolve().parent
sys.path[:0] = [str(HOME), str(HOME.parent)]

from demo import check, stack  # noqa: E402 - found beside this file, wherever it was started from
from microblog.seeding import PASSWORD  # noqa: E402
from stage import command  # noqa: E402

POSTS_DELAY = 0.002
"""Seconds that the export waits at each post, for show: without it two thousand posts are exported before you look."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration; return the exit code."""
    parser = command.options("The microblog with a worker and a mail server, on loopback.")
    parser.add_argument(
        "--posts-delay",
        type=float,
        default=POSTS_DELAY,
        metavar="SECONDS",
        help="wait at each exported post, for show (default: %(default)s)",
    )

    return command.run(parser, argv, show=_show, check=_check)


def _show(data: Path, options: argparse.Namespace) -> None:
    print("Starting the microblog, a worker and a mail server …", flush=True)

    with stack.running(data, port=options.port, posts_delay=options.posts_delay) as running:
        print(_welcome(running), flush=True)
        code = running.worker.wait()

    raise RuntimeError(f"the worker has ended with exit code {code}")


def _welcome(running: stack.Stack) -> str:
    authors = "\n".join(f"    {name:<10} {posts:>5} posts   {language}" for name, language, posts in running.authors())

    return f"""
  Microblog   {running.site_url}
  Mail        {running.mail_url}

  Log in as one of these; everybody's password is "{PASSWORD}".
{authors}

  Try: log in as jane, open the profile, "Export your posts", and read the mail.
  Ctrl-C stops everything.
"""


def _check(data: Path, options: argparse.Namespace, log: Path) -> bool:
    with (
        log.open("wb") as worker_log,
        stack.running(data, port=options.port, posts_delay=options.posts_delay, worker_log=worker_log) as running,
    ):
        return check.run(running, log)


if __name__ == "__main__":
    sys.exit(main())
