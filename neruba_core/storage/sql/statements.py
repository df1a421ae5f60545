"""Statements on one connection, inside one transaction, with failures in our words.

A unit in which anything failed is over: on PostgreSQL the server refuses whatever follows and turns the
final COMMIT into a silent rollback, on SQLite some failures (a full disk) end the transaction, after which
each statement would commit by itself. Both would be lies, so ``Statements`` remembers the failure and
refuses to go on. Only a savepoint around the failure makes the unit whole again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from attrs import define, field, frozen
from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    exc,
)
from sqlalchemy.sql.elements import SQLCoreOperations

from neruba_core.errors import CursorInvalid
from neruba_core.storage.sql import ahead, driver
from neruba_core.storage.sql.arrays import teach
from neruba_core.storage.sql.bulk import Bulk
from neruba_core.storage.sql.failures import UnitOver, in_our_words
from neruba_core.storage.sql.queries import Query

MANY_ROWS = 128
"""To begin with so many at once is worth a round trip."""


@define(eq=False)
class Statements:
    """Runs statements for the stores of one unit."""

    connection: Connection
    postgresql: bool
    _may_postpone: bool = False
    _direct: bool = False
    """Whether kept statements go past SQLAlchemy; a host may have hooks on an engine of its own."""
    _over: str | None = field(default=None, init=False)
    _postponed: list[tuple[str, Any]] = field(factory=list, init=False)
    _depth: int = field(default=0, init=False)
    _sent: bool = field(default=False, init=False)
    _driver: Any = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._driver = driver.driver_of(self.connection)
        if self.postgresql:
            teach(self.connection)

    # Entered around each statement: cheaper than a generator, and there are many statements.

    def __enter__(self) -> None:
        self.need_whole()
        if self._sent:
            self._receive()
        if self._postponed:
            for text, parameters in self.postponed():
                with self:
                    self._count(text, parameters)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None:
            return
        refusal = in_our_words(error) if isinstance(error, Exception) else None
        # A statement that was refused because of an earlier failure does not hide that failure.
        self._over = self._over or getattr(refusal, "reason", "a statement of this unit failed")
        if refusal is not None:
            raise refusal from error

    def need_whole(self) -> None:
        """Refuse to go on in a unit that has failed or ended."""
        if self._over is not None:
            raise UnitOver(self._over)

    def finish(self) -> None:
        """Refuse to go on to the commit of a unit in which anything failed, what was sent ahead too."""
        self.need_whole()
        if self._sent:
            self._receive()

    def end(self) -> None:
        """Refuse all that comes now: stores that outlive their unit would write into the next one."""
        self._over = "this unit of work has ended"

    def _receive(self) -> None:
        self._sent = False
        try:
            ahead.receive(self.connection)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise

    # --- running ------------------------------------------------------------------------------

    def _rows(self, text: str, parameters: Any) -> Sequence[Any]:
        """All rows that a statement in the driver's own words gives."""
        if self._direct:
            return driver.rows(self._driver, text, parameters)
        return self.connection.exec_driver_sql(text, parameters).all()

    def _count(self, text: str, parameters: Any) -> int:
        """How many rows a statement in the driver's own words met."""
        if self._direct:
            return driver.count(self._driver, text, parameters)
        return self.connection.exec_driver_sql(text, parameters).rowcount

    def ask(self, query: Query, **given: Any) -> Sequence[Any]:
        """All rows of a query that is kept."""
        text, parameters = query.on(self.connection.dialect, given)
        with self:
            return self._rows(text, parameters)

    def ask_one(self, query: Query, **given: Any) -> Any:
        """The row of a query that is kept and gives one at most, or None."""
        rows = self.ask(query, **given)
        return rows[0] if rows else None

    def do(self, query: Query, **given: Any) -> int:
        """Run an INSERT, UPDATE or DELETE that is kept; how many rows it met."""
        text, parameters = query.on(self.connection.dialect, given)
        with self:
            return self._count(text, parameters)

    def rows(self, query: Executable) -> Sequence[Any]:
        """All rows of a query that was put together for this once."""
        with self:
            return self.connection.execute(query).all()

    def change(self, query: Executable) -> int:
        """Run an UPDATE or DELETE; how many rows it met."""
        with self:
            return self.connection.execute(query).rowcount

    def write(self, bulk: Bulk, rows: Sequence[tuple[Any, ...]]) -> int:
        """Write the rows with one statement; how many were written."""
        if not rows:
            return 0
        with self:
            if self.postgresql:
                return self._count(bulk.postgresql, bulk.arrays(rows))
            if not bulk.values:
                return self.connection.exec_driver_sql(bulk.sqlite, list(rows)).rowcount
            return sum([self._count(text, parameters) for text, parameters in bulk.blocks(rows)])

    @property
    def postpones(self) -> bool:
        """Whether what is to be written later, or ahead, waits for the commit, where it may fail."""
        return self._may_postpone and not self._depth

    def write_later(self, bulk: Bulk, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write the rows before anything else is asked, or together with the commit.

        On PostgreSQL that saves a unit that ends with them as many round trips. In a savepoint, or the
        host's transaction, what fails has to fail here.
        """
        if not self.postpones or not rows:
            self.write(bulk, rows)
            return
        self.need_whole()
        self._postponed.append((bulk.postgresql, bulk.arrays(rows)))

    def write_ahead(self, *parts: tuple[Bulk, Sequence[tuple[Any, ...]]]) -> None:
        """Write the rows of each part like ``write_later``, in their order.

        Where each has many, PostgreSQL begins with them now, while we go on: they are one statement, which
        is waited for when anything else is to be done. Rows may refer to those of the parts before theirs.
        """
        if not self.postpones or min(len(rows) for _, rows in parts) < MANY_ROWS:
            for bulk, rows in parts:
                self.write_later(bulk, rows)
            return
        packed = [(bulk, bulk.arrays(rows)) for bulk, rows in parts]
        with self:
            self._sent = True
            ahead.send(self.connection, packed)

    def postponed(self) -> list[tuple[str, Any]]:
        """Take the statements, with their parameters, that are to be run now."""
        taken, self._postponed = self._postponed, []
        return taken

    def driver_rows(self, query: str, parameters: tuple[Any, ...] = ()) -> Sequence[Any]:
        """All rows of a query in the driver's own words."""
        with self:
            return self._rows(query, parameters)

    def command(self, command: str) -> None:
        """Run a statement that returns nothing and takes nothing."""
        with self:
            self.connection.exec_driver_sql(command)

    # --- savepoints ---------------------------------------------------------------------------

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """A block that is undone alone when an exception leaves it."""
        self._depth += 1
        name = f"neruba_{self._depth}"
        try:
            self.command(f"SAVEPOINT {name}")
            try:
                yield
                # A failure that was caught inside is one all the same.
                self.need_whole()
            except BaseException:
                self._undo(name)
                raise
            self.command(f"RELEASE SAVEPOINT {name}")
        finally:
            self._depth -= 1

    def _undo(self, name: str) -> None:
        try:
            self.connection.exec_driver_sql(f"ROLLBACK TO SAVEPOINT {name}")
            self.connection.exec_driver_sql(f"RELEASE SAVEPOINT {name}")
        except exc.SQLAlchemyError:
            # The whole transaction is gone, and the savepoint with it. What led here is the better news.
            self._over = self._over or "the database ended the transaction"
        else:
            self._over = None


@frozen
class SqlStore:
    """What every store is: a way to run statements in one unit, and no state of its own."""

    _statements: Statements


def below(column: SQLCoreOperations[str], place: str | None) -> list[ColumnElement[bool]]:
    """The condition of a page that goes on below *place*, if it does."""
    if place is None:
        return []
    if "\0" in place:
        # A cursor made up by its sender: PostgreSQL knows no text with such a character.
        raise CursorInvalid
    return [column < place]


def within(column: SQLCoreOperations[int], start: int | None, end: int | None) -> list[ColumnElement[bool]]:
    """The conditions of ``[start, end)``, as far as it has bounds."""
    bounds = []
    if start is not None:
        bounds.append(column >= start)
    if end is not None:
        bounds.append(column < end)
    return bounds
