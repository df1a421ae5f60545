"""Grants, the credit lots of a wallet. What was drawn from them are the entries on their accounts."""

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
    """A lot of credit, immutable; what remains of it is the balance of ``wallet:{id}``.

    *succeeds* names the expired grant in whose place this one was opened, to give back what it had lost.
    """

    project_id: str
    id: str
    kind: GrantKind
    priority: int
    amount_micros: int
    effective_at: Instant
    expires_at: Instant | None
    transaction_id: str
    succeeds: str | None = None

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
