"""Receivables by age, credit notes and write-offs; what is receivable is what invoices say is open."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neruba_core import money
from neruba_core.errors import (
    CreditNoteExceedsInvoice,
    InvoiceNotIssued,
    InvoiceSettled,
    NerubaError,
    WriteOffExceedsOpen,
)
from neruba_core.idempotency.outcomes import Replayed
from neruba_core.storage.memory.storage import MemoryStorage
from neruba_core.testing.builders import Rehearsal
from tests.core.billing.stage import DAY
from tests.core.payments.stage import Till

# --- ageing -----------------------------------------------------------------------------------


def buckets(till: Till) -> list[tuple[int, int | None, int, str]]:
    found = till.billing.receivables.of(till.id).buckets
    return [(each.first_day, each.last_day, each.invoices, money.text(each.open_micros)) for each in found]


def test_receivables_are_sorted_by_age(acme):
    """
    By whole days since the invoice was finalized; what is partly paid counts with the rest.
    """
    first, second = acme.owe("10"), acme.owe("20")
    acme.pay("4", first)
    finalized = second.finalized_at

    acme.at(finalized + 30 * DAY)
    assert buckets(acme) == [
        (0, 30, 1, "20.000000"),
        (31, 60, 1, "6.000000"),
        (61, 90, 0, "0.000000"),
        (91, None, 0, "0.000000"),
    ]
    acme.at(finalized + 31 * DAY)
    assert [row[2] for row in buckets(acme)] == [0, 1, 1, 0]
    acme.at(finalized + 300 * DAY)

    found = acme.billing.receivables.of(acme.id)
    assert [row[2] for row in buckets(acme)] == [0, 0, 0, 2]
    assert [(each.invoice.id, each.days) for each in found.invoices] == [
        (first.id, (acme.billing.clock() - first.finalized_at).days),
        (second.id, 300),
    ]
    assert found.open_micros == 26_000_000


# --- credit notes -----------------------------------------------------------------------------


def test_a_credit_note_takes_off_what_is_open(acme):
    """
    With the tax that is not owed any more.
    """
    acme.set(tax_rate="0.25")
    invoice = acme.owe("100")
    assert acme.accounts["receivable"] == "125.000000"

    note = acme.credit_note(invoice, "25")

    assert (note.number, note.tax_micros, note.granted_micros) == (1, 5_000_000, 0)
    assert acme.stands(invoice) == ("finalized", "100.000000")
    assert acme.accounts == {
        "receivable": "100.000000",
        "revenue:tokens": "-100.000000",
        "tax_payable": "-20.000000",
        "credit_notes": "20.000000",
    }
    assert acme.proved()


def test_the_tax_of_all_notes_together_is_rounded_once(acme):
    """
    A hundred small notes take back the tax of one large one.
    """
    acme.set(tax_rate="0.19")
    invoice = acme.owe("1")

    for _ in range(119):
        acme.credit_note(invoice, "0.01")

    assert acme.stands(invoice) == ("paid", "0.000000")
    assert acme.accounts.get("tax_payable", "0.000000") == "0.000000"
    assert acme.accounts["credit_notes"] == "1.000000"
    with pytest.raises(CreditNoteExceedsInvoice):
        acme.credit_note(invoice, "0.01")
    assert acme.proved()


def test_what_has_been_paid_already_becomes_goodwill(acme):
    """
    The rest of the note after what is open.
    """
    invoice = acme.owe("100")
    acme.pay("90", invoice)

    note = acme.credit_note(invoice, "30")

    assert (note.settled_micros, note.granted_micros) == (10_000_000, 20_000_000)
    assert acme.stands(invoice) == ("paid", "0.000000")
    (grant,) = acme.billing.wallets.get(acme.id).grants
    assert (grant.id, grant.kind.value) == (note.grant_id, "goodwill")
    assert acme.balance == "20.000000"
    assert acme.proved()


def test_what_a_note_for_late_usage_took_off_is_not_credited_again(acme):
    """
    All notes together come to the invoice, and take back its tax.
    """
    acme.set(tax_rate="0.25", late_usage_policy="credit_note")
    usage_id = acme.use("60")
    invoice = acme.owe("20")
    acme.void_usage(usage_id)
    acme.run()

    with pytest.raises(CreditNoteExceedsInvoice, match=r"only 25\.000000"):
        acme.credit_note(invoice, "25.01")
    note = acme.credit_note(invoice, "25")

    assert (note.tax_micros, note.granted_micros) == (5_000_000, 0)
    assert acme.stands(invoice) == ("paid", "0.000000")
    assert acme.accounts == {"revenue:tokens": "-80.000000", "credit_notes": "80.000000"}
    assert acme.proved()


def test_what_was_written_off_is_not_credited(acme):
    """
    It never came; only what was paid may be given back.
    """
    invoice = acme.owe("100")
    acme.pay("60", invoice)
    acme.write_off(invoice)

    with pytest.raises(CreditNoteExceedsInvoice, match=r"only 60\.000000"):
        acme.credit_note(invoice, "60.01")
    acme.credit_note(invoice, "60")

    assert acme.balance == "60.000000"
    assert acme.proved()


def test_credit_notes_together_come_to_the_invoice_at_most(acme):
    """
    Whatever has been paid of it.
    """
    invoice = acme.owe("100")
    acme.credit_note(invoice, "60")

    with pytest.raises(CreditNoteExceedsInvoice, match=r"only 40\.000000"):
        acme.credit_note(invoice, "40.01")
    acme.credit_note(invoice, "40")

    assert acme.stands(invoice) == ("paid", "0.000000")
    assert [each.number for each in acme.billing.receivables.corrections(acme.id, invoice.id)] == [1, 2]


def test_the_same_key_credits_once(acme):
    """
    The same request gives the same note.
    """
    invoice = acme.owe("100")
    fields = {"amount": "10", "reason": "too much", "idempotency_key": "note"}

    first = acme.billing.receivables.credit_note(acme.id, invoice.id, **fields)
    again = acme.billing.receivables.credit_note(acme.id, invoice.id, **fields)

    assert again == Replayed(first.value)
    assert acme.stands(invoice)[1] == "90.000000"


def test_a_draft_is_not_credited(acme):
    """
    Its next run makes it anew.
    """
    acme.use("5")
    draft = acme.bill(finalize=False)

    with pytest.raises(InvoiceNotIssued):
        acme.credit_note(draft, "1")
    with pytest.raises(InvoiceNotIssued):
        acme.write_off(draft)


# --- write-offs -------------------------------------------------------------------------------


def test_what_nobody_will_pay_is_written_off(acme):
    """
    All that is open, or a part.
    """
    invoice = acme.owe("100")
    acme.pay("30", invoice)

    acme.write_off(invoice, "10")
    assert acme.stands(invoice) == ("finalized", "60.000000")
    with pytest.raises(WriteOffExceedsOpen, match=r"only 60\.000000"):
        acme.write_off(invoice, "60.01")
    written = acme.write_off(invoice)

    assert written.amount_micros == 60_000_000
    assert acme.accounts["bad_debt"] == "70.000000"
    assert acme.stands(invoice) == ("paid", "0.000000")
    with pytest.raises(InvoiceSettled):
        acme.write_off(invoice)
    assert acme.proved()


# --- all together -----------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(("owe", "pay", "pay", "top_up", "refund", "credit_note", "write_off", "charge")),
        st.integers(min_value=1, max_value=4_000),
        st.integers(min_value=0, max_value=5),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_what_is_receivable_is_what_invoices_say_is_open(steps):
    """
    Whatever is billed, paid, given back, credited or written off, and in whichever order.
    """
    till = Till(Rehearsal(MemoryStorage()), credit_limit="20")
    invoices: list[Any] = []
    payments: list[Any] = []
    for step, cents, which in steps:
        amount = f"{cents / 100:.2f}"
        invoice = invoices[which % len(invoices)] if invoices else None
        with suppress(NerubaError):
            if step == "owe" and len(invoices) < 6:
                invoices.append(till.owe(amount))
            elif step == "top_up":
                payments.append(till.pay(amount))
            elif step == "charge":
                till.charge(amount)
            elif step == "refund" and payments:
                till.refund(payments[which % len(payments)], amount)
            elif step == "pay" and invoice:
                payments.append(till.pay(amount, invoice))
            elif step == "credit_note" and invoice:
                till.credit_note(invoice, amount)
            elif step == "write_off" and invoice:
                till.write_off(invoice, amount)
        assert till.proved()
