"""The contract on the SQLite broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from cherga.testing.contract import BrokerContract
from tests.contract.sqlite_harness import SQLiteHarness


class TestSQLite(BrokerContract):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> SQLiteHarness:
        return SQLiteHarness(tmp_path)
