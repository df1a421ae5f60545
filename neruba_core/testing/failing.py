"""A store that fails where a test wants it to: at the n-th call.

Counted are the opening of each unit, every call of a store in it, each savepoint, and the end of the unit.
A call that fails does nothing and raises ``StorageUnavailable``; the end of a unit that fails has committed,
and only the news of it is lost, as when a connection breaks at the wrong moment. So a test that lets each
call of a command fail in turn sees a crash at every place where there can be one::

    counted = failing(storage, at=None)
    command(counted)
    for at in range(1, counted.calls + 1):
        ...
        with pytest.raises(StorageUnavailable):
            command(failing(storage, at=at))
        command(storage)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

from attrs import define, field

from neruba_core.errors import StorageUnavailable
from neruba_core.storage.port import Storage, UnitOfWork


def failing(storage: Storage, *, at: int | None) -> Failing:
    """*storage*, whose call number *at* fails; the others do as ever, and with ``None`` all of them do."""
    return Failing(storage, at)


@define(eq=False)
class Failing:
    """``Storage`` over another one. *calls* tells how many there have been, *trace* which they were."""

    _storage: Storage
    _at: int | None
    trace: list[str] = field(factory=list, init=False)

    @property
    def calls(self) -> int:
        """How many calls there have been."""
        return len(self.trace)

    def work(self) -> AbstractContextManager[UnitOfWork]:
        """A unit that reads and writes."""
        return self._opened("work", self._storage.work)

    def snapshot(self) -> AbstractContextManager[UnitOfWork]:
        """A unit that only reads."""
        return self._opened("snapshot", self._storage.snapshot)

    def join(self, connection: Any) -> AbstractContextManager[UnitOfWork]:
        """A unit inside the host's transaction."""
        return self._opened("join", lambda: self._storage.join(connection))

    def check(self) -> None:
        """Prove that the store answers."""
        self.count("check")
        self._storage.check()

    def close(self) -> None:
        """Give back connections; never fails."""
        self._storage.close()

    def count(self, call: str) -> None:
        """Take note of a call, or raise ``StorageUnavailable`` if it is the one that fails."""
        self.trace.append(call)
        if self.calls == self._at:
            raise StorageUnavailable(f"call {self._at} ({call}) was made to fail")

    @contextmanager
    def _opened(self, name: str, open_unit: Any) -> Iterator[UnitOfWork]:
        self.count(name)
        with open_unit() as work:
            yield cast(UnitOfWork, _Unit(self, work))
        self.count(f"end of {name}")


@define(eq=False)
class _Unit:
    """``UnitOfWork`` whose stores count."""

    _failing: Failing
    _work: UnitOfWork

    def savepoint(self) -> AbstractContextManager[None]:
        self._failing.count("savepoint")
        return self._work.savepoint()

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        self._failing.count("export")
        return self._work.export(project_id)

    def __getattr__(self, slice_name: str) -> _Store:
        return _Store(self._failing, slice_name, getattr(self._work, slice_name))


@define(eq=False)
class _Store:
    """The store of one slice, whose methods count."""

    _failing: Failing
    _slice: str
    _store: Any

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self._failing.count(f"{self._slice}.{name}")
            return method(*args, **kwargs)

        return counted
