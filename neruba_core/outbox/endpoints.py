"""Endpoints: making, listing, deleting them, changing their secrets, and sending to them by hand."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Protocol

from attrs import evolve, field, frozen

from neruba_core.audit.changes import note_change
from neruba_core.audit.model import Origin
from neruba_core.audit.store import HasAudit
from neruba_core.choices import choice
from neruba_core.errors import (
    FormatInvalid,
    WebhookDeliveryNotFound,
    WebhookEndpointLimit,
    WebhookEndpointNotFound,
)
from neruba_core.idempotency.fingerprint import Json
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.outbox.deliver import anew
from neruba_core.outbox.emit import emit_test
from neruba_core.outbox.model import Delivery, DeliveryState, Endpoint, MessageType, Salt
from neruba_core.outbox.store import HasOutbox
from neruba_core.pages import MAX_LIMIT, Page, limited, page, place_of
from neruba_core.tenancy.projects import existing, locked, locked_writable
from neruba_core.tenancy.store import HasTenancy

MOST_ENDPOINTS = 20
MOST_SALTS = 5


class Reading(HasOutbox, HasTenancy, Protocol):
    """Endpoints and the projects they belong to."""


class Keeping(Reading, HasAudit, Protocol):
    """What a change of a project's endpoints reads and writes."""


@frozen
class WithSecret:
    """An endpoint and its secret, held only long enough to hand it over."""

    endpoint: Endpoint
    secret: str = field(repr=False)


def types_of(given: Iterable[MessageType | str]) -> tuple[MessageType, ...]:
    """The message types in the order given, none twice; none at all means every one. Raises
    ``FormatInvalid``."""
    types = tuple(choice(MessageType, type, "a message type") for type in given)
    if len(set(types)) != len(types):
        raise FormatInvalid("a list of message types, none twice", ", ".join(types)[:80])
    return types


