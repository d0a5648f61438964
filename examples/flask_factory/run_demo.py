"""``./dev demo flask_factory``: the library with a worker, on this machine alone.

``python run_demo.py`` starts it and stops at Ctrl-C; ``--check`` tries it without a person and exits 0 or 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

HOME = Path(__file__).resolve().parent
sys.path[:0] = [str(HOME), str(HOME.parent)]

from showcase import check, samples, stack  # noqa: E402 - found beside this file, wherever it was started from
from stage import command  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration; return the exit code."""
    parser = command.options("A library of photos and sound notes with a worker, on loopback.")
    return command.run(parser, argv, show=_show, check=_check)


def _show(data: Path, options: argparse.Namespace) -> None:
    print("Starting the library and a worker …", flush=True)
    config = stack.configure(data)

    with stack.running(config, data / "server.log", options.port) as running:
        print(_welcome(running, _lay_out(data)), flush=True)
        code = running.worker.wait()

    raise RuntimeError(f"the worker has ended with exit code {code}")


def _lay_out(data: Path) -> Path:
    """Files to upload, where a person finds them."""
    folder = data / "to upload"
    folder.mkdir(exist_ok=True)

    for name, content in samples.collection().items():
        (folder / name).write_bytes(content)

    return folder


def _welcome(running: stack.Stack, folder: Path) -> str:
    return f"""
  Library     {running.url}
  Files       {folder}

  Try: come in with any name, upload the files from that folder, and watch them being filed.
  Ctrl-C stops everything.
"""


def _check(data: Path, options: argparse.Namespace, log: Path) -> bool:
    config, server_log = stack.configure(data), data / "server.log"

    with log.open("wb") as worker_log, stack.running(config, server_log, options.port, worker_log) as running:
        return check.run(running)


if __name__ == "__main__":
    sys.exit(main())
