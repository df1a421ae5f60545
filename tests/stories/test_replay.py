"""A full export, read into a fresh store of any kind, is the same project: same state, same invoices."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from neruba_core.neruba import Neruba
from neruba_core.storage.memory import MemoryStorage
from neruba_core.storage.replay import restore
from neruba_core.testing.builders import Rehearsal
from tests.stories.year import Lived, Year, all_invoices, fresh_storage, rendered, text_of

SEED = 7


@pytest.fixture(scope="module")
def year() -> Year:
    """
    Two projects at the end of a year, with drafts, voids and late usage still to be billed.
    """
    lived = Year({"memory": MemoryStorage()}, seed=SEED, count=2)
    lived.live()
    return lived


@pytest.fixture(
    scope="module", params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
)
def fresh(request: pytest.FixtureRequest, year: Year) -> Iterator[Rehearsal]:
    """
    A store of each kind that knows the catalogue and the plans, and has read what was exported.
    """
    with ExitStack() as stack:
        storage = stack.enter_context(fresh_storage(request, request.param))
        with year.first._context.storage.snapshot() as work:
            plans = work.subscriptions.all_plans(limit=200, before=None)
            metrics, prices = work.metering.shared_metrics(), work.pricing.shared_prices()
        with storage.work() as work:
            for plan in plans:
                work.subscriptions.add_plan(plan)
            for metric in metrics.values():
                work.metering.add_shared_metric(metric)
            for price in (price for versions in prices.values() for price in versions):
                work.pricing.add_price(price)
            for lived in year.projects:
                restore(work, text_of(year.first, lived.id).splitlines())
        yield Rehearsal(storage, clock=year.clock, seed=1)


def test_an_export_is_the_same_after_it_was_read_back(fresh: Rehearsal, year: Year) -> None:
    """
    To the byte, with books that balance and invoices that read the same.
    """
    for lived in year.projects:
        assert state_hash(fresh, lived) == state_hash(year.first, lived)
        assert fresh.ledger.sweep(lived.id).faults == ()
        assert pages(fresh, lived) == pages(year.first, lived)


def test_every_period_bills_the_same_after_a_replay(fresh: Rehearsal, year: Year) -> None:
    """
    What is issued stays unchanged, and what is still open comes to the same, digest and all.
    """
    for lived in year.projects:
        for period in sorted({each.period for each in year.invoices(lived)} | {"2027-01"}):
            there = year.first.billing.run(lived.id, period, dry_run=True)
            here = fresh.billing.run(lived.id, period, dry_run=True)

            assert [rendered(each) for each in here.documents] == [rendered(each) for each in there.documents]
            assert here.run.unchanged == there.run.unchanged
            assert here.run.input_digest == there.run.input_digest
            if here.invoice is not None and here.invoice.number is not None:
                assert here.run.unchanged or len(here.documents) > 1


def test_what_no_export_holds_is_refused() -> None:
    """
    Before anything is written.
    """
    storage = MemoryStorage()
    with pytest.raises(ValueError, match="no table 'secrets'"), storage.work() as work:
        restore(work, ['{"table":"secrets","row":{}}'])


def state_hash(neruba: Neruba, lived: Lived) -> str:
    return hashlib.sha256(text_of(neruba, lived.id).encode()).hexdigest()


def pages(neruba: Neruba, lived: Lived) -> list[Any]:
    return [
        (rendered(each), neruba.invoices.html(lived.id, each.id)) for each in all_invoices(neruba, lived.id)
    ]
