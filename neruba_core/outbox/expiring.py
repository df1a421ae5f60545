"""Telling of access keys before they end."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Protocol

from neruba_core import instants
from neruba_core.access.model import AccessKey
from neruba_core.access.store import HasAccess
from neruba_core.idempotency.fingerprint import canonical
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.outbox.emit import Happening, emit_all
from neruba_core.outbox.model import MessageType
from neruba_core.outbox.store import HasOutbox

AHEAD = timedelta(days=7)


class TellingWork(HasOutbox, HasAccess, Protocol):
    """What telling of keys reads and writes."""


def tell(work: TellingWork, *, at: Instant, ids: Ids) -> int:
    """Tell of the keys that end within a week from *at* and of which nobody was told; how many."""
    found = work.access.expiring_keys(work.outbox.listening_projects(), start=at, end=at + AHEAD)
    told: dict[str, set[str]] = {}
    for key in found:
        told.setdefault(key.project_id, set()).add(_message_id(key))
    for project_id, message_ids in told.items():
        told[project_id] = set(work.outbox.messages(project_id, sorted(message_ids)))
    due = [key for key in found if _message_id(key) not in told[key.project_id]]
    messages = emit_all(
        work,
        [
            Happening(key.project_id, MessageType.KEY_EXPIRING, _data(key), message_id=_message_id(key))
            for key in due
        ],
        at=at,
        ids=ids,
    )
    return len(messages)


def _message_id(key: AccessKey) -> str:
    # Derived, so that a key is told of once for each end that it is given.
    assert key.expires_at is not None, "only keys that end are told of"
    about = f"key.expiring {key.id} {instants.text(key.expires_at)}"
    return f"msg_{hashlib.sha256(about.encode()).hexdigest()[:32]}"


def _data(key: AccessKey) -> str:
    assert key.expires_at is not None, "only keys that end are told of"
    used = key.last_used_at
    return canonical(
        {
            "id": key.id,
            "name": key.name,
            "scopes": [scope.value for scope in key.scopes],
            "prefix": key.prefix,
            "createdAt": instants.text(key.created_at),
            "expiresAt": instants.text(key.expires_at),
            "revokedAt": None,
            "lastUsedAt": None if used is None else instants.text(used),
        }
    )
