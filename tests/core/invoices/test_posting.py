"""What an invoice comes to for its payer, and what is booked for it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from neruba_core.instants import Period
from neruba_core.invoices.model import Line, LineKind
from neruba_core.invoices.names import document_digits
from neruba_core.invoices.posting import (
    Due,
    credit_for,
    due,
    due_back,
    finalization,
    net_of,
    to_minor_unit,
)
from neruba_core.testing.builders import a_book, a_lot
from neruba_core.testing.clock import NOON
from neruba_core.wallets.model import GrantKind

M = 1_000_000
SPAN = Period(NOON.replace(day=1, hour=0), NOON.replace(month=4, day=1, hour=0))
DIGITS = document_digits("prj_1", "2026-03", 1, SPAN.end)
MICROS = st.integers(-50 * M, 50 * M)
CURRENCIES = st.sampled_from(["USD", "JPY", "KWD", "CLF"])


def a_line(amount_micros: int, drawn_micros: int = 0, account: str = "revenue:tokens") -> Line:
    return Line(
        "lin_1",
        LineKind.USAGE,
        "tokens",
        "x",
        None,
        None,
        "2026-03",
        SPAN,
        account,
        amount_micros,
        drawn_micros,
    )


LINES = st.lists(
    st.builds(a_line, MICROS, MICROS, st.sampled_from(["revenue:tokens", "revenue:charges", "tax_payable"])),
    max_size=6,
)


def finalized(book, lines, currency="USD"):
    settled = due(
        net_of(lines),
        credit_micros=sum(micros for _, micros in credit_for(book, lines, NOON)),
        overdraft_micros=book.overdraft_micros,
        currency=currency,
    )
    decision = finalization(
        book, lines, settled, digits=DIGITS, description="Invoice", grants=GrantKind.PAID, at=NOON
    )
    return settled, decision


def moved(decision):
    return {p.account: p.debit_micros - p.credit_micros for p in decision.postings}


def test_the_wallet_pays_first_and_the_rest_is_rounded_to_cents():
    """
    An arrears line of 10.005 and a wallet of 3.001234: 7.00 is due, and the residue is named.
    """
    book = a_book([a_lot(3_001_234)])

    settled, decision = finalized(book, [a_line(10_005_000)])

    assert settled == Due(credit_applied_micros=3_001_234, rounding_micros=-3_766, amount_due_micros=7 * M)
    assert moved(decision) == {
        "wallet:grt_00000000000000000000000000000001": 3_001_234,
        "receivable": 7 * M,
        "rounding": 3_766,
        "revenue:tokens": -10_005_000,
    }


def test_an_overdraft_is_billed():
    """
    A charge of 800 went into the overdraft; its line is drawn already, and 800 is due for the overdraft.
    """
    book = a_book(overdraft_micros=800 * M, credit_limit_micros=1000 * M)

    settled, decision = finalized(book, [a_line(800 * M, 800 * M, "revenue:charges")])
    book.post(decision)

    assert settled == Due(overdraft_billed_micros=800 * M, amount_due_micros=800 * M)
    assert moved(decision) == {"receivable": 800 * M, "overdraft": -800 * M}
    assert (book.head.balance_micros, book.head.receivable_micros) == (0, 800 * M)


def test_a_negative_figure_becomes_paid_credit():
    """
    Nothing is due and nothing is rounded; the wallet has it, exactly.
    """
    book = a_book()

    settled, decision = finalized(book, [a_line(-5_000_001), a_line(2 * M)])
    book.post(decision)

    assert settled == Due(credit_granted_micros=3_000_001)
    assert decision.grants[0].kind is GrantKind.PAID
    assert book.balance_micros(NOON) == 3_000_001


def test_where_no_money_moves_nothing_is_booked():
    """
    Charges that the wallet has paid in full leave nothing to post.
    """
    assert finalized(a_book(), [a_line(5 * M, 5 * M)]) == (Due(), None)


def test_what_is_held_is_not_spent():
    """
    A hold keeps its share of the wallet until it is captured or released.
    """
    book = a_book([a_lot(10 * M)])
    book.held_micros = 4 * M

    settled, _ = finalized(book, [a_line(20 * M)])

    assert (settled.credit_applied_micros, settled.amount_due_micros) == (6 * M, 14 * M)


@given(LINES, st.integers(0, 60 * M), st.integers(0, 60 * M), CURRENCIES)
def test_every_finalization_balances_and_adds_up(lines, credit_micros, overdraft_micros, currency):
    """
    However signs, credit and overdraft mix: the invoice's sum is the receivable's, and only due is rounded.
    """
    book = a_book([a_lot(credit_micros)] if credit_micros else [], overdraft_micros=overdraft_micros)

    settled, decision = finalized(book, lines, currency)
    if decision is not None:
        book.post(decision)

    assert settled.amount_due_micros == (
        net_of(lines)
        - settled.credit_applied_micros
        + settled.overdraft_billed_micros
        + settled.credit_granted_micros
        + settled.rounding_micros
    )
    assert settled.amount_due_micros == to_minor_unit(settled.amount_due_micros, currency) >= 0
    assert settled.overdraft_billed_micros == overdraft_micros
    assert not (settled.credit_granted_micros and (settled.amount_due_micros or settled.rounding_micros))
    assert book.head.receivable_micros == book.accounts.get("receivable", 0) == settled.amount_due_micros
    assert book.overdraft_micros == 0
    assert book.balance_micros(NOON) == (
        credit_micros - settled.credit_applied_micros + settled.credit_granted_micros
    )


@given(st.integers(0, 50 * M), st.integers(0, 40), CURRENCIES, st.integers(0, 10 * M))
def test_a_credit_note_takes_off_what_is_open_and_grants_the_rest(owed, whole, currency, overdraft_micros):
    """
    Never more than is open; in whole minor units; a grant repays the overdraft first.
    """
    open_micros = whole * M
    book = a_book(overdraft_micros=overdraft_micros, accounts={"receivable": open_micros})

    settled = due_back(-owed, open_micros=open_micros, currency=currency)
    decision = finalization(
        book,
        [a_line(-owed, 0, "credit_notes")],
        settled,
        digits=DIGITS,
        description="Credit note",
        grants=GrantKind.GOODWILL,
        at=NOON,
    )
    if decision is not None:
        book.post(decision)

    assert settled.amount_due_micros == to_minor_unit(settled.amount_due_micros, currency)
    assert -open_micros <= settled.amount_due_micros <= 0
    assert -owed + settled.credit_granted_micros + settled.rounding_micros == settled.amount_due_micros
    assert book.head.receivable_micros == open_micros + settled.amount_due_micros
    assert book.balance_micros(NOON) == settled.credit_granted_micros - overdraft_micros
