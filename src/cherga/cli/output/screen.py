"""A terminal gets tables, pages and bars."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cherga.cli.output import WIDE, Cell, Column, Done, Follow, Listing, Page, Section
from cherga.cli.output.live_bar import BAR_STYLES, LiveBar, end_of
from cherga.cli.values import printable, printable_lines
from cherga.client.handle import Job

TURN = 2.0
"""Seconds between two looks of a command that is repeated."""
LABEL_WIDTH = 13
BAR_WIDTH = 24


class Screen:
    """Writes to a terminal, as wide as it is. Stored text is never read as markup."""

    def __init__(self, console: Console | None = None, pause: Callable[[], object] = lambda: Event().wait(TURN)) -> None:
        self.console = console or Console(highlight=False, markup=False, emoji=False)
        self._print: Callable[[RenderableType], object] = self.console.print
        self._pause = pause

    def listing(self, listing: Listing) -> None:
        if not listing.rows:
            self._dim(listing.empty)
            return

        self._print(_table(listing, self.console.width))

        if listing.footer:
            self._dim(f"\n{listing.footer}")

    def page(self, page: Page) -> None:
        self._print(Text.assemble((printable(page.title.human), "bold"), "  ", _text(page.state)))

        for section in page.sections:
            self._print("")
            self._print(_section(section))

    def log(self, job: Job[Any], line: str) -> None:
        self._print(Text(printable(line)))

    def repeat(self, show: Callable[[], object]) -> None:
        with Live(console=self.console, auto_refresh=False, vertical_overflow="crop") as live, suppress(KeyboardInterrupt):
            while True:
                live.update(self._frame(show), refresh=True)
                self._pause()

    def _frame(self, show: Callable[[], object]) -> Group:
        """The text that ``show`` writes, taken down instead of printed."""
        parts: list[RenderableType] = []
        self._print = parts.append

        try:
            show()
        finally:
            self._print = self.console.print

        return Group(*parts)

    def done(self, done: Done) -> None:
        mark = ("✓ ", "green") if done.good else ("✗ ", "red")
        self.console.print(Text.assemble(mark, printable(done.sentence)))

        if done.hint:
            self._dim(f"  {done.hint}")

    @contextmanager
    def follow(self) -> Iterator[Follow]:
        with LiveBar(self.console) as bar:
            yield bar.show

    def ended(self, job: Job[Any]) -> None:
        self.console.print(end_of(job))

    @contextmanager
    def counting(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        title_column, count_column = TextColumn("{task.description}"), TextColumn("{task.completed:,} of {task.total:,}")

        with Progress(title_column, BarColumn(**BAR_STYLES), count_column, console=self.console, transient=True) as progress:
            task = progress.add_task(title, total=total)
            yield lambda steps: progress.advance(task, steps)

    def _dim(self, text: str) -> None:
        self._print(Text(text, style="dim"))


def _table(listing: Listing, width: int) -> Table:
    shown = [number for number, column in enumerate(listing.columns) if column.from_width <= width]
    expand = any(column.share for column in listing.columns)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", expand=expand)

    for number in shown:
        column = listing.columns[number]
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
            ratio=column.share or None,
            min_width=None if column.share else max(len(_text(row[number], column, width)) for row in listing.rows),
        )

    for row in listing.rows:
        table.add_row(*(_text(row[number], listing.columns[number], width) for number in shown))

    return table


def _text(cell: Cell, column: Column | None = None, width: int = WIDE) -> Text:
    text = printable(cell.human)
    is_cut = column is not None and 0 < column.brief < len(text) and width < WIDE
    return Text(f"…{text[-column.brief :]}" if column and is_cut else text, style=cell.style)


def _section(section: Section) -> RenderableType:
    parts: list[RenderableType] = [Text(section.name, style="bold")] if section.name else []

    if section.pairs:
        parts.append(_grid(section))

    if section.block is not None:
        parts.append(Padding(_block(section.block), (0, 0, 0, 2)))

    return Group(*parts)


def _grid(section: Section) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", min_width=LABEL_WIDTH, no_wrap=True)
    grid.add_column(overflow="fold")

    for name, cell in section.pairs:
        grid.add_row(f"  {printable(name)}", _value(cell))

    return grid


def _value(cell: Cell) -> RenderableType:
    if cell.percent is None:
        return _text(cell)

    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_row(ProgressBar(total=100, completed=cell.percent, width=BAR_WIDTH, **BAR_STYLES), _text(cell))
    return row


def _block(block: str) -> Text:
    """A block of text such as a traceback: its last line is what it comes to."""
    lines, _, last = printable_lines(block).rpartition("\n")
    return Text.assemble((f"{lines}\n" if lines else "", "dim"), last)
