"""A usage event as its sender sees it.

An event stores which version of this renderer wrote its answer instead of the answer itself, so every
version stays here for ever: a retry a year later gets the same bytes.
"""

from __future__ import annotations

import json

from neruba_core import instants, money
from neruba_core.usage.model import UsageEvent

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def render(event: UsageEvent) -> str:
    """The JSON text that *event* was, and will be, answered with."""
    assert event.render_version == 1, event.render_version
    return _dumps(
        {
            "id": event.id,
            "projectId": event.project_id,
            "metricKey": event.metric_key,
            "units": money.text(event.units_micros),
            "timestamp": instants.text(event.timestamp),
            "eventId": event.event_id,
            "properties": {} if event.properties is None else dict(event.properties),
            "receivedAt": instants.text(event.received_at),
            "late": event.late,
        }
    )
