"""The contract on the memory broker."""

from __future__ import annotations

import pytest

from cherga.testing.contract import BrokerContract
from tests.contract.memory_harness import MemoryHarness


class TestMemory(BrokerContract):
    @pytest.fixture
    def harness(self) -> MemoryHarness:
        return MemoryHarness()
