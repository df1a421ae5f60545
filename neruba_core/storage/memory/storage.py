"""The memory store: one unit of work at a time, undone where it fails.

A lock is held from the beginning of a unit to its end, whether it writes or only reads. So a snapshot is
consistent, and every promise about two writers holds because there is never a second one. Opening a unit
inside another on the same thread would wait for itself for ever; it is refused instead.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NoReturn, Self

from attrs import define, field

from neruba_core.errors import NotJoinable, StorageBusy
from neruba_core.storage.memory.access import AccessTables, MemoryAccess
from neruba_core.storage.memory.audit import AuditTables, MemoryAudit
from neruba_core.storage.memory.billing import BillingTables, MemoryBilling
from neruba_core.storage.memory.idempotency import IdempotencyTables, MemoryIdempotency
from neruba_core.storage.memory.identity import IdentityTables, MemoryIdentity
from neruba_core.storage.memory.invoices import InvoiceTables, MemoryInvoices
from neruba_core.storage.memory.ledger import LedgerTables, MemoryLedger
from neruba_core.storage.memory.metering import MemoryMetering, MeteringTables
from neruba_core.storage.memory.outbox import MemoryOutbox, OutboxTables
from neruba_core.storage.memory.payments import MemoryPayments, PaymentTables
from neruba_core.storage.memory.pricing import MemoryPricing, PricingTables
from neruba_core.storage.memory.schedule import MemorySchedule, ScheduleTables
from neruba_core.storage.memory.subscriptions import MemorySubscriptions, SubscriptionTables
from neruba_core.storage.memory.tables import EVERYONE, Undo, UnitClosed
from neruba_core.storage.memory.tenancy import MemoryTenancy, TenancyTables
from neruba_core.storage.memory.usage import MemoryUsage, UsageTables
from neruba_core.storage.memory.wallets import MemoryWallets, WalletTables


@define(eq=False)
class Tables:
    """All that the store keeps, slice by slice."""

    identity: IdentityTables = field(factory=IdentityTables)
    tenancy: TenancyTables = field(factory=TenancyTables)
    access: AccessTables = field(factory=AccessTables)
    audit: AuditTables = field(factory=AuditTables)
    idempotency: IdempotencyTables = field(factory=IdempotencyTables)
    metering: MeteringTables = field(factory=MeteringTables)
    usage: UsageTables = field(factory=UsageTables)
    ledger: LedgerTables = field(factory=LedgerTables)
    wallets: WalletTables = field(factory=WalletTables)
    pricing: PricingTables = field(factory=PricingTables)
    subscriptions: SubscriptionTables = field(factory=SubscriptionTables)
    invoices: InvoiceTables = field(factory=InvoiceTables)
    billing: BillingTables = field(factory=BillingTables)
    payments: PaymentTables = field(factory=PaymentTables)
    outbox: OutboxTables = field(factory=OutboxTables)
    schedule: ScheduleTables = field(factory=ScheduleTables)


class NestedUnit(RuntimeError):
    """A unit of work was opened inside another one on the same thread."""


class _Ended:
    """Stands in for the stores of a unit that is over."""

    def __getattr__(self, name: str) -> NoReturn:
        raise UnitClosed(f"this unit of work is over, so {name}() has nowhere to go; open another")


_ENDED: Any = _Ended()


class MemoryUnit:
    """``UnitOfWork`` over the tables; *undo* takes note of what it changes.

    The stores serve one unit after the other. Each unit is a copy of its own, which ends with it.
    """

    def __init__(self, tables: Tables, undo: Undo) -> None:
        self._tables = tables
        self._undo = undo
        self.identity = MemoryIdentity(tables.identity, undo)
        self.tenancy = MemoryTenancy(tables.tenancy, undo)
        self.access = MemoryAccess(tables.access, undo)
        self.audit = MemoryAudit(tables.audit, undo)
        self.idempotency = MemoryIdempotency(tables.idempotency, undo)
        self.metering = MemoryMetering(tables.metering, undo)
        self.usage = MemoryUsage(tables.usage, undo)
        self.ledger = MemoryLedger(tables.ledger, undo)
        self.wallets = MemoryWallets(tables.wallets, undo, self.ledger)
        self.pricing = MemoryPricing(tables.pricing, undo, self.ledger)
        self.subscriptions = MemorySubscriptions(tables.subscriptions, undo)
        self.invoices = MemoryInvoices(tables.invoices, undo, self.ledger)
        self.billing = MemoryBilling(tables.billing, undo, self.ledger)
        self.payments = MemoryPayments(tables.payments, undo, self.ledger, tables.invoices, self.tenancy)
        self.outbox = MemoryOutbox(tables.outbox, undo)
        self.schedule = MemorySchedule(tables.schedule, undo)
        self._over = dict.fromkeys(vars(self), _ENDED)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        mark = self._undo.mark()
        try:
            yield
        except BaseException:
            self._undo.back_to(mark)
            raise

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        tables = self._tables
        head = tables.ledger.heads.get(project_id)
        exported: list[tuple[str, Any]] = [
            ("projects", tables.tenancy.projects.some(EVERYONE, [project_id]).values()),
            ("members", tables.tenancy.members.ascending(project_id)),
            ("invitations", tables.tenancy.invitations.ascending(project_id)),
            ("access_keys", tables.access.keys.ascending(project_id)),
            ("metrics", tables.metering.metrics.ascending(project_id)),
            ("usage_events", tables.usage.events.ascending(project_id)),
            ("usage_voids", tables.usage.voids.ascending(project_id)),
            ("quarantined", tables.usage.quarantined.ascending(project_id)),
            ("late_holds", tables.usage.holds.ascending(project_id)),
            ("heads", () if head is None else (head,)),
            ("accounts", self.ledger.held(project_id)),
            ("transactions", tables.ledger.transactions.ascending(project_id)),
            ("grants", tables.wallets.grants.ascending(project_id)),
            ("holds", tables.wallets.holds.ascending(project_id)),
            ("prices", self.pricing.export(project_id)),
            ("meters", tables.pricing.meters.ascending(project_id)),
            ("decisions", tables.subscriptions.decisions.ascending(project_id)),
            ("invoices", tables.invoices.invoices.ascending(project_id)),
            ("pdfs", tables.invoices.pdfs.ascending(project_id)),
            ("periods", tables.billing.periods.ascending(project_id)),
            ("runs", tables.billing.runs.ascending(project_id)),
            ("payment_methods", tables.payments.methods.ascending(project_id)),
            ("payments", tables.payments.payments.ascending(project_id)),
            ("refunds", tables.payments.refunds.ascending(project_id)),
            ("allocations", tables.payments.allocations.ascending(project_id)),
            ("collections", tables.payments.collections.ascending(project_id)),
            ("disputes", tables.payments.disputes.ascending(project_id)),
            ("corrections", tables.payments.corrections.ascending(project_id)),
            ("webhook_endpoints", tables.outbox.endpoints.ascending(project_id)),
            ("messages", tables.outbox.messages.ascending(project_id)),
            ("deliveries", tables.outbox.deliveries.ascending(project_id)),
            ("answers", tables.idempotency.answers.ascending(project_id)),
            ("changes", tables.audit.changes.ascending(project_id)),
        ]
        for table, rows in exported:
            for row in rows:
                yield table, row

    def begin(self) -> Self:
        """A unit with these stores, which are no other unit's until it has ended."""
        unit = object.__new__(type(self))
        unit.__dict__ = self.__dict__.copy()
        self._undo.begin()
        return unit

    def end(self, *, keep: bool) -> None:
        """Make sure that nobody goes on with a unit that is over; undo it unless there is what to *keep*."""
        try:
            if not keep:
                self._undo.back_to(0)
        finally:
            self._undo.end()
            self.ledger.unlock_heads()
            self.__dict__ = self._over


