"""The fingerprint of a usage event.

The same text that ``idempotency.fingerprint`` would hash, written out by hand: ingest fingerprints
every event, and this is a third of its cost there. A property test holds the two equal.
"""

from __future__ import annotations

from hashlib import sha256

from neruba_core import instants, money
from neruba_core.idempotency.fingerprint import canonical, quoted
from neruba_core.usage.model import NewUsage

OPERATION = "usage"
PATH = "/ingest/usage"


def usage_fingerprint(new: NewUsage) -> bytes:
    """The fingerprint, version 1, of *new* as it was sent."""
    return _digest(new, new.event_id)


def same_content(new: NewUsage, recorded: bytes, recorded_event_id: str) -> bool:
    """Whether the request recorded with that fingerprint had this one's content, event id aside.

    Its event id was either sent, or left out to default to its key.
    """
    return recorded in (_digest(new, recorded_event_id), _digest(new, None))


def content(new: NewUsage) -> str:
    """The canonical body of *new*, for people who compare two of them."""
    return _body(new, new.event_id)


def _digest(new: NewUsage, event_id: str | None) -> bytes:
    body = _body(new, event_id)
    return sha256(f'{{"body":{body},"operation":"usage","path":"/ingest/usage"}}'.encode()).digest()


def _body(new: NewUsage, event_id: str | None) -> str:
    event = "" if event_id is None else f'"eventId":{quoted(event_id)},'
    properties = "" if new.properties is None else f'"properties":{canonical(new.properties)},'
    return (
        f'{{{event}"metricKey":{quoted(new.metric_key)},{properties}'
        f'"timestamp":"{instants.text(new.timestamp)}","units":"{money.text(new.units_micros)}"}}'
    )
