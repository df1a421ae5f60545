"""What waits to be folded is counted a little at a time, however much of it there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from neruba_core.storage.port import Storage
from neruba_core.storage.sql import rollups
from neruba_core.storage.sql.statements import Statements
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.samples import tenant
from neruba_core.testing.contract.units import read, write
from tests.conftest import sql_storage

PROJECTS, EVENTS = 20, 3


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """
    The events that each question after what waits has counted.
    """
    taken: list[int] = []
    ask = Statements.ask

    def asked(self, query, **given):
        rows = ask(self, query, **given)
        if query is rollups._DUE:
            taken.append(sum(row[3] for row in rows))
        return rows

    monkeypatch.setattr(Statements, "ask", asked)
    return taken


@pytest.fixture
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """
    SQLite's: on PostgreSQL, what others are about may hold back what is to be folded.
    """
    store = sql_storage(request, "sqlite", tmp_path)
    yield store
    store.close()


@pytest.fixture
def projects(storage: Storage) -> list[str]:
    ids = [tenant(storage) for _ in range(PROJECTS)]
    events = [samples.usage_event(project_id) for project_id in ids for _ in range(EVENTS)]
    with storage.work() as work:
        for start in range(0, len(events), EVENTS):
            work.usage.insert(events[start : start + EVENTS])
    return ids


def test_a_small_fold_counts_the_events_of_few_projects(storage, projects, counted) -> None:
    """
    A backlog of many projects must not be counted for ever before a first part of it is folded.
    """
    folded = write(storage, lambda work: work.usage.fold(at_most=EVENTS))

    assert folded == EVENTS
    assert counted == [rollups.PROJECTS[0] * EVENTS]


def test_a_large_fold_goes_on_to_all_projects(storage, projects, counted) -> None:
    """
    Whatever fits is folded in one unit: no project is asked for twice, and none is left out.
    """
    folded = write(storage, lambda work: work.usage.fold(at_most=1000))

    assert folded == sum(counted) == PROJECTS * EVENTS
    assert not read(storage, lambda work: work.usage.folds_due())


def test_folds_end_at_the_number_that_was_asked_for(storage, projects, counted) -> None:
    """
    What one fold leaves, the next ones find.
    """
    sizes = []
    while folded := write(storage, lambda work: work.usage.fold(at_most=10)):
        sizes.append(folded)

    assert sum(sizes) == PROJECTS * EVENTS
    assert max(sizes) < 10 + EVENTS
