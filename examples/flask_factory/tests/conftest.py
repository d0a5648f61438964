"""A library in a folder of its own, with an empty database, and files as people have them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

from app_factory import create_app
from flask import Flask
from library.extensions import cherga, db
from showcase.inbox import Inbox
from showcase.stack import configure


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    return {**configure(tmp_path), "TESTING": True}


@pytest.fixture
def app(config: dict[str, Any]) -> Iterator[Flask]:
    app = create_app(config)

    with app.app_context():
        db.create_all()

    yield app

    with app.app_context():
        db.engine.dispose()

    cherga.close()


@pytest.fixture
def inbox(app: Flask) -> Inbox:
    return Inbox(app)
