"""Units of work over a database.

A unit is one database transaction: on SQLite it holds the write lock from its first moment, on PostgreSQL
it is READ COMMITTED and waits only where a store promises a lock. It has committed when ``work()`` returns,
or it has left nothing. A connection found dead at the beginning of a unit is replaced once, so a restarted
server is noticed by nobody; one that dies later ends the unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any

from sqlalchemy import URL, Connection, Engine, exc

from neruba_core.errors import StorageUnavailable
from neruba_core.storage.sql import engine as engines
from neruba_core.storage.sql import migrations
from neruba_core.storage.sql.ahead import await_end
from neruba_core.storage.sql.driver import as_ever, driver_of
from neruba_core.storage.sql.engine import Limits
from neruba_core.storage.sql.failures import FateUnknown, in_our_words
from neruba_core.storage.sql.join import joined
from neruba_core.storage.sql.statements import Statements
from neruba_core.storage.sql.turns import Turns, turns_of
from neruba_core.storage.sql.work import SqlWork


class SqlStorage:
    """``Storage`` in the database at a URL, or in that of a host's engine.

    A host's engine shares its pool with us, except on SQLite files: there we open connections of our own,
    since ours need settings (foreign keys, full flushing) that the host may not want on its own.
    """

    def __init__(
        self, url_or_engine: str | URL | Engine, *, limits: Limits | None = None, pool_size: int = 10
    ) -> None:
        self._limits = limits or Limits()
        if isinstance(url_or_engine, Engine) and engines.file_of(url_or_engine.url) is not None:
            url_or_engine = url_or_engine.url
        self._own = not isinstance(url_or_engine, Engine)
        self._closed = False
        self._engine: Engine = (
            engines.shared(url_or_engine)
            if isinstance(url_or_engine, Engine)
            else engines.create(url_or_engine, limits=self._limits, pool_size=pool_size)
        )
        self._postgresql = self._engine.dialect.name == "postgresql"
        self._boundaries = engines.boundaries(self._engine, self._limits)
        file = engines.file_of(self._engine.url)
        # In memory there is one connection for all, so even readers take turns.
        self._shared = not self._postgresql and file is None
        # What others may use too they may watch too, through SQLAlchemy.
        self._direct = self._own and not self._shared
        self._turns: Turns | None = None
        if not self._postgresql:
            self._turns = turns_of(file or self._engine.pool)

    @property
    def engine(self) -> Engine:
        """The engine that we work with, for a host that wants to share an in-memory database."""
        return self._engine

    @contextmanager
    def work(self) -> Iterator[SqlWork]:
        """A unit that reads and writes."""
        with self._turn(True), self._connected(self._boundaries.begin) as connection:
            statements = Statements(
                connection, self._postgresql, may_postpone=self._postgresql, direct=self._direct
            )
            try:
                yield SqlWork(statements)
                statements.finish()
            except BaseException:
                self._roll_back(connection)
                raise
            finally:
                statements.end()
            postponed = statements.postponed()
            if postponed:
                self._commit_with(connection, postponed)
            else:
                self._commit(connection)

    @contextmanager
    def snapshot(self) -> Iterator[SqlWork]:
        """A unit that only reads, from one consistent moment."""
        with self._turn(self._shared), self._connected(self._boundaries.begin_snapshot) as connection:
            statements = Statements(connection, self._postgresql, direct=self._direct)
            try:
                yield SqlWork(statements)
            finally:
                statements.end()
                self._end_snapshot(connection)

    @contextmanager
    def join(self, connection: Any) -> Iterator[SqlWork]:
        """A unit inside the host's open transaction on *connection* (a SQLAlchemy ``Connection``).

        Our writes commit and roll back with the host's. What the unit has locked, a project's head above
        all, stays locked until the host's transaction ends.
        """
        with joined(connection) as statements:
            try:
                with statements.savepoint():
                    yield SqlWork(statements)
            finally:
                statements.end()

    def check(self) -> None:
        """Prove that the store answers, can be written to and has our schema."""
        with self._turn(True), self._connected(self._boundaries.begin) as connection:
            try:
                with Statements(connection, self._postgresql):
                    migrations.check(connection)
                    _need_writable(connection)
            finally:
                self._roll_back(connection)

    def migrate(self, to: int | None = None) -> None:
        """Bring the schema up to date, or to version *to*; several processes may do so at once."""
        begin = ("BEGIN",) if self._postgresql else self._boundaries.begin
        with self._turn(True), self._connected(begin) as connection:
            try:
                with Statements(connection, self._postgresql):
                    migrations.upgrade(connection, to)
            except BaseException:
                self._roll_back(connection)
                raise
            self._commit(connection)

    def close(self) -> None:
        """Give back connections; safe to call twice. Units still open give theirs back as they end."""
        self._closed = True
        if self._own:
            self._engine.dispose()

    # --- transactions -------------------------------------------------------------------------

    def _turn(self, needed: bool) -> Any:
        if self._turns is None or not needed:
            return nullcontext()
        return self._turns.turn(self._limits.busy_seconds)

    @contextmanager
    def _connected(self, begin: tuple[str, ...]) -> Iterator[Connection]:
        pool = self._engine.pool
        connection = self._begun(begin)
        try:
            yield connection
        finally:
            with suppress(exc.SQLAlchemyError):
                connection.close()
            if self._closed and self._own:
                # The pool that it went back to may have been emptied before that.
                pool.dispose()

    def _begun(self, begin: tuple[str, ...], *, again: bool = True) -> Connection:
        with ExitStack() as undo:
            try:
                connection = self._engine.connect()
                undo.callback(self._discard, connection)
                for command in begin:
                    connection.exec_driver_sql(command)
            except exc.SQLAlchemyError as error:
                if again and isinstance(error, exc.DBAPIError) and error.connection_invalidated:
                    # It died while it lay in the pool, and nothing has been done yet.
                    return self._begun(begin, again=False)
                refusal = in_our_words(error)
                if refusal is None:
                    raise
                raise refusal from error
            undo.pop_all()
            return connection

    def _commit(self, connection: Connection) -> None:
        try:
            connection.exec_driver_sql("COMMIT")
        except exc.SQLAlchemyError as error:
            refusal = in_our_words(error)
            self._roll_back(connection)
            if self._postgresql and isinstance(error, exc.DBAPIError) and error.connection_invalidated:
                raise FateUnknown("the connection was lost during the commit") from error
            if refusal is None:
                raise
            raise refusal from error

    def _commit_with(self, connection: Connection, postponed: list[tuple[str, Any]]) -> None:
        """Run what was postponed and commit, in one round trip. What follows a failure does not run."""
        driver = driver_of(connection)
        failure = None
        try:
            with driver.pipeline(), driver.cursor() as cursor:
                try:
                    for text, parameters in postponed:
                        cursor.execute(text, parameters)
                    cursor.execute("COMMIT")
                except driver.Error as error:
                    failure = error
        except driver.Error as error:
            # What stands behind a failure fails as well, in words that say nothing.
            failure = failure or error
        if failure is not None:
            # The driver may take statements behind the failure for prepared that the server never saw.
            self._discard(connection)
            if failure.sqlstate is None:
                raise FateUnknown("the connection was lost during the commit") from failure
            raise in_our_words(failure) or as_ever(driver, failure) from failure

    def _roll_back(self, connection: Connection) -> None:
        try:
            # SQLite may have rolled back by itself, and a lost connection has for certain.
            if connection.invalidated:
                return
            if self._postgresql:
                await_end(connection)
            if self._postgresql or driver_of(connection).in_transaction:
                connection.exec_driver_sql("ROLLBACK")
        except exc.SQLAlchemyError:
            self._discard(connection)
        except BaseException:
            self._discard(connection)
            raise

    def _end_snapshot(self, connection: Connection) -> None:
        try:
            if not connection.invalidated:
                for command in self._boundaries.end_snapshot:
                    connection.exec_driver_sql(command)
        except exc.SQLAlchemyError:
            self._discard(connection)

    def _discard(self, connection: Connection) -> None:
        """Close a connection of which nobody knows the state, rather than hand it out again."""
        with suppress(exc.SQLAlchemyError):
            # That of a database in memory is the database.
            if not self._shared:
                connection.invalidate()
            connection.close()


def _need_writable(connection: Connection) -> None:
    """A standby or a read-only file answers, and even lets a unit begin, but takes no writes."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(engines.TAKE_WRITE_LOCK)
    elif connection.exec_driver_sql("SHOW transaction_read_only").scalar_one() == "on":
        raise StorageUnavailable("the database is read-only")
