"""What is written to PostgreSQL with the commit: it fails the unit all the same, and never half."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, exc

from neruba_core import Accepted, Neruba
from neruba_core.errors import StorageBusy, StorageConflict, StorageUnavailable
from neruba_core.ledger.model import Account
from neruba_core.storage.port import UnitOfWork
from neruba_core.storage.sql import Limits, SqlStorage
from neruba_core.storage.sql.engine import normalised
from neruba_core.storage.sql.failures import FateUnknown, UnitOver
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.units import start, state, write
from tests.core.storage.sql.sessions import end_session

pytestmark = pytest.mark.postgres


@pytest.fixture
def storage(postgres_url: str) -> Iterator[SqlStorage]:
    storage = SqlStorage(postgres_url, limits=Limits(lock_seconds=0.3))
    yield storage
    storage.close()


@pytest.fixture
def project_id(storage: SqlStorage) -> str:
    """
    A project whose first version is booked.
    """
    project_id = samples.tenant(storage)
    write(storage, lambda work: append(work, project_id))
    return project_id


def append(work: Any, project_id: str, version: int = 1) -> None:
    """
    Book a transaction, without waiting for it.
    """
    work.ledger.append([samples.transaction(project_id, version, ("promotions", 7), ("wallet:grt_1", -7))])
    assert work._statements._postponed


def test_what_was_put_off_is_there_for_whoever_asks_next(storage, project_id):
    """
    A unit sees its own writes.
    """

    def count(work: Any) -> int:
        append(work, project_id, version=2)
        return work.ledger.transaction_count(project_id)

    assert write(storage, count) == 2


def test_whoever_asks_next_learns_of_the_failure(storage, project_id):
    """
    A version that is taken. Nothing of the unit remains, and the next one goes through.
    """
    before = state(storage, project_id)

    def repeat(work: UnitOfWork) -> None:
        work.usage.insert([samples.usage_event(project_id)])
        append(work, project_id)
        with pytest.raises(exc.IntegrityError):
            work.ledger.head(project_id)

    with pytest.raises(UnitOver):
        write(storage, repeat)

    assert state(storage, project_id) == before
    write(storage, lambda work: append(work, project_id, version=2))


def test_the_commit_learns_of_the_failure(storage, project_id):
    """
    Where nobody asked. It does not go through.
    """
    before = state(storage, project_id)

    def repeat(work: UnitOfWork) -> None:
        work.usage.insert([samples.usage_event(project_id)])
        append(work, project_id)

    with pytest.raises(exc.IntegrityError) as refused:
        write(storage, repeat)

    assert isinstance(refused.value.__cause__, psycopg.errors.UniqueViolation)
    assert state(storage, project_id) == before
    write(storage, lambda work: append(work, project_id, version=2))


@pytest.mark.parametrize("same", ["idempotency_key", "event_id"])
@pytest.mark.parametrize("asks", [False, True], ids=["with the commit", "with the next question"])
@pytest.mark.parametrize("count", [1, 300])
def test_an_event_that_was_presumed_to_be_new_undoes_its_unit(storage, project_id, caplog, same, asks, count):
    """
    A conflict, after which the unit may run again; nobody is warned of anything.
    """
    first = samples.usage_event(project_id)
    write(storage, lambda work: work.usage.insert([first]))
    before = state(storage, project_id)
    events = [samples.usage_event(project_id) for _ in range(count - 1)]
    events.append(samples.usage_event(project_id, **{same: getattr(first, same)}))

    def presume(work: UnitOfWork) -> None:
        append(work, project_id, version=2)
        assert work.usage.insert(events, presumed_new=True) is None
        if asks:
            work.ledger.head(project_id)

    with pytest.raises(StorageConflict):
        write(storage, presume)

    assert state(storage, project_id) == before
    assert not caplog.records
    assert write(storage, lambda work: work.usage.insert(events)) == {event.id for event in events[:-1]}


def test_in_a_savepoint_nothing_is_presumed(storage, project_id):
    """
    Its failure would be the failure of all that is around it.
    """
    first = samples.usage_event(project_id)
    again = samples.usage_event(project_id, idempotency_key=first.idempotency_key)
    write(storage, lambda work: work.usage.insert([first]))

    def insert(work: UnitOfWork) -> set[str] | None:
        with work.savepoint():
            return work.usage.insert([again], presumed_new=True)

    assert write(storage, insert) == set()


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_of_ours_undoes_what_was_put_off(storage, project_id, error):
    """
    It reaches the caller as it is.
    """
    before = state(storage, project_id)

    def stumble(work: UnitOfWork) -> None:
        append(work, project_id, version=2)
        raise error

    with pytest.raises(error):
        write(storage, stumble)

    assert state(storage, project_id) == before
    write(storage, lambda work: append(work, project_id, version=2))


def test_in_a_savepoint_nothing_waits(storage, project_id):
    """
    What fails in it fails there, and is undone alone.
    """

    def repeat(work: UnitOfWork) -> None:
        with pytest.raises(exc.IntegrityError), work.savepoint():
            work.ledger.append([samples.transaction(project_id, 1)])
        append(work, project_id, version=2)

    write(storage, repeat)

    assert write(storage, lambda work: work.ledger.transaction_count(project_id)) == 2


def test_in_a_hosts_transaction_nothing_waits(storage, project_id, postgres_url):
    """
    Its commit is the host's, who knows of none of this.
    """
    host = create_engine(normalised(postgres_url))

    with host.begin() as connection:
        with pytest.raises(exc.IntegrityError), storage.join(connection) as work:
            work.ledger.append([samples.transaction(project_id, 1)])
    host.dispose()


def test_a_circle_of_what_was_put_off_may_run_again(storage, project_id):
    """
    Two units write the same two accounts, each the other's first: one of them is told to repeat.
    """
    one, other = (samples.account(project_id, name, 1) for name in ("a", "b"))
    meet = threading.Barrier(2)
    patient = SqlStorage(storage.engine.url)

    def cross(first: Account, second: Account) -> None:
        with patient.work() as work:
            work.ledger.write_accounts([first])
            work.ledger.transaction_count(project_id)
            meet.wait(10)
            work.ledger.write_accounts([second])

    crossing = [start(lambda: cross(one, other)), start(lambda: cross(other, one))]
    errors = [future.exception(20) for future in crossing]
    patient.close()

    assert [type(error) for error in errors if error] == [StorageConflict]


@pytest.mark.parametrize("asking", [True, False], ids=["asked", "committed"])
def test_a_connection_that_is_lost_meanwhile_ends_the_unit(storage, project_id, asking):
    """
    Until the commit nothing can have remained; after that nobody knows.
    """
    before = state(storage, project_id)

    def lose(work: Any) -> None:
        [(pid,)] = work._statements.driver_rows("SELECT pg_backend_pid()")
        append(work, project_id, version=2)
        end_session(storage, pid)
        if asking:
            work.ledger.head(project_id)

    with pytest.raises(StorageUnavailable) as refused:
        write(storage, lose)

    assert isinstance(refused.value, FateUnknown) is not asking
    assert state(storage, project_id) == before
    write(storage, lambda work: append(work, project_id, version=2))


def test_a_failure_in_a_commit_leaves_no_trace_on_its_connection(postgres_url):
    """
    The driver prepares a statement at its sixth use, and that use may be the one that fails.
    """
    storage = SqlStorage(postgres_url, pool_size=1, limits=Limits(lock_seconds=0.2))
    neruba = Neruba(storage)
    project = neruba.projects.create(name="Poison")
    neruba.wallets.credit(project.id, amount="1000", description="credit", idempotency_key="credit")
    # A rollback before anything is prepared: the driver would forget what it prepared at the first alone.
    storage.check()
    locker = psycopg.connect(normalised(postgres_url).set(drivername="postgresql").render_as_string(False))

    for number in range(12):
        if number in {4, 5, 6}:
            locker.execute("LOCK TABLE neruba_entries IN SHARE MODE")
            with pytest.raises(StorageBusy):
                charge(neruba, project.id, number)
            locker.rollback()
        assert isinstance(charge(neruba, project.id, number), Accepted)

    locker.close()
    storage.close()


def charge(neruba: Neruba, project_id: str, number: int) -> Any:
    return neruba.charges.charge(project_id, amount="1", description="d", idempotency_key=f"key_{number}")
