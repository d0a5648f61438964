"""``enqueue`` completes and checks arguments for every kind of task, as two type checkers see it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import cherga

CASES = Path(__file__).parent / "cases.py"
SOURCES = Path(cherga.__file__).parents[1]
LINES = CASES.read_text(encoding="utf-8").splitlines()
EXPECTED = {number: text.partition("  # is: ")[2] for number, text in enumerate(LINES, 1) if "  # is: " in text}
WRONG = {number for number, text in enumerate(LINES, 1) if text.endswith("# error")}


def check(*command: str) -> str:
    environment = {**os.environ, "MYPYPATH": str(SOURCES), "PYTHONPATH": str(SOURCES)}
    ran = subprocess.run([sys.executable, "-m", *command], env=environment, capture_output=True, encoding="utf-8", timeout=55)
    return ran.stdout


def without_modules(kind: str) -> str:
    """``cherga.client.handle.Job[builtins.float]`` is ``Job[float]``."""
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", kind)


def test_mypy(tmp_path: Path) -> None:
    found = check("mypy", "--strict", "--no-error-summary", "--config-file", os.devnull, f"--cache-dir={tmp_path}", str(CASES))
    revealed = dict(re.findall(r'cases\.py:(\d+): note: Revealed type is "(.*)"', found))
    errors = {int(number) for number in re.findall(r"cases\.py:(\d+): error", found)}

    assert {int(number): without_modules(kind) for number, kind in revealed.items()} == EXPECTED
    assert errors == WRONG


@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed")
def test_pyright(tmp_path: Path) -> None:
    settings = {"extraPaths": [str(SOURCES)], "typeCheckingMode": "standard"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    shutil.copy(CASES, tmp_path)
    found = json.loads(check("pyright", "--outputjson", "--project", str(tmp_path)))["generalDiagnostics"]
    revealed = {_line(each): each["message"].partition('is "')[2].rstrip('"') for each in found if _is(each, "information")}

    assert revealed == EXPECTED
    assert {_line(each) for each in found if _is(each, "error")} == WRONG


def _line(diagnostic: dict[str, dict[str, dict[str, int]]]) -> int:
    return diagnostic["range"]["start"]["line"] + 1


def _is(diagnostic: dict[str, object], severity: str) -> bool:
    return diagnostic["severity"] == severity
