"""What support does with usage that a strict project could not place, or that came too late.

A replay sends the event again under its original key and event id, so it can double nothing: if the
sender has meanwhile resent it with success, the waiting row turns out to be superseded.

Late usage that is held back is recorded already and has the id of its event: a replay lets it be billed, and
what is discarded never is.
"""

from __future__ import annotations

from neruba_core.audit.changes import note_change
from neruba_core.audit.model import Origin
from neruba_core.errors import QuarantineClosed, QuarantineNotFound, StillQuarantined
from neruba_core.idempotency.outcomes import Accepted, Deduplicated, Quarantined, Replayed
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.outbox.emit import Telling
from neruba_core.tenancy.projects import writable
from neruba_core.usage.held import LATE
from neruba_core.usage.model import HoldKind, NewUsage, QuarantinedUsage, QuarantineState, UsageEvent
from neruba_core.usage.record import OpenDraws, Recorded, RecordingWork, Sent, record


def replay(
    work: RecordingWork,
    project_id: str,
    quarantine_id: str,
    *,
    at: Instant,
    ids: Ids,
    origin: Origin,
    open_draws: OpenDraws,
    telling: Telling,
) -> Recorded:
    """Try the event again; if it is recorded, the row is closed.

    Raises ``QuarantineNotFound``, ``QuarantineClosed``, or ``StillQuarantined`` where the fault remains.
    """
    held = _held(work, project_id, quarantine_id)
    if held is not None:
        _close_holds(work, held, QuarantineState.REPLAYED, at=at, ids=ids, origin=origin)
        return Accepted(held)
    waiting = _waiting(work, project_id, quarantine_id)
    sent = Sent(project_id, waiting.event, origin)
    (outcome,) = record(work, [sent], at=at, ids=ids, open_draws=open_draws, telling=telling, supersede=False)
    if isinstance(outcome, Quarantined):
        raise StillQuarantined(quarantine_id, outcome.value.reason)
    if isinstance(outcome, Accepted | Replayed | Deduplicated):
        # What was recorded meanwhile, under this key or another, can never be recorded from here.
        state = QuarantineState.REPLAYED if isinstance(outcome, Accepted) else QuarantineState.SUPERSEDED
        _close(work, waiting, state, at=at, ids=ids, origin=origin)
    return outcome


def discard(
    work: RecordingWork, project_id: str, quarantine_id: str, *, at: Instant, ids: Ids, origin: Origin
) -> QuarantinedUsage:
    """Give the event up; it is kept, and can no longer be replayed.

    Raises ``ProjectNotFound``, ``ProjectArchived``, ``QuarantineNotFound`` or ``QuarantineClosed``.
    """
    writable(work, project_id)
    held = _held(work, project_id, quarantine_id)
    if held is not None:
        _close_holds(work, held, QuarantineState.DISCARDED, at=at, ids=ids, origin=origin)
        return _dropped(held)
    waiting = _waiting(work, project_id, quarantine_id)
    _close(work, waiting, QuarantineState.DISCARDED, at=at, ids=ids, origin=origin)
    return waiting


def _waiting(work: RecordingWork, project_id: str, quarantine_id: str) -> QuarantinedUsage:
    found = work.usage.quarantined(project_id, quarantine_id)
    if found is None:
        raise QuarantineNotFound(quarantine_id)
    if found.state is not QuarantineState.WAITING:
        raise QuarantineClosed(quarantine_id, found.state.value)
    return found


def _close(
    work: RecordingWork,
    waiting: QuarantinedUsage,
    state: QuarantineState,
    *,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> None:
    if not work.usage.close_quarantined(waiting.project_id, waiting.id, state):
        raise QuarantineClosed(waiting.id, "closed")
    note_change(
        work,
        waiting.project_id,
        f"quarantine.{state.value}",
        waiting.id,
        {"idempotencyKey": waiting.event.idempotency_key, "reason": waiting.reason},
        at=at,
        ids=ids,
        origin=origin,
    )


# --- late usage that waits for support --------------------------------------------------------


def _held(work: RecordingWork, project_id: str, usage_id: str) -> UsageEvent | None:
    """The event of this id, if it was ever held."""
    if any(hold.usage_id == usage_id for hold in work.usage.holds([project_id])):
        return work.usage.event(project_id, usage_id)
    return None


def _close_holds(
    work: RecordingWork,
    event: UsageEvent,
    state: QuarantineState,
    *,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> None:
    kinds = [kind for kind in HoldKind if work.usage.close_hold(event.project_id, event.id, kind, state)]
    if not kinds:
        raise QuarantineClosed(event.id, "closed")
    note_change(
        work,
        event.project_id,
        f"late_usage.{state.value}",
        event.id,
        {"held": [kind.value for kind in kinds], "metricKey": event.metric_key},
        at=at,
        ids=ids,
        origin=origin,
    )


def _dropped(event: UsageEvent) -> QuarantinedUsage:
    """A held event that was given up, as what was quarantined is shown."""
    return QuarantinedUsage(
        project_id=event.project_id,
        id=event.id,
        event=NewUsage(
            event.metric_key,
            event.units_micros,
            event.timestamp,
            event.idempotency_key,
            event.event_id,
            event.properties,
        ),
        fingerprint=event.fingerprint,
        reason=LATE,
        state=QuarantineState.DISCARDED,
        received_at=event.received_at,
        actor=event.actor,
        request_id=event.request_id,
    )
