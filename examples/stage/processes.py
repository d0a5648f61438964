"""A real worker process, for as long as a block lasts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from cherga import QueueTasks

WORKER_READY = 30.0
WORKER_STOPS = 15.0


@contextmanager
def work(
    target: str, home: Path, environment: Mapping[str, str], log: IO[bytes] | None = None, options: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``cherga worker -A target`` in the folder ``home``, with these variables beside those that are set."""
    # In a session of its own, so that Ctrl-C reaches us alone and we tell the worker once.
    command = [sys.executable, "-m", "cherga", "worker", "-A", target, "--processes", "1", "--threads", "4", *options]
    path = os.pathsep.join(filter(None, [str(home), os.environ.get("PYTHONPATH")]))
    worker = subprocess.Popen(
        command,
        cwd=home,
        env={**os.environ, **environment, "PYTHONPATH": path},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )

    try:
        yield worker
    finally:
        worker.terminate()

        with suppress(subprocess.TimeoutExpired):
            worker.wait(WORKER_STOPS)

        worker.kill()
        worker.wait()


def await_worker(cherga: QueueTasks, worker: subprocess.Popen[bytes]) -> None:
    """Come back when the worker is ready; raises ``RuntimeError`` when it has ended, or takes too long."""
    deadline = time.monotonic() + WORKER_READY

    while not cherga.broker.workers():
        if worker.poll() is not None:
            raise RuntimeError(f"the worker has ended with exit code {worker.returncode} before it was ready")

        if time.monotonic() > deadline:
            raise RuntimeError(f"the worker was not ready after {WORKER_READY:.0f} s")

        time.sleep(0.05)
