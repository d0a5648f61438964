"""``./dev``, the script that newcomers meet first."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("demo", "test", "check", "bench", "help")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A copy in a folder whose name has spaces, far from any environment."""
    folder = tmp_path / "a checkout with spaces"
    folder.mkdir()
    return Path(shutil.copy(ROOT / "dev", folder))


def test_help_names_every_command(script: Path) -> None:
    shown = _run(script, "help")

    assert shown.returncode == 0
    assert all(f"\n  {command} " in shown.stdout for command in COMMANDS)


def test_an_unknown_command_is_refused_with_what_there_is(script: Path) -> None:
    refused = _run(script, "tset")

    assert refused.returncode == 1
    assert 'got "tset"' in refused.stderr
    assert "./dev COMMAND" in refused.stderr


def test_a_missing_interpreter_is_named_with_the_way_to_get_one(script: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", script.parent)
    refused = _run(script, "check", path=_only(script.parent / "bin", "sh", "cat", "cksum", "dirname"))

    assert refused.returncode == 1
    assert "expected a Python of 3.11 or newer" in refused.stderr


def _only(folder: Path, *programs: str) -> str:
    """A search path on which nothing but these programs is found."""
    folder.mkdir()

    for program in programs:
        found = shutil.which(program)
        assert found
        (folder / program).symlink_to(found)

    return str(folder)


def _run(script: Path, *arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = None if path is None else {"PATH": path}
    return subprocess.run([script, *arguments], cwd="/", env=environment, capture_output=True, encoding="utf-8", timeout=30)
