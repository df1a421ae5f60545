"""What falls due is done by itself; billing where the server is set to."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from neruba_core.instants import parse
from neruba_core.namespaces.jobs import ALL, JOBS
from neruba_core.testing.builders import Rehearsal, rehearsal
from neruba_server.auth import KeyRing
from neruba_server.ticker import Ticker


def using() -> Rehearsal:
    """A project that used something in March; it is the end of the grace."""
    neruba = rehearsal(runs_due=False)
    neruba.clock.set("2026-03-17T00:00:00Z")
    project = neruba.projects.create(name="Acme")
    neruba.metrics.declare(project.id, key="storage")
    neruba.prices.create(project.id, metric_key="storage", model="unit", unit_amount="0.01")
    neruba.usage.record(
        project.id,
        metric_key="storage",
        units="100",
        timestamp=parse("2026-03-17T00:00:00Z"),
        idempotency_key="one",
    )
    neruba.clock.set("2026-04-02T00:00:00Z")
    return neruba


async def ticked(neruba: Rehearsal, monkeypatch: pytest.MonkeyPatch, *, bills: bool) -> list[str]:
    """The states of all invoices after a ticker has had its turn."""

    async def run(act):
        return await asyncio.get_running_loop().run_in_executor(None, act)

    monkeypatch.setattr("neruba_server.ticker.TICK_SECONDS", 0.01)
    ticker = Ticker(neruba, KeyRing(neruba), run, jobs=ALL if bills else JOBS)
    ticker.start()
    assert ticker.alive
    (project,) = neruba.projects.list().items
    for _ in range(25):
        await asyncio.sleep(0.02)
        if neruba.invoices.list(project.id).items:
            break
    await ticker.stop()
    assert not ticker.alive
    return [invoice.state.value for invoice in neruba.invoices.list(project.id).items]


async def test_what_is_due_is_billed_by_itself(monkeypatch):
    """
    Where the deployment wants that.
    """
    assert await ticked(using(), monkeypatch, bills=True) == ["finalized"]


async def test_otherwise_somebody_has_to_run_it(monkeypatch):
    """
    An old event shows in the overview before anybody bills it.
    """
    assert await ticked(using(), monkeypatch, bills=False) == []


async def test_billing_that_fails_is_tried_again(monkeypatch):
    """
    After a pause, by the clock; the ticker goes on.
    """
    neruba = using()
    honest, failures = type(neruba.billing).run_due, [ConnectionError("gone")]

    def failing(self, *arguments, **options):
        if failures:
            raise failures.pop()
        return honest(self, *arguments, **options)

    monkeypatch.setattr(type(neruba.billing), "run_due", failing)

    assert await ticked(neruba, monkeypatch, bills=True) == []
    neruba.clock.advance(timedelta(minutes=1))
    assert await ticked(neruba, monkeypatch, bills=True) == ["finalized"]
