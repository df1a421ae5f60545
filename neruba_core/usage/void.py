"""Voiding an event: it counts no more, and stays as it was sent.

A void frees nothing. The key and the event id stay taken, and a resend is answered with the original
and told when it was voided; a correction takes a new event id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from attrs import frozen

from neruba_core import texts
from neruba_core.audit.model import Origin, Outcome
from neruba_core.audit.outcomes import count_one
from neruba_core.audit.store import HasAudit
from neruba_core.errors import ProjectArchived, ProjectNotFound, UsageNotFound
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.metering.model import Metric
from neruba_core.metering.store import HasMetering
from neruba_core.tenancy.store import HasTenancy
from neruba_core.usage.held import Held, hold_of
from neruba_core.usage.model import HoldKind, UsageEvent, UsageVoid
from neruba_core.usage.store import HasUsage

OPERATION = "voidUsage"


class Numbers(Protocol):
    """What tells how far projects have been invoiced; invoices lie above usage."""

    def last_numbers(self, project_ids: Iterable[str]) -> dict[str, int]: ...


class VoidingWork(HasTenancy, HasMetering, HasUsage, HasAudit, Protocol):
    """What voiding needs of a unit of work."""

    @property
    def invoices(self) -> Numbers: ...


class Undraws(Protocol):
    """What gives back what prepaid usage has drawn, under the project's locked head."""

    def undo(self, event: UsageEvent, metric: Metric, origin: Origin) -> None: ...

    def write(self) -> None: ...


@frozen
class Voided:
    """An event and its void; *first* tells whether this call made it."""

    event: UsageEvent
    void: UsageVoid
    first: bool


def void(
    work: VoidingWork,
    project_id: str,
    usage_id: str,
    reason: str,
    *,
    at: Instant,
    ids: Ids,
    origin: Origin,
    open_draws: Callable[[Iterable[str]], Undraws],
) -> Voided:
    """Void the event once; again gives the first void. Either is counted as an ingest attempt.

    *open_draws* is called where the project has prepaid usage: what the event has drawn goes back.

    Raises ``TextInvalid``, ``ProjectNotFound``, ``ProjectArchived`` or ``UsageNotFound``.
    """
    clean_reason = texts.clean(reason)
    project = work.tenancy.project(project_id)
    if project is None:
        raise ProjectNotFound(project_id)
    draws = open_draws([project_id]) if project.draws_usage else None
    event = work.usage.event(project_id, usage_id)
    if event is None:
        raise UsageNotFound(usage_id)
    earlier = work.usage.voids(project_id, [usage_id]).get(usage_id)
    if earlier is None and project.archived_at is not None:
        raise ProjectArchived(project_id)
    first = False
    if earlier is None:
        number = work.invoices.last_numbers([project_id])[project_id]
        new = UsageVoid(project_id, usage_id, clean_reason, at, origin.actor, number)
        earlier = work.usage.add_void(new)
        if earlier is None:
            earlier, first = new, True
            if draws is not None:
                draws.undo(event, work.metering.metrics([project_id])[project_id][event.metric_key], origin)
                draws.write()
            if project.is_late(event.timestamp) and project.holds_late:
                _hold(work, event, at)
    count_one(work, project_id, Outcome.ACCEPTED if first else Outcome.REPLAYED, ids)
    return Voided(event, earlier, first)


def _hold(work: VoidingWork, event: UsageEvent, at: Instant) -> None:
    """Let the void wait for support, unless the event is held itself and does not count anyway."""
    held = Held.of(work.usage.holds([event.project_id]))
    if held.counts(event, voided=False):
        work.usage.hold([hold_of(event, HoldKind.VOID, at)])
