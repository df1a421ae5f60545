"""A store that crashes in a unit that is named by its number.

Stores may ask a different number of questions in a unit: a database's watermark, for one, may find more that
could have changed than there is. A crash therefore belongs to a unit, which it undoes wherever in it it was:
at its n-th call, or before its commit if it has fewer, or just after the commit, of which no news comes. So
it means the same to every store.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from attrs import define, field

from neruba_core.errors import StorageUnavailable
from neruba_core.storage.port import Storage, UnitOfWork
from neruba_core.testing.failing import Failing, _Unit


@define(eq=False)
class Crashing(Failing):
    """``Storage`` over another one, which crashes where ``crash_at`` said, once."""

    _place: tuple[int, int | None] | None = field(default=None, init=False)
    _units: int = field(default=0, init=False)
    _calls_in_unit: int = field(default=0, init=False)

    def crash_at(self, place: tuple[int, int | None] | None) -> None:
        """Crash in the unit of that number, counted from now on: at its call of that number, or after its
        commit if that is None. Without a place nothing crashes."""
        self._place, self._units = place, 0

    def count(self, call: str) -> None:
        """Take note of a call within a unit."""
        self._calls_in_unit += 1
        if self._place == (self._units, self._calls_in_unit):
            self._crash(call)

    def _crash(self, where: str) -> None:
        self._place = None
        raise StorageUnavailable(f"a crash: {where}")

    @contextmanager
    def _opened(self, name: str, open_unit: Any) -> Iterator[UnitOfWork]:
        self._units += 1
        self._calls_in_unit = 0
        number, place = self._units, self._place
        with open_unit() as work:
            yield cast(UnitOfWork, _Unit(self, work))
            if place is not None and place[0] == number and place[1] is not None:
                self._crash("before the commit")
        if place == (number, None):
            self._crash("after the commit")


def crashing(storage: Storage) -> Crashing:
    """*storage*, which crashes where it is told to."""
    return Crashing(storage, None)
