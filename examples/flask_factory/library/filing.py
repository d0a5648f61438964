"""Looking at files, and filing them: by what they are, and not by what they are called."""

from __future__ import annotations

import os
import warnings
from datetime import datetime
from pathlib import Path

from msgspec import Struct
from PIL import Image, ImageOps

from library.models import Item
from library.places import file_of, inbox_file, thumbnail_of

SIGNATURES = (
    (0, b"\xff\xd8\xff", "photo"),
    (0, b"\x89PNG\r\n\x1a\n", "photo"),
    (0, b"GIF87a", "photo"),
    (0, b"GIF89a", "photo"),
    (8, b"WEBP", "photo"),
    (0, b"II*\x00", "photo"),
    (0, b"MM\x00*", "photo"),
    (8, b"WAVE", "sound"),
    (0, b"OggS", "sound"),
    (0, b"fLaC", "sound"),
    (0, b"ID3", "sound"),
    (0, b"\xff\xfb", "sound"),
)
"""Where in a file which bytes stand, and what it is then."""

EXIF_FOLDER = 0x8769
TAKEN = 0x9003
CHANGED = 0x0132
"""Numbers of tags, as the Exif standard has them: the folder of the camera's notes, and two moments."""

THUMBNAIL = (480, 480)


class Found(Struct, frozen=True):
    """What a file is."""

    kind: str
    taken_at: datetime | None = None
    problem: str | None = None


def look_at(path: Path) -> Found:
    """Say what a file is, by its first bytes, and of a photo when it was taken."""
    with path.open("rb") as file:
        start = file.read(16)

    kind = next((kind for place, bytes, kind in SIGNATURES if start[place:].startswith(bytes)), "other")
    return _look_at_photo(path) if kind == "photo" else Found(kind)


def _look_at_photo(path: Path) -> Found:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)

            with Image.open(path) as photo:
                photo.load()
                return Found("photo", _moment_of(photo.getexif()))
    except (OSError, SyntaxError, ValueError, Warning, Image.DecompressionBombError) as error:
        return Found("photo", problem=f"It cannot be read ({type(error).__name__}).")


def _moment_of(exif: Image.Exif) -> datetime | None:
    for text in (exif.get_ifd(EXIF_FOLDER).get(TAKEN), exif.get(CHANGED)):
        try:
            return datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S")
        except ValueError:
            continue

    return None


def album_of(found: Found, uploaded_at: datetime) -> str:
    """The album that a file belongs in."""
    if found.kind == "photo":
        return f"Photos {found.taken_at:%Y-%m}" if found.taken_at else "Photos without a date"

    return f"Sound notes {uploaded_at:%Y-%m}" if found.kind == "sound" else "Other files"


def where_is(item: Item) -> Path:
    """The file: in the inbox, or in its album already, when the worker before was stopped after it had moved it."""
    waiting = inbox_file(item)

    if waiting.exists() or item.sorted_at is not None:
        return waiting

    moved = (folder / waiting.name for folder in waiting.parents[1].iterdir())
    return next((path for path in moved if path.exists()), waiting)


def move(item: Item) -> None:
    """Put the file into its album, in one step of the file system."""
    place = file_of(item)
    place.parent.mkdir(parents=True, exist_ok=True)
    os.replace(where_is(item), place)


def make_thumbnail(item: Item) -> None:
    """Make the small picture, upright, without what the camera noted in it."""
    place = thumbnail_of(item)
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_suffix(".part")

    with Image.open(file_of(item)) as photo:
        small = ImageOps.exif_transpose(photo)
        small.thumbnail(THUMBNAIL)
        small.convert("RGB").save(unfinished, "JPEG", quality=82)

    os.replace(unfinished, place)
