"""Credit notes by hand beside those that runs make for late usage: nothing is given back twice."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neruba_core import money
from neruba_core.errors import CreditNoteExceedsInvoice, InvoiceNotVoidable, NerubaError
from neruba_core.invoices.model import Invoice, InvoiceKind
from neruba_core.invoices.spoken import spoken
from neruba_core.testing.builders import rehearsal
from tests.core.billing.stage import MARCH, figures, lines
from tests.core.payments.stage import Till


@pytest.fixture
def billed(acme):
    """March came to 120, tax included: 80 tokens and 20 more at 1.00. Late usage has documents of its own."""
    acme.set(late_usage_policy="credit_note", tax_rate="0.2")
    acme.large = acme.use("80")
    acme.march = acme.owe("20")
    return acme


def late_documents(till: Till) -> list[Invoice]:
    """What the run of March issues beside its invoice."""
    return list(till.run().documents[1:])


def test_what_was_credited_by_hand_is_not_given_back_again(billed):
    """
    All of it was: the run has nothing to give back, and says so again.
    """
    billed.credit_note(billed.march, "120")
    billed.void_usage(billed.large)

    assert late_documents(billed) == []
    assert billed.run().run.unchanged
    assert billed.balance == "0.000000"
    assert billed.proved()


def test_a_note_gives_back_what_is_left(billed):
    """
    Net and tax, to the last micro-unit; its lines say why it is no more.
    """
    billed.credit_note(billed.march, "60")
    billed.void_usage(billed.large)

    (note,) = late_documents(billed)

    assert lines(note) == [("adjustment", "tokens", "-50.000000"), ("tax", None, "-10.000000")]
    assert figures(note)["due"] == "-60.000000"
    assert [part["amount"] for part in note.lines[0].workings["parts"]] == ["20", "-100", "30"]
    words = spoken(billed.billing.invoices.explain(billed.id, note.id))
    assert "credited or written off by hand" in words
    assert billed.stands(billed.march) == ("paid", "0.000000")
    assert billed.accounts == {"revenue:tokens": "-100.000000", "credit_notes": "100.000000"}
    assert billed.run().run.unchanged
    with pytest.raises(CreditNoteExceedsInvoice, match=r"only 0\.000000"):
        billed.credit_note(billed.march, "0.01")
    assert billed.proved()


def test_the_rest_is_taken_off_what_comes_later_still(acme):
    """
    In the end March is worth 50, of which 40 were credited by hand.
    """
    acme.set(late_usage_policy="credit_note")
    acme.credit_note(acme.owe("100"), "40")
    (event,) = acme.billing.usage.events(acme.id).items
    acme.void_usage(event.id)
    first = late_documents(acme)
    acme.use("50")

    second = late_documents(acme)

    assert [lines(each) for each in first] == [[("adjustment", "tokens", "-60.000000")]]
    assert [lines(each) for each in second] == [[("adjustment", "tokens", "10.000000")]]
    assert acme.run().run.unchanged
    assert acme.billing.receivables.of(acme.id).open_micros == 10_000_000
    assert acme.proved()


def test_what_was_written_off_is_not_given_back_either(billed):
    """
    It never came.
    """
    billed.write_off(billed.march)
    billed.void_usage(billed.large)

    assert late_documents(billed) == []
    assert billed.balance == "0.000000"
    assert billed.proved()


def test_a_supplement_counts_with_the_invoice_that_it_is_about(billed):
    """
    A note may take off what either of them billed; by hand, each is credited as far as it goes.
    """
    more = billed.use("30")
    (supplement,) = late_documents(billed)
    billed.void_usage(more)
    billed.void_usage(billed.large)
    (note,) = late_documents(billed)

    with pytest.raises(CreditNoteExceedsInvoice, match=r"only 24\.000000"):
        billed.credit_note(billed.march, "24.01")
    billed.credit_note(billed.march, "4")
    with pytest.raises(CreditNoteExceedsInvoice, match=r"only 20\.000000"):
        billed.credit_note(supplement, "20.01")
    billed.credit_note(supplement, "20")

    assert note.total_micros == -132_000_000
    assert billed.accounts.get("tax_payable", "0.000000") == "0.000000"
    assert billed.proved()


def test_what_prepaid_usage_had_drawn_is_told_in_any_case(acme):
    """
    The wallet has it back since the event was voided; the note moves no money.
    """
    acme.set(late_usage_policy="credit_note", billing_mode="prepaid")
    acme.at(MARCH)
    acme.credit("100")
    usage_id = acme.use("30")
    invoice = acme.owe("5")
    acme.credit_note(invoice, "35")
    acme.void_usage(usage_id)

    (note,) = late_documents(acme)

    assert figures(note) == {"subtotal": "-30.000000", "total": "-30.000000", "drawn": "-30.000000"}
    assert acme.balance == "130.000000"
    assert acme.proved()


def test_what_was_credited_by_hand_is_not_voided(acme):
    """
    Even where nothing was open, so that all of the note became credit.
    """
    acme.at(MARCH)
    acme.credit("100")
    invoice = acme.owe("40")
    acme.credit_note(invoice, "40")

    with pytest.raises(InvoiceNotVoidable, match="paid or credited"):
        acme.void(invoice)

    assert acme.balance == "100.000000"


# --- in any order -----------------------------------------------------------------------------

BILLS = (InvoiceKind.INVOICE, InvoiceKind.SUPPLEMENTARY)

STEPS = st.lists(
    st.tuples(
        st.sampled_from(("use", "use", "void", "void", "run", "run", "note", "note", "pay")),
        st.integers(1, 5_000),
        st.integers(0, 9),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["0", "0.19", "0.333333"]), st.integers(0, 50_000_000), STEPS)
def test_credit_notes_come_to_the_invoice_at_most(rate, first, steps):
    """
    Whatever is credited by hand, voided and late, and in whichever order: all notes about what a month was
    billed for come to that at most. In the end the month costs what it is worth less what was credited by
    hand, or nothing.
    """
    till = Till(rehearsal(runs_due=False))
    till.set(late_usage_policy="credit_note", tax_rate=rate)
    usage = [(till.use(money.text(first)), first)]
    till.owe("1")

    def documents(*kinds: InvoiceKind) -> list[Invoice]:
        found = till.billing.invoices.list(till.id, limit=200).items
        return [each for each in found if each.kind in kinds]

    def by_hand(invoice: Invoice) -> int:
        found = till.billing.receivables.corrections(till.id, invoice.id)
        return sum(each.amount_micros for each in found)

    def sums() -> tuple[int, int, int]:
        """What was billed, noted by runs, and corrected by hand."""
        bills, notes = documents(*BILLS), documents(InvoiceKind.CREDIT_NOTE)
        return (
            sum(each.total_micros for each in bills),
            -sum(each.total_micros for each in notes),
            sum(by_hand(each) for each in bills),
        )

    for step, cents, which in [*steps, ("run", 0, 0)]:
        amount, bills = f"{cents / 100:.2f}", documents(*BILLS)
        bill = bills[which % len(bills)]
        with suppress(NerubaError):
            match step:
                case "use":
                    # Not whole cents.
                    usage.append((till.use(f"{cents / 100 + 0.000003:.6f}"), cents * 10_000 + 3))
                case "void" if usage:
                    till.void_usage(usage.pop(which % len(usage))[0])
                case "note":
                    till.credit_note(bill, amount)
                case "run":
                    till.run()
                case "pay":
                    till.pay(amount, bill)
        billed, noted, corrected = sums()
        assert noted + corrected <= billed
        assert all(by_hand(each) <= each.total_micros for each in documents(*BILLS))
        assert till.proved()
    assert till.run().run.unchanged
    billed, noted, corrected = sums()
    worth = sum(micros for _, micros in usage) + 1_000_000
    worth += round(worth * float(rate))
    rounded = len(documents(*InvoiceKind))
    assert abs(billed - noted - corrected - max(worth - corrected, 0)) <= rounded
