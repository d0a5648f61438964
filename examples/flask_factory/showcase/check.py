"""What a person would try, tried without one: real HTTP, a real worker, real files. Prints what it saw."""

from __future__ import annotations

from typing import Any

from stage.expecting import expect, run_through, until
from stage.visitor import Page, Visitor

from showcase.samples import QUESTION, collection, speech, why_silent
from showcase.stack import Stack


def run(stack: Stack) -> bool:
    """Try everything; whether all was as expected."""
    visitor = Visitor(stack.url)
    parts = [lambda: _sort(visitor)]

    if why_silent():
        print(f"skipped the spoken question: {why_silent()}", flush=True)
    else:
        parts.append(lambda: _ask(visitor))

    return run_through(*parts)


def _sort(visitor: Visitor) -> None:
    files = collection()
    page = visitor.post("/welcome", name="Olena")
    expect("Nothing here yet" in page.text, "a new visitor has no albums")

    page = visitor.upload("/files", "files", files)
    live = page.progress()
    expect(live is not None, f"{len(files)} files are uploaded, and a bar shows that they are being sorted")
    updates = list(visitor.events(live["src"], live["token"])) if live else []
    expect(bool(updates) and updates[-1]["state"] == "succeeded", f"the stream tells {len(updates)} times how far it is")

    page = until(lambda: visitor.get("/"), lambda page: page.progress() is None, "the bar is gone")
    albums = {"Photos 2024-05": 2, "Photos 2025-08": 2, "Photos without a date": 2, "Other files": 1}
    expect(all(f"{name} {count}" in page.text for name, count in albums.items()), f"the albums are {', '.join(albums)}")
    expect("It cannot be read" in page.text, "a torn photo is named, and does not stop the others")
    expect(len(page.all("img", loading="lazy")) == 5, "every other photo has a small picture")
    picture = visitor.download(page.all("img", loading="lazy")[0]["src"])
    expect(picture.startswith(b"\xff\xd8\xff"), f"and it can be looked at ({len(picture)} bytes)")


def _ask(visitor: Visitor) -> None:
    page = visitor.get("/")
    expect(len(page.all("audio")) == 3, "three spoken notes are filed")
    asked = visitor.upload("/questions", "recording", {"question.wav": speech(QUESTION)})
    answer = until(lambda: visitor.get(asked.url), _has_ended, "a spoken question is answered")
    expect(_titles(answer)[:1] == ["garden"], f"“{QUESTION}” finds the note about the garden: {answer.text}")


def _has_ended(page: Page) -> bool:
    return page.progress() is None


def _titles(page: Page) -> list[Any]:
    return [audio["aria-label"] for audio in page.all("audio")]
