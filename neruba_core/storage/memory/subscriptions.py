"""Plans and the decisions about subscriptions in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, field

from neruba_core.storage.memory.tables import EVERYONE, DuplicateKey, Table, Undo
from neruba_core.subscriptions.model import Plan, SubscriptionDecision


@define(eq=False)
class SubscriptionTables:
    """Plan versions by id, and by key and version; decisions by project and number."""

    plans: Table[str, Plan] = field(factory=Table)
    versions: Table[int, Plan] = field(factory=Table)
    decisions: Table[int, SubscriptionDecision] = field(factory=Table)


@define(eq=False)
class MemorySubscriptions:
    """``SubscriptionStore`` within one unit."""

    _tables: SubscriptionTables
    _undo: Undo

    def add_plan(self, plan: Plan) -> None:
        self._tables.plans.add(self._undo, EVERYONE, plan.id, plan)
        self._tables.versions.add(self._undo, plan.key, plan.version, plan)

    def plans(self, plan_ids: Iterable[str]) -> dict[str, Plan]:
        return self._tables.plans.some(EVERYONE, plan_ids)

    def plan_versions(self, key: str) -> Sequence[Plan]:
        return tuple(self._tables.versions.ascending(key))

    def all_plans(self, *, limit: int, before: str | None) -> Sequence[Plan]:
        return self._tables.plans.page(EVERYONE, limit=limit, before=before)

    def add_decision(self, decision: SubscriptionDecision) -> None:
        others = self._tables.decisions.ascending(decision.project_id)
        if any(other.id == decision.id for other in others):
            raise DuplicateKey(f"decision {decision.id!r} is there already")
        self._tables.decisions.add(self._undo, decision.project_id, decision.number, decision)

    def decisions(self, project_ids: Iterable[str]) -> dict[str, tuple[SubscriptionDecision, ...]]:
        decisions = self._tables.decisions
        return {project_id: tuple(decisions.ascending(project_id)) for project_id in project_ids}
