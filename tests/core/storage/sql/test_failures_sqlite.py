"""A SQLite database that is locked, read-only, full, damaged or gone: said in our words, and survived."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import exc

from neruba_core.errors import SchemaOutdated, StorageBusy, StorageUnavailable
from neruba_core.storage.port import UnitOfWork
from neruba_core.storage.sql import Limits, SqlStorage
from neruba_core.storage.sql.failures import UnitOver
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.units import read, state, write


@pytest.fixture
def path(tmp_path: Path, sqlite_template: Path) -> Path:
    return Path(shutil.copy(sqlite_template, tmp_path / "billing.db"))


@pytest.fixture
def storage(path: Path):
    storage = SqlStorage(f"sqlite:///{path}", limits=Limits(busy_seconds=0.2))
    yield storage
    storage.close()


def insert(storage: SqlStorage, project_id: str) -> str:
    event = samples.usage_event(project_id)
    write(storage, lambda work: work.usage.insert([event]))
    return event.id


def test_a_locked_database_is_busy_and_then_is_not(storage, path):
    """
    Another process holds the write lock for longer than we wait.
    """
    project_id = samples.tenant(storage)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StorageBusy, match="locked"):
        insert(storage, project_id)
    with pytest.raises(StorageBusy, match="locked"):
        storage.check()
    seen = read(storage, lambda work: work.ledger.head(project_id))
    other.execute("ROLLBACK")
    other.close()

    assert seen is not None
    storage.check()
    insert(storage, project_id)


def test_a_thread_that_waits_too_long_for_its_turn_is_told_so(storage):
    """
    Within one process the wait is a queue, and as bounded.
    """
    project_id = samples.tenant(storage)
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with storage.work():
            entered.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(10)
    with pytest.raises(StorageBusy, match="writing for"):
        insert(storage, project_id)
    leave.set()
    holder.join()

    insert(storage, project_id)


def test_a_read_only_database_reads_and_says_why_it_does_not_write(storage, path):
    """
    The readiness check says so too.
    """
    project_id = samples.tenant(storage)
    standby = SqlStorage(f"sqlite:///file:{path}?mode=ro&uri=true")

    with pytest.raises(StorageUnavailable, match="read-only"):
        insert(standby, project_id)
    with pytest.raises(StorageUnavailable, match="read-only"):
        standby.check()

    assert read(standby, lambda work: work.tenancy.project(project_id)) is not None
    standby.close()


def test_a_full_disk_undoes_the_unit_and_is_recovered_from(path):
    """
    SQLite ends the transaction by itself; nothing that comes after may slip in behind its back.
    """
    storage = SqlStorage(f"sqlite:///{path}", pool_size=1)
    project_id = samples.tenant(storage)
    before = state(storage, project_id)
    with storage.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    big = [samples.usage_event(project_id, properties={"x": "y" * 900}) for _ in range(200)]

    def one_by_one(work: UnitOfWork) -> None:
        # Of a statement for many rows SQLite would undo only that.
        for event in big:
            work.usage.insert([event])

    def fill(work: UnitOfWork) -> None:
        work.usage.insert([samples.usage_event(project_id)])
        with pytest.raises(StorageUnavailable, match="disk is full"), work.savepoint():
            one_by_one(work)
        with pytest.raises(UnitOver):
            work.usage.insert([samples.usage_event(project_id)])
        work.usage.insert(big[:1])

    with pytest.raises(StorageUnavailable, match="disk is full"):
        write(storage, fill)
    left = state(storage, project_id)
    with storage.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    write(storage, lambda work: work.usage.insert(big))

    assert left == before
    assert len(read(storage, lambda work: work.usage.events(project_id, limit=500, before=None))) == 200
    storage.close()


def test_a_disk_that_is_full_at_the_commit_leaves_nothing(storage, monkeypatch):
    """
    The last moment is the likeliest: before it, all is in memory.
    """
    project_id = samples.tenant(storage)
    before = state(storage, project_id)
    event = samples.usage_event(project_id)

    fail_commits(storage, monkeypatch)
    with pytest.raises(StorageUnavailable, match="disk is full"):
        write(storage, lambda work: work.usage.insert([event]))
    monkeypatch.undo()

    assert state(storage, project_id) == before
    write(storage, lambda work: work.usage.insert([event]))


def fail_commits(storage: SqlStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    dialect = storage.engine.dialect
    execute = type(dialect).do_execute

    def failing(self, cursor, statement, parameters, context=None):
        if statement == "COMMIT":
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = 13
            raise error
        return execute(self, cursor, statement, parameters, context)

    monkeypatch.setattr(type(dialect), "do_execute", failing)
    monkeypatch.setattr(
        type(dialect), "do_execute_no_params", lambda s, c, q, x=None: failing(s, c, q, (), x)
    )


def test_a_database_that_went_away_is_missed_and_welcomed_back(storage, path):
    """
    An open connection would go on writing into the file that was taken away; a new one would make another.
    """
    project_id = samples.tenant(storage)
    first = insert(storage, project_id)
    away = path.with_name("elsewhere.db")
    with sqlite3.connect(path) as own:
        own.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    own.close()
    path.rename(away)

    for call in (storage.check, lambda: insert(storage, project_id), lambda: state(storage, project_id)):
        with pytest.raises(StorageUnavailable, match="gone"):
            call()
    missing = not path.exists()
    away.rename(path)
    second = insert(storage, project_id)

    assert missing
    found = read(storage, lambda work: work.usage.events(project_id, limit=5, before=None))
    assert {event.id for event in found} == {first, second}


def test_a_database_that_was_replaced_is_looked_at_anew(storage, path, tmp_path):
    """
    A restored backup is not what the connections in the pool have open.
    """
    samples.tenant(storage)
    SqlStorage(f"sqlite:///{tmp_path / 'other.db'}").close()
    sqlite3.connect(tmp_path / "empty.db").close()
    (tmp_path / "empty.db").rename(path)

    with pytest.raises(SchemaOutdated):
        storage.check()


def test_a_file_that_is_no_database_says_so(tmp_path):
    """
    A wrong path is found out at once, and without a traceback of SQLite's.
    """
    path = tmp_path / "notes.txt"
    path.write_text("Dear diary, " * 200)
    storage = SqlStorage(f"sqlite:///{path}")

    with pytest.raises(StorageUnavailable, match="not a database"):
        storage.check()
    storage.close()


def test_a_folder_that_is_not_there_says_so(tmp_path):
    """
    SQLite makes files, but no folders.
    """
    storage = SqlStorage(f"sqlite:///{tmp_path / 'none' / 'billing.db'}")

    with pytest.raises(StorageUnavailable, match="cannot be opened"):
        storage.check()
    storage.close()


def test_tables_that_are_missing_are_a_matter_of_migration(tmp_path):
    """
    Not a matter of 500.
    """
    storage = SqlStorage(f"sqlite:///{tmp_path / 'empty.db'}")

    with pytest.raises(SchemaOutdated, match="neruba migrate"):
        read(storage, lambda work: work.ledger.head("prj_none"))
    storage.close()


def test_a_failure_in_the_middle_of_an_answer_is_one_all_the_same(storage):
    """
    The driver finds each row when it is asked for it.
    """
    query = "SELECT abs(value) FROM json_each('[1, 2, -9223372036854775808]')"

    with storage.snapshot() as work, pytest.raises(exc.OperationalError, match="overflow"):
        work._statements.driver_rows(query)


def test_a_failure_that_was_caught_inside_still_ends_the_unit(storage):
    """
    Otherwise PostgreSQL would answer the COMMIT with a rollback, and we would say that all went well.
    """
    project_id = samples.tenant(storage)
    stored = samples.stored_answer(project_id)
    write(storage, lambda work: work.idempotency.add_answers([stored]))
    before = state(storage, project_id)

    def carry_on(work: UnitOfWork) -> None:
        work.usage.insert([samples.usage_event(project_id)])
        with pytest.raises(exc.IntegrityError):
            work.idempotency.add_answers([stored])

    with pytest.raises(UnitOver):
        write(storage, carry_on)

    assert state(storage, project_id) == before


def test_a_store_that_was_kept_does_not_write_into_the_next_unit(storage):
    """
    Its connection may belong to someone else by now.
    """
    project_id = samples.tenant(storage)
    with storage.work() as work:
        kept = work.usage

    with pytest.raises(UnitOver, match="has ended"):
        kept.insert([samples.usage_event(project_id)])


def test_columns_that_are_missing_are_a_matter_of_migration_too(tmp_path):
    """
    A schema in between: nobody shall read a traceback for it.
    """
    storage = SqlStorage(f"sqlite:///{tmp_path / 'billing.db'}")
    storage.migrate()
    connection = sqlite3.connect(tmp_path / "billing.db")
    connection.execute("ALTER TABLE neruba_projects RENAME COLUMN name TO label")
    connection.commit()
    connection.close()

    with pytest.raises(SchemaOutdated, match="neruba migrate"):
        read(storage, lambda work: work.tenancy.project("prj_none"))
    storage.close()
