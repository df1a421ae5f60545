"""A usage event as its sender sees it.

An event stores which version of this renderer wrote its answer instead of the answer itself, so every
version stays here for ever: a retry a year later gets the same bytes.
"""

from __future__ import annotations

from neruba_core import instants, money
from neruba_core.idempotency.fingerprint import canonical, quoted
from neruba_core.usage.model import UsageEvent


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
