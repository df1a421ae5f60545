"""P2: a batch of 1,000 events, from decoded request to commit, beside the bare driver's insert."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest

from neruba_core import Accepted, Neruba, NewUsage
from neruba_core.storage.sql.bulk import Bulk
from neruba_core.storage.sql.statements import Statements
from neruba_core.storage.sql.usage import _INSERT_NEW
from neruba_core.testing.builders import Rehearsal
from tests.bench.conftest import Database
from tests.bench.measure import compare, report

pytestmark = pytest.mark.bench

START = datetime(2026, 3, 17, 10, 15, tzinfo=UTC)
EVENTS = 1_000
BATCHES = 10
TARGET = 0.50


def batch(turn: int, number: int) -> list[NewUsage]:
    """A batch as the wire hands it over."""
    return [
        NewUsage(
            metric_key="api_tokens",
            units_micros=1_250_000_000,
            timestamp=START + timedelta(seconds=place),
            idempotency_key=f"evt_{turn}_{number}_{place}",
            properties={"region": "eu-west-1"},
        )
        for place in range(EVENTS)
    ]


def test_batch_ingest_reaches_half_of_the_bare_insert(
    fresh: Callable[[], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The same rows into the same table and indexes, once by the driver alone, with a statement that skips
    what is there and says what went in, once by all of us.
    """
    database, ground = fresh(), fresh()
    project = database.neruba.projects.create(name="Bench")
    batches = {(turn, n): batch(turn, n) for turn in range(6) for n in range(BATCHES)}
    rows = _rows_of(fresh(), project.id, batches, monkeypatch)
    _plant(ground, project.id)
    connection = ground.bare()

    def ceiling(turn: int) -> None:
        for number in range(BATCHES):
            _insert(ground.name, connection, rows[turn, number])

    def work(turn: int) -> None:
        for number in range(BATCHES):
            outcomes = database.neruba.usage.record_many(project.id, batches[turn, number])
            assert all(isinstance(outcome, Accepted) for outcome in outcomes)

    result = compare(ceiling, work)
    connection.close()

    per_event = min(result.work_seconds) / EVENTS / BATCHES * 1e6
    bare = min(result.ceiling_seconds) / EVENTS / BATCHES * 1e6
    report(
        f"P2 {database.name}",
        f"{result.ratio:.2f} of the bare insert (target {TARGET})",
        f"{per_event:.1f} µs an event, bare {bare:.1f}",
    )
    assert result.ratio >= TARGET


def _rows_of(
    database: Database,
    project_id: str,
    batches: dict[tuple[int, int], list[NewUsage]],
    monkeypatch: pytest.MonkeyPatch,
) -> dict[tuple[int, int], list[tuple[Any, ...]]]:
    """The very rows that the adapter would write, taken down in a rehearsal, which presumes nothing."""
    rehearsal = Rehearsal(database.storage)
    project = rehearsal.projects.create(name="Rehearsal")
    taken: list[list[tuple[Any, ...]]] = []
    write = Statements.write

    def taking(self: Statements, bulk: Bulk, rows: list[tuple[Any, ...]]) -> int:
        if bulk is _INSERT_NEW:
            taken.append([(project_id, *row[1:]) for row in rows])
        return write(self, bulk, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Statements, "write", taking)
        for events in batches.values():
            rehearsal.usage.record_many(project.id, events)
    return dict(zip(batches, taken, strict=True))


def _plant(ground: Database, project_id: str) -> None:
    """Give the ceiling's database the project that its rows refer to."""
    project = Neruba.in_memory().projects.create(name="Bench")
    with ground.storage.work() as work:
        work.tenancy.add_project(attrs.evolve(project, id=project_id))


def _insert(name: str, connection: Any, rows: list[tuple[Any, ...]]) -> None:
    if name == "sqlite":
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT_NEW.sqlite, rows)
        connection.execute("COMMIT")
    else:
        arrays = tuple(map(list, zip(*rows, strict=True)))
        with connection.transaction(), connection.cursor(binary=True) as cursor:
            cursor.execute(f"{_INSERT_NEW.postgresql} RETURNING id", arrays)
            assert len(cursor.fetchall()) == len(rows)
