"""The HTML of ``<cherga-progress>`` and of its script, with everything escaped."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

from cherga.client.handle import Job
from cherga.words.job import JobState

ELEMENT = files("cherga.web").joinpath("static/element.js").read_bytes()
"""The script that brings ``<cherga-progress>`` to life."""

VERSION = hashlib.blake2b(ELEMENT, digest_size=6).hexdigest()
"""Changes with the script; as a query it makes the script's address good for ever."""

_NAME = re.compile(r"[A-Za-z_:][\w:.-]*")


def write_progress(job: Job[Any], src: str, token: str, attributes: Mapping[str, Any], content: str | None = None) -> str:
    """The element about a job as it stands. ``content`` is trusted HTML; without it there is a description and a bar."""
    percent = percent_of(job)
    own = {"job": job.id, "src": src, "token": token, "state": job.status.value, "percent": percent}
    named = {_attribute_name(name): value for name, value in attributes.items()}

    if content is None:
        own["role"] = "status"
        content = _write_content(job, percent, str(named.get(f"data-text-{job.status.value}") or job.message or ""))

    return f"<cherga-progress{write_attributes(own | named)}>{content}</cherga-progress>"


def write_script(src: str, attributes: Mapping[str, Any]) -> str:
    """The tag that loads the script; the page is not held up by it."""
    named = {_attribute_name(name): value for name, value in attributes.items()}
    return f"<script{write_attributes({'src': src, 'defer': True, **named})}></script>"


def percent_of(job: Job[Any]) -> int | None:
    """Whole percents, rounded down so that 100 means the end; None while nobody knows."""
    if job.status is JobState.SUCCEEDED:
        return 100

    percent = job.progress.percent if job.progress else None
    return None if percent is None else int(percent)


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


def _write_content(job: Job[Any], percent: int | None, message: str) -> str:
    description = escape(job.description or "")
    shown = "" if percent is None else f"{percent}%"
    bar = {"data-cherga": "bar", "max": 100, "value": 0 if percent is None and job.status.final else percent}
    bar["aria-label"] = job.description

    return (
        f'<span data-cherga="description">{description}</span> <progress{write_attributes(bar)}></progress> '
        f'<span data-cherga="percent" aria-live="off">{shown}</span> <span data-cherga="message">{escape(message)}</span>'
    )
