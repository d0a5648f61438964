"""The memory broker: jobs live as long as the process. For tests, development and embedded workers."""

from cherga.brokers.memory.broker import MemoryBroker

__all__ = ["MemoryBroker"]
