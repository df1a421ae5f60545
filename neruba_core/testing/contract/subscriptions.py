"""Promises of ``SubscriptionStore``: published plans and decisions, neither of which ever changes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from neruba_core.money import MAX_TOTAL_MICROS
from neruba_core.pricing.model import Percentage, Tariff, Tier, Volume
from neruba_core.storage.port import Storage
from neruba_core.subscriptions.model import DecisionKind, PlanPrice, Timing
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import AWKWARD, STORED, TOKENS, later, new_id, tenant
from neruba_core.testing.contract.units import ANY_FAILURE, read, write

PRICES = (
    PlanPrice(TOKENS, Tariff(Volume((Tier(None, Decimal("0.5"), Decimal("3")),)), 5, minimum_micros=0)),
    PlanPrice(STORED, Tariff(Percentage(Decimal("0.000000000001")))),
)


class Subscriptions(Promises):
    """Plans and decisions."""

    # --- plans --------------------------------------------------------------------------------

    @pytest.mark.parametrize("timing", Timing)
    @pytest.mark.parametrize("prices", [(), PRICES], ids=["without prices", "with prices"])
    @pytest.mark.parametrize("commitment", [None, 0, MAX_TOTAL_MICROS])
    def test_a_plan_comes_back_as_it_was_published(
        self, storage: Storage, timing: Timing, prices: tuple[PlanPrice, ...], commitment: int | None
    ) -> None:
        """
        With its prices in their order; by id and among the versions of its key.
        """
        plan = samples.plan(
            name=AWKWARD,
            timing=timing,
            prices=prices,
            minimum_commitment_micros=commitment,
            amount_micros=MAX_TOTAL_MICROS,
            trial_days=0,
        )

        write(storage, lambda work: work.subscriptions.add_plan(plan))

        with storage.snapshot() as work:
            assert work.subscriptions.plans([plan.id, "pln_none"]) == {plan.id: plan}
            assert work.subscriptions.plans([]) == {}
            assert list(work.subscriptions.plan_versions(plan.key)) == [plan]
            assert list(work.subscriptions.plan_versions("none")) == []

    def test_versions_of_a_plan_come_in_order(self, storage: Storage) -> None:
        """
        By ascending version, whatever their ids, and those of no other plan.
        """
        third, first = (samples.plan(key=new_id("team"), version=version) for version in (3, 1))
        second = samples.plan(key=third.key, version=2)
        first = samples.plan(key=third.key, version=1)

        with storage.work() as work:
            for plan in (second, third, first, samples.plan()):
                work.subscriptions.add_plan(plan)

        found = read(storage, lambda work: work.subscriptions.plan_versions(third.key))
        assert list(found) == [first, second, third]

    @pytest.mark.parametrize("taken", ["id", "version"])
    def test_a_published_plan_is_never_changed(self, storage: Storage, taken: str) -> None:
        """
        An id or a version that is taken fails the unit.
        """
        plan = samples.plan()
        changes: dict[str, Any] = {"id": {"id": plan.id}, "version": {"key": plan.key}}[taken]
        write(storage, lambda work: work.subscriptions.add_plan(plan))

        with pytest.raises(ANY_FAILURE):
            write(storage, lambda work: work.subscriptions.add_plan(samples.plan(**changes)))

        assert read(storage, lambda work: work.subscriptions.plans([plan.id])) == {plan.id: plan}

    def test_plans_are_listed_newest_first(self, storage: Storage) -> None:
        """
        Every version of every plan, by descending id, strictly below ``before``.
        """
        plans = [samples.plan() for _ in range(4)]
        with storage.work() as work:
            for plan in (plans[2], plans[0], plans[3], plans[1]):
                work.subscriptions.add_plan(plan)

        with storage.snapshot() as work:
            first = work.subscriptions.all_plans(limit=2, before=None)
            second = work.subscriptions.all_plans(limit=2, before=plans[2].id)

        assert list(first) == [plans[3], plans[2]]
        assert list(second) == [plans[1], plans[0]]

    # --- decisions ----------------------------------------------------------------------------

    @pytest.mark.parametrize("kind", DecisionKind)
    def test_a_decision_comes_back_as_it_was_taken(self, storage: Storage, kind: DecisionKind) -> None:
        """
        Whole; a cancellation names no plan.
        """
        plan = samples.plan()
        decision = samples.decision(
            tenant(storage),
            None if kind is DecisionKind.CANCEL else plan.id,
            kind=kind,
            quantity=MAX_TOTAL_MICROS,
            effective_at=later(micros=1),
            trial_ends_at=later(micros=2),
            actor=AWKWARD,
            request_id="req_1",
        )

        with storage.work() as work:
            work.subscriptions.add_plan(plan)
            work.subscriptions.add_decision(decision)

        found = read(storage, lambda work: work.subscriptions.decisions([decision.project_id]))
        assert found == {decision.project_id: (decision,)}

    def test_decisions_come_in_the_order_in_which_they_were_taken(self, storage: Storage) -> None:
        """
        By number, not by when they take effect; of many projects at once, also of one without any.
        """
        one, other, bare = tenant(storage), tenant(storage), tenant(storage)
        plan = samples.plan()
        taken = [
            samples.decision(one, plan.id, number=number, effective_at=later(seconds=-number))
            for number in (1, 2, 10)
        ]
        foreign = samples.decision(other, plan.id)
        with storage.work() as work:
            work.subscriptions.add_plan(plan)
            for decision in (taken[2], foreign, taken[0], taken[1]):
                work.subscriptions.add_decision(decision)

        with storage.snapshot() as work:
            found = work.subscriptions.decisions([bare, one, other])
            none = work.subscriptions.decisions([])

        assert found == {bare: (), one: tuple(taken), other: (foreign,)}
        assert none == {}

    @pytest.mark.parametrize("taken", ["id", "number"])
    def test_a_decision_is_never_changed(self, storage: Storage, taken: str) -> None:
        """
        An id or a number that is taken fails the unit.
        """
        decision = samples.decision(tenant(storage), None)
        changes: dict[str, Any] = {"id": {"id": decision.id, "number": 2}, "number": {}}[taken]
        again = samples.decision(decision.project_id, None, **changes)
        write(storage, lambda work: work.subscriptions.add_decision(decision))

        with pytest.raises(ANY_FAILURE):
            write(storage, lambda work: work.subscriptions.add_decision(again))

        found = read(storage, lambda work: work.subscriptions.decisions([decision.project_id]))
        assert found == {decision.project_id: (decision,)}
