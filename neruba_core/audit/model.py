"""The trail that every write leaves: who asked, what became of it, who changed what.

Three records, for three readers. A ``Change`` tells an owner who changed a setting and is kept for
ever. An ``Attempt`` tells support what became of a write that was not plainly accepted. A ``Trail``
row tells an operator what a request did. Counts of all outcomes are kept apart, as one ``Tally``
per unit of work, so that counting never makes two writers wait for each other.
"""

from __future__ import annotations

from attrs import frozen

from neruba_core.brief import brief
from neruba_core.idempotency.model import Outcome
from neruba_core.instants import Instant

__all__ = ["SYSTEM", "Attempt", "Change", "Origin", "Outcome", "Tally", "Trail"]


@brief
class Origin:
    """Where a write came from: ``user:usr_…``, ``key:key_…`` or ``system``, and in which request."""

    actor: str = "system"
    request_id: str | None = None

    @property
    def access_key_id(self) -> str | None:
        """The id of the access key that asked, if one did."""
        return self.actor[4:] if self.actor.startswith("key:") else None


SYSTEM = Origin()


@brief
class Tally:
    """How many attempts of one unit of work ended as what, for one project."""

    project_id: str
    id: str
    accepted: int = 0
    replayed: int = 0
    deduped: int = 0
    conflict: int = 0
    quarantined: int = 0
    rejected: int = 0


@frozen
class Attempt:
    """An ingest attempt that did not simply succeed, with all that support needs to explain it.

    *content* is the request as it was understood, *prior* what it collided with; both are JSON text.
    *subject_id* names what the attempt made or met: a quarantined event, or the original.
    """

    project_id: str
    id: str
    at: Instant
    operation: str
    outcome: Outcome
    code: str | None
    message: str | None
    request_id: str | None
    access_key_id: str | None
    idempotency_key: str | None
    event_id: str | None
    metric_key: str | None
    subject_id: str | None
    content: str | None
    prior: str | None


@brief
class Trail:
    """What one HTTP request did. Ids of what it made are kept as tuples."""

    project_id: str
    id: str
    request_id: str
    at: Instant
    method: str
    path: str
    principal: str
    status: int
    outcome: str | None
    usage_ids: tuple[str, ...] = ()
    transaction_ids: tuple[str, ...] = ()
    message_ids: tuple[str, ...] = ()


@frozen
class Change:
    """Who changed what in a project: *action* such as ``project.updated``, *details* as JSON text."""

    project_id: str
    id: str
    at: Instant
    actor: str
    request_id: str | None
    action: str
    subject: str
    details: str
