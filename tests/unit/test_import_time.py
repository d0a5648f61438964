"""``from cherga import QueueTasks`` is cheap: applications pay for it in every process."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from math import inf

import pytest

HEAVY = ("apsw", "click", "cronsim", "django", "flask", "psycopg", "redis", "rich", "sqlalchemy", "sqlite3", "zoneinfo")
LATER = ("asyncio", "concurrent.futures", "difflib", "hashlib", "pathlib", "shlex", "socket", "ssl", "subprocess")
APPLICATION = ("apsw", "asyncio", "cherga.client.app", "cherga.client.handle", "cherga.client.task")
DECLARED = "import sys; from cherga import QueueTasks; QueueTasks('shop').task(len)"
ROUNDS = 12
"""At most: other programs of the machine make some rounds dear."""


def test_no_terminal_no_framework_and_no_driver_is_loaded() -> None:
    program = f"import sys; from cherga import QueueTasks; print([name for name in {HEAVY} if name in sys.modules])"

    assert run(program) == "[]"


def test_what_no_declaration_needs_is_not_loaded_yet() -> None:
    program = f"{DECLARED}; print([name for name in {LATER} if name in sys.modules])"

    assert run(program) == "[]"


def test_signatures_are_looked_into_when_the_first_task_is_declared() -> None:
    """``typing_extensions`` loads ``inspect``, where it is installed."""
    program = (
        "import sys; sys.modules['typing_extensions'] = None; from cherga import QueueTasks; print('inspect' in sys.modules); "
        "QueueTasks('shop').task(len); print('inspect' in sys.modules)"
    )

    assert run(program).split() == ["False", "True"]


def test_a_module_that_is_loaded_later_is_the_module_of_that_name() -> None:
    assert run("from cherga.words.later import asyncio as ours; import asyncio; print(ours.Lock is asyncio.Lock)") == "True"


def test_an_application_is_declared_without_a_driver() -> None:
    assert run(f"{DECLARED}; print('apsw' in sys.modules)") == "False"


def test_neither_worker_nor_command_line_is_loaded() -> None:
    rooms = "sorted({'.'.join(m.split('.')[:2]) for m in sys.modules if m.startswith('cherga.')})"

    assert run(f"{DECLARED}; print({rooms})") == str(
        [f"cherga.{room}" for room in ("brokers", "client", "doors", "rules", "version", "words")]
    )


@pytest.mark.parametrize("module", ["cherga", "cherga.cli", "cherga.cli.worker", "cherga.worker.supervisor"])
def test_no_application_is_loaded_where_none_is_used(module: str) -> None:
    """A supervisor, above all, has to be there before its first worker process."""
    program = f"import sys, {module}; print([name for name in sys.modules if name in {APPLICATION}])"

    assert run(program) == "[]"


def test_a_worker_without_coroutines_loads_no_asyncio() -> None:
    program = """
import sys
from cherga import QueueTasks

app = QueueTasks("shop", "memory://")
double = app.task(name="double")(lambda number: 2 * number)

with app.worker():
    print(double.enqueue(4).result(20))

print("asyncio" in sys.modules)
"""

    assert run(program).split() == ["8", "False"]


def test_the_import_costs_hardly_more_than_asyncio_and_msgspec() -> None:
    """Beside asyncio and what it needs itself, loaded in the same round; the best round of several counts."""
    own = needed = inf

    for _ in range(ROUNDS):
        own = min(own, import_seconds("from cherga import QueueTasks"))
        needed = min(needed, import_seconds("import asyncio, msgspec, logging, inspect"))

        if own < 1.4 * needed:
            break

    assert own < 1.4 * needed


def import_seconds(statement: str) -> float:
    """Seconds of processor time for the import alone, in a fresh interpreter."""
    return float(run(f"import time; began = time.process_time(); {statement}; print(time.process_time() - began)"))


@cache
def compiled() -> dict[str, str]:
    """An environment in which modules are compiled once and kept, as those of an installed package are."""
    folder = tempfile.mkdtemp(prefix="cherga-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": folder}


def run(program: str) -> str:
    """What the program prints in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, encoding="utf-8", timeout=30, env=compiled()
    ).stdout.strip()