@define(eq=False)
class _Gate:
    """Lets one unit in at a time, whoever asks."""

    wait_seconds: float
    lock: threading.Lock = field(factory=threading.Lock)
    holder: int | None = None


@define(eq=False)
class _Opening:
    """The way into a unit and out of it, one for all units of a kind: only one is ever open."""

    _gate: _Gate
    _stores: MemoryUnit
    _unit: MemoryUnit = field(init=False)

    def __enter__(self) -> MemoryUnit:
        gate, me = self._gate, threading.get_ident()
        if gate.holder == me:
            raise NestedUnit(
                "a unit of work is open on this thread already and would wait for itself; "
                "use the open one, or its savepoint()"
            )
        # Waiting takes three times as long as looking, and mostly nobody is in.
        if not (gate.lock.acquire(blocking=False) or gate.lock.acquire(timeout=gate.wait_seconds)):
            raise StorageBusy(f"another unit of work took longer than {gate.wait_seconds:g} s")
        gate.holder = me
        self._unit = unit = self._stores.begin()
        return unit

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._unit.end(keep=kind is None)
        finally:
            self._gate.holder = None
            self._gate.lock.release()


class MemoryStorage:
    """``Storage`` in this process's memory, empty at first and gone with the object.

    A thread waits at most *wait_seconds* for the units of others, then gets ``StorageBusy``.
    """

    def __init__(self, *, wait_seconds: float = 30.0) -> None:
        tables = Tables()
        gate = _Gate(wait_seconds)
        self._work = _Opening(gate, MemoryUnit(tables, Undo()))
        self._snapshot = _Opening(gate, MemoryUnit(tables, Undo(writing=False)))

    def work(self) -> AbstractContextManager[MemoryUnit]:
        """A unit that reads and writes; see ``Storage.work``."""
        return self._work

    def snapshot(self) -> AbstractContextManager[MemoryUnit]:
        """A unit that only reads; see ``Storage.snapshot``."""
        return self._snapshot

    def join(self, connection: Any) -> AbstractContextManager[MemoryUnit]:
        """Raises ``NotJoinable``: there is no host transaction that memory could be part of."""
        raise NotJoinable(
            "memory storage has no connections; use SQL storage on the database that holds your own rows"
        )

    def check(self) -> None:
        """Memory always answers."""

    def close(self) -> None:
        """There is nothing to give back."""
