"""Endpoints that listen to a project, messages to them, and what became of each delivery."""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

from neruba_core.instants import Instant

TEST_TYPE = "webhook.test"
"""The type of a message that somebody sends to see whether an endpoint answers."""


class MessageType(StrEnum):
    """What happens in a project that others may want to hear of."""

    USAGE_QUARANTINED = "usage.quarantined"
    WALLET_LOW = "wallet.low"
    WALLET_TOPPED_UP = "wallet.topped_up"
    HOLD_EXPIRED = "hold.expired"
    CHARGE_CREATED = "charge.created"
    CREDIT_GRANTED = "credit.granted"
    INVOICE_DRAFT = "invoice.draft"
    INVOICE_FINALIZED = "invoice.finalized"
    INVOICE_PAID = "invoice.paid"
    INVOICE_VOIDED = "invoice.voided"
    PAYMENT_SUCCEEDED = "payment.succeeded"
    PAYMENT_FAILED = "payment.failed"
    PAYMENT_REFUNDED = "payment.refunded"
    KEY_EXPIRING = "key.expiring"


class DeliveryState(StrEnum):
    """Where a delivery stands: *dead* was given up, *cancelled* lost its endpoint."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


@frozen
class Salt:
    """What an endpoint's secret is derived from, together with the deployment's pepper; *ends_at* is set
    once it has a successor."""

    value: str
    ends_at: Instant | None = None


@frozen
class Endpoint:
    """Where messages of a project go. No *message_types* means all of them.

    *failing_since* is when the first of an unbroken row of failures was; *disabled_at* is set while nothing
    is sent to it but what somebody sends by hand.
    """

    project_id: str
    id: str
    url: str
    message_types: tuple[MessageType, ...]
    salts: tuple[Salt, ...] = field(repr=False)
    created_at: Instant
    created_by: str
    failing_since: Instant | None = None
    disabled_at: Instant | None = None
    disabled_reason: str | None = None
    deleted_at: Instant | None = None

    def takes(self, type: MessageType) -> bool:
        """Whether the endpoint wants messages of *type*."""
        return not self.message_types or type in self.message_types

    def salts_at(self, at: Instant) -> tuple[Salt, ...]:
        """Those that sign at *at*, newest first."""
        return tuple(salt for salt in self.salts if salt.ends_at is None or at < salt.ends_at)


@frozen
class Message:
    """What is told: *body* is the JSON text that is sent, the same in every attempt.

    *sequence* counts the messages of the project from 1 in the order of their commits.
    """

    project_id: str
    id: str
    sequence: int
    type: str
    body: str
    created_at: Instant


@frozen
class DeliveryAttempt:
    """One request to an endpoint: the *status* that it answered, or the *error* that kept it from that."""

    at: Instant
    milliseconds: int
    status: int | None = None
    error: str | None = None


@frozen
class Delivery:
    """One message on its way to one endpoint.

    While it is pending, *due_at* is when it is sent next. Whoever sends it claims it before: *claim* is
    theirs, and *due_at* is when another may try if they are never heard of again. *tried* counts the
    attempts since it was begun, or begun anew *by_hand*; *attempts* are the latest of all.
    """

    project_id: str
    id: str
    endpoint_id: str
    message_id: str
    type: str
    state: DeliveryState
    tried: int
    due_at: Instant
    created_at: Instant
    ended_at: Instant | None = None
    by_hand: bool = False
    claim: str | None = None
    attempts: tuple[DeliveryAttempt, ...] = ()
