"""The way to the opened file: one per process, opened anew in a forked child."""

from __future__ import annotations

import os
import threading
from typing import cast

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
        self._opening: dict[int, threading.RLock] = {}
        """The lock of each process: one from before a fork may be held by a thread that exists in the parent alone."""

    @property
    def store(self) -> Store:
        """The opened file; in a forked child its own. ``BrokerUnavailable`` when it was not opened, or closed."""
        store = self._store

        if store is None:
            raise BrokerUnavailable(f"the broker {self._address.url} is not open; call open() first")

        return store if store.pid == os.getpid() else self.open()

    def open(self, create: bool = True) -> Store:
        """Open it unless it is open."""
        with self._lock():
            if self._is_ours():
                return self._opened()

            store = Store(self._address, self._settings, create)

            if self._is_ours():  # a signal handler has opened it meanwhile, on this thread
                store.close()
            else:
                _inherited.append(self._store)
                self._store = store

            return self._opened()

    def close(self) -> None:
        """Close it if it is open."""
        with self._lock():
            store, self._store = self._store, None

        if store is not None and store.pid == os.getpid():
            store.close()
        else:
            _inherited.append(store)

    def _lock(self) -> threading.RLock:
        return self._opening.setdefault(os.getpid(), threading.RLock())

    def _is_ours(self) -> bool:
        return self._store is not None and self._store.pid == os.getpid()

    def _opened(self) -> Store:
        return cast(Store, self._store)


_inherited: list[Store | None] = []
"""Stores of parent processes. They are never touched, and kept so that nothing closes their connections: a child that
closes a database which its parent has open may damage it."""
