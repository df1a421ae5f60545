"""Explanations in words: whatever they say is added up again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from neruba_core.invoices.explain import Drawn, Explanation, LineExplained
from neruba_core.invoices.model import Invoice
from neruba_core.invoices.spoken import spoken
from neruba_core.invoices.workings import reading
from neruba_core.ledger.model import Entry
from neruba_core.pricing.model import Tariff, Unit
from neruba_core.wallets.model import GrantKind
from tests.core.invoices.issued import a_draft, a_line, a_month, a_usage_line, an_invoice
from tests.core.pricing.prices import quantities, shares, tariffs

NUMBER = r"[0-9][0-9,]*(?:\.[0-9]+)?(?:/[0-9]+)?"
SIDE = re.compile(rf"(?:^|(?<=[ :]))(-|\N{{MINUS SIGN}})?({NUMBER})(?=[ ,]|$)|([+×\N{{MINUS SIGN}}])(?= )")


def explained(invoice: Invoice, postings: tuple[Entry, ...] = ()) -> Explanation:
    lines = tuple(LineExplained(at, line, reading(line)) for at, line in enumerate(invoice.lines, 1))
    drawn = (Drawn("grt_1", GrantKind.PAID, 100_000_000),) if postings else ()
    return Explanation(invoice, lines, postings, drawn)


def side(text: str) -> Fraction:
    """One side of an equation, computed; the words in it are left out."""
    total, factor, pending = Fraction(0), None, "+"
    for sign, value, operator in SIDE.findall(text):
        if operator:
            pending = operator
            continue
        operand = Fraction(value.replace(",", "")) * (-1 if sign else 1)
        if pending == "×":
            assert factor is not None
            total += factor * operand - factor
            factor = factor * operand
        else:
            factor = operand if pending == "+" else -operand
            total += factor
        pending = ""
    return total


def equations(text: str) -> Iterator[tuple[str, Fraction, Fraction]]:
    for line in text.splitlines():
        if " = " in line:
            left, right = line.partition("≈")[0].rsplit(" = ", 1)
            yield line, side(left.rpartition(": ")[2]), side(right)


def holds(text: str) -> int:
    found = list(equations(text))
    for line, left, right in found:
        assert left == right, line
    return len(found)


def test_every_sum_of_a_month_re_adds():
    """
    Parts, rounding, totals, tax, the amount due, and both sides of the ledger.
    """
    invoice = a_month()
    taken = [("wallet:grt_1", 100_000_000), ("receivable", invoice.amount_due_micros)]
    owed = [("revenue:api_tokens", sum(micros for _, micros in taken))]
    entries = tuple(
        Entry(invoice.project_id, 58, at, "txn_1", name, debit, credit, 0)
        for at, (name, debit, credit) in enumerate(
            [(name, micros, 0) for name, micros in taken] + [(name, 0, micros) for name, micros in owed]
        )
    )

    text = spoken(explained(invoice, entries))

    assert holds(text) >= 12
    assert "100 + 450 + 50 = 600" in text
    assert "Drawn from paid grant grt_1: 100.000000." in text


def test_a_fraction_is_exact_and_has_its_decimal_beside_it():
    """
    Nobody can read out 34104/743, and nobody can add up 45.900404.
    """
    text = spoken(explained(a_month()))

    assert "696/743 × 49 = 34104/743 ≈ 45.900404" in text


def test_a_draft_says_what_keeps_it():
    """
    And that nothing is booked.
    """
    text = spoken(explained(a_draft(a_line(), blockers=("usage.unpriced",))))

    assert "It is kept in draft by usage.unpriced." in text
    assert "Nothing is booked yet." in text


def test_usage_within_what_is_included_is_free():
    """
    It says so, instead of a sum that comes to nothing.
    """
    line = a_usage_line(Tariff(Unit(Decimal(1)), included_micros=10_000_000), 4_000_000)

    text = spoken(explained(an_invoice(line)))

    assert "All of it is included: 10 are free." in text
    holds(text)


@given(st.lists(st.tuples(tariffs(), quantities, shares), min_size=1, max_size=4), st.integers(0, 10**9))
def test_whatever_the_price_the_explanation_re_adds(used, credit_micros):
    """
    Any model, any quantity, any part of a period.
    """
    lines = [
        a_usage_line(tariff, quantity, at, share=share)
        for at, (tariff, quantity, share) in enumerate(used, 1)
    ]
    invoice = an_invoice(*lines, credit_micros=credit_micros)

    assert holds(spoken(explained(invoice))) >= 3
