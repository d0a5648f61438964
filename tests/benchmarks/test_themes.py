"""The benchmarks still measure what they say; small numbers, and no aim is asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.run import Figure, at_least, at_most, percentile

ROOT = Path(__file__).resolve().parents[2]


def test_a_figure_that_misses_its_aim_says_so() -> None:
    assert "aim ≥ 15: met" in str(Figure("theme", "ratio", 16.0, "×", at_least(15)))
    assert "aim ≤ 2: NOT MET" in str(Figure("theme", "delay", 2.5, "ms", at_most(2)))


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([float(number) for number in range(100)], 0.99) == 99.0
    assert percentile([3.0], 0.5) == 3.0


@pytest.mark.parametrize("theme", ["enqueue", "processing", "features", "contexts", "flow", "latency"])
def test_a_theme_can_be_measured(theme: str, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "benchmarks", theme, "--scale", "0.01", "--rounds", "1")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", timeout=50)
    (written,) = (tmp_path / "artifacts").glob("bench-*.json")
    figures = json.loads(written.read_text(encoding="utf-8"))["figures"]

    assert ran.returncode in {0, 1}, ran.stderr
    assert figures
    assert all(figure["value"] > 0 for figure in figures if figure["unit"] in {"jobs/s", "×"})
