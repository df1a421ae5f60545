"""Webhook endpoints, and what became of messages to them."""

from __future__ import annotations

from typing import Annotated, Any

from attrs import frozen
from msgspec import Meta

from neruba_core.outbox.endpoints import WithSecret
from neruba_core.outbox.model import Delivery as CoreDelivery
from neruba_core.outbox.model import DeliveryAttempt, DeliveryState, MessageType
from neruba_core.outbox.model import Endpoint as CoreEndpoint
from neruba_server.wire.kinds import Hours, Moment, Name

Types = Annotated[tuple[MessageType, ...], Meta(extra_json_schema={"uniqueItems": True})]


@frozen
class NewWebhookEndpoint:
    """Where messages are to go; without types, all of them. The URL is https and public; outside production
    http to this machine will do."""

    url: Name
    message_types: Types | None = None


@frozen
class SecretRotation:
    """For how long messages are signed with the old secret too; a day unless told otherwise."""

    overlap_hours: Hours | None = None


@frozen
class WebhookEndpoint:
    """An endpoint without its secret. ``failingSince`` is when it began to do nothing but fail; to one that
    is disabled nothing is sent but what somebody sends by hand."""

    id: str
    project_id: str
    url: str
    message_types: tuple[MessageType, ...]
    created_at: Moment
    failing_since: Moment | None
    disabled_at: Moment | None
    disabled_reason: str | None

    @classmethod
    def of(cls, endpoint: CoreEndpoint) -> WebhookEndpoint:
        """The endpoint as people see it."""
        return cls(**_told(endpoint))


@frozen
class WebhookEndpointWithSecret(WebhookEndpoint):
    """An endpoint; ``secret`` appears in this one answer only."""

    secret: str | None

    @classmethod
    def of_made(cls, made: WithSecret, *, with_secret: bool) -> WebhookEndpointWithSecret:
        """The endpoint, with its secret if this is the one time to show it."""
        return cls(**_told(made.endpoint), secret=made.secret if with_secret else None)


def _told(endpoint: CoreEndpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "project_id": endpoint.project_id,
        "url": endpoint.url,
        "message_types": endpoint.message_types,
        "created_at": endpoint.created_at,
        "failing_since": endpoint.failing_since,
        "disabled_at": endpoint.disabled_at,
        "disabled_reason": endpoint.disabled_reason,
    }


@frozen
class WebhookEndpoints:
    """Endpoints, newest first."""

    items: tuple[WebhookEndpoint, ...]
    next_cursor: str | None


@frozen
class WebhookAttempt:
    """One request to the endpoint: the status that it answered, or what kept it from that."""

    at: Moment
    milliseconds: int
    status: int | None
    error: str | None

    @classmethod
    def of(cls, attempt: DeliveryAttempt) -> WebhookAttempt:
        """The attempt as people see it."""
        return cls(attempt.at, attempt.milliseconds, attempt.status, attempt.error)


@frozen
class WebhookDelivery:
    """One message on its way to one endpoint. ``messageId`` is sent as ``webhook-id``, the same in every
    attempt; ``nextAttemptAt`` is set while it is pending."""

    id: str
    endpoint_id: str
    message_id: str
    type: str
    state: DeliveryState
    tried: int
    next_attempt_at: Moment | None
    created_at: Moment
    ended_at: Moment | None
    attempts: tuple[WebhookAttempt, ...]

    @classmethod
    def of(cls, delivery: CoreDelivery) -> WebhookDelivery:
        """The delivery as people see it."""
        return cls(
            id=delivery.id,
            endpoint_id=delivery.endpoint_id,
            message_id=delivery.message_id,
            type=delivery.type,
            state=delivery.state,
            tried=delivery.tried,
            next_attempt_at=delivery.due_at if delivery.state is DeliveryState.PENDING else None,
            created_at=delivery.created_at,
            ended_at=delivery.ended_at,
            attempts=tuple(WebhookAttempt.of(attempt) for attempt in delivery.attempts),
        )


@frozen
class WebhookDeliveries:
    """Deliveries, newest first, each with its latest attempts, oldest first."""

    items: tuple[WebhookDelivery, ...]
    next_cursor: str | None
