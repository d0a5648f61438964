"""What Cherga needs leaves room for what applications have pinned."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]

PINNED = {
    "click": "8.1.7",
    "flask": "3.0.0",
    "flask-babel": "4.0.0",
    "flask-login": "0.6.3",
    "flask-sqlalchemy": "3.1.1",
    "itsdangerous": "2.1.2",
}
"""Pins of a public Flask application from the time of Flask 3.0."""


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return [Requirement(text) for text in (*project["dependencies"], *(text for name in extras for text in extras[name]))]


@pytest.mark.parametrize(("name", "version"), PINNED.items())
def test_an_application_that_has_pinned_this_can_install_cherga(name: str, version: str) -> None:
    ours = [each for each in requirements() if each.name.lower() == name]

    assert ours
    assert all(each.specifier.contains(version) for each in ours)
