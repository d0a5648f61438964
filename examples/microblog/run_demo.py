"""``./dev demo``: the microblog with everything around it, on this machine alone.

``python run_demo.py`` starts it and stops at Ctrl-C; ``--check`` tries it without a person and exits 0 or 1.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

HOME = Path(__file__).resolve().parent
sys.path.insert(0, str(HOME))

from demo import check, stack  # noqa: E402 - found beside this file, wherever it was started from
from microblog.seeding import PASSWORD  # noqa: E402

POSTS_DELAY = 0.002
"""Seconds that the export waits at each post, for show: without it two thousand posts are exported before you look."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration; return the exit code."""
    options = _options().parse_args(argv)

    for stream in (sys.stdout, sys.stderr):
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")  # the posts are in more than one alphabet

    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)

    try:
        with _folder(options.data) as data:
            return _check(data, options) if options.check else _show(data, options)
    except KeyboardInterrupt:
        print("\nStopped.")
        return 1 if options.check else 0
    except (OSError, RuntimeError) as error:
        print(f"The demo cannot go on: {error}", file=sys.stderr)
        return 1


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="demo", description="The microblog with a worker and a mail server, on loopback.")
    parser.add_argument("--check", action="store_true", help="try it without a person; exit 0 when all is well, else 1")
    parser.add_argument("--port", type=int, default=0, help="port of the site (default: a free one)")
    parser.add_argument(
        "--posts-delay",
        type=float,
        default=POSTS_DELAY,
        metavar="SECONDS",
        help="wait at each exported post, for show (default: %(default)s)",
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="keep the databases there (default: a temporary folder)")

    return parser


@contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted
    else:
        with tempfile.TemporaryDirectory(prefix="microblog-") as name:
            yield Path(name)


def _show(data: Path, options: argparse.Namespace) -> int:
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


def _check(data: Path, options: argparse.Namespace) -> int:
    log = data / "worker.log"
    passed = False

    try:
        with (
            log.open("wb") as worker_log,
            stack.running(data, port=options.port, posts_delay=options.posts_delay, worker_log=worker_log) as running,
        ):
            passed = check.run(running, log)
    finally:
        if not passed:
            print("\nWhat the worker wrote:\n" + log.read_text(encoding="utf-8", errors="replace"), file=sys.stderr)

    return 0 if passed else 1


def _stop(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
