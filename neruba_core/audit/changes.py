"""Recording who changed what in a project."""

from __future__ import annotations

from collections.abc import Mapping

from neruba_core.audit.model import Change, Origin
from neruba_core.audit.store import HasAudit
from neruba_core.idempotency.fingerprint import Json, canonical
from neruba_core.ids import Ids
from neruba_core.instants import Instant


def note_change(
    work: HasAudit,
    project_id: str,
    action: str,
    subject: str,
    details: Mapping[str, Json],
    *,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> None:
    """Append a change: *action* such as ``member.added``, *subject* the id it was done to, *details*
    what it now is (never a secret)."""
    work.audit.add_changes(
        [
            Change(
                project_id=project_id,
                id=ids.new("chn"),
                at=at,
                actor=origin.actor,
                request_id=origin.request_id,
                action=action,
                subject=subject,
                details=canonical(details),
            )
        ]
    )
