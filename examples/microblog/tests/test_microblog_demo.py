"""The demonstration checks itself: a site over real HTTP, a worker process, a mail server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "run_demo.py"


def test_the_demonstration_works_without_a_person() -> None:
    command = [sys.executable, str(SCRIPT), "--check", "--posts-delay", "0.0005"]
    ran = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=55)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "All is well" in ran.stdout
