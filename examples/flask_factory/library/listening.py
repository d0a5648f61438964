"""Hearing words in a recording, offline: pocketsphinx, whose English model comes with the package."""

from __future__ import annotations

import array
import sys
import threading
import wave
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path
from typing import Any

RATE = 16_000
"""Samples a second that the model was made for."""
LONGEST = 60
"""Seconds of a recording that are listened to."""

QUESTIONS = """#JSGF V1.0;
grammar questions;
<ask> = show me [my | the] (note | notes) about | where is [my | the] note about | what did i say about
      | find [my | the] (note | notes) about | find;
<small> = the | a | my | and | with | for | on;
<word> = {words};
public <question> = <ask> [<small>] <word> [[<small>] <word>] [[<small>] <word>];
"""
"""What a question sounds like. A short list of words that may come makes a small recogniser a good one."""


class Listener:
    """One recogniser, made at the first use and shared by the threads of a process, one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decoder: Any = None

    def hear(self, recording: Path) -> str:
        """The words of a recording, as far as they are understood; none where it is no WAV file, or nobody can listen."""
        sound = read_sound(recording) if find_spec("pocketsphinx") else b""

        with self._lock:
            return self._decode(sound, "_default") if sound else ""

    def hear_question(self, recording: Path, words: Collection[str]) -> str:
        """The words of a question about any of these words."""
        sound = read_sound(recording)

        with self._lock:
            known = [word for word in words if self._opened().lookup_word(word)]

            if not sound or not known:
                return ""

            self._opened().add_jsgf_string("questions", QUESTIONS.format(words=" | ".join(known)))
            return self._decode(sound, "questions")

    def _decode(self, sound: bytes, search: str) -> str:
        decoder = self._opened()
        decoder.activate_search(search)
        decoder.start_utt()
        decoder.process_raw(sound, full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return str(hypothesis.hypstr) if hypothesis else ""

    def _opened(self) -> Any:
        if self._decoder is None:
            from pocketsphinx import Decoder  # noqa: PLC0415 - half a second, and only where somebody speaks

            self._decoder = Decoder(samprate=RATE, fwdflat=False, bestpath=False, loglevel="FATAL")

        return self._decoder


listener = Listener()


def read_sound(recording: Path) -> bytes:
    """The sound of a WAV file as the model wants it: one channel, 16 bits, ``RATE`` a second; empty where it is none."""
    try:
        with wave.open(str(recording)) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            frames = file.readframes(min(file.getnframes(), LONGEST * rate))
    except (wave.Error, EOFError):
        return b""

    if width != 2 or not rate:
        return b""

    samples = array.array("h", frames[: len(frames) // (2 * channels) * 2 * channels])

    if sys.byteorder == "big":
        samples.byteswap()

    return _at_rate(samples[::channels], rate).tobytes()


def _at_rate(samples: array.array[int], rate: int) -> array.array[int]:
    """The same sound with ``RATE`` samples a second, each drawn between its two neighbours."""
    if rate == RATE or len(samples) < 2:
        return samples

    step = rate / RATE
    last = len(samples) - 2
    places = ((min(int(index * step), last), index * step) for index in range(int(len(samples) / step)))
    return array.array("h", [int(samples[at] + (samples[at + 1] - samples[at]) * min(place - at, 1.0)) for at, place in places])
