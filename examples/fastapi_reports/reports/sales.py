"""What the shop has sold: a table of its own, made up the same way each time."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

YEARS = range(2022, 2026)
BOOKS = {
    "Kobzar": 1250,
    "Lisova pisnia": 990,
    "Moby-Dick": 1490,
    "Middlemarch": 1690,
    "Pride and Prejudice": 1190,
    "The Castle": 1350,
    "War and Peace": 2390,
    "Zoo": 1090,
}
CITIES = {"Kharkiv": 5, "Kyiv": 8, "Lviv": 6, "Odesa": 4, "Poltava": 2}
COLUMNS = ("book", "city")


class Ledger:
    """Reads the sales. Raises ``FileNotFoundError`` where there are none: whoever serves pages makes them."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise FileNotFoundError(f"expected sales at {path}; start the server first, which makes them")

        self._path = path

    def month(self, year: int, month: int, column: str) -> list[tuple[str, int, int]]:
        """For each value of the column the copies that were sold in that month, and the cents that they brought."""
        assert column in COLUMNS
        query = f"SELECT {column}, sum(copies), sum(cents) FROM sale WHERE day GLOB ? GROUP BY {column} ORDER BY {column}"

        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as database:
            return database.execute(query, [f"{year}-{month:02}-*"]).fetchall()


def plant(path: Path) -> None:
    """Make the sales, whole or not at all, where there are none."""
    if path.exists():
        return

    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f"{path.name}.{os.getpid()}")
    made.unlink(missing_ok=True)

    with closing(sqlite3.connect(made)) as database:
        database.execute("CREATE TABLE sale (day TEXT NOT NULL, city TEXT NOT NULL, book TEXT NOT NULL, copies INT, cents INT)")
        database.executemany("INSERT INTO sale VALUES (?, ?, ?, ?, ?)", _sales(random.Random(7)))
        database.commit()

    made.replace(path)


def _sales(chance: random.Random) -> Iterator[tuple[str, str, str, int, int]]:
    day = date(YEARS[0], 1, 1)

    while day.year in YEARS:
        for city, buyers in CITIES.items():
            for _ in range(chance.randrange(buyers + 1)):
                book = chance.choice(list(BOOKS))
                copies = chance.choice((1, 1, 1, 2, 3))
                yield day.isoformat(), city, book, copies, copies * BOOKS[book]

        day += timedelta(days=1)
