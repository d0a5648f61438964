"""The application of the book chapter on background jobs with RQ, with its import lines changed and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cherga import QueueTasks

EXAMPLE = """
from tests.slow_time import time

def example(seconds):
    print('Starting task')
    for i in range(seconds):
        print(i)
        time.sleep(1)
    print('Task completed')
"""

EXAMPLE_WITH_PROGRESS = """
from tests.slow_time import time
from cherga import get_current_job

def example(seconds):
    job = get_current_job()
    print('Starting task')
    for i in range(seconds):
        job.meta['progress'] = 100.0 * i / seconds
        job.save_meta()
        print(i)
        time.sleep(1)
    job.meta['progress'] = 100
    job.save_meta()
    print('Task completed')
"""


class Site:
    """An application that lists ``app.tasks``, which stands in a folder of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.app = QueueTasks("jobs", url)
        self.app.tasks_from("app.tasks")

    def write_tasks(self, source: str) -> None:
        """Make ``app/tasks.py``."""
        package = self.folder / "app"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "tasks.py").write_text(source, encoding="utf-8")

    @property
    def tasks(self) -> Any:
        """The module, once a worker has imported it."""
        return sys.modules["app.tasks"]

    @contextmanager
    def importable(self) -> Iterator[None]:
        """``app.tasks`` can be imported by this process, and is forgotten afterwards."""
        sys.path.insert(0, str(self.folder))

        try:
            yield
        finally:
            sys.path.remove(str(self.folder))

            for name in ("app.tasks", "app", "trap"):
                sys.modules.pop(name, None)


class Console:
    """A Python console: runs a line, and gives what it would print."""

    def __init__(self, **names: Any) -> None:
        self._names = names

    def run(self, line: str) -> str:
        try:
            code = compile(line, "<console>", "eval")
        except SyntaxError:
            exec(compile(line, "<console>", "exec"), self._names)
            return ""

        value = eval(code, self._names)
        return "" if value is None else repr(value)
