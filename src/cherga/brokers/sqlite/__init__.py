"""The embedded broker: one SQLite file, shared by every process of the application on this machine."""

from cherga.brokers.sqlite.broker import SQLiteBroker

__all__ = ["SQLiteBroker"]
