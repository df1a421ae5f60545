"""One project and its months, spoken to in few words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from neruba_core import money
from neruba_core.billing.results import RunResult
from neruba_core.instants import Instant
from neruba_core.invoices.model import Invoice
from neruba_core.ledger.model import Transaction
from neruba_core.ledger.sweep import Sweep
from neruba_core.storage.export import export
from neruba_core.testing.builders import Rehearsal

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)
GRACE = timedelta(days=1)
DAY = timedelta(days=1)


class Months:
    """Every command gets a key of its own; amounts are text in and text out."""

    def __init__(self, billing: Rehearsal, **details: Any) -> None:
        self.billing = billing
        self.id = billing.projects.create(name="Acme", **details).id
        self._keys = (f"key-{number}" for number in count())

    # --- doing --------------------------------------------------------------------------------

    def set(self, **changes: Any) -> None:
        self.billing.projects.update(self.id, **changes)

    def at(self, moment: Instant) -> None:
        """Move the clock without any run that falls due on the way."""
        stops = self.billing.clock._stops
        self.billing.clock.stop_for(None)
        self.billing.clock.set(moment)
        self.billing.clock.stop_for(stops)

    def price(self, metric: str = "tokens", model: str = "unit", **fields: Any) -> None:
        if metric not in {each.key for each in self.billing.metrics.list(self.id)}:
            self.billing.metrics.declare(self.id, key=metric, aggregation="sum")
        self.billing.prices.create(
            self.id, metric_key=metric, model=model, **{"effective_from": MARCH - 365 * DAY, **fields}
        )

    def use(self, units: str, when: Instant = MARCH, metric: str = "tokens", **fields: Any) -> str:
        outcome = self.billing.usage.record(
            self.id,
            metric_key=metric,
            units=units,
            timestamp=when,
            **{"idempotency_key": next(self._keys), **fields},
        )
        return outcome.value.id

    def void_usage(self, usage_id: str) -> None:
        self.billing.usage.void(self.id, usage_id, reason="wrong")

    def credit(self, amount: str, **details: Any) -> Transaction:
        return self.billing.wallets.credit(
            self.id, amount=amount, description="Launch", idempotency_key=next(self._keys), **details
        ).value

    def charge(self, amount: str) -> Transaction:
        return self.billing.charges.charge(
            self.id, amount=amount, description="GPU", idempotency_key=next(self._keys)
        ).value

    def reverse(self, charged: Transaction, amount: str | None = None) -> Transaction:
        return self.billing.wallets.reverse(
            self.id, charged.id, reason="wrong", amount=amount, idempotency_key=next(self._keys)
        ).value

    def run(self, period: str = "2026-03", **options: Any) -> RunResult:
        return self.billing.billing.run(self.id, period, **options)

    def bill(self, period: str = "2026-03", **options: Any) -> Invoice:
        """Run the period and give its invoice, which there must be."""
        invoice = self.run(period, **options).invoice
        assert invoice is not None
        return invoice

    def void(self, invoice: Invoice) -> Invoice:
        return self.billing.invoices.void(self.id, invoice.id, reason="wrong")

    # --- seeing -------------------------------------------------------------------------------

    @property
    def balance(self) -> str:
        return str(self.billing.wallets.get(self.id).balance)

    @property
    def accounts(self) -> dict[str, str]:
        """Debit positive, as far as they hold anything; the wallet's as one."""
        found: dict[str, int] = {}
        for each in self.billing.ledger.trial_balance(self.id).accounts:
            name = "wallet" if each.account.startswith("wallet:") else each.account
            found[name] = found.get(name, 0) + each.debit_micros - each.credit_micros
        return {name: money.text(micros) for name, micros in found.items()}

    @property
    def sweep(self) -> Sweep:
        return self.billing.ledger.sweep(self.id)

    @property
    def state(self) -> list[str]:
        """The canonical export."""
        with self.billing._context.storage.snapshot() as work:
            return list(export(work, self.id))


def lines(invoice: Invoice | None) -> list[tuple[str, str | None, str]]:
    """Kind, metric and amount of each line."""
    assert invoice is not None
    return [(line.kind.value, line.metric_key, money.text(line.amount_micros)) for line in invoice.lines]


def figures(invoice: Invoice | None) -> dict[str, str]:
    """The sums that are not zero."""
    assert invoice is not None
    found = {
        "subtotal": invoice.subtotal_micros,
        "tax": invoice.tax_micros,
        "total": invoice.total_micros,
        "drawn": invoice.already_drawn_micros,
        "credit": invoice.credit_applied_micros,
        "overdraft": invoice.overdraft_billed_micros,
        "granted": invoice.credit_granted_micros,
        "rounding": invoice.rounding_micros,
        "due": invoice.amount_due_micros,
    }
    return {name: money.text(micros) for name, micros in found.items() if micros}
