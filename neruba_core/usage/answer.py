"""A usage event as its sender sees it.

An event stores which version of this renderer wrote its answer instead of the answer itself, so every
version stays here for ever: a retry a year later gets the same bytes.
"""

from __future__ import annotations

from neruba_core import instants, money
from neruba_core.idempotency.fingerprint import canonical, quoted
from neruba_core.instants import Instant
from neruba_core.usage.model import NewUsage, QuarantinedUsage, UsageEvent


def render(event: UsageEvent) -> str:
    """The JSON text that *event* was, and will be, answered with."""
    assert event.render_version == 1, event.render_version
    properties = canonical(event.properties) if event.properties else "{}"
    return (
        f'{{"id":"{event.id}","projectId":"{event.project_id}","metricKey":{quoted(event.metric_key)},'
        f'"units":"{money.text(event.units_micros)}","timestamp":"{instants.text(event.timestamp)}",'
        f'"eventId":{quoted(event.event_id)},"properties":{properties},'
        f'"receivedAt":"{instants.text(event.received_at)}","late":{"true" if event.late else "false"}}}'
    )


def render_quarantined(waiting: QuarantinedUsage) -> str:
    """The JSON text of usage that waits for support: what its sender was answered with, and what was sent."""
    return _waiting(waiting.project_id, waiting.id, waiting.reason, waiting.event, waiting.received_at)


def render_held(event: UsageEvent, reason: str) -> str:
    """The same of usage that is recorded already, and whose billing waits."""
    new = NewUsage(
        event.metric_key,
        event.units_micros,
        event.timestamp,
        event.idempotency_key,
        event.event_id,
        event.properties,
    )
    return _waiting(event.project_id, event.id, reason, new, event.received_at)


def _waiting(project_id: str, subject_id: str, reason: str, new: NewUsage, received_at: Instant) -> str:
    return canonical(
        {
            "id": subject_id,
            "outcome": "quarantined",
            "reason": reason,
            "projectId": project_id,
            "metricKey": new.metric_key,
            "units": money.text(new.units_micros),
            "timestamp": instants.text(new.timestamp),
            "eventId": new.event,
            "idempotencyKey": new.idempotency_key,
            "properties": dict(new.properties or {}),
            "receivedAt": instants.text(received_at),
        }
    )
