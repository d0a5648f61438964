"""Broker URLs as they may be shown: a password never stands in a message, a log line or a list."""

from __future__ import annotations

import re

_MASK = "***"
_USER = re.compile(r"(?<=://)(?P<user>[^/?#@:]*):.*@(?=[^@]*$)", re.DOTALL)
_WORD = re.compile(r"(?P<name>[?&;][^=&;]*(?:pass|secret|token)[^=&;]*=)[^&;#]*", re.IGNORECASE)


def masked(url: str) -> str:
    """The URL with ``***`` in place of passwords: behind the user's name, and in options such as ``sslpassword``."""
    return _WORD.sub(rf"\g<name>{_MASK}", _USER.sub(rf"\g<user>:{_MASK}@", url))
