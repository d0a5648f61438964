"""Files as people have them: photos with and without a date, spoken notes, and something else."""

from __future__ import annotations

import io
import math
import random
import shutil
import subprocess
import tempfile
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw

SPEAKER = "espeak-ng"
VOICE = ("-v", "en-us+f3", "-s", "130")


def photo(seed: int, taken_at: datetime | None = None, format: str = "JPEG") -> bytes:
    """A landscape of hills, as a camera might write it."""
    chance = random.Random(seed)
    image = Image.new("RGB", (960, 720), _colour(chance, 150, 235))
    draw = ImageDraw.Draw(image)
    x, y = chance.randrange(150, 800), chance.randrange(90, 220)
    draw.ellipse((x, y, x + 90, y + 90), fill=(255, 236, 170))

    for depth in range(4):
        height, wave, shift = 330 + depth * 95, chance.uniform(90, 260), chance.uniform(0, 6)
        line = [(step, height + 45 * math.sin(step / wave + shift)) for step in range(0, 961, 8)]
        draw.polygon([*line, (960, 720), (0, 720)], fill=_colour(chance, 40, 150 - depth * 25))

    exif = Image.Exif()

    if taken_at is not None:
        exif.get_ifd(0x8769)[0x9003] = f"{taken_at:%Y:%m:%d %H:%M:%S}"

    out = io.BytesIO()
    image.save(out, format, exif=exif)
    return out.getvalue()


def _colour(chance: random.Random, low: int, high: int) -> tuple[int, int, int]:
    return (chance.randrange(low, high), chance.randrange(low, high), chance.randrange(low, high))


def why_silent() -> str:
    """Why nothing can be spoken and heard here; empty where it can."""
    if shutil.which(SPEAKER) is None:
        return "there is no espeak-ng (Debian: apt install espeak-ng)"

    return "" if find_spec("pocketsphinx") else "there is no pocketsphinx for this Python"


def speech(text: str) -> bytes:
    """The text, spoken: a WAV file."""
    with tempfile.TemporaryDirectory() as folder:
        spoken = Path(folder) / "spoken.wav"
        subprocess.run([SPEAKER, *VOICE, "-w", str(spoken), text], check=True, timeout=30)
        return spoken.read_bytes()


NOTES = {
    "garden.wav": "The tomatoes in the garden need water on Tuesday",
    "violin-lesson.wav": "The violin lesson is at four, bring the new strings",
    "apple-harvest.wav": "Call grandmother about the apple harvest",
}
"""What the notes of the demonstration are called, and say."""

QUESTION = "Show me the notes about the garden"


def collection() -> dict[str, bytes]:
    """Names and contents of what the demonstration uploads."""
    days = [datetime(2024, 5, 4, 11, 30), datetime(2024, 5, 18, 9, 5), datetime(2025, 8, 2, 17, 45), datetime(2025, 8, 3, 8, 0)]
    files = {f"hills-{number}.jpg": photo(number, day) for number, day in enumerate(days, 1)}
    files["drawing.png"] = photo(9, format="PNG")
    files["torn.jpg"] = files["hills-1.jpg"][:5000]
    files["letter.txt"] = b"Dear library,\n"

    if not why_silent():
        files |= {name: speech(text) for name, text in NOTES.items()}

    return files
