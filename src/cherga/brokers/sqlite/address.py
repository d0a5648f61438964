"""Addresses: the parts of a ``sqlite://`` URL."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct

from cherga.rules.urls import file_url, masked, working_folder
from cherga.words.errors import ConfigError

FORM = "sqlite:///relative.db or sqlite:////absolute/path.db"


class Address(Struct, frozen=True, kw_only=True):
    """The place of the file, and how it is kept."""

    url: str
    path: Path
    """Absolute, fixed when the URL was read: a later change of directory does not matter."""
    lasting_url: str
    """The same URL with that path."""
    durable: bool = True
    """True when a write that was acknowledged survives a power cut, and not only the end of the process."""
    watermark: int | None = None
    """Bytes that must be free before new jobs are taken; None: what ``place.required_space`` says."""


def read_address(url: str) -> Address:
    """The address in ``url``; ``ConfigError`` says what is wrong with it."""
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]

    if parts.netloc or not path or path == ":memory:":
        raise ConfigError(f"expected a broker URL like {FORM}; got {masked(url)!r} (for jobs in memory alone use memory://)")

    if not _can_be_a_path(path):
        raise ConfigError(f"expected a path that the system can write in the broker URL, got {masked(url)!r}")

    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    durable = _read_durability(options.pop("durability", "full"), url)
    watermark = _read_watermark(options.pop("watermark", None), url)

    if options:
        raise ConfigError(
            f"expected only durability and watermark after the ? of {masked(url)!r}; got {', '.join(sorted(options))}"
        )

    whole = Path(path) if os.path.isabs(path) else _in_working_folder(path, url)
    lasting = file_url(str(whole)) + (f"?{parts.query}" if parts.query else "")
    return Address(url=url, path=whole, lasting_url=lasting, durable=durable, watermark=watermark)


def _in_working_folder(path: str, url: str) -> Path:
    if (folder := working_folder()) is None:
        raise ConfigError(
            f"expected a working directory for the relative path in {masked(url)!r}, but it was deleted; start in another one, "
            "or give the whole path"
        )

    return Path(folder) / path


def _can_be_a_path(path: str) -> bool:
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _read_durability(value: str, url: str) -> bool:
    if value not in {"full", "process"}:
        raise ConfigError(f"expected durability=full or durability=process in {masked(url)!r}; got {value!r}")

    return value == "full"


def _read_watermark(value: str | None, url: str) -> int | None:
    if value is None:
        return None

    if not value.isdecimal():
        raise ConfigError(f"expected watermark to be a number of bytes in {masked(url)!r}; got {value!r}")

    return int(value)