def create(
    work: Keeping,
    project_id: str,
    *,
    url: str,
    message_types: tuple[MessageType, ...],
    salt: str,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> Endpoint:
    """Make an endpoint. Raises ``ProjectNotFound``, ``ProjectArchived`` or ``WebhookEndpointLimit``."""
    project = locked_writable(work, project_id)
    if len(work.outbox.endpoints(project_id, limit=MOST_ENDPOINTS, before=None)) >= MOST_ENDPOINTS:
        raise WebhookEndpointLimit(MOST_ENDPOINTS)
    endpoint = Endpoint(
        project_id=project_id,
        id=ids.new("whe"),
        url=url,
        message_types=message_types,
        salts=(Salt(salt),),
        created_at=at,
        created_by=origin.actor,
    )
    work.outbox.add_endpoint(endpoint)
    if not project.listens:
        work.tenancy.replace_project(evolve(project, listens=True))
    details: dict[str, Json] = {"url": url, "messageTypes": [type.value for type in message_types]}
    _note(work, endpoint, "created", details, at, ids, origin)
    return endpoint


def page_of_endpoints(work: Reading, project_id: str, *, limit: int, cursor: str | None) -> Page[Endpoint]:
    """The project's endpoints, newest first. Raises ``ProjectNotFound``."""
    existing(work, project_id)
    filters = ("webhook_endpoints", project_id)
    rows = work.outbox.endpoints(project_id, limit=limited(limit) + 1, before=place_of(cursor, *filters))
    return page(rows, limit, "id", *filters)


def delete(
    work: Keeping, project_id: str, endpoint_id: str, *, at: Instant, ids: Ids, origin: Origin
) -> None:
    """Send nothing more to the endpoint, of an archived project too; what waits for it is cancelled.

    Raises ``ProjectNotFound`` or ``WebhookEndpointNotFound``.
    """
    project = locked(work, project_id)
    endpoint = _locked(work, project_id, endpoint_id)
    work.outbox.replace_endpoint(evolve(endpoint, deleted_at=at, salts=()))
    work.outbox.end_pending(project_id, endpoint_id, DeliveryState.CANCELLED, at=at)
    _cancel_by_hand(work, project_id, endpoint_id, at)
    if not work.outbox.endpoints(project_id, limit=1, before=None):
        work.tenancy.replace_project(evolve(project, listens=False))
    _note(work, endpoint, "deleted", {}, at, ids, origin)


def _cancel_by_hand(work: Keeping, project_id: str, endpoint_id: str, at: Instant) -> None:
    """A disabled endpoint may still be sent to by hand, a deleted one may not."""
    pending = DeliveryState.PENDING
    while left := work.outbox.deliveries(
        project_id, limit=MAX_LIMIT, before=None, endpoint_id=endpoint_id, state=pending
    ):
        work.outbox.replace_deliveries(
            [evolve(each, state=DeliveryState.CANCELLED, ended_at=at, claim=None) for each in left]
        )


def rotate(
    work: Keeping,
    project_id: str,
    endpoint_id: str,
    *,
    overlap_hours: int,
    salt: str,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> Endpoint:
    """Give the endpoint a new secret; messages are signed with the old one too for *overlap_hours*.

    Raises ``ProjectNotFound``, ``ProjectArchived`` or ``WebhookEndpointNotFound``.
    """
    locked_writable(work, project_id)
    endpoint = _locked(work, project_id, endpoint_id)
    end = at + timedelta(hours=overlap_hours)
    old = [
        evolve(each, ends_at=end if each.ends_at is None else min(each.ends_at, end))
        for each in endpoint.salts_at(at)
    ]
    rotated = evolve(endpoint, salts=(Salt(salt), *old)[:MOST_SALTS])
    work.outbox.replace_endpoint(rotated)
    _note(work, endpoint, "secret_rotated", {"overlapHours": overlap_hours}, at, ids, origin)
    return rotated


def test(
    work: Keeping, project_id: str, endpoint_id: str, *, at: Instant, ids: Ids, origin: Origin
) -> Delivery:
    """Send the endpoint a message of type ``webhook.test``, even if it is disabled.

    Raises ``ProjectNotFound``, ``ProjectArchived`` or ``WebhookEndpointNotFound``.
    """
    locked_writable(work, project_id)
    endpoint = _locked(work, project_id, endpoint_id)
    message, delivery = emit_test(work, endpoint, at=at, ids=ids)
    _note(work, endpoint, "tested", {"messageId": message.id}, at, ids, origin)
    return delivery


def page_of_deliveries(
    work: Reading,
    project_id: str,
    *,
    endpoint_id: str | None,
    state: DeliveryState | None,
    limit: int,
    cursor: str | None,
) -> Page[Delivery]:
    """The project's deliveries, newest first. Raises ``ProjectNotFound`` or, where there is no endpoint of
    this id, ``WebhookEndpointNotFound``."""
    existing(work, project_id)
    if endpoint_id is not None:
        _there(work.outbox.endpoint(project_id, endpoint_id), endpoint_id)
    filters = ("deliveries", project_id, endpoint_id, state)
    rows = work.outbox.deliveries(
        project_id,
        limit=limited(limit) + 1,
        before=place_of(cursor, *filters),
        endpoint_id=endpoint_id,
        state=state,
    )
    return page(rows, limit, "id", *filters)


def redeliver(
    work: Keeping,
    project_id: str,
    delivery_id: str,
    *,
    endpoint_id: str | None,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> Delivery:
    """Begin a delivery again, whatever became of it: the same message under the same id. With *endpoint_id*
    only one to that endpoint.

    Raises ``ProjectNotFound``, ``ProjectArchived``, ``WebhookDeliveryNotFound`` or, where its endpoint was
    deleted, ``WebhookEndpointNotFound``.
    """
    locked_writable(work, project_id)
    if endpoint_id is not None:
        _there(work.outbox.endpoint(project_id, endpoint_id), endpoint_id)
    delivery = work.outbox.delivery(project_id, delivery_id)
    if delivery is None or endpoint_id not in (None, delivery.endpoint_id):
        raise WebhookDeliveryNotFound(delivery_id)
    endpoint = _locked(work, project_id, delivery.endpoint_id)
    # Whoever holds its endpoint alone may end it, so what is read now is what there is.
    delivery = work.outbox.delivery(project_id, delivery_id) or delivery
    again = anew(delivery, at)
    work.outbox.replace_deliveries([again])
    details: dict[str, Json] = {"deliveryId": delivery_id, "messageId": delivery.message_id}
    _note(work, endpoint, "redelivered", details, at, ids, origin)
    return again


def _locked(work: HasOutbox, project_id: str, endpoint_id: str) -> Endpoint:
    locked_now = work.outbox.lock_endpoints([(project_id, endpoint_id)])
    return _there(locked_now.get((project_id, endpoint_id)), endpoint_id)


def _there(endpoint: Endpoint | None, endpoint_id: str) -> Endpoint:
    if endpoint is None or endpoint.deleted_at is not None:
        raise WebhookEndpointNotFound(endpoint_id)
    return endpoint


def _note(
    work: HasAudit,
    endpoint: Endpoint,
    what: str,
    details: dict[str, Json],
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> None:
    action = f"webhook_endpoint.{what}"
    note_change(work, endpoint.project_id, action, endpoint.id, details, at=at, ids=ids, origin=origin)
