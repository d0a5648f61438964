"""The way to the opened file: one per process, opened anew in a forked child."""

from __future__ import annotations

import os
import threading

from cherga.brokers.sqlite.address import Address
from cherga.brokers.sqlite.store import Store
from cherga.rules.settings import BrokerSettings
from cherga.words.errors import BrokerUnavailable


class Door:
    """Opens, closes and hands out the one ``Store`` of this process."""

    def __init__(self, address: Address, settings: BrokerSettings) -> None:
        self._address = address
        self._settings = settings
        self._store: Store | None = None
        self._pid = os.getpid()
        self._opening = threading.Lock()

    @property
    def store(self) -> Store:
        """The opened file; in a forked child its own. ``BrokerUnavailable`` when it was not opened, or closed."""
        store = self._store

        if store is None:
            raise BrokerUnavailable(f"the broker {self._address.url} is not open; call open() first")

        return store if store.pid == os.getpid() else self.open()

    def open(self) -> Store:
        """Open it unless it is open."""
        self._leave_parent()

        with self._opening:
            if self._store is None or self._store.pid != os.getpid():
                _inherited.append(self._store)
                self._store = Store(self._address, self._settings)

            return self._store

    def close(self) -> None:
        """Close it if it is open."""
        self._leave_parent()

        with self._opening:
            store, self._store = self._store, None

        if store is not None and store.pid == os.getpid():
            store.close()
        else:
            _inherited.append(store)

    def _leave_parent(self) -> None:
        """In a forked child the lock may be held by a thread that exists in the parent alone."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._opening = threading.Lock()


_inherited: list[Store | None] = []
"""Stores of parent processes. They are never touched, and kept so that nothing closes their connections: a child that
closes a database which its parent has open may damage it."""
