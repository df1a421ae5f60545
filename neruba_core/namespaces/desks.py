"""What the namespaces of money share: a project's desk, and doing something there at most once per key."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from neruba_core.audit.model import Origin
from neruba_core.context import Context
from neruba_core.idempotency.fingerprint import Json
from neruba_core.idempotency.once import Made, once
from neruba_core.idempotency.outcomes import Accepted, Replayed, Success
from neruba_core.instants import Instant
from neruba_core.payments.desk import Desk, desk
from neruba_core.payments.model import Correction, Payment, Refund
from neruba_core.storage.port import UnitOfWork

T = TypeVar("T", Payment, Refund, Correction)


def desk_of(
    context: Context, work: UnitOfWork, project_id: str, origin: Origin, at: Instant | None = None
) -> Desk:
    """The project's desk, whose head is locked from here on. Raises ``ProjectNotFound``."""
    return desk(
        work,
        project_id,
        at=at or context.clock(),
        ids=context.ids,
        chart=context.chart,
        origin=origin,
    )


def at_most_once(
    context: Context,
    project_id: str,
    operation: str,
    path: str,
    body: dict[str, Json],
    idempotency_key: str,
    origin: Origin,
    act: Callable[[Desk], T],
    made: Callable[[UnitOfWork, str], T],
) -> Success[T]:
    """Do *act* at most once per key; what it made is read again by its id."""
    at = context.clock()

    def unit(work: UnitOfWork) -> Success[T]:
        def first() -> Made:
            at_desk = desk_of(context, work, project_id, origin, at)
            subject_id = act(at_desk).id
            at_desk.close()
            return Made(subject_id, subject_id, subject_id)

        given = once(
            work,
            first,
            scope_id=project_id,
            operation=operation,
            path=path,
            body=body,
            idempotency_key=idempotency_key,
            request_id=origin.request_id,
            at=at,
        )
        subject = made(work, given.body)
        return Replayed(subject) if given.replayed else Accepted(subject)

    return context.write(unit)
