"""What may cross the wire: MessagePack of a closed set of types. Nothing is ever rebuilt from a name in the data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args, get_origin

import msgspec

from cherga.words.errors import InvalidArguments, PayloadTooLarge

CODEC_VERSION = 1

ENCODE_ERRORS = (TypeError, ValueError, OverflowError, RecursionError)
"""What the encoder raises for a value that cannot be stored (``ValueError`` covers lone surrogates)."""


def _encode_foreign(value: Any) -> Any:
    """Let pydantic models (anything with ``model_dump``) through; name every other type."""
    # Looked up on the type: objects that stand for others (proxies, mocks) answer for themselves, or raise, otherwise.
    if hasattr(type(value), "model_dump"):
        return value.model_dump(mode="json")

    raise TypeError(f"a {type(value).__qualname__} cannot be stored in a job; pass its id or plain data instead")


def _decode_foreign(kind: Any, value: Any) -> Any:
    origin = get_origin(kind) or kind

    if origin is Iterable and isinstance(value, list):
        return msgspec.convert(value, list[get_args(kind) or (Any,)], dec_hook=_decode_foreign)  # type: ignore[misc]

    if isinstance(origin, type) and isinstance(value, origin):
        return value

    if hasattr(kind, "model_validate"):
        return kind.model_validate(value)

    raise TypeError(f"expected a {getattr(kind, '__qualname__', kind)}, which cannot be stored in a job")


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_foreign)
_plain = msgspec.msgpack.Decoder()

encode = _encoder.encode
"""A value as MessagePack bytes. Raises one of ``ENCODE_ERRORS``."""

encode_sorted = msgspec.msgpack.Encoder(enc_hook=_encode_foreign, order="deterministic").encode
"""As ``encode``, with the same bytes for equal sets and dictionaries."""

decode = _plain.decode
"""Bytes as plain values: None, bool, int, float, str, bytes, list, dict, aware datetime."""


def decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    """A decoder that checks against a type. Raises ``TypeError`` for a type that cannot be stored."""
    return msgspec.msgpack.Decoder(kind, dec_hook=_decode_foreign)


def check_size(data: bytes, limit: int, what: str) -> bytes:
    """Return ``data``, or raise ``PayloadTooLarge`` when it is over ``limit`` bytes."""
    if len(data) > limit:
        raise PayloadTooLarge(
            f"{what}: expected at most {limit:,} bytes encoded, got {len(data):,}; store large data elsewhere and pass its name"
        )

    return data


def encode_argument(value: Any, what: str) -> bytes:
    """Encode one value or raise ``InvalidArguments`` that says which."""
    try:
        return encode(value)
    except ENCODE_ERRORS as error:
        raise InvalidArguments(f"{what} cannot be encoded: {error or type(error).__name__}") from error
