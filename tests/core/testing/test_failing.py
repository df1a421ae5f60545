"""The store that fails on demand: every call once, and what was committed stays."""

from __future__ import annotations

import pytest

from neruba_core.errors import StorageUnavailable
from neruba_core.ledger.model import Head
from neruba_core.storage.memory import MemoryStorage
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.units import read, state
from neruba_core.testing.failing import failing

TRACE = [
    "work",
    "tenancy.add_project",
    "savepoint",
    "ledger.add_head",
    "metering.add_metrics",
    "end of work",
]


def found(storage, project):
    """
    A command as it ought to be: it can be repeated, whatever became of the first attempt.
    """
    with storage.work() as work:
        if work.tenancy.add_project(project) is None:
            with work.savepoint():
                work.ledger.add_head(Head(project.id))
            work.metering.add_metrics([samples.metric(project.id)])


def test_without_a_call_to_fail_it_only_counts():
    """
    So that a test knows how far to go.
    """
    storage, project = MemoryStorage(), samples.project()
    counted = failing(storage, at=None)

    found(counted, project)

    assert counted.trace == TRACE
    assert counted.calls == len(TRACE)
    assert read(storage, lambda work: work.tenancy.project(project.id)) == project


@pytest.mark.parametrize("at", range(1, len(TRACE) + 1))
def test_each_call_can_be_made_to_fail(storage, at):
    """
    Before the end nothing is left, after it everything is; the same command then converges.
    """
    project, reference = samples.project(external_key=samples.new_id("key")), MemoryStorage()
    found(reference, project)
    broken = failing(storage, at=at)

    with pytest.raises(StorageUnavailable, match=f"call {at} "):
        found(broken, project)

    left = state(storage, project.id)
    found(storage, project)
    assert broken.trace == TRACE[:at]
    assert (left != "") is (at == len(TRACE))
    assert state(storage, project.id) == state(reference, project.id)


def test_calls_after_the_one_that_failed_do_as_ever():
    """
    A broken connection is followed by a new one.
    """
    storage, project = MemoryStorage(), samples.project()
    broken = failing(storage, at=2)
    with pytest.raises(StorageUnavailable):
        found(broken, project)

    found(broken, project)

    assert read(storage, lambda work: work.tenancy.project(project.id)) == project


def test_snapshots_checks_and_exports_count_too():
    """
    Whatever asks the store for something can be let down by it.
    """
    counted = failing(MemoryStorage(), at=5)

    counted.check()
    with counted.snapshot() as work:
        list(work.export("prj_none"))
    with pytest.raises(StorageUnavailable, match="check"):
        counted.check()
    counted.close()

    assert counted.trace == ["check", "snapshot", "export", "end of snapshot", "check"]


def test_a_unit_that_fails_by_itself_has_no_end():
    """
    Its own exception comes through.
    """
    counted = failing(MemoryStorage(), at=2)

    with pytest.raises(ZeroDivisionError), counted.work():
        raise ZeroDivisionError

    assert counted.trace == ["work"]
