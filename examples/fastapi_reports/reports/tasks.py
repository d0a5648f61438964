"""The work that takes longer than a request may."""

from __future__ import annotations

import asyncio
import calendar
import csv
import io
from collections import Counter
from pathlib import Path
from typing import Literal, TypedDict

from cherga import ctx
from cherga.contrib.fastapi import Cherga

cherga = Cherga(name="reports")

Column = Literal["book", "city"]


class Line(TypedDict):
    """One bar of the chart."""

    name: str
    copies: int
    cents: int


class Report(TypedDict):
    """A report that was made: the file, and what its page shows."""

    file: str
    year: int
    column: str
    lines: list[Line]


@cherga.task(unique=True, max_time=300, retry=2)
async def make_report(visitor: str, year: int, column: Column) -> Report:
    """Add up a year month by month, and write its file. ``visitor`` makes one visitor's report another one than the next's."""
    ledger, folder, pause = (cherga.lifespan_state[name] for name in ("ledger", "folder", "pause"))
    copies: Counter[str] = Counter()
    cents: Counter[str] = Counter()
    rows: list[tuple[str, str, int, int]] = []

    for month in range(1, 13):
        ctx.progress(month - 1, 12, calendar.month_name[month])

        for name, sold, brought in await asyncio.to_thread(ledger.month, year, month, column):
            rows.append((f"{year}-{month:02}", name, sold, brought))
            copies[name] += sold
            cents[name] += brought

        await asyncio.sleep(pause)

    ctx.progress(12, 12)
    file = await asyncio.to_thread(_write, folder / "reports", f"{ctx.job_id}.csv", column, rows)
    lines = [Line(name=name, copies=copies[name], cents=brought) for name, brought in cents.most_common()]
    return Report(file=file, year=year, column=column, lines=lines)


def _write(folder: Path, name: str, column: str, rows: list[tuple[str, str, int, int]]) -> str:
    """Write the file under the job's name, so that a second attempt puts the same one in its place."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("month", column, "copies", "cents"))
    table.writerows(rows)
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.with_suffix(".part").write_text(text.getvalue(), encoding="utf-8")
    path.with_suffix(".part").replace(path)
    return str(path)
