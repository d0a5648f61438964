"""The README's example runs as it is written, with a worker beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import ROOT, blocks

CHERGA = (sys.executable, "-m", "cherga")


def test_the_readme_example_runs_as_written(tmp_path: Path) -> None:
    example, _flow = blocks(ROOT / "README.md", "python")
    (tmp_path / "letters.py").write_text(example.text, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CHERGA")}
    worker = subprocess.Popen([*CHERGA, "worker", "-A", "letters:app"], cwd=tmp_path, env=kept)

    try:
        ran = subprocess.run(
            [sys.executable, "letters.py"], cwd=tmp_path, env=kept, capture_output=True, encoding="utf-8", timeout=55
        )
    finally:
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(30)

    assert ran.stdout.endswith("3 letters sent\n"), ran.stdout + ran.stderr
    assert code == 0


def test_the_readme_example_is_short() -> None:
    example, _flow = blocks(ROOT / "README.md", "python")
    written = [line for line in example.text.splitlines() if line.strip()]

    assert len(written) <= 20
