"""What a file is, and where it is filed."""

from __future__ import annotations

import io
import wave
from datetime import datetime
from pathlib import Path

import pytest
from library import filing, matching
from library.filing import Found
from library.listening import RATE, read_sound
from library.models import Item
from PIL import Image
from showcase.samples import photo

MAY = datetime(2024, 5, 4, 11, 30)
UPLOADED = datetime(2026, 1, 2)


def silence(rate: int = RATE, channels: int = 1, width: int = 2, frames: int = 800) -> bytes:
    out = io.BytesIO()

    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(bytes(frames * channels * width))

    return out.getvalue()


def camera_that_notes(moment: str) -> bytes:
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0132] = moment
    Image.new("RGB", (8, 8)).save(out, "JPEG", exif=exif)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param(photo(1, MAY), Found("photo", MAY), id="photo with a date"),
        pytest.param(photo(1), Found("photo"), id="photo without"),
        pytest.param(photo(1, format="PNG"), Found("photo"), id="png"),
        pytest.param(photo(1, format="WEBP"), Found("photo"), id="webp"),
        pytest.param(photo(1, format="GIF"), Found("photo"), id="gif"),
        pytest.param(photo(1, format="TIFF"), Found("photo"), id="tiff"),
        pytest.param(camera_that_notes("2024:05:04 11:30:00"), Found("photo", MAY), id="the other date"),
        pytest.param(camera_that_notes("0000:00:00 00:00:00"), Found("photo"), id="a clock that was never set"),
        pytest.param(silence(), Found("sound"), id="wav"),
        pytest.param(b"OggS\0", Found("sound"), id="ogg"),
        pytest.param(b"Dear library,", Found("other"), id="text"),
        pytest.param(b"", Found("other"), id="nothing"),
    ],
)
def test_a_file_is_known_by_its_bytes_whatever_it_is_called(tmp_path: Path, content: bytes, found: Found) -> None:
    (tmp_path / "misnamed.exe").write_bytes(content)
    assert filing.look_at(tmp_path / "misnamed.exe") == found


def test_a_torn_photo_is_a_photo_with_a_problem(tmp_path: Path) -> None:
    (tmp_path / "torn.jpg").write_bytes(photo(1, MAY)[:5000])
    found = filing.look_at(tmp_path / "torn.jpg")
    assert found.kind == "photo"
    assert found.problem == "It cannot be read (OSError)."


@pytest.mark.parametrize(
    ("found", "album"),
    [
        (Found("photo", MAY), "Photos 2024-05"),
        (Found("photo"), "Photos without a date"),
        (Found("sound"), "Sound notes 2026-01"),
        (Found("other"), "Other files"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_albums_go_by_kind_and_month(found: Found, album: str) -> None:
    assert filing.album_of(found, UPLOADED) == album


@pytest.mark.parametrize(("rate", "frames"), [(8000, 800), (16000, 1600), (22050, 2205), (44100, 4410), (48000, 4800)])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_usual_recording_is_heard_at_the_rate_of_the_model(tmp_path: Path, rate: int, frames: int, channels: int) -> None:
    (tmp_path / "sound.wav").write_bytes(silence(rate, channels, frames=frames))
    assert len(read_sound(tmp_path / "sound.wav")) == pytest.approx(2 * RATE / 10, abs=4)


@pytest.mark.parametrize("content", [b"", b"OggS", silence()[:20], silence(width=1)], ids=["empty", "ogg", "torn", "8 bits"])
def test_what_is_no_recording_has_no_sound(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sound.wav").write_bytes(content)
    assert read_sound(tmp_path / "sound.wav") == b""


def test_the_note_with_the_most_words_of_the_question_comes_first() -> None:
    notes = [
        Item(id=1, name="garden.wav", words="garden tomatoes"),
        Item(id=2, name="apple-harvest.wav", words="apple harvest garden"),
        Item(id=3, name="violin.wav", words="violin lesson"),
    ]
    assert matching.rank(notes, "show me the notes about the apple garden") == [2, 1]
    assert matching.rank(notes, "show me the notes about") == []
    assert matching.vocabulary(notes) == ["apple", "garden", "harvest", "violin"]
