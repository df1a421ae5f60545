"""The memory store keeps the storage contract, and refuses what would never end."""

from __future__ import annotations

import threading

import pytest

from neruba_core.errors import NotJoinable, StorageBusy
from neruba_core.ledger.model import Head
from neruba_core.storage.memory import MemoryStorage
from neruba_core.storage.memory.ledger import HeadNotLocked
from neruba_core.storage.memory.storage import NestedUnit
from neruba_core.storage.memory.tables import UnitClosed
from neruba_core.storage.port import Storage
from neruba_core.testing.contract import StorageContract, samples
from neruba_core.testing.contract.units import read, start, undone, write


class TestMemoryStorage(StorageContract):
    """One writer at a time."""

    @pytest.fixture
    def storage(self) -> Storage:
        return MemoryStorage()


@pytest.mark.parametrize("outer", ["work", "snapshot"])
@pytest.mark.parametrize("inner", ["work", "snapshot"])
def test_a_unit_inside_a_unit_is_refused(outer, inner):
    """
    It would wait for itself; the outer one is not harmed.
    """
    storage = MemoryStorage()

    with getattr(storage, outer)() as work:
        with pytest.raises(NestedUnit), getattr(storage, inner)():
            pass
        assert work.ledger.head("prj_none") is None

    assert read(storage, lambda work: work.ledger.head("prj_none")) is None


def test_who_waits_too_long_is_told_so():
    """
    A unit that another thread never ends must not hang the rest for ever.
    """
    storage = MemoryStorage(wait_seconds=0.01)
    opened, done = threading.Event(), threading.Event()

    def hold():
        with storage.work():
            opened.set()
            done.wait(10)

    holder = start(hold)
    opened.wait(10)
    with pytest.raises(StorageBusy, match=r"longer than 0\.01 s"), storage.work():
        pass
    done.set()

    holder.result(10)
    assert read(storage, lambda work: work.ledger.head("prj_none")) is None


@pytest.mark.parametrize("opened", ["work", "snapshot"])
def test_a_unit_that_is_over_is_of_no_use(opened):
    """
    A reference that was kept cannot read or write past the lock.
    """
    storage = MemoryStorage()
    with getattr(storage, opened)() as work:
        usage = work.usage

    with pytest.raises(UnitClosed):
        work.usage.insert([])

    assert usage is not work.usage


def test_there_is_nothing_to_join():
    """
    The refusal says what to use instead.
    """
    with pytest.raises(NotJoinable, match="SQL storage"), MemoryStorage().join(object()):
        pass


def test_heads_and_accounts_are_written_under_lock_only():
    """
    The executable specification finds what another store would make a rare wrong balance of.
    """
    storage = MemoryStorage()
    project_id = samples.tenant(storage)

    with pytest.raises(HeadNotLocked):
        write(storage, lambda work: work.ledger.write_heads([Head(project_id, version=1)]))
    with pytest.raises(HeadNotLocked):
        write(storage, lambda work: work.ledger.write_accounts([samples.account(project_id, "overdraft", 1)]))


def test_closing_twice_is_no_fault():
    """
    As with every store.
    """
    storage = MemoryStorage()

    storage.close()
    storage.close()

    storage.check()


def test_rows_that_arrive_out_of_order_are_undone_from_their_place():
    """
    Not every unit appends at the end, and not every undo takes from there.
    """
    storage = MemoryStorage()
    project_id = samples.tenant(storage)
    first, second, third = (samples.usage_event(project_id) for _ in range(3))
    write(storage, lambda work: work.usage.insert([first, third]))

    with undone(storage.work()) as work:
        work.usage.insert([second])

    assert list(read(storage, lambda work: work.usage.events(project_id, limit=9, before=None))) == [
        third,
        first,
    ]
