"""Our writes in a host's own transaction: its commit is ours, its rollback too, or it is refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.orm import Session

from neruba_core.errors import NotJoinable, StorageBusy
from neruba_core.storage.port import UnitOfWork
from neruba_core.storage.sql import SqlStorage
from neruba_core.storage.sql.engine import normalised
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.units import Undone, read, write

COUNT = "SELECT count(*) FROM orders"


@pytest.fixture
def host(database: SqlStorage) -> Iterator[Engine]:
    """
    The host's own engine on our database, with the driver's ordinary settings, and a table of its own.
    """
    engine = create_engine(database.engine.url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS orders"))
        connection.execute(text("CREATE TABLE orders (id TEXT PRIMARY KEY)"))
    yield engine
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE orders"))
    engine.dispose()


def order(connection: Connection, name: str) -> None:
    connection.execute(text("INSERT INTO orders VALUES (:name)"), {"name": name})


def there(database: SqlStorage, host: Engine, project_id: str) -> tuple[int, int]:
    """How many orders and how many events have been committed."""
    events = read(database, lambda work: work.usage.events(project_id, limit=9, before=None))
    with host.connect() as connection:
        return connection.execute(text(COUNT)).scalar_one(), len(events)


@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_both_are_there_or_neither(database, host, first, end):
    """
    Whoever writes first: with SQLite's driver it matters who begins the transaction.
    """
    project_id = samples.tenant(database)

    with host.connect() as connection:
        transaction = connection.begin()
        if first == "theirs":
            order(connection, "one")
        with database.join(connection) as work:
            work.usage.insert([samples.usage_event(project_id)])
        if first == "ours":
            order(connection, "one")
        getattr(transaction, end)()

    assert there(database, host, project_id) == ((1, 1) if end == "commit" else (0, 0))


def test_a_session_brings_its_connection(database, host):
    """
    The ORM's transaction is the connection's.
    """
    project_id = samples.tenant(database)

    with Session(host) as session, session.begin():
        session.execute(text("INSERT INTO orders VALUES ('one')"))
        with database.join(session.connection()) as work:
            work.usage.insert([samples.usage_event(project_id)])

    assert there(database, host, project_id) == (1, 1)


def test_a_unit_that_fails_leaves_the_hosts_own_writes(database, host):
    """
    The host catches the exception and commits what is its own.
    """
    project_id = samples.tenant(database)

    def fail(connection: Connection) -> None:
        with database.join(connection) as work:
            work.usage.insert([samples.usage_event(project_id)])
            raise Undone

    with host.begin() as connection:
        order(connection, "one")
        with pytest.raises(Undone):
            fail(connection)
        order(connection, "two")

    assert there(database, host, project_id) == (2, 0)


def test_savepoints_nest_in_a_joined_unit(database, host):
    """
    And joined units in one another.
    """
    project_id = samples.tenant(database)
    events = [samples.usage_event(project_id) for _ in range(3)]

    def fail(work: UnitOfWork) -> None:
        with work.savepoint():
            work.usage.insert([events[1]])
            raise Undone

    with host.begin() as connection:
        with database.join(connection) as work:
            work.usage.insert([events[0]])
            with pytest.raises(Undone):
                fail(work)
        with database.join(connection) as outer, outer.savepoint(), database.join(connection) as work:
            work.usage.insert([events[2]])

    found = read(database, lambda work: work.usage.events(project_id, limit=9, before=None))
    assert list(found) == [events[2], events[0]]


def test_a_joined_unit_sees_what_the_host_wrote(database, host):
    """
    It is one transaction.
    """
    project = samples.project()

    with host.begin() as connection:
        with database.join(connection) as work:
            samples.add_tenant(work, project)
        with database.join(connection) as work:
            found = work.tenancy.project(project.id)

    assert found == project


def test_a_connection_without_a_transaction_is_refused(database, host):
    """
    Nobody would commit.
    """
    with host.connect() as connection, pytest.raises(NotJoinable, match="no transaction"):
        with database.join(connection):
            pass


def test_autocommit_is_refused(database, host):
    """
    SQLAlchemy says that it is in a transaction, and there is none.
    """
    with host.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(COUNT))
        with pytest.raises(NotJoinable, match="autocommit"), database.join(connection):
            pass


@pytest.mark.parametrize("given", [None, "connection", object()])
def test_something_else_is_refused(database, given):
    """
    Among the likely mistakes: a session.
    """
    with pytest.raises(NotJoinable, match="expected an open SQLAlchemy Connection"), database.join(given):
        pass


def test_a_session_itself_is_refused_with_a_hint(database, host):
    """
    It has a method for what we need.
    """
    with Session(host) as session:
        with pytest.raises(NotJoinable, match=r"session\.connection\(\)"), database.join(session):
            pass


# --- PostgreSQL -------------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_an_isolation_in_which_locks_do_not_show_the_newest_is_refused(postgres_url, level):
    """
    Whoever holds a project's head must see all that was committed under it.
    """
    host = create_engine(normalised(postgres_url), isolation_level=level)
    storage = SqlStorage(postgres_url)

    with host.begin() as connection:
        with pytest.raises(NotJoinable, match=f"its isolation is {level}"), storage.join(connection):
            pass
    storage.close()
    host.dispose()


@pytest.mark.postgres
def test_a_transaction_that_has_failed_is_refused(postgres_url):
    """
    The server would refuse everything until the rollback.
    """
    host = create_engine(normalised(postgres_url))
    storage = SqlStorage(postgres_url)

    with host.connect() as connection:
        with pytest.raises(Exception, match="division by zero"):
            connection.execute(text("SELECT 1/0"))
        with pytest.raises(NotJoinable, match="has failed"), storage.join(connection):
            pass
    storage.close()
    host.dispose()


@pytest.mark.postgres
def test_a_joined_unit_goes_with_the_hosts_own_savepoint(postgres_url):
    """
    What the host undoes in part is undone in part.
    """
    host = create_engine(normalised(postgres_url))
    storage = SqlStorage(postgres_url)
    project_id = samples.tenant(storage)

    with host.begin() as connection:
        with connection.begin_nested() as nested:
            with storage.join(connection) as work:
                work.usage.insert([samples.usage_event(project_id)])
            nested.rollback()

    assert read(storage, lambda work: work.usage.events(project_id, limit=9, before=None)) == []
    storage.close()
    host.dispose()


# --- SQLite -----------------------------------------------------------------------------------


@pytest.fixture
def lite(tmp_path: Path, sqlite_template: Path) -> Iterator[SqlStorage]:
    storage = SqlStorage(f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'billing.db')}")
    yield storage
    storage.close()


def explicit(url: Any, begin: str) -> Engine:
    """An engine that begins by itself, as SQLAlchemy's manual advises for SQLite."""
    engine = create_engine(url, connect_args={"timeout": 0.1})

    @event.listens_for(engine, "connect")
    def leave_it_to_us(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin_it(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


@pytest.mark.parametrize("begin", ["BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_host_that_begins_by_itself_is_joined(lite, begin, end):
    """
    Where it has no write lock yet, it is taken.
    """
    project_id = samples.tenant(lite)
    host = explicit(lite.engine.url, begin)

    with host.connect() as connection:
        transaction = connection.begin()
        with lite.join(connection) as work:
            work.usage.insert([samples.usage_event(project_id)])
        getattr(transaction, end)()

    host.dispose()
    events = read(lite, lambda work: work.usage.events(project_id, limit=9, before=None))
    assert len(events) == (1 if end == "commit" else 0)


def test_a_savepoint_that_may_have_begun_the_transaction_is_refused(lite):
    """
    The driver sends SAVEPOINT without a BEGIN, and releasing it commits whatever the host does later.
    """
    host = create_engine(lite.engine.url)

    with host.begin() as connection, connection.begin_nested():
        with pytest.raises(NotJoinable, match="SAVEPOINT"), lite.join(connection):
            pass
    host.dispose()


def test_a_host_that_begins_by_itself_may_have_savepoints(lite):
    """
    There they are what they should be.
    """
    project_id = samples.tenant(lite)
    host = explicit(lite.engine.url, "BEGIN IMMEDIATE")

    with host.connect() as connection:
        transaction = connection.begin()
        with connection.begin_nested(), lite.join(connection) as work:
            work.usage.insert([samples.usage_event(project_id)])
        transaction.rollback()

    host.dispose()
    assert read(lite, lambda work: work.usage.events(project_id, limit=9, before=None)) == []


def test_a_host_that_has_read_what_is_no_longer_so_is_refused(lite):
    """
    Its snapshot cannot become a write: SQLite says so at once, and no waiting helps.
    """
    project_id = samples.tenant(lite)
    host = explicit(lite.engine.url, "BEGIN")

    with host.begin() as connection:
        connection.execute(text("SELECT count(*) FROM neruba_projects")).scalar_one()
        write(lite, lambda work: work.usage.insert([samples.usage_event(project_id)]))
        with pytest.raises(NotJoinable, match="BEGIN IMMEDIATE"), lite.join(connection):
            pass
    host.dispose()


def test_a_host_that_does_not_get_the_write_lock_is_told_to_try_again(lite):
    """
    Somebody else is writing just now.
    """
    host = explicit(lite.engine.url, "BEGIN")

    with lite.work(), host.begin() as connection:
        with pytest.raises(StorageBusy, match="locked"), lite.join(connection):
            pass
    host.dispose()


def test_a_host_shares_a_database_in_memory_by_our_engine():
    """
    There is no other way to the one connection that has it.
    """
    storage = SqlStorage("sqlite://")
    storage.migrate()
    project_id = samples.tenant(storage)
    host = storage.engine.execution_options(isolation_level="SERIALIZABLE")

    with host.connect() as connection:
        transaction = connection.begin()
        with storage.join(connection) as work:
            work.usage.insert([samples.usage_event(project_id)])
        transaction.rollback()

    assert read(storage, lambda work: work.usage.events(project_id, limit=9, before=None)) == []
    storage.close()
