"""What is sent to PostgreSQL while a unit goes on fails the unit all the same, and no other."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import create_engine, exc

from neruba_core import Accepted, Neruba, NewCharge
from neruba_core.errors import StorageBusy, StorageUnavailable
from neruba_core.storage.port import UnitOfWork
from neruba_core.storage.sql import Limits, SqlStorage, ahead
from neruba_core.storage.sql.engine import normalised
from neruba_core.storage.sql.failures import FateUnknown, UnitOver
from neruba_core.storage.sql.statements import MANY_ROWS as MANY
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.units import state, write
from tests.core.storage.sql.sessions import end_session, session

pytestmark = pytest.mark.postgres


@pytest.fixture
def storage(postgres_url: str) -> Iterator[SqlStorage]:
    """
    With one connection, so that a unit has the one that the unit before it left.
    """
    storage = SqlStorage(postgres_url, pool_size=1)
    yield storage
    storage.close()


@pytest.fixture
def project_id(storage: SqlStorage) -> str:
    """
    A project whose first version is booked.
    """
    project_id = samples.tenant(storage)
    write(storage, lambda work: append(work, project_id, 1, first=1))
    return project_id


def append(work: Any, project_id: str, number: int = MANY, *, first: int = 2, **changes: Any) -> None:
    """
    Book so many transactions, without waiting for it.
    """
    moved = (("promotions", 7), ("wallet:grt_1", -7))
    versions = range(first, first + number)
    work.ledger.append([samples.transaction(project_id, version, *moved, **changes) for version in versions])


def on_its_way(work: Any) -> bool:
    """
    Whether a statement was sent whose result nobody has asked for.
    """
    driver = work._statements.connection.connection.driver_connection
    return bool(driver.pgconn.transaction_status == TransactionStatus.ACTIVE)


def send(work: Any, project_id: str, **changes: Any) -> None:
    append(work, project_id, **changes)
    assert on_its_way(work)


@contextmanager
def entries_locked(storage: SqlStorage) -> Iterator[None]:
    """
    Whoever writes entries waits.
    """
    url = storage.engine.url.set(drivername="postgresql").render_as_string(False)
    with psycopg.connect(url) as locker:
        locker.execute("LOCK TABLE neruba_entries IN SHARE MODE")
        yield
        locker.rollback()


def test_what_was_sent_is_there_for_whoever_asks_next(storage, project_id):
    """
    A unit sees its own writes, part by part, and those that were put off meanwhile.
    """

    def count(work: Any) -> int:
        send(work, project_id)
        send(work, project_id, first=2 + MANY)
        append(work, project_id, 1, first=2 + 2 * MANY)
        counted = work.ledger.transaction_count(project_id)
        send(work, project_id, first=3 + 2 * MANY)
        return int(counted)

    assert write(storage, count) == 2 + 2 * MANY
    assert write(storage, lambda work: work.ledger.transaction_count(project_id)) == 2 + 3 * MANY
    assert (
        len(write(storage, lambda work: work.ledger.entries(project_id, limit=1_000, before=None)))
        == 4 + 6 * MANY
    )


def test_what_was_put_off_before_comes_before(storage, project_id):
    """
    What is wrong with it shows when more is sent.
    """

    def repeat(work: Any) -> None:
        append(work, project_id, 1, first=1)
        with pytest.raises(exc.IntegrityError):
            append(work, project_id)

    with pytest.raises(UnitOver):
        write(storage, repeat)


def test_charges_are_sent_while_more_are_decided(storage, project_id, monkeypatch):
    """
    In as many parts as they fill; the rest goes with the commit.
    """
    sent, as_ever = [], ahead.send

    def note(connection: Any, parts: Any) -> None:
        sent.append(parts)
        as_ever(connection, parts)

    neruba = Neruba(storage)
    acme = neruba.projects.create(name="Acme").id
    neruba.wallets.credit(acme, amount="1000", description="x", idempotency_key="c")
    monkeypatch.setattr(ahead, "send", note)
    charges = [NewCharge(1, "x", f"h{number}") for number in range(2 * MANY + 1)]

    outcomes = neruba.charges.charge_many(acme, charges)

    assert {type(outcome) for outcome in outcomes} == {Accepted}
    assert len(sent) == 2
    assert neruba.ledger.sweep(acme).faults == ()


def test_fewer_go_with_the_commit(storage, project_id):
    """
    A round trip of their own would take longer than they do.
    """

    def book(work: Any) -> None:
        append(work, project_id, MANY - 1)
        assert not on_its_way(work)

    write(storage, book)


def taken_twice(work: Any, project_id: str) -> None:
    """
    Send transactions of which the first has a version that is taken.
    """
    send(work, project_id, first=1)


def test_whoever_asks_next_learns_of_the_failure(storage, project_id):
    """
    Nothing of the unit remains, nothing more is done in it, and the connection is good for the next one.
    """
    before, sessions = state(storage, project_id), []

    def repeat(work: UnitOfWork) -> None:
        sessions.append(session(work))
        work.usage.insert([samples.usage_event(project_id)])
        taken_twice(work, project_id)
        with pytest.raises(exc.IntegrityError):
            work.ledger.head(project_id)
        with pytest.raises(UnitOver):
            append(work, project_id)

    with pytest.raises(UnitOver):
        write(storage, repeat)

    assert state(storage, project_id) == before
    write(storage, lambda work: append(work, project_id))
    assert write(storage, session) == sessions[0]


@pytest.mark.parametrize("then", ["commit", "few", "many"])
def test_a_failure_nobody_asked_for_undoes_the_unit(storage, project_id, then):
    """
    The commit asks, and so does what is sent next.
    """
    before = state(storage, project_id)

    def repeat(work: UnitOfWork) -> None:
        work.usage.insert([samples.usage_event(project_id)])
        taken_twice(work, project_id)
        if then != "commit":
            append(work, project_id, 1 if then == "few" else MANY, first=1_000)

    with pytest.raises(exc.IntegrityError):
        write(storage, repeat)

    assert state(storage, project_id) == before
    write(storage, lambda work: append(work, project_id))


def test_a_failure_reaches_a_savepoint_from_before_it(storage, project_id):
    """
    It is not the block's that begins only now, and to undo that would not mend it.
    """

    def repeat(work: UnitOfWork) -> None:
        taken_twice(work, project_id)
        with pytest.raises(exc.IntegrityError), work.savepoint():
            pytest.fail("the block begins only when all before it went well")

    with pytest.raises(UnitOver):
        write(storage, repeat)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_error_of_ours_undoes_what_was_sent(storage, project_id, error):
    """
    It reaches the caller as it is, and the connection stays.
    """
    before, sessions = state(storage, project_id), []

    def stumble(work: UnitOfWork) -> None:
        sessions.append(session(work))
        send(work, project_id)
        raise error

    with pytest.raises(error):
        write(storage, stumble)

    assert state(storage, project_id) == before
    write(storage, lambda work: append(work, project_id))
    assert write(storage, session) == sessions[0]


@pytest.mark.parametrize("asking", [True, False], ids=["asked", "failing"])
def test_an_interrupt_while_it_is_waited_for(storage, project_id, asking):
    """
    As it is with any statement; also where it is waited for only because the unit fails.
    """
    before = state(storage, project_id)

    def wait(work: UnitOfWork) -> None:
        send(work, project_id)
        interrupt_soon()
        if not asking:
            raise ZeroDivisionError
        work.ledger.head(project_id)

    with entries_locked(storage), pytest.raises(KeyboardInterrupt):
        write(storage, wait)

    assert state(storage, project_id) == before
    write(storage, lambda work: append(work, project_id))


def test_a_rollback_that_is_cut_off_gives_its_connection_up(storage, project_id, monkeypatch):
    """
    Before it has even waited: what is still on its way is nobody else's.
    """
    sessions = []

    def stumble(work: UnitOfWork) -> None:
        sessions.append(session(work))
        send(work, project_id)
        raise ZeroDivisionError

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with entries_locked(storage), monkeypatch.context() as patch:
        patch.setattr("neruba_core.storage.sql.storage.await_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(storage, stumble)

    write(storage, lambda work: append(work, project_id))
    assert write(storage, session) != sessions[0]


def interrupt_soon() -> None:
    """
    As Ctrl-C does.
    """
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()


@pytest.mark.parametrize("asking", [True, False], ids=["asked", "committed"])
def test_a_connection_that_is_lost_meanwhile_ends_the_unit(storage, project_id, asking):
    """
    Nothing has remained, for the commit was never sent, and the connection is not used again.
    """
    before = state(storage, project_id)

    def lose(work: UnitOfWork) -> None:
        pid = session(work)
        send(work, project_id)
        end_session(storage, pid)
        if asking:
            work.ledger.head(project_id)

    with entries_locked(storage), pytest.raises(StorageUnavailable) as refused:
        write(storage, lose)

    assert not isinstance(refused.value, FateUnknown)
    assert state(storage, project_id) == before
    write(storage, lambda work: append(work, project_id))


def test_a_connection_that_is_lost_before_takes_nothing(storage, project_id):
    """
    What cannot even be sent.
    """

    def lose(work: Any) -> None:
        end_session(storage, session(work))
        append(work, project_id)
        append(work, project_id, first=2 + MANY)

    with pytest.raises(StorageUnavailable):
        write(storage, lose)

    write(storage, lambda work: append(work, project_id))


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(lock_seconds=0.2), "a lock was not had in time"),
        (Limits(statement_seconds=0.2), "a query took too long"),
    ],
    ids=["lock", "statement"],
)
def test_what_takes_too_long_is_busy(postgres_url, limits, reason):
    """
    The server's limits hold for it.
    """
    storage = SqlStorage(postgres_url, limits=limits, pool_size=1)
    project_id = samples.tenant(storage)

    with entries_locked(storage), pytest.raises(StorageBusy, match=reason):
        write(storage, lambda work: send(work, project_id, first=1))

    write(storage, lambda work: send(work, project_id, first=1))
    storage.close()


def test_a_unit_that_stops_behind_it_is_ended(postgres_url, storage, project_id):
    """
    Or its locks would be held until somebody finds out.
    """
    before = state(storage, project_id)
    hasty = SqlStorage(postgres_url, limits=Limits(idle_seconds=0.3), pool_size=1)

    def stop(work: UnitOfWork) -> None:
        send(work, project_id)
        time.sleep(0.8)

    with pytest.raises(StorageUnavailable):
        write(hasty, stop)

    hasty.close()
    assert state(storage, project_id) == before
    write(storage, lambda work: append(work, project_id))


def test_more_than_a_socket_takes_at_once(storage, project_id):
    """
    Twenty megabytes, in two parts.
    """
    long = "é" * (5_000_000 // MANY)

    def book(work: UnitOfWork) -> None:
        send(work, project_id, description=long)
        send(work, project_id, first=2 + MANY, description=long)

    write(storage, book)

    booked = write(storage, lambda work: work.ledger.transactions(project_id, limit=1_000, before=None))
    assert [each.description == long for each in booked] == [True] * 2 * MANY + [False]


def test_in_a_savepoint_nothing_is_sent(storage, project_id):
    """
    What fails in it fails there, and is undone alone.
    """

    def repeat(work: UnitOfWork) -> None:
        with pytest.raises(exc.IntegrityError), work.savepoint():
            append(work, project_id, first=1)
        send(work, project_id)
        with work.savepoint():
            assert not on_its_way(work)
            append(work, project_id, first=2 + MANY)
            assert not on_its_way(work)

    write(storage, repeat)

    assert write(storage, lambda work: work.ledger.transaction_count(project_id)) == 1 + 2 * MANY


def test_in_a_hosts_transaction_nothing_is_sent(storage, project_id, postgres_url):
    """
    Its connection is the host's.
    """
    host = create_engine(normalised(postgres_url))

    with host.begin() as connection, storage.join(connection) as work:
        append(work, project_id)
        assert not on_its_way(work)

    assert write(storage, lambda work: work.ledger.transaction_count(project_id)) == 1 + MANY
    host.dispose()
