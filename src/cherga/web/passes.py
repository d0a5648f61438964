"""Passes: the jobs that a visitor may watch."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from itsdangerous import BadSignature, URLSafeTimedSerializer

_CANCEL = "cancel"


class Pass:
    """Signed tokens that say which jobs a visitor may watch, and perhaps cancel (itsdangerous, HMAC).

    Of several secrets the last one signs; the others, older ones, are still accepted.
    """

    def __init__(self, secret: str | bytes | Sequence[str | bytes], max_age: float = 86_400.0) -> None:
        secrets = [secret] if isinstance(secret, str | bytes) else secret
        self._serializer = URLSafeTimedSerializer([_bytes(each) for each in secrets], salt="cherga.live")
        self._max_age = max_age

    def issue(self, id: UUID, cancel: bool = False) -> str:
        """A token for one job: to watch it, and where it is said to cancel it."""
        return self._serializer.dumps([id.hex, _CANCEL] if cancel else id.hex)

    def admits(self, token: str, id: UUID) -> bool:
        """True when the token is ours, not too old, and for this job."""
        return self._says(token) in (id.hex, [id.hex, _CANCEL])

    def may_cancel(self, token: str, id: UUID) -> bool:
        """True when it also allows to cancel the job."""
        return self._says(token) == [id.hex, _CANCEL]

    def _says(self, token: str) -> object:
        try:
            return self._serializer.loads(token, max_age=int(self._max_age))
        except (BadSignature, UnicodeError):
            return None


def _bytes(secret: str | bytes) -> bytes:
    return secret.encode() if isinstance(secret, str) else secret
