"""Whose turn it is to write, within one process.

SQLite has one writer at a time and lets the others poll, each sleeping longer and longer: under load some
starve. Threads of one process therefore queue here first, in order of arrival, and only the one at the
head asks SQLite. Other processes still meet in SQLite itself, where ``busy_timeout`` bounds the wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

from attrs import define, field

from neruba_core.errors import StorageBusy


@define(eq=False, slots=True, weakref_slot=True)
class Turns:
    """A lock that is handed on in order of arrival."""

    _guard: threading.Lock = field(factory=threading.Lock, init=False)
    _taken: bool = field(default=False, init=False)
    _waiting: deque[threading.Lock] = field(factory=deque, init=False)

    @contextmanager
    def turn(self, timeout_seconds: float) -> Iterator[None]:
        """Wait for a turn and keep it for the block; raises ``StorageBusy`` when it does not come."""
        if not self._take(timeout_seconds):
            raise StorageBusy(f"another unit has been writing for {timeout_seconds:g} seconds")
        try:
            yield
        finally:
            self._leave()

    def _take(self, timeout_seconds: float) -> bool:
        with self._guard:
            if not self._taken:
                self._taken = True
                return True
            ticket = threading.Lock()
            ticket.acquire()
            self._waiting.append(ticket)
        try:
            called = ticket.acquire(timeout=timeout_seconds)
        except BaseException:
            # An interrupt while waiting must not leave a turn that nobody takes.
            if not self._withdrawn(ticket):
                self._leave()
            raise
        return called or not self._withdrawn(ticket)

    def _withdrawn(self, ticket: threading.Lock) -> bool:
        """Give the ticket back; False if its turn came in the meantime."""
        with self._guard:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                return True
            return False

    def _leave(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False


_BY_DATABASE: WeakValueDictionary[object, Turns] = WeakValueDictionary()
_BY_DATABASE_GUARD = threading.Lock()


def turns_of(database: object) -> Turns:
    """The one queue of this process for *database*: a file's real path, or the pool of one in memory."""
    with _BY_DATABASE_GUARD:
        turns = _BY_DATABASE.get(database)
        if turns is None:
            turns = _BY_DATABASE[database] = Turns()
        return turns
