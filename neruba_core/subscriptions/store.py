"""What subscriptions ask of storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from neruba_core.subscriptions.model import Plan, SubscriptionDecision


class SubscriptionStore(Protocol):
    """Plan versions (of the whole deployment, append-only, unique by (key, version)) and the decisions of
    each project (append-only, unique by (project, number)). A key that is taken fails the unit."""

    def add_plan(self, plan: Plan) -> None:
        """Insert; the caller holds ``pricing.lock_catalogue``."""

    def plans(self, plan_ids: Iterable[str]) -> dict[str, Plan]:
        """Plan versions by id."""

    def plan_versions(self, key: str) -> Sequence[Plan]:
        """The versions of one plan by ascending version."""

    def all_plans(self, *, limit: int, before: str | None) -> Sequence[Plan]:
        """Every plan version by descending id, below *before*."""

    def add_decision(self, decision: SubscriptionDecision) -> None:
        """Insert; the caller holds ``lock_project``."""

    def decisions(self, project_ids: Iterable[str]) -> dict[str, tuple[SubscriptionDecision, ...]]:
        """The projects' decisions by ascending number. Every project asked for is there."""


class HasSubscriptions(Protocol):
    @property
    def subscriptions(self) -> SubscriptionStore: ...
