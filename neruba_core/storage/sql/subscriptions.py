"""Plans and the decisions about subscriptions: tables, queries and row mapping.

Plans are a global table, which every project refers to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import CheckConstraint, PrimaryKeyConstraint, Table, UniqueConstraint, select

from neruba_core.storage.sql.bulk import insert
from neruba_core.storage.sql.codec import (
    dump_nouns,
    instant,
    instant_or_none,
    load_nouns,
    micros,
    micros_or_none,
)
from neruba_core.storage.sql.columns import METADATA, one_of, reference, small, tenant, text, whole
from neruba_core.storage.sql.queries import Query, among, each, given
from neruba_core.storage.sql.statements import SqlStore, below
from neruba_core.subscriptions.model import DecisionKind, Plan, PlanPrice, SubscriptionDecision, Timing

PLANS = Table(
    "neruba_plans",
    METADATA,
    text("id"),
    text("key"),
    small("version"),
    text("name"),
    text("currency"),
    whole("amount_micros"),
    text("timing"),
    small("trial_days"),
    whole("minimum_commitment_micros", optional=True),
    text("prices"),
    whole("created_at"),
    text("created_by"),
    PrimaryKeyConstraint("id", name="neruba_plans_pk"),
    UniqueConstraint("key", "version", name="neruba_plans_version_uq"),
    CheckConstraint("version > 0", name="neruba_plans_version_ck"),
    CheckConstraint(
        "amount_micros >= 0 AND trial_days >= 0 AND minimum_commitment_micros >= 0",
        name="neruba_plans_amounts_ck",
    ),
    one_of("timing", Timing, "neruba_plans_timing_ck"),
)

DECISIONS = Table(
    "neruba_subscription_decisions",
    METADATA,
    text("project_id"),
    small("number"),
    text("id"),
    text("kind"),
    text("plan_id", optional=True),
    whole("quantity"),
    whole("effective_at"),
    whole("trial_ends_at", optional=True),
    whole("requested_at"),
    text("actor"),
    text("request_id", optional=True),
    PrimaryKeyConstraint("project_id", "number", name="neruba_subscription_decisions_pk"),
    UniqueConstraint("project_id", "id", name="neruba_subscription_decisions_id_uq"),
    tenant("neruba_subscription_decisions"),
    reference("neruba_subscription_decisions_plan_fk", ["plan_id"], "neruba_plans", ["id"]),
    CheckConstraint("number > 0 AND quantity >= 0", name="neruba_subscription_decisions_numbers_ck"),
    CheckConstraint("(kind = 'cancel') = (plan_id IS NULL)", name="neruba_subscription_decisions_plan_ck"),
    one_of("kind", DecisionKind, "neruba_subscription_decisions_kind_ck"),
)

_ADD_PLAN = insert(PLANS)
_ADD_DECISION = insert(DECISIONS)

_PLANS = Query(each(select(PLANS), PLANS.c.id, "plan_ids"))
_PLAN_VERSIONS = Query(select(PLANS).where(PLANS.c.key == given("key")).order_by(PLANS.c.version))
_DECISIONS = Query(
    lambda postgresql: (
        select(DECISIONS)
        .where(among(postgresql, DECISIONS.c.project_id, "project_ids"))
        .order_by(DECISIONS.c.project_id, DECISIONS.c.number)
    )
)


@frozen
class SqlSubscriptions(SqlStore):
    """``SubscriptionStore`` within one unit."""

    def add_plan(self, plan: Plan) -> None:
        row = (
            plan.id,
            plan.key,
            plan.version,
            plan.name,
            plan.currency,
            plan.amount_micros,
            plan.timing.value,
            plan.trial_days,
            plan.minimum_commitment_micros,
            dump_nouns(plan.prices),
            micros(plan.created_at),
            plan.created_by,
        )
        self._statements.write(_ADD_PLAN, [row])

    def plans(self, plan_ids: Iterable[str]) -> dict[str, Plan]:
        rows = self._statements.ask(_PLANS, plan_ids=set(plan_ids))
        return {row[0]: _plan(row) for row in rows}

    def plan_versions(self, key: str) -> Sequence[Plan]:
        return [_plan(row) for row in self._statements.ask(_PLAN_VERSIONS, key=key)]

    def all_plans(self, *, limit: int, before: str | None) -> Sequence[Plan]:
        query = select(PLANS).where(*below(PLANS.c.id, before)).order_by(PLANS.c.id.desc())
        return [_plan(row) for row in self._statements.rows(query.limit(limit))]

    def add_decision(self, decision: SubscriptionDecision) -> None:
        row = (
            decision.project_id,
            decision.number,
            decision.id,
            decision.kind.value,
            decision.plan_id,
            decision.quantity,
            micros(decision.effective_at),
            micros_or_none(decision.trial_ends_at),
            micros(decision.requested_at),
            decision.actor,
            decision.request_id,
        )
        self._statements.write(_ADD_DECISION, [row])

    def decisions(self, project_ids: Iterable[str]) -> dict[str, tuple[SubscriptionDecision, ...]]:
        found: dict[str, list[SubscriptionDecision]] = {project_id: [] for project_id in project_ids}
        for row in self._statements.ask(_DECISIONS, project_ids=list(found)):
            found[row[0]].append(_decision(row))
        return {project_id: tuple(decisions) for project_id, decisions in found.items()}

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's decisions."""
        yield from (("decisions", decision) for decision in self.decisions([project_id])[project_id])


def _plan(row: Any) -> Plan:
    plan_id, key, version, name, currency, amount, timing, trial_days, commitment, *rest = row
    prices, created_at, created_by = rest
    return Plan(
        plan_id,
        key,
        version,
        name,
        currency,
        amount,
        Timing(timing),
        trial_days,
        commitment,
        load_nouns(PlanPrice, prices),
        instant(created_at),
        created_by,
    )


def _decision(row: Any) -> SubscriptionDecision:
    project_id, number, decision_id, kind, plan_id, quantity, effective_at, *rest = row
    trial_ends_at, requested_at, actor, request_id = rest
    return SubscriptionDecision(
        project_id,
        decision_id,
        number,
        DecisionKind(kind),
        plan_id,
        quantity,
        instant(effective_at),
        instant_or_none(trial_ends_at),
        instant(requested_at),
        actor,
        request_id,
    )
