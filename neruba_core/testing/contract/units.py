"""Units of work in tests: one after the other, at once, and one that is kept waiting.

What a store promises about two writers can only be seen with two threads. A `Rival` is a unit on a thread
of its own that has written and waits to be told how to end, so that a test decides who comes first. Stores
that let one writer in at a time pass the same tests: there the second one waits at the door.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Self, TypeVar

from neruba_core.storage.export import export
from neruba_core.storage.port import Storage, UnitOfWork

T = TypeVar("T")

PATIENCE_SECONDS = 20.0
"""After this long something waits that should not."""

MOMENT_SECONDS = 0.15
"""Who has not answered by then is waiting for somebody."""


ANY_FAILURE: type[Exception] = Exception
"""What a store raises where the caller is at fault is its own affair; that the unit fails is promised."""


class Undone(Exception):
    """Raised in a test to roll a unit or a savepoint back."""


@contextmanager
def undone(block: AbstractContextManager[T], *, by: type[BaseException] = Undone) -> Iterator[T]:
    """Enter *block*, a unit or a savepoint, and leave it with an exception, so that it is undone."""
    with suppress(by), block as entered:
        yield entered
        raise by


def write(storage: Storage, call: Callable[[UnitOfWork], T]) -> T:
    """What *call* answers in a unit of its own, once that is committed."""
    with storage.work() as work:
        return call(work)


def read(storage: Storage, call: Callable[[UnitOfWork], T]) -> T:
    """What *call* answers in a snapshot."""
    with storage.snapshot() as work:
        return call(work)


def state(storage: Storage, *project_ids: str) -> str:
    """The canonical export of the projects, as one text."""
    with storage.snapshot() as work:
        return "\n".join(line for project_id in project_ids for line in export(work, project_id))


def start(call: Callable[[], T]) -> Future[T]:
    """Begin *call* on a thread of its own."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    # A daemon, or a store that never answers would keep the test run from ending too.
    threading.Thread(target=run, daemon=True).start()
    return future


def answer(future: Future[T]) -> T:
    """What was begun with `start`, once it is there."""
    return future.result(PATIENCE_SECONDS)


def waits(future: Future[Any], *, seconds: float = MOMENT_SECONDS) -> bool:
    """Whether it takes longer than it would if nobody stood in its way.

    Give more *seconds* where it should not wait, since a busy machine is slow to prove that.
    """
    try:
        future.exception(seconds)
    except FutureTimeout:
        return True
    return False


def together(*calls: Callable[[], T]) -> list[T]:
    """The answers of *calls*, all begun at the same moment."""
    gate = threading.Barrier(len(calls))

    def passing(call: Callable[[], T]) -> Callable[[], T]:
        def pass_the_gate() -> T:
            gate.wait(PATIENCE_SECONDS)
            return call()

        return pass_the_gate

    return [answer(future) for future in [start(passing(call)) for call in calls]]


class Rival:
    """A unit of work on another thread that has done *call* and is still open.

    ::

        with Rival(storage, lambda work: work.usage.insert([event])) as rival:
            ...
            rival.commit()

    Rolled back at the end of the block unless it was told otherwise.
    """

    def __init__(self, storage: Storage, call: Callable[[UnitOfWork], Any]) -> None:
        self._storage = storage
        self._call = call
        self._written = threading.Event()
        self._go_on = threading.Event()
        self._commits = False
        self._ended = start(self._run)

    def __enter__(self) -> Self:
        while not self._written.wait(0.01):
            if self._ended.done():
                self._ended.result()
        return self

    def __exit__(self, *_: object) -> None:
        self.roll_back()

    def commit(self) -> None:
        """Let the unit commit, and wait until it has."""
        self._commits = True
        self.roll_back()

    def roll_back(self) -> None:
        """Let the unit end, and wait until it has."""
        self._go_on.set()
        answer(self._ended)

    def _run(self) -> None:
        try:
            with self._storage.work() as work:
                self._call(work)
                self._written.set()
                self._go_on.wait(PATIENCE_SECONDS)
                if not self._commits:
                    raise Undone
        except Undone:
            pass
