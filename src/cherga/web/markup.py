"""The HTML of ``<cherga-progress>`` and of its script, with everything escaped."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any
from uuid import UUID

from msgspec import json

from cherga.client.grouping import GroupJob
from cherga.client.handle import Job
from cherga.words.job import JobState, Progress

WORDS = {
    "scheduled": "Waiting for its time",
    "ready": "Waiting",
    "blocked": "Waiting for other work",
    "running": "Running",
    "stopping": "Stopping…",
    "succeeded": "Done",
    "failed": "Failed",
    "cancelled": "Cancelled",
    "held": "Waiting",
    "dropped": "Dropped",
    "unknown": "Cannot be shown just now",
    "cancel": "Cancel",
}
"""The words of the usual look where the page does not say them itself, with ``data-text-…``."""


_COMMENT = re.compile(r"(?:^|\s)//\s.*$")


def _squeeze(text: str) -> str:
    """The same without indentation, empty lines, and comments at the ends of lines."""
    lines = (_COMMENT.sub("", line).strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _read(name: str) -> str:
    return files("cherga.web").joinpath(f"static/{name}").read_text(encoding="utf-8")


ELEMENT = _squeeze(_read("element.js")).replace("WORDS = {};", f"WORDS = {json.encode(WORDS).decode()};").encode()
"""The script that brings ``<cherga-progress>`` to life."""

LOOK = _squeeze(_read("element.css")).encode()
"""The style sheet of its usual look."""

VERSION = hashlib.blake2b(ELEMENT + LOOK, digest_size=6).hexdigest()
"""Changes with the script or the style sheet; as a query it makes their addresses good for ever."""

_NAME = re.compile(r"[A-Za-z_:][\w:.-]*")


def write_progress(
    job: Job[Any], src: str, token: str, attributes: Mapping[str, Any], content: str | None = None, asks: bool = True
) -> str:
    """The element about a job as it stands. ``content`` is trusted HTML; without it the element has its usual look.

    How far a group is has to be read from the broker: with ``asks`` it is, else the script shows it a moment later.
    """
    progress = _progress_of(job, asks)
    percent = percent_of(job, progress)
    own = {"job": job.id, "src": src, "token": token, "state": job.status.value, "percent": percent}
    named = {_attribute_name(name): value for name, value in attributes.items()}

    if content is None:
        own |= {"role": "status", "look": "usual"}
        content = _write_content(job, progress, {**WORDS, **_texts_in(named)})

    return f"<cherga-progress{write_attributes(own | named)}>{content}</cherga-progress>"


def write_unknown(id: UUID, src: str, token: str, attributes: Mapping[str, Any], content: str | None = None) -> str:
    """The element about a job of which nothing can be told just now; its script asks again."""
    named = {_attribute_name(name): value for name, value in attributes.items()}
    own: dict[str, Any] = {"job": id, "src": src, "token": token, "state": "unknown"}

    if content is None:
        own |= {"role": "status", "look": "usual"}
        words = {**WORDS, **_texts_in(named)}
        content = _write_parts({"status": words["unknown"]}, {"value": 0}, words["cancel"])

    return f"<cherga-progress{write_attributes(own | named)}>{content}</cherga-progress>"


def write_script(src: str, look: str, attributes: Mapping[str, Any]) -> str:
    """The tags that load the script, by which the page is not held up, and the style sheet of the usual look."""
    named = {_attribute_name(name): value for name, value in attributes.items()}
    sheet = write_attributes({"rel": "stylesheet", "href": look, "nonce": named.get("nonce")})
    return f"<link{sheet}><script{write_attributes({'src': src, 'defer': True, **named})}></script>"


def percent_of(job: Job[Any], progress: Progress | None) -> int | None:
    """Whole percents, rounded down so that 100 means the end; None while nobody knows."""
    if job.status is JobState.SUCCEEDED:
        return 100

    percent = progress.percent if progress else None
    return None if percent is None else int(percent)


def _progress_of(job: Job[Any], asks: bool) -> Progress | None:
    """The progress to show; none of a job that is not yet stored."""
    known = isinstance(job.status, JobState) and (asks or not isinstance(job, GroupJob))
    return job.progress if known else None


def write_attributes(attributes: Mapping[str, Any]) -> str:
    """`` name="value"`` for each; ``True`` is the bare name, ``False`` and ``None`` are left out."""
    return "".join(
        f" {name}" if value is True else f' {name}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None and value is not False
    )


def _attribute_name(name: str) -> str:
    """``data_text_failed`` and ``class_`` as HTML writes them."""
    written = name.rstrip("_").replace("_", "-")

    if not _NAME.fullmatch(written):
        raise ValueError(f"expected the name of an HTML attribute, got {name!r}")

    return written


def _texts_in(attributes: Mapping[str, Any]) -> dict[str, str]:
    """The page's own words, by what they are for."""
    prefix = "data-text-"
    return {name.removeprefix(prefix): str(value) for name, value in attributes.items() if name.startswith(prefix)}


def _write_content(job: Job[Any], progress: Progress | None, words: Mapping[str, str]) -> str:
    """The usual look of a job as it stands."""
    percent = percent_of(job, progress)
    going = None if job.status.final else progress
    texts = {
        "description": job.description or "",
        "percent": "" if percent is None else f"{percent}%",
        "status": _status(job, words),
        "count": _count(going) if going else "",
        "note": going.note if going else "",
    }
    return _write_parts(texts, {"value": _filled(job, percent), "aria-label": job.description}, words["cancel"])


def _write_parts(texts: Mapping[str, str], bar: Mapping[str, Any], cancel: str) -> str:
    """The usual look; the script shows the button where the token allows it."""
    return " ".join(
        (
            _write_part("description", texts),
            _write_part("percent", texts, live="off"),
            f"<progress{write_attributes({'data-cherga': 'bar', 'max': 100, **bar})}></progress>",
            _write_part("status", texts),
            _write_part("count", texts, live="off"),
            _write_part("note", texts, live="off"),
            f'<button type="button" data-cherga="cancel" hidden>{escape(cancel)}</button>',
        )
    )


def _filled(job: Job[Any], percent: int | None) -> int | None:
    """The share of the bar that is full; None where it runs and nobody knows."""
    return 0 if percent is None and job.status is not JobState.RUNNING else percent


def _status(job: Job[Any], words: Mapping[str, str]) -> str:
    state = job.status.value
    said = f": {job.message}" if job.message and words[state] == WORDS[state] else ""
    return words[state] + said


def _count(progress: Progress) -> str:
    done = f"{progress.done:,.10g}"
    return done if progress.total is None else f"{done} / {progress.total:,.10g}"


def _write_part(name: str, texts: Mapping[str, str], live: str | None = None) -> str:
    return f"<span{write_attributes({'data-cherga': name, 'aria-live': live})}>{escape(texts.get(name, ''))}</span>"
