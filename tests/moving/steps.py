"""The steps of a page, applied to the files of an application as its reader would do it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.docs.pages import blocks


@dataclass(frozen=True)
class Change:
    """Some lines of a file that become others."""

    file: str
    before: str
    after: str

    def apply(self, folder: Path) -> None:
        path = folder / self.file
        text = path.read_text(encoding="utf-8")
        assert text.count(self.before) == 1, f"{self.file} has these lines {text.count(self.before)} times:\n{self.before}"
        path.write_text(text.replace(self.before, self.after), encoding="utf-8")


def steps_of(page: Path) -> list[list[Change]]:
    """The changes of each ``diff`` block of the page, in order."""
    return [_changes(block.text) for block in blocks(page, "diff")]


def _changes(text: str) -> list[Change]:
    return [_change(name, hunk) for part in text.split("--- ")[1:] for name, *hunks in [part.split("@@\n")] for hunk in hunks]


def _change(head: str, hunk: str) -> Change:
    lines = hunk.splitlines(keepends=True)
    before = "".join(line[1:] or line for line in lines if not line.startswith("+"))
    after = "".join(line[1:] or line for line in lines if not line.startswith("-"))
    return Change(head.split("\n")[0], before, after)
