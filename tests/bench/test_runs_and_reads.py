"""P5: reads take the same time however many events there are; P4: a run beside the bare aggregate."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from neruba_core import instants
from neruba_core.money import MICROS
from tests.bench.conftest import Database
from tests.bench.loading import DAYS, METRICS, START, fold, load, settle
from tests.bench.measure import report, seconds

pytestmark = pytest.mark.bench

FULL = os.environ.get("NERUBA_BENCH") == "full"
SIZES = (1_000, 100_000, 1_000_000, *((10_000_000,) if FULL else ()))
TAIL = 100
READS = 60
P5_CEILING = 1.3
PROJECTS, EVENTS = (1_000, 10_000) if FULL else (100, 10_000)
PERIOD, PERIOD_DAYS = "2026-01", 31
P4_COLD, P4_WARM = 2.0, 0.5


def prepared(database: Database, events: int, days: int = DAYS) -> str:
    """A project with credit, prices, and *events* events in the first *days* days of the year."""
    neruba = database.neruba
    project = neruba.projects.create(name=f"{events} events")
    neruba.wallets.credit(project.id, amount="1000", description="credit", idempotency_key="credit")
    for key in METRICS:
        neruba.metrics.declare(project.id, key=key, aggregation="sum")
        neruba.prices.create(
            project.id, metric_key=key, model="unit", unit_amount="0.000002", effective_from=START
        )
    load(database, project.id, events, days)
    return project.id


def tail(database: Database, project_id: str) -> None:
    """Events that no fold has seen."""
    database.neruba.usage.record_many(
        project_id,
        [
            {
                "metric_key": METRICS[number % len(METRICS)],
                "units": 1,
                "timestamp": START + timedelta(days=DAYS - 1, seconds=number),
                "idempotency_key": f"tail_{number}",
            }
            for number in range(TAIL)
        ],
    )


def test_reads_take_as_long_with_many_events_as_with_few(fresh: Callable[[], Database]) -> None:
    """
    The overview and the wallet, of databases of each size, by turns.
    """
    databases = {events: fresh() for events in SIZES}
    projects = {events: prepared(database, events) for events, database in databases.items()}
    for events, database in databases.items():
        fold(database)
        tail(database, projects[events])
        settle(database)
    reads: dict[str, Callable[[int], object]] = {
        "overview": lambda events: databases[events].neruba.billing.overview(projects[events]),
        "wallet": lambda events: databases[events].neruba.wallets.get(projects[events]),
    }

    ratios: dict[str, float] = {}
    for name, read in reads.items():
        taken: dict[int, list[float]] = {events: [] for events in SIZES}
        for _ in range(READS):
            for events in SIZES:
                start = time.perf_counter()
                read(events)
                taken[events].append(time.perf_counter() - start)
        medians = {events: statistics.median(seconds) for events, seconds in taken.items()}
        ratios[name] = max(medians.values()) / medians[SIZES[0]]
        report(
            f"P5 {databases[SIZES[0]].name} {name}",
            *(f"{medians[events] / medians[SIZES[0]]:.2f} at {events:,} events" for events in SIZES[1:]),
            f"{medians[SIZES[0]] * 1000:.2f} ms at {SIZES[0]:,} (ceiling {P5_CEILING})",
        )

    assert max(ratios.values()) <= P5_CEILING


def test_the_overview_is_right_with_many_events(fresh: Callable[[], Database]) -> None:
    """
    What is fast adds up: before, while and after events are folded.
    """
    database = fresh()
    events = 20_000
    project_id = prepared(database, events)
    expected = sum(n % 1000 * 1000 for n in range(events))

    def total() -> int:
        return sum(line.quantity.units_micros for line in database.neruba.billing.overview(project_id).usage)

    assert total() == expected
    database.neruba.usage.fold(at_most=events // 3)
    assert total() == expected
    fold(database)
    tail(database, project_id)
    assert total() == expected + TAIL * MICROS


def test_a_run_is_measured_by_the_bare_aggregate(fresh: Callable[[], Database]) -> None:
    """
    Bill a month of all projects, with rollups cold and warm; a dry run, so that it may be repeated.
    """
    database = fresh()
    for _ in range(PROJECTS):
        prepared(database, EVENTS, PERIOD_DAYS)
    settle(database)
    bare = seconds_of(lambda: aggregate(database))
    cold = seconds_of(lambda: run(database))
    fold(database)
    settle(database)
    warm = seconds_of(lambda: run(database))

    report(
        f"P4 {database.name}",
        f"{PROJECTS} projects of {EVENTS:,} events",
        f"cold {cold / bare:.2f} of the bare aggregate (ceiling {P4_COLD})",
        f"warm {warm / bare:.2f} (ceiling {P4_WARM})",
        f"{bare * 1000:.0f} ms bare, {cold * 1000:.0f} cold, {warm * 1000:.0f} warm",
    )
    assert cold / bare <= P4_COLD
    assert warm / bare <= P4_WARM


def run(database: Database) -> None:
    ended = list(database.neruba.billing.run_all(PERIOD, dry_run=True))
    assert [each.error for each in ended] == [None] * PROJECTS


def aggregate(database: Database) -> None:
    month = instants.month(PERIOD, "UTC")
    query = f"""
        SELECT project_id, metric_key, count(*), sum(units_micros) FROM neruba_usage_events
        WHERE timestamp >= {instants.to_micros(month.start)} AND timestamp < {instants.to_micros(month.end)}
        GROUP BY project_id, metric_key
    """
    connection = database.bare()
    assert len(connection.execute(query).fetchall()) == PROJECTS * len(METRICS)
    connection.close()


def seconds_of(act: Callable[[], None]) -> float:
    """The median of five, after one that is not counted."""
    return statistics.median([seconds(lambda _: act(), turn) for turn in range(6)][1:])
