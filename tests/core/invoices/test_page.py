"""What an invoice's page says, before it is laid out."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import attrs
import pytest

from neruba_core.instants import Period, parse
from neruba_core.invoices.model import InvoiceKind, InvoiceState, LineKind
from neruba_core.invoices.page import InvoicePage, as_issued, invoice_page
from neruba_core.pricing.model import Tariff, Unit
from tests.core.invoices.issued import (
    MARCH,
    TIERS,
    a_draft,
    a_line,
    a_month,
    a_usage_line,
    an_invoice,
)


def number(text: str) -> Fraction:
    """A figure as a reader takes it from the page."""
    return Fraction(text.replace(",", "").replace("\N{MINUS SIGN}", "-").split()[-1])


def fact(page: InvoicePage, name: str) -> str:
    return next(each.value for each in page.facts + page.totals + page.proof if each.name == name)


def test_the_columns_add_up_by_hand():
    """
    Lines to the subtotal, the subtotal and tax to the total, and what follows to the amount due.
    """
    page = invoice_page(a_month())

    totals = {each.name: number(each.value) for each in page.totals}
    after = [value for name, value in totals.items() if name not in ("Subtotal", "Tax, 19 %", "Total")]
    assert sum(number(line.amount) for line in page.lines) == totals["Subtotal"]
    assert totals["Subtotal"] + totals["Tax, 19 %"] == totals["Total"]
    assert totals["Total"] + sum(after) == number(page.due)


def test_every_amount_shows_the_same_number_of_decimals():
    """
    As many as the finest needs, so that the points stand in one line.
    """
    page = invoice_page(a_month())

    amounts = [line.amount for line in page.lines] + [each.value for each in page.totals]
    assert {len(amount.partition(".")[2]) for amount in amounts} == {6}
    assert page.due == "EUR 976.83"


def test_a_plain_invoice_shows_the_decimals_of_its_currency():
    """
    Two for euros, none for yen.
    """
    euros = invoice_page(an_invoice(a_line(), tax_rate=Decimal(0)))
    yen = invoice_page(an_invoice(a_line(amount_micros=5_000_000), currency="JPY", tax_rate=Decimal(0)))

    assert (euros.lines[0].amount, euros.due) == ("12.50", "EUR 12.50")
    assert (yen.lines[0].amount, yen.due) == ("5", "JPY 5")


def test_a_line_shows_its_tiers():
    """
    What is included, each tier as a sum, and nothing about rounding where nothing was rounded.
    """
    page = invoice_page(an_invoice(a_usage_line(TIERS, 1_750_000_000)))

    assert page.lines[0].quantity == "1,750"
    assert page.lines[0].steps == (
        "included: 250",
        "up to 100: 100 × 1 = 100",
        "above 100 up to 1000: 900 × 0.5 = 450",
        "above 1000: 500 × 0.1 = 50",
    )


def test_a_line_that_was_rounded_says_so():
    """
    With the exact figure that it was rounded from.
    """
    line = a_usage_line(Tariff(Unit(Decimal("0.0000025"))), 1_000_000)

    page = invoice_page(an_invoice(line))

    assert page.lines[0].amount == "0.000002"
    assert page.lines[0].steps[-1] == "rounded to six decimals from 0.0000025"


def test_a_part_of_a_fee_is_seats_amount_and_share():
    """
    As people think of it, and not as one fraction; what is given back is below zero.
    """
    how = {
        "quantity": "5",
        "unitAmount": "49",
        "share": "-701/1488",
        "parts": [{"what": "Team", "quantity": "-3505/1488", "rate": "49", "amount": "-171745/1488"}],
    }
    line = a_line(kind=LineKind.PRORATION, description="Team", amount_micros=-115_420_027, workings=how)

    page = invoice_page(an_invoice(line))

    assert page.lines[0].steps == ("−5 × 49 × 701/1488 of the period", "rounded to six decimals")


def test_days_are_those_of_the_zone_and_the_last_is_included():
    """
    A period from midnight to midnight is whole days; anything else has its times.
    """
    inside = Period(parse("2026-03-17T09:30:00Z"), MARCH.end)
    lines = (a_line(1), a_line(2, service=inside), a_line(3, service=Period(MARCH.start, inside.start)))

    here = invoice_page(an_invoice(*lines))
    elsewhere = invoice_page(an_invoice(*lines, timezone="UTC"))

    assert fact(here, "Period") == "1 March 2026 – 31 March 2026"
    assert [line.service for line in here.lines] == [
        "",
        "17 March 2026, 10:30 – 1 April 2026, 00:00",
        "1 March 2026, 00:00 – 17 March 2026, 10:30",
    ]
    assert fact(elsewhere, "Period") == "28 February 2026, 23:00 – 31 March 2026, 22:00"


def test_a_draft_says_that_it_is_no_bill():
    """
    A mark across it, no number, and what keeps it from being issued.
    """
    page = invoice_page(a_draft(a_line(), blockers=("usage.unpriced",)))

    assert (page.title, page.watermark) == ("Invoice", "Draft")
    assert "not a bill" in page.state.words
    assert "price" in page.blockers[0]
    assert [each.name for each in page.proof] == ["Input digest"]


def test_a_void_invoice_says_since_when_and_why():
    """
    Nobody pays it by mistake.
    """
    voided = attrs.evolve(
        a_month(), state=InvoiceState.VOID, voided_at=parse("2026-04-05T08:00:00Z"), void_reason="wrong price"
    )

    page = invoice_page(voided)

    assert page.watermark == "Void"
    assert page.state.words == "Void since 5 April 2026: wrong price"


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        (InvoiceKind.INVOICE, "Invoice 7"),
        (InvoiceKind.SUPPLEMENTARY, "Supplementary invoice 7"),
        (InvoiceKind.CREDIT_NOTE, "Credit note 7"),
    ],
)
def test_each_kind_of_document_is_named(kind, title):
    """
    With its number.
    """
    assert invoice_page(attrs.evolve(a_month(), kind=kind)).title == title


def test_a_credit_note_tells_where_the_money_went():
    """
    What is below zero was added to the credit, and nothing is due.
    """
    note = an_invoice(a_line(amount_micros=-10_000_000), kind=InvoiceKind.CREDIT_NOTE)

    page = invoice_page(note)

    assert fact(page, "Added to your credit") == "11.90"
    assert page.due == "EUR 0.00"
    assert page.state.words == "Nothing to pay"


def test_the_ledger_head_is_printed():
    """
    Whoever holds the invoice can hold the ledger to it.
    """
    page = invoice_page(a_month())

    assert fact(page, "Ledger head") == "57"
    assert fact(page, "Input digest") == "9f2c" * 16


def test_an_issued_invoice_can_be_seen_as_it_was_issued():
    """
    Whatever has been paid or voided since.
    """
    issued = a_month()
    paid = attrs.evolve(issued, state=InvoiceState.PAID, paid_micros=issued.amount_due_micros)

    assert invoice_page(paid).state.words == "Paid"
    assert invoice_page(as_issued(paid)) == invoice_page(issued)


def test_what_costs_nothing_says_why():
    """
    A quantity beside a zero would make its reader wonder.
    """
    page = invoice_page(an_invoice(a_usage_line(TIERS, 200_000_000)))

    assert page.lines[0].steps == ("all of it is included: 250 are free",)


def test_nobody_is_asked_to_pay_what_is_void():
    """
    Its amount was due, and is no more.
    """
    void = attrs.evolve(
        an_invoice(a_line()),
        state=InvoiceState.VOID,
        voided_at=parse("2026-04-09T10:00:00Z"),
        void_reason="wrong",
    )

    page = invoice_page(void)

    assert (page.due_label, page.watermark) == ("Was due", "Void")
