"""What support and operators look at."""

from __future__ import annotations

from typing import Any

import orjson
from attrs import frozen

from neruba_core.audit.model import Attempt as CoreAttempt
from neruba_core.audit.model import Change as CoreChange
from neruba_core.audit.model import Outcome
from neruba_core.audit.model import Trail as CoreTrail
from neruba_server.wire.kinds import Moment


@frozen
class Nothing:
    """A request without members."""


@frozen
class Attempt:
    """An ingest attempt that did not simply succeed; ``content`` as sent, ``prior`` what it collided with."""

    id: str
    at: Moment
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
    content: dict[str, Any] | None
    prior: dict[str, Any] | None

    @classmethod
    def of(cls, attempt: CoreAttempt) -> Attempt:
        """The attempt as people see it."""
        return cls(
            id=attempt.id,
            at=attempt.at,
            operation=attempt.operation,
            outcome=attempt.outcome,
            code=attempt.code,
            message=attempt.message,
            request_id=attempt.request_id,
            access_key_id=attempt.access_key_id,
            idempotency_key=attempt.idempotency_key,
            event_id=attempt.event_id,
            metric_key=attempt.metric_key,
            subject_id=attempt.subject_id,
            content=None if attempt.content is None else orjson.loads(attempt.content),
            prior=None if attempt.prior is None else orjson.loads(attempt.prior),
        )


@frozen
class Attempts:
    """Attempts, newest first."""

    items: tuple[Attempt, ...]
    next_cursor: str | None


@frozen
class Discarded:
    """A quarantined event that was given up."""

    id: str
    state: str


@frozen
class Trail:
    """What one HTTP request did."""

    request_id: str
    at: Moment
    method: str
    path: str
    principal: str
    status: int
    outcome: str | None
    usage_ids: tuple[str, ...]
    transaction_ids: tuple[str, ...]
    message_ids: tuple[str, ...]

    @classmethod
    def of(cls, row: CoreTrail) -> Trail:
        """The row as people see it."""
        return cls(
            request_id=row.request_id,
            at=row.at,
            method=row.method,
            path=row.path,
            principal=row.principal,
            status=row.status,
            outcome=row.outcome,
            usage_ids=row.usage_ids,
            transaction_ids=row.transaction_ids,
            message_ids=row.message_ids,
        )


@frozen
class Trails:
    """The requests with this id, newest first; a client's own id may repeat."""

    items: tuple[Trail, ...]


@frozen
class Change:
    """Who changed what."""

    id: str
    at: Moment
    actor: str
    request_id: str | None
    action: str
    subject: str
    details: dict[str, Any]

    @classmethod
    def of(cls, change: CoreChange) -> Change:
        """The change as people see it."""
        return cls(
            id=change.id,
            at=change.at,
            actor=change.actor,
            request_id=change.request_id,
            action=change.action,
            subject=change.subject,
            details=orjson.loads(change.details),
        )


@frozen
class Changes:
    """Changes, newest first."""

    items: tuple[Change, ...]
    next_cursor: str | None


@frozen
class Alive:
    """The process answers."""

    status: str


@frozen
class Readiness:
    """Whether requests can be served, with each check named."""

    status: str
    checks: dict[str, str]
