"""An application's own code, told from that of libraries, of Python and of Cherga: for those who name a line of it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from traceback import FrameSummary

_OTHERS = (str(Path(__file__).parent.parent) + os.sep, os.path.dirname(os.__file__) + os.sep, "<frozen")
_PACKAGES = f"{os.sep}site-packages{os.sep}"


def is_own(file: str) -> bool:
    """True for a file that is none of a library's."""
    return not file.startswith(_OTHERS) and _PACKAGES not in file


def own_frames(frames: Iterable[FrameSummary]) -> list[FrameSummary]:
    """The frames of the application's own code."""
    return [frame for frame in frames if is_own(frame.filename)]
