"""The storage port: all that a store must promise, so that everything above it can be right.

A store keeps what it is given and enforces uniqueness, append-only tables and locks; it decides
nothing about money. Whoever writes an adapter runs ``neruba_core.testing.contract`` against it.

**A unit of work is atomic and durable.** ``Storage.work()`` commits on a clean exit and only then
returns; on any exception nothing of it remains. What it reads includes what it wrote. Two units may
run at once; what must not interleave is guarded by the promises in the slices' stores (unique keys,
``lock_heads``, ``lock_project``, compare-and-set), each stated where it is declared.

**Savepoints nest.** ``UnitOfWork.savepoint()`` undoes its block, and only its block, when an
exception leaves it; a savepoint that was released is still undone with the unit around it.

**Failures speak our language.** A database that is gone, full, read-only or locked raises
``StorageUnavailable`` or ``StorageBusy``; the unit is then over and nothing of it remains.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from neruba_core.access.store import AccessStore
from neruba_core.audit.store import AuditStore
from neruba_core.billing.store import BillingStore
from neruba_core.idempotency.store import IdempotencyStore
from neruba_core.identity.store import IdentityStore
from neruba_core.invoices.store import InvoiceStore
from neruba_core.ledger.store import LedgerStore
from neruba_core.metering.store import MeteringStore
from neruba_core.outbox.store import OutboxStore
from neruba_core.payments.store import PaymentStore
from neruba_core.pricing.store import PricingStore
from neruba_core.schedule.store import ScheduleStore
from neruba_core.subscriptions.store import SubscriptionStore
from neruba_core.tenancy.store import TenancyStore
from neruba_core.usage.store import UsageStore
from neruba_core.wallets.store import WalletStore


class UnitOfWork(Protocol):
    """The sum of the slices' stores, over one atomic unit."""

    @property
    def identity(self) -> IdentityStore: ...
    @property
    def tenancy(self) -> TenancyStore: ...
    @property
    def access(self) -> AccessStore: ...
    @property
    def audit(self) -> AuditStore: ...
    @property
    def idempotency(self) -> IdempotencyStore: ...
    @property
    def metering(self) -> MeteringStore: ...
    @property
    def usage(self) -> UsageStore: ...
    @property
    def ledger(self) -> LedgerStore: ...
    @property
    def wallets(self) -> WalletStore: ...
    @property
    def pricing(self) -> PricingStore: ...
    @property
    def subscriptions(self) -> SubscriptionStore: ...
    @property
    def invoices(self) -> InvoiceStore: ...
    @property
    def billing(self) -> BillingStore: ...
    @property
    def payments(self) -> PaymentStore: ...
    @property
    def outbox(self) -> OutboxStore: ...
    @property
    def schedule(self) -> ScheduleStore: ...

    def savepoint(self) -> AbstractContextManager[None]:
        """A block that is undone alone when an exception leaves it."""

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """Every tenant row of the project but attempts, tallies and trail: (table name, attrs noun),
        in no particular order. ``neruba_core.storage.export`` makes the canonical text of it."""


class Storage(Protocol):
    """Opens units of work; has no write methods of its own."""

    def work(self) -> AbstractContextManager[UnitOfWork]:
        """A unit that reads and writes."""

    def snapshot(self) -> AbstractContextManager[UnitOfWork]:
        """A unit that only reads, from one consistent moment; a write in it fails."""

    def join(self, connection: Any) -> AbstractContextManager[UnitOfWork]:
        """A unit inside the host's open transaction on *connection*, as a savepoint of it. Commits and
        rolls back with the host; raises ``NotJoinable`` where the host's isolation cannot carry it."""

    def check(self) -> None:
        """Prove that the store answers and has the schema this release works with, or raise
        ``StorageUnavailable`` or ``SchemaOutdated``."""

    def close(self) -> None:
        """Give back connections; safe to call twice."""
