"""The reports in a folder of their own, served, and a visitor."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

from fastapi import FastAPI
from reports import Settings, cherga, create_app
from stage.asgi import serve
from stage.visitor import Visitor


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path, secret="secret")


@pytest.fixture
def app(settings: Settings) -> Iterator[FastAPI]:
    yield create_app(settings)
    cherga.close()


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    with serve(app) as url:
        yield url


@pytest.fixture
def visitor(url: str) -> Visitor:
    visitor = Visitor(url)
    visitor.get("/")
    return visitor
