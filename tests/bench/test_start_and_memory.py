"""P7 and P8: what importing costs, and a simulated year in one unit test."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from neruba_core import Neruba
from tests.bench.measure import report

pytestmark = pytest.mark.bench

IMPORT_MILLISECONDS = 150
YEAR_SECONDS = 1.0
EVENTS = 10_000


def test_importing_costs_little_more_than_the_interpreter() -> None:
    """
    An embedder's command line does not notice that it has a billing engine.
    """
    bare = _start_milliseconds("pass")

    with_us = _start_milliseconds("import neruba_core")
    with_engine = _start_milliseconds("from neruba_core import Neruba")

    more = with_us - bare
    report(
        "P7",
        f"{more:.0f} ms more than a bare interpreter's {bare:.0f} ms (target {IMPORT_MILLISECONDS})",
        f"{with_engine - bare:.0f} ms more once Neruba itself is loaded",
    )
    assert more <= IMPORT_MILLISECONDS


def test_a_simulated_year_fits_in_a_unit_test() -> None:
    """
    Twelve overviews, twelve runs and 10,000 events in memory, a second at most.
    """
    taken = statistics.median(_year() for _ in range(5))

    report("P8", f"{taken:.2f} s for 12 overviews, 12 runs and {EVENTS:,} events (target {YEAR_SECONDS} s)")
    assert taken <= YEAR_SECONDS


def _start_milliseconds(code: str) -> float:
    taken = []
    for _ in range(11):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-I", "-c", code], check=True)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e3


def _year() -> float:
    moment = [datetime(2026, 1, 1, tzinfo=UTC)]
    start = time.perf_counter()
    neruba = Neruba.in_memory(clock=lambda: moment[0])
    project = neruba.projects.create(name="A year")
    neruba.metrics.declare(project.id, key="calls", aggregation="sum")
    neruba.prices.create(
        project.id, metric_key="calls", model="unit", unit_amount="0.01", effective_from=moment[0]
    )
    for number in range(EVENTS):
        moment[0] = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=365) * number / EVENTS
        neruba.usage.record(
            project.id, metric_key="calls", units="1.5", timestamp=moment[0], idempotency_key=f"evt_{number}"
        )
        if number % (EVENTS // 12) == EVENTS // 12 - 1:
            neruba.billing.overview(project.id)
    moment[0] = datetime(2027, 1, 2, tzinfo=UTC)
    for month in range(1, 13):
        invoice = neruba.billing.run(project.id, f"2026-{month:02d}").invoice
        assert invoice is not None
        assert invoice.number == month
    return time.perf_counter() - start
