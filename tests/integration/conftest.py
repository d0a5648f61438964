"""What several integration tests need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers import Workplace


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    """A queue file of its own and workers that are ended with the test."""
    place = Workplace(tmp_path)
    yield place
    place.close()
