"""Promises of ``BillingStore``: periods that keep their bounds, and records of runs that nobody changes."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from neruba_core.billing.model import BillingPeriod, Run, RunState
from neruba_core.instants import Period
from neruba_core.money import MAX_TOTAL_MICROS
from neruba_core.storage.port import Storage
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import AWKWARD, END, MICROSECOND, START, later, tenant
from neruba_core.testing.contract.units import ANY_FAILURE, read


def put(storage: Storage, *periods: BillingPeriod) -> None:
    """Commit the periods, under the heads' locks."""
    with storage.work() as work:
        work.ledger.lock_heads(sorted({period.project_id for period in periods}))
        work.billing.put_periods(periods)


def add(storage: Storage, *runs: Run) -> None:
    """Commit the runs, under the heads' locks."""
    with storage.work() as work:
        work.ledger.lock_heads(sorted({run.project_id for run in runs}))
        work.billing.add_runs(runs)


def periods(storage: Storage, project_id: str) -> tuple[BillingPeriod, ...]:
    """The project's stored periods."""
    return read(storage, lambda work: work.billing.periods([project_id]))[project_id]


class Billing(Promises):
    """Periods and runs."""

    # --- periods ------------------------------------------------------------------------------

    def test_periods_come_by_start(self, storage: Storage) -> None:
        """
        To the microsecond, whatever their names and the order in which they were stored.
        """
        project_id = tenant(storage)
        first = samples.billing_period(project_id, name="b", span=Period(START, later()), invoiced_at=later())
        second = samples.billing_period(project_id, name="a", span=Period(later(), END))
        third = samples.billing_period(project_id, name="c", span=Period(END, END + MICROSECOND))

        put(storage, third, first)
        put(storage, second)

        assert periods(storage, project_id) == (first, second, third)

    def test_periods_of_many_projects_come_at_once(self, storage: Storage) -> None:
        """
        Every project that was asked for is there, also one without any.
        """
        one, other, bare = tenant(storage), tenant(storage), tenant(storage)
        ours, theirs = samples.billing_period(one), samples.billing_period(other)
        put(storage, ours, theirs)

        with storage.snapshot() as work:
            assert work.billing.periods([bare, other, one]) == {bare: (), other: (theirs,), one: (ours,)}
            assert work.billing.periods([]) == {}

    def test_only_when_it_was_invoiced_changes_in_a_stored_period(self, storage: Storage) -> None:
        """
        Its bounds stay as they were, and it can be opened again.
        """
        period = samples.billing_period(tenant(storage))
        put(storage, period)

        put(storage, evolve(period, invoiced_at=later(), span=Period(later(), END)))
        closed = periods(storage, period.project_id)
        put(storage, period)

        assert closed == (evolve(period, invoiced_at=later()),)
        assert periods(storage, period.project_id) == (period,)

    def test_two_periods_never_start_together(self, storage: Storage) -> None:
        """
        Another name for a start that is taken fails the unit.
        """
        period = samples.billing_period(tenant(storage))
        put(storage, period)

        with pytest.raises(ANY_FAILURE):
            put(storage, evolve(period, name="2026-04"))

        assert periods(storage, period.project_id) == (period,)

    # --- runs ---------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"state": RunState.FINALIZED, "unchanged": True, "actor": AWKWARD, "request_id": "req_1"},
            {"dry_run": True, "invoice_ids": (), "counts": {}, "totals": {}},
            {"invoice_ids": ("inv_2", "inv_1"), "cutoff": MAX_TOTAL_MICROS, "totals": {AWKWARD: -(10**30)}},
        ],
        ids=["plain", "finalized", "empty", "large"],
    )
    def test_a_run_comes_back_as_it_was_recorded(self, storage: Storage, changes: dict[str, Any]) -> None:
        """
        With its documents in their order; totals may exceed 64 bits.
        """
        run = samples.run(tenant(storage), **changes)

        add(storage, run)

        with storage.snapshot() as work:
            assert work.billing.run(run.project_id, run.id) == run
            assert work.billing.run(run.project_id, "run_none") is None
            assert list(work.billing.runs(run.project_id, limit=9, before=None)) == [run]

    def test_counts_and_totals_cannot_be_changed_from_outside(self, storage: Storage) -> None:
        """
        The caller's dictionaries stay the caller's.
        """
        counts, totals = {"lines": 1}, {"total": 1}
        run = samples.run(tenant(storage), counts=counts, totals=totals)
        add(storage, run)

        counts["lines"] = totals["total"] = 2

        found = read(storage, lambda work: work.billing.run(run.project_id, run.id))
        assert found is not None
        assert (found.counts, found.totals) == ({"lines": 1}, {"total": 1})

    def test_runs_are_listed_newest_first(self, storage: Storage) -> None:
        """
        By descending id, strictly below ``before``, and if wanted those of one period.
        """
        project_id = tenant(storage)
        runs = [samples.run(project_id, period=f"2026-0{3 + number % 2}") for number in range(5)]
        add(storage, runs[2], runs[0], runs[4])
        add(storage, runs[3], runs[1])

        with storage.snapshot() as work:
            first = work.billing.runs(project_id, limit=2, before=None)
            second = work.billing.runs(project_id, limit=9, before=runs[3].id)
            march = work.billing.runs(project_id, limit=2, before=runs[4].id, period="2026-03")

        assert list(first) == [runs[4], runs[3]]
        assert list(second) == [runs[2], runs[1], runs[0]]
        assert list(march) == [runs[2], runs[0]]

    def test_a_record_is_never_changed(self, storage: Storage) -> None:
        """
        Adding another of the same id fails the unit.
        """
        run = samples.run(tenant(storage))
        add(storage, run)

        with pytest.raises(ANY_FAILURE):
            add(storage, evolve(run, unchanged=True))

        assert read(storage, lambda work: work.billing.run(run.project_id, run.id)) == run
