"""The fingerprint of a usage event.

The same text that ``idempotency.fingerprint`` would hash, written out by hand: ingest fingerprints
every event, and this is a third of its cost there. A property test holds the two equal.
"""

from __future__ import annotations

from hashlib import sha256

from attrs import evolve

from neruba_core import instants, money
from neruba_core.idempotency.fingerprint import canonical, quoted
from neruba_core.usage.model import NewUsage

OPERATION = "usage"
PATH = "/ingest/usage"


def usage_fingerprint(new: NewUsage) -> bytes:
    """The fingerprint, version 1, of *new* as it was sent."""
    return sha256(f'{{"body":{content(new)},"operation":"usage","path":"/ingest/usage"}}'.encode()).digest()


def same_content(new: NewUsage, recorded: bytes, recorded_event_id: str) -> bool:
    """Whether the request recorded with that fingerprint had this one's content, event id aside.

    Its event id was either sent, or left out to default to its key.
    """
    return recorded in [
        usage_fingerprint(evolve(new, event_id=event_id)) for event_id in (recorded_event_id, None)
    ]


def content(new: NewUsage) -> str:
    """The canonical body of *new*, for its fingerprint and for people who compare two of them."""
    event = "" if new.event_id is None else f'"eventId":{quoted(new.event_id)},'
    properties = "" if new.properties is None else f'"properties":{canonical(new.properties)},'
    return (
        f'{{{event}"metricKey":{quoted(new.metric_key)},{properties}'
        f'"timestamp":"{instants.text(new.timestamp)}","units":"{money.text(new.units_micros)}"}}'
    )
