"""Grants, the credit lots of a wallet, and the draws that spend them."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from neruba_core.instants import Instant


class GrantKind(StrEnum):
    """Where a grant's credit came from; it decides the account against it and the spending order."""

    PROMOTIONAL = "promotional"
    PAID = "paid"
    GOODWILL = "goodwill"


@frozen
class Grant:
    """A lot of credit, immutable; what remains of it is the balance of ``wallet:{id}``."""

    project_id: str
    id: str
    kind: GrantKind
    priority: int
    amount_micros: int
    effective_at: Instant
    expires_at: Instant | None
    transaction_id: str

    @property
    def account(self) -> str:
        """The ledger account that holds what remains of the grant."""
        return f"wallet:{self.id}"


@frozen
class Lot:
    """A grant and what remains of it."""

    grant: Grant
    remaining_micros: int

    def expired(self, at: Instant) -> bool:
        """Periods are half-open: a grant that expires now is gone."""
        return self.grant.expires_at is not None and self.grant.expires_at <= at


@frozen
class Draw:
    """What a transaction took from a grant, in the order it took it; below zero what it gave back.

    *grant_id* is ``None`` for the share that went to, or came out of, the overdraft. In a reversal
    *reverses_grant_id* names the grant that was originally drawn, where a new one had to be opened.
    """

    project_id: str
    transaction_id: str
    number: int
    grant_id: str | None
    micros: int
    reverses_grant_id: str | None = None
