"""Names of Cherga's processes, as ``ps`` and ``top`` show them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from setproctitle import setproctitle

from cherga.worker.turns import start_thread

LOOK = 1.0
"""Seconds between two looks at how many jobs run."""


def name_supervisor(application: str) -> None:
    """``cherga: supervisor microblog``."""
    setproctitle(f"cherga: supervisor {application}")


class WorkerTitle:
    """``cherga: worker microblog web-1-2 (3 running)``, looked at once a second, on a thread that jobs never wait for."""

    def __init__(self, application: str, name: str, running: Callable[[], int]) -> None:
        self._name = f"cherga: worker {application} {name}"
        self._running = running
        self._shown = -1
        self._ending = threading.Event()

    def start(self) -> None:
        """Without room for a thread the title stays as it is."""
        self._show()
        start_thread(self._follow, "cherga-title")

    def end(self) -> None:
        """The process drains: it says so from now on."""
        self._ending.set()
        setproctitle(f"{self._name} (draining)")

    def _follow(self) -> None:
        while not self._ending.wait(LOOK):
            self._show()

    def _show(self) -> None:
        running = self._running()

        if running != self._shown:
            self._shown = running
            setproctitle(f"{self._name} ({running} running)")
