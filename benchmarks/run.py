"""One run of the benchmarks: its folder, its figures, how they are printed and kept."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import apsw

import cherga

ARTIFACTS = Path("artifacts")
WIDTH = 58


@dataclass(frozen=True, slots=True)
class Aim:
    """What a figure should be: at least or at most ``bound``."""

    relation: str
    bound: float

    def met_by(self, value: float) -> bool:
        return value >= self.bound if self.relation == "≥" else value <= self.bound


def at_least(bound: float) -> Aim:
    """The figure should not be smaller."""
    return Aim("≥", bound)


def at_most(bound: float) -> Aim:
    """The figure should not be larger."""
    return Aim("≤", bound)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    theme: str
    name: str
    value: float
    unit: str
    aim: Aim | None = None

    @property
    def met(self) -> bool:
        return self.aim is None or self.aim.met_by(self.value)

    def __str__(self) -> str:
        return f"  {self.name:<{WIDTH}}{_short(self.value):>10} {self.unit:<8}  {self.verdict}".rstrip()

    @property
    def verdict(self) -> str:
        """The aim, and whether it is met; empty without one."""
        if self.aim is None:
            return ""

        return f"aim {self.aim.relation} {_short(self.aim.bound)}: {'met' if self.met else 'NOT MET'}"

    def row(self) -> str:
        """The figure as a row of a Markdown table."""
        return f"| {self.theme}: {self.name.strip()} | {_short(self.value)} {self.unit} | {self.verdict.removeprefix('aim ')} |"


class Run:
    """Collects figures and prints each as it comes. As a context it owns a folder for databases, on the checkout's disk."""

    def __init__(self, rounds: int = 5, scale: float = 1.0) -> None:
        self.rounds = rounds
        self.scale = scale
        self.figures: list[Figure] = []
        self.started = datetime.now(UTC)
        self._machine: dict[str, str] = {}
        self._theme = ""
        self._databases = 0
        self._folder = Path()

    def __enter__(self) -> Self:
        ARTIFACTS.mkdir(exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix="bench-", dir=ARTIFACTS)).resolve()
        self._machine = self._facts()
        return self

    def __exit__(self, *exc_info: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def met(self) -> bool:
        """Whether every figure with an aim meets it."""
        return all(figure.met for figure in self.figures)

    def heading(self) -> str:
        """Where and with what this run measures."""
        return "\n".join(f"{name:<10}{value}" for name, value in self._machine.items())

    def begin(self, theme: str, text: str) -> None:
        """The figures that follow belong to this theme."""
        self._theme = theme
        print(f"\n{theme}: {text}", flush=True)

    def add(self, name: str, value: float, unit: str, aim: Aim | None = None) -> float:
        """Take down and print a figure; returns its value."""
        figure = Figure(self._theme, name, value, unit, aim)
        self.figures.append(figure)
        print(figure, flush=True)
        return value

    def jobs(self, usual: int) -> int:
        """How many jobs to use in this run where ``usual`` is the full number."""
        return max(20, int(usual * self.scale))

    def median(self, take: Callable[[], float]) -> float:
        """The middle of one value a round."""
        return statistics.median(take() for _ in range(self.rounds))

    def database(self) -> Path:
        """The name of a file that does not exist yet."""
        self._databases += 1
        return self._folder / f"{self._databases}.db"

    def save(self) -> Path:
        """Write everything to ``artifacts/bench-<time>.json``, and a table for the documentation beside it (``.md``)."""
        path = ARTIFACTS / f"bench-{self.started:%Y%m%dT%H%M%SZ}.json"
        figures = [{**asdict(figure), "met": figure.met} for figure in self.figures]
        path.write_text(
            json.dumps({"started": self.started.isoformat(), **self._machine, "figures": figures}, indent=2), encoding="utf-8"
        )
        path.with_suffix(".md").write_text(self.table(), encoding="utf-8")
        return path

    def table(self) -> str:
        """The figures as a Markdown table, under what they were measured on."""
        facts = "; ".join(f"{name}: {value}" for name, value in self._machine.items())
        lines = [f"Measured on {self.started:%Y-%m-%d}. {facts}.", "", "| | figure | aim |", "| --- | ---: | --- |"]
        return "\n".join([*lines, *(figure.row() for figure in self.figures), ""])

    def _facts(self) -> dict[str, str]:
        busy, rested = _sync_time(self._folder), _sync_time(self._folder, 0.02)
        return {
            "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
            "disk": f"4 KiB written and synced in {busy:.0f} µs, after a pause in {rested:.0f} µs",
            "python": platform.python_version(),
            "sqlite": apsw.sqlite_lib_version(),
            "cherga": cherga.__version__,
        }


def percentile(values: list[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _short(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"

    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _processor() -> str:
    names = [line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _sync_time(folder: Path, pause: float = 0.0, times: int = 50) -> float:
    """Microseconds, the middle of some. After a pause everything takes longer: processor and disk have gone to rest."""
    taken = []

    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(times):
            time.sleep(pause)
            start = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - start)

    return statistics.median(taken) * 1e6
