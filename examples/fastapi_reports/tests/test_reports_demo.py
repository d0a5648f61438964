"""The demonstration tries itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[1] / "run_demo.py"


@pytest.mark.timeout(120)
def test_the_demonstration_works_without_a_person(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, DEMO, "--check", "--pause", "0.05", "--data", tmp_path],
        capture_output=True,
        encoding="utf-8",
        timeout=110,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "All is well" in ran.stdout
