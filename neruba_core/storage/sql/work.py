"""One unit of work: the stores of all slices over the statements of one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from attrs import frozen

from neruba_core.storage.sql.access import SqlAccess
from neruba_core.storage.sql.audit import SqlAudit
from neruba_core.storage.sql.billing import SqlBilling
from neruba_core.storage.sql.idempotency import SqlIdempotency
from neruba_core.storage.sql.identity import SqlIdentity
from neruba_core.storage.sql.invoices import SqlInvoices
from neruba_core.storage.sql.ledger import SqlLedger
from neruba_core.storage.sql.metering import SqlMetering
from neruba_core.storage.sql.outbox import SqlOutbox
from neruba_core.storage.sql.payments import SqlPayments
from neruba_core.storage.sql.pricing import SqlPricing
from neruba_core.storage.sql.schedule import SqlSchedule
from neruba_core.storage.sql.statements import Statements
from neruba_core.storage.sql.subscriptions import SqlSubscriptions
from neruba_core.storage.sql.tenancy import SqlTenancy
from neruba_core.storage.sql.usage import SqlUsage
from neruba_core.storage.sql.wallets import SqlWallets


@frozen
class SqlWork:
    """``UnitOfWork``; the stores keep no state, so they are made when they are asked for."""

    _statements: Statements

    @property
    def identity(self) -> SqlIdentity:
        return SqlIdentity(self._statements)

    @property
    def tenancy(self) -> SqlTenancy:
        return SqlTenancy(self._statements)

    @property
    def access(self) -> SqlAccess:
        return SqlAccess(self._statements)

    @property
    def audit(self) -> SqlAudit:
        return SqlAudit(self._statements)

    @property
    def idempotency(self) -> SqlIdempotency:
        return SqlIdempotency(self._statements)

    @property
    def metering(self) -> SqlMetering:
        return SqlMetering(self._statements)

    @property
    def usage(self) -> SqlUsage:
        return SqlUsage(self._statements)

    @property
    def ledger(self) -> SqlLedger:
        return SqlLedger(self._statements)

    @property
    def wallets(self) -> SqlWallets:
        return SqlWallets(self._statements)

    @property
    def pricing(self) -> SqlPricing:
        return SqlPricing(self._statements)

    @property
    def subscriptions(self) -> SqlSubscriptions:
        return SqlSubscriptions(self._statements)

    @property
    def invoices(self) -> SqlInvoices:
        return SqlInvoices(self._statements)

    @property
    def billing(self) -> SqlBilling:
        return SqlBilling(self._statements)

    @property
    def payments(self) -> SqlPayments:
        return SqlPayments(self._statements)

    @property
    def outbox(self) -> SqlOutbox:
        return SqlOutbox(self._statements)

    @property
    def schedule(self) -> SqlSchedule:
        return SqlSchedule(self._statements)

    def savepoint(self) -> AbstractContextManager[None]:
        """A block that is undone alone when an exception leaves it."""
        return self._statements.savepoint()

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """Every tenant row of the project but attempts, tallies and trail."""
        stores = (
            self.tenancy, self.access, self.audit, self.idempotency,
            self.metering, self.usage, self.ledger, self.wallets,
            self.pricing, self.subscriptions, self.invoices, self.billing, self.payments, self.outbox,
        )  # fmt: skip
        for store in stores:
            yield from store.export(project_id)
