"""One project with months to bill, and a till, spoken to in few words."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from neruba_core import money
from neruba_core.invoices.model import Invoice
from neruba_core.payments.model import Correction, Payment, Refund
from neruba_core.testing.builders import Rehearsal
from tests.core.billing.stage import MARCH, Months


class Till(Months):
    """Units cost one unit of the currency, so that an invoice is for what was used."""

    def __init__(self, billing: Rehearsal, **details: Any) -> None:
        super().__init__(billing, **details)
        self.price(unit_amount="1")
        self._month = 0

    # --- doing --------------------------------------------------------------------------------

    def owe(self, amount: str) -> Invoice:
        """The invoice of the next month, finalized, for *amount*."""
        start = MARCH.replace(month=MARCH.month + self._month)
        self._month += 1
        self.use(amount, start)
        after = start.replace(month=start.month + 1) + timedelta(days=1)
        if self.billing.clock() < after:
            self.at(after)
        return self.bill(f"{start:%Y-%m}", finalize=True)

    def pay(self, amount: str, invoice: Invoice | None = None, **fields: Any) -> Payment:
        return self.billing.payments.pay(
            self.id,
            amount=amount,
            invoice_id=None if invoice is None else invoice.id,
            **{"idempotency_key": next(self._keys), **fields},
        ).value

    def refund(self, payment: Payment, amount: str) -> Refund:
        return self.billing.payments.refund(
            self.id, payment.id, amount=amount, reason="asked for", idempotency_key=next(self._keys)
        ).value

    def credit_note(self, invoice: Invoice, amount: str) -> Correction:
        return self.billing.receivables.credit_note(
            self.id, invoice.id, amount=amount, reason="too much", idempotency_key=next(self._keys)
        ).value

    def write_off(self, invoice: Invoice, amount: str | None = None) -> Correction:
        return self.billing.receivables.write_off(
            self.id, invoice.id, amount=amount, reason="bankrupt", idempotency_key=next(self._keys)
        ).value

    # --- seeing -------------------------------------------------------------------------------

    def stands(self, invoice: Invoice) -> tuple[str, str]:
        """The state of the invoice, and what of it is open."""
        found = self.billing.invoices.get(self.id, invoice.id)
        return found.state.value, money.text(found.open_micros)

    def allocated(self, payment: Payment) -> dict[str, str]:
        """What the payment settles of which invoices."""
        found: dict[str, int] = {}
        for each in self.billing.payments.allocations(self.id, payment.id):
            found[each.invoice_id] = found.get(each.invoice_id, 0) + each.micros
        return {invoice_id: money.text(micros) for invoice_id, micros in found.items() if micros}

    def proved(self) -> bool:
        """Whether the books are right, and say of what is open what the invoices say."""
        with self.billing._context.storage.snapshot() as work:
            head = work.ledger.head(self.id)
        assert head is not None
        open_micros = self.billing.receivables.of(self.id).open_micros
        return self.sweep.balanced and head.receivable_micros == open_micros
