"""Cherga's part of a Flask configuration: ``app.config["CHERGA"]``, from code, files or the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

import msgspec
from flask import Flask
from msgspec import Struct

from cherga.client.app import BROKER_URL
from cherga.client.order import check_when
from cherga.rules.elsewhere import APPLICATION, refused
from cherga.rules.options import shown
from cherga.rules.settings import BrokerSettings, Settings
from cherga.rules.urls import as_url, default_url
from cherga.web.settings import LiveSettings
from cherga.web.settings import read as read_live
from cherga.words.departure import When
from cherga.words.errors import ConfigError

KEY = "CHERGA"
LIVE = f"{KEY}.live"

OWN_KEYS = {"name": "cherga", "broker_url": None, "live": None, "when": When.COMMIT.value, "base_url": None, "carry": ()}
"""Keys that are no settings of every application, with their defaults."""

_TYPES = {
    field.name: field.type
    for kind in (Settings, BrokerSettings)
    for field in msgspec.structs.fields(kind)
    if field.name not in {"broker", "namespace"}
}


class FlaskConfig(Struct, frozen=True, kw_only=True):
    """The configuration of an application."""

    name: str
    broker_url: str
    live: LiveSettings
    base_url: str | None
    carry: tuple[str, ...]
    when: When
    settings: dict[str, Any]


def read_config(app: Flask, own: Mapping[str, Any]) -> FlaskConfig:
    """The keywords of ``Cherga(...)`` with what the configuration says over them. Raises ``ConfigError`` that names the key."""
    given = _fold(own, app.config.get(KEY) or {}, where=KEY)

    if unknown := sorted(given.keys() - OWN_KEYS.keys() - _TYPES.keys()):
        raise refused(unknown[0], APPLICATION, "setting", f" in {KEY}")

    name = str(given.pop("name", OWN_KEYS["name"]))

    return FlaskConfig(
        name=name,
        broker_url=_choose_url(app, given.pop("broker_url", None), name),
        live=read_live(_fold(given.pop("live", None) or {}, where=LIVE), LIVE),
        base_url=_read_base_url(given.pop("base_url", None)),
        carry=_read_carry(given.pop("carry", None) or ()),
        when=_read_when(given.pop("when", None)),
        settings={name: _fit(value, _TYPES[name], name) for name, value in given.items()},
    )


def check_files(app: Flask, broker_url: str) -> None:
    """Raise ``ConfigError`` when Flask-SQLAlchemy keeps its tables in the file that the queue is in.

    Two SQLite libraries in one process on one file drop each other's locks, and committed rows are lost without an error.
    """
    queue = queue_file(broker_url)

    for url in _database_urls(app) if queue else ():
        other = _database_file(app, url)

        if queue and other and _is_same(queue, other):
            raise ConfigError(
                f"expected the queue to have a file of its own, but {queue} is Flask-SQLAlchemy's database too ({url}), which "
                f'would lose data without an error; give app.config["{KEY}"]["broker_url"] another path'
            )


def queue_file(broker_url: str) -> str | None:
    """The absolute path behind a ``sqlite://`` URL, None for any other broker."""
    scheme, _, rest = broker_url.partition(":///")
    path = unquote(rest.partition("?")[0])
    return os.path.abspath(path) if scheme == "sqlite" and path else None


# --- reading


def _fold(*layers: object, where: str) -> dict[str, Any]:
    """The layers in one, the later over the earlier, with keys in small letters: the environment has them in capitals."""
    folded: dict[str, Any] = {}

    for layer in layers:
        if not isinstance(layer, Mapping):
            raise ConfigError(f"expected {where} in the configuration to be a dict, got {layer!r}")

        for key, value in layer.items():
            name = str(key).lower()
            before = folded.get(name)
            folded[name] = {**before, **value} if isinstance(before, Mapping) and isinstance(value, Mapping) else value

    return folded


def _read_base_url(given: Any) -> str | None:
    if given is not None and not isinstance(given, str):
        raise ConfigError(f"expected {KEY}.base_url to be a text such as 'https://shop.example', got {shown(given)}")

    return given or None


def _read_carry(given: Any) -> tuple[str, ...]:
    """Names of values of ``g``; a text from the environment has commas between them."""
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given

    if not isinstance(names, list | tuple | set) or not all(isinstance(name, str) and name.isidentifier() for name in names):
        raise ConfigError(f"expected {KEY}.carry to be a list of names that values of g have, got {shown(given)}")

    return tuple(names)


def _read_when(given: Any) -> When:
    try:
        return When.COMMIT if given is None else check_when(given)
    except ConfigError as error:
        raise ConfigError(f"the setting when in {KEY} is wrong: {error}") from None


def _fit(value: Any, kind: Any, name: str) -> Any:
    """A text from the environment as the type that the setting has."""
    if not isinstance(value, str):
        return value

    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the setting {name} in {KEY} is wrong: {error}, got {value!r}") from None


# --- files


def _choose_url(app: Flask, url: Any, name: str) -> str:
    """The URL from the configuration, else from the environment, else of a file in the instance folder.

    A relative path in the configuration starts at the instance folder, as Flask-SQLAlchemy's do; one in the environment
    starts at the working directory, as for every other program of Cherga that reads the same variable.
    """
    if not url and (found := os.environ.get(BROKER_URL)):
        return found

    return _in_instance_folder(app, as_url(url) if url else default_url(name))


def _in_instance_folder(app: Flask, url: str) -> str:
    scheme, _, rest = url.partition(":///")
    path, _, query = rest.partition("?")

    if scheme != "sqlite" or not path or path.startswith(":") or os.path.isabs(unquote(path)):
        return url

    full = quote(os.path.join(app.instance_path, unquote(path)))
    return f"sqlite:///{full}?{query}" if query else f"sqlite:///{full}"


def _database_urls(app: Flask) -> Iterator[str]:
    """The databases in Flask-SQLAlchemy's configuration."""
    yield str(app.config.get("SQLALCHEMY_DATABASE_URI") or "")
    yield str((app.config.get("SQLALCHEMY_ENGINE_OPTIONS") or {}).get("url", ""))

    for bind in (app.config.get("SQLALCHEMY_BINDS") or {}).values():
        yield str(bind.get("url", "") if isinstance(bind, Mapping) else bind)


def _database_file(app: Flask, url: str) -> str | None:
    """The file of an ``sqlite`` URL as Flask-SQLAlchemy reads it: relative to the instance folder."""
    scheme, _, rest = url.partition(":///")
    path = rest.partition("?")[0].removeprefix("file:")

    if scheme.partition("+")[0] != "sqlite" or path in {"", ":memory:"}:
        return None

    return os.path.join(app.instance_path, path)


def _is_same(one: str, other: str) -> bool:
    if os.path.exists(one) and os.path.exists(other):
        return os.path.samefile(one, other)

    return os.path.realpath(one) == os.path.realpath(other)
