"""Tables as plain dicts and lists, every change of which can be undone.

All state of the memory store is dicts and lists, and all of it is changed through an ``Undo``, which notes
how things were before it changes them. That is the whole of atomicity here: a unit that fails is undone to
its beginning, a savepoint to where it began. A note is taken before its change and holds the earlier state
rather than the way back, so undoing a change that was never made (an interrupt came in between) is harmless.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from itertools import islice
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar

from attrs import define, field

Key = TypeVar("Key", bound=Any)
Row = TypeVar("Row")
Order: TypeAlias = Callable[[Any], Any]
"""What rows are sorted by."""

EVERYONE = ""
"""The scope of rows that belong to no project."""

_ABSENT: Any = object()


class DuplicateKey(RuntimeError):
    """A row was added under a unique key that is taken, where the port leaves that to the caller."""


class UnitClosed(RuntimeError):
    """A write in a unit that only reads, or any use of a unit that has ended."""


class _NoSteps(list[Any]):
    """Stands in for the notes where nobody may write."""

    def append(self, _: Any) -> NoReturn:
        raise UnitClosed("this unit of work only reads, or is over; open one with storage.work() to write")


_NO_STEPS = _NoSteps()


@define(eq=False)
class Undo:
    """What it takes to put everything back as it was, newest last.

    It refuses every change outside a unit, and always where there is no *writing*.
    """

    _writing: bool = True
    _steps: list[tuple[Callable[..., None], Any, Any, Any]] = field(default=_NO_STEPS, init=False)

    def begin(self) -> None:
        """Take the notes of a new unit."""
        if self._writing:
            self._steps = []

    def end(self) -> None:
        """Forget them: what was done stays."""
        self._steps = _NO_STEPS

    def put(self, rows: MutableMapping[Key, Row], key: Key, row: Row) -> None:
        """Set ``rows[key]``."""
        self._steps.append((_restore, rows, key, rows.get(key, _ABSENT)))
        rows[key] = row

    def add(self, rows: MutableMapping[Key, Row], key: Key, row: Row) -> None:
        """Set ``rows[key]``, which is not there."""
        self._steps.append((_restore, rows, key, _ABSENT))
        rows[key] = row

    def remove(self, rows: MutableMapping[Key, Row], key: Key) -> None:
        """Forget ``rows[key]``, if it is there."""
        self._steps.append((_restore, rows, key, rows.get(key, _ABSENT)))
        rows.pop(key, None)

    def push(self, lists: MutableMapping[Key, list[Row]], key: Key, row: Row) -> None:
        """Append to the list ``lists[key]``, which may have to be begun."""
        rows = lists.get(key)
        if rows is None:
            self.add(lists, key, [row])
        else:
            self._steps.append((_truncate, rows, len(rows), None))
            rows.append(row)

    def insert(self, rows: MutableMapping[Key, Row], keys: list[Key], key: Key, row: Row) -> None:
        """``add`` and ``insort`` in one step."""
        self._steps.append((_take_out, rows, keys, key))
        rows[key] = row
        if not keys or key > keys[-1]:
            keys.append(key)
        else:
            insort(keys, key)

    def insort(self, rows: list[Row], row: Row, order: Order) -> None:
        """Put *row*, which is not among them, in its place among the *rows* that ascend in that *order*."""
        self._steps.append((_withdraw, rows, row, order))
        if not rows or order(row) > order(rows[-1]):
            rows.append(row)
        else:
            insort(rows, row, key=order)

    def withdraw(self, rows: list[Row], row: Row, order: Order) -> None:
        """Take *row*, which is among them, from the *rows* that ascend in that *order*."""
        self._steps.append((_put_in_place, rows, row, order))
        _withdraw(rows, row, order)

    def mark(self) -> int:
        """A place to go back to."""
        return len(self._steps)

    def back_to(self, mark: int) -> None:
        """Undo all that came after *mark*, newest first."""
        while len(self._steps) > mark:
            step, *things = self._steps[-1]
            step(*things)
            # Only now, so that an interrupt in between repeats the step instead of losing it.
            self._steps.pop()


def _restore(rows: MutableMapping[Any, Any], key: Any, before: Any) -> None:
    if before is _ABSENT:
        rows.pop(key, None)
    else:
        rows[key] = before


def _truncate(rows: list[Any], length: int, _: None) -> None:
    del rows[length:]


def _take_out(rows: MutableMapping[Any, Any], keys: list[Any], key: Any) -> None:
    rows.pop(key, None)
    _withdraw(keys, key)


def _withdraw(rows: list[Any], row: Any, order: Order | None = None) -> None:
    place = bisect_left(rows, order(row) if order else row, key=order)
    if rows[place : place + 1] == [row]:
        del rows[place]


def _put_in_place(rows: list[Any], row: Any, order: Order) -> None:
    place = bisect_left(rows, order(row), key=order)
    if rows[place : place + 1] != [row]:
        rows.insert(place, row)


_NO_ROWS: Mapping[Any, Any] = {}
_NO_KEYS: list[Any] = []


@define(eq=False)
class Table(Generic[Key, Row]):
    """Rows by scope (a project's id, or ``EVERYONE``) and key, the keys of a scope in ascending order.

    Text is ordered by code point, which is the bytewise order of its UTF-8.
    """

    _rows: dict[str, dict[Key, Row]] = field(factory=dict)
    _keys: dict[str, list[Key]] = field(factory=dict)

    def add(self, undo: Undo, scope: str, key: Key, row: Row) -> None:
        """Insert; raises ``DuplicateKey`` where the key is taken."""
        rows = self._rows.get(scope)
        if rows is None:
            rows = {}
            undo.add(self._rows, scope, rows)
            undo.add(self._keys, scope, [])
        elif key in rows:
            raise DuplicateKey(f"{key!r} is taken")
        undo.insert(rows, self._keys[scope], key, row)

    def put(self, undo: Undo, scope: str, key: Key, row: Row) -> None:
        """Insert, or overwrite the row of the key."""
        if self.get(scope, key) is None:
            self.add(undo, scope, key, row)
        else:
            self.replace(undo, scope, key, row)

    def replace(self, undo: Undo, scope: str, key: Key, row: Row) -> None:
        """Overwrite the row of the key; there is none, nothing happens, as with an UPDATE."""
        rows = self._rows.get(scope)
        if rows is not None and key in rows:
            undo.put(rows, key, row)

    def remove(self, undo: Undo, scope: str, key: Key) -> None:
        """Forget the row of the key, if there is one; the time it takes grows with the scope."""
        rows = self._rows.get(scope)
        if rows is not None and key in rows:
            undo.remove(rows, key)
            undo.put(self._keys, scope, [kept for kept in self._keys[scope] if kept != key])

    def get(self, scope: str, key: Key) -> Row | None:
        """The row of the key."""
        rows = self._rows.get(scope)
        return None if rows is None else rows.get(key)

    def some(self, scope: str, keys: Iterable[Key]) -> dict[Key, Row]:
        """The rows of those keys that have one."""
        rows = self._rows.get(scope, _NO_ROWS)
        return {key: rows[key] for key in keys if key in rows}

    def count(self, scope: str) -> int:
        """How many rows the scope has."""
        return len(self._rows.get(scope, _NO_ROWS))

    def scopes(self) -> tuple[str, ...]:
        """Those that have or had rows."""
        return tuple(self._rows)

    def all(self, scope: str) -> dict[Key, Row]:
        """The rows of the scope by key, ascending."""
        rows = self._rows.get(scope, _NO_ROWS)
        return {key: rows[key] for key in self._keys.get(scope, _NO_KEYS)}

    def ascending(self, scope: str) -> Iterator[Row]:
        """The rows by ascending key."""
        rows = self._rows.get(scope, _NO_ROWS)
        return (rows[key] for key in self._keys.get(scope, _NO_KEYS))

    def descending(self, scope: str, before: Key | None = None) -> Iterator[Row]:
        """The rows by descending key, from just below *before*."""
        rows, keys = self._rows.get(scope, _NO_ROWS), self._keys.get(scope, _NO_KEYS)
        end = len(keys) if before is None else bisect_left(keys, before)
        return (rows[keys[place]] for place in range(end - 1, -1, -1))

    def page(
        self, scope: str, *, limit: int, before: Key | None, wanted: Callable[[Row], bool] | None = None
    ) -> tuple[Row, ...]:
        """At most *limit* of the rows *wanted*, by descending key, from just below *before*."""
        rows = self.descending(scope, before)
        return tuple(islice(rows if wanted is None else filter(wanted, rows), limit))
