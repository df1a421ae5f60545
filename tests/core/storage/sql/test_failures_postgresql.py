"""A PostgreSQL server that is slow, contended, stopped or in the way: in our words, and recovered from."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, exc, text

from neruba_core.errors import SchemaOutdated, StorageBusy, StorageConflict, StorageUnavailable
from neruba_core.storage.port import UnitOfWork
from neruba_core.storage.sql import Limits, SqlStorage
from neruba_core.storage.sql.engine import normalised
from neruba_core.storage.sql.failures import FateUnknown, UnitOver
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.units import Rival, answer, read, start, state, write
from neruba_core.testing.postgres import PostgresServer
from tests.core.storage.sql.sessions import end_session, session

pytestmark = pytest.mark.postgres


@pytest.fixture
def storage(postgres_url: str) -> Iterator[SqlStorage]:
    storage = SqlStorage(postgres_url, limits=Limits(lock_seconds=0.2, statement_seconds=0.5))
    yield storage
    storage.close()


def test_a_lock_that_is_not_had_in_time_is_busy(storage):
    """
    The head of a project is held by a unit that does not end.
    """
    project_id = samples.tenant(storage)

    with Rival(storage, lambda work: work.ledger.lock_heads([project_id])):
        with pytest.raises(StorageBusy, match="a lock was not had in time"):
            write(storage, lambda work: work.ledger.lock_heads([project_id]))

    assert project_id in write(storage, lambda work: work.ledger.lock_heads([project_id]))


def test_a_query_that_takes_too_long_is_ended(storage):
    """
    Nobody waits for it any more.
    """

    def sleep(work: Any) -> None:
        work._statements.driver_rows("SELECT pg_sleep(5)")

    with pytest.raises(StorageBusy, match="took too long"):
        write(storage, sleep)


def test_two_units_in_a_circle_are_told_apart_from_a_long_wait(postgres_url):
    """
    One of them is undone and may run again at once: the façade does so.
    """
    storage = SqlStorage(postgres_url)
    one, other = samples.tenant(storage), samples.tenant(storage)
    meet = threading.Barrier(2)

    def lock(first: str, second: str) -> None:
        with storage.work() as work:
            work.ledger.lock_heads([first])
            meet.wait(10)
            work.ledger.lock_heads([second])

    racing = [start(lambda: lock(one, other)), start(lambda: lock(other, one))]
    errors = [future.exception(20) for future in racing]

    assert [type(error) for error in errors if error] == [StorageConflict]
    storage.close()


def test_a_failure_that_was_caught_inside_still_ends_the_unit(storage):
    """
    The server turns such a COMMIT into a rollback, without an error; we must not say that all went well.
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


def test_a_read_only_server_says_so(postgres_url):
    """
    A standby answers readers and refuses writers, and the readiness check knows.
    """
    url = f"{postgres_url}?options=-cdefault_transaction_read_only%3Don"
    standby = SqlStorage(url)

    with pytest.raises(StorageUnavailable, match="read-only"):
        write(standby, lambda work: work.identity.add_user(samples.user()))
    with pytest.raises(StorageUnavailable, match="read-only"):
        standby.check()
    standby.close()


def test_a_server_that_is_not_there_says_so_soon():
    """
    No SQLSTATE comes from a port on which nobody listens.
    """
    storage = SqlStorage("postgresql://postgres@127.0.0.1:1/none")

    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        storage.check()
    storage.close()


def test_a_database_that_is_not_there_says_so(postgres_url):
    """
    A typing error in a URL.
    """
    storage = SqlStorage(normalised(postgres_url).set(database="neruba_nowhere"))

    with pytest.raises(StorageUnavailable):
        storage.check()
    storage.close()


def test_tables_that_are_missing_are_a_matter_of_migration(postgres_server):
    """
    Not a matter of 500.
    """
    url = postgres_server.create_database()
    storage = SqlStorage(url)

    with pytest.raises(SchemaOutdated, match="neruba migrate"):
        read(storage, lambda work: work.ledger.head("prj_none"))
    storage.close()
    postgres_server.drop_database(url)


def test_a_restarted_server_is_noticed_by_nobody():
    """
    Dead connections in the pool are replaced as the next unit begins; nothing of ours is restarted.
    """
    with PostgresServer() as server:
        storage = SqlStorage(server.create_database())
        storage.migrate()
        project_id = samples.tenant(storage)
        # Several connections lie in the pool when the server goes.
        with storage.snapshot(), storage.snapshot():
            server.stop(immediate=True)
        with pytest.raises(StorageUnavailable):
            storage.check()
        server.start()

        storage.check()
        for _ in range(3):
            write(storage, lambda work: work.usage.insert([samples.usage_event(project_id)]))

        found = read(storage, lambda work: work.usage.events(project_id, limit=9, before=None))
        storage.close()
    assert len(found) == 3


def test_a_connection_lost_in_a_unit_ends_the_unit(storage):
    """
    It is not replaced: what was written before is lost, and going on would write half.
    """
    project_id = samples.tenant(storage)
    before = state(storage, project_id)

    def lose(work: Any) -> None:
        work.usage.insert([samples.usage_event(project_id)])
        end_session(storage, session(work))
        work.usage.insert([samples.usage_event(project_id)])

    with pytest.raises(StorageUnavailable):
        write(storage, lose)

    assert state(storage, project_id) == before


def test_a_connection_lost_at_the_commit_leaves_its_fate_open(storage):
    """
    Whoever reads the message is not told that nothing was changed, for nobody knows.
    """

    with pytest.raises(FateUnknown, match="may or may not have committed"):
        write(storage, lambda work: end_session(storage, session(work)))


def test_locking_a_project_does_not_stop_its_usage(storage):
    """
    Each event refers to its project, which takes a lock on it: one that goes with ours.
    """
    project_id = samples.tenant(storage)

    with Rival(storage, lambda work: work.tenancy.lock_project(project_id)):
        inserted = answer(
            start(lambda: write(storage, lambda work: work.usage.insert([samples.usage_event(project_id)])))
        )

    assert inserted is None


@pytest.mark.parametrize("prepare", ["", "?prepare_threshold=0", "?prepare_threshold=1"])
def test_statements_may_be_prepared_or_not(postgres_url, prepare):
    """
    A pooler that hands out connections by transaction needs the second.
    """
    storage = SqlStorage(postgres_url + prepare)
    project_id = samples.tenant(storage)

    for _ in range(12):
        write(storage, lambda work: work.usage.insert([samples.usage_event(project_id)]))

    assert len(read(storage, lambda work: work.usage.events(project_id, limit=99, before=None))) == 12
    storage.close()


def test_a_hosts_engine_lends_its_pool_and_gets_it_back_as_it_was(postgres_url):
    """
    The host's own transactions go on as before, with its own isolation.
    """
    host = create_engine(normalised(postgres_url), isolation_level="SERIALIZABLE", pool_size=1)
    storage = SqlStorage(host)
    project_id = samples.tenant(storage)

    with host.begin() as connection:
        isolation = connection.execute(text("SHOW transaction_isolation")).scalar_one()
        timeout = connection.execute(text("SHOW lock_timeout")).scalar_one()
    storage.close()

    assert (isolation, timeout) == ("serializable", "0")
    with host.connect() as connection:
        query = text("SELECT count(*) FROM neruba_projects WHERE id = :id")
        assert connection.execute(query, {"id": project_id}).scalar_one() == 1
    host.dispose()
