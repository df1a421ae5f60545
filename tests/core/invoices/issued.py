"""Invoices to look at: put together by hand, with sums that are right."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

from neruba_core.currencies import currency_of
from neruba_core.instants import Period, parse
from neruba_core.invoices.model import Invoice, InvoiceKind, InvoiceState, Line, LineKind
from neruba_core.pricing.model import Graduated, Tariff, Tier, Unit
from neruba_core.pricing.rate import rate, workings

BERLIN = "Europe/Berlin"
MARCH = Period(parse("2026-02-28T23:00:00Z"), parse("2026-03-31T22:00:00Z"))
FEBRUARY = Period(parse("2026-01-31T23:00:00Z"), MARCH.start)
PROJECT_ID = "prj_" + "0" * 32

TIERS = Tariff(
    Graduated(
        (
            Tier(100_000_000, Decimal("1.00")),
            Tier(1_000_000_000, Decimal("0.50")),
            Tier(None, Decimal("0.10")),
        )
    ),
    included_micros=250_000_000,
)


def a_line(number: int = 1, **changes: Any) -> Line:
    """Line *number*: a charge of 12.50 that is not paid yet."""
    fields: dict[str, Any] = {
        "id": f"lin_{number:032x}",
        "kind": LineKind.CHARGE,
        "metric_key": None,
        "description": "Charges",
        "quantity_micros": None,
        "model": None,
        "period": "2026-03",
        "service": MARCH,
        "account": "revenue:charges",
        "amount_micros": 12_500_000,
    }
    return Line(**fields | changes)


def a_usage_line(
    tariff: Tariff, quantity_micros: int, number: int = 1, *, share: Fraction = Fraction(1), **changes: Any
) -> Line:
    """Line *number*: usage, rated as a run does."""
    rated = rate(tariff, quantity_micros, share=share)
    fields: dict[str, Any] = {
        "kind": LineKind.USAGE,
        "metric_key": "api_tokens",
        "description": "API tokens",
        "quantity_micros": quantity_micros,
        "model": tariff.model.value,
        "account": "revenue:api_tokens",
        "amount_micros": rated.amount_micros,
        "events": 1204,
        "workings": workings(rated, tariff, share),
    }
    return a_line(number, **fields | changes)


def an_invoice(*lines: Line, credit_micros: int = 0, **changes: Any) -> Invoice:
    """A finalized invoice of *lines*, with tax at 19 % and *credit_micros* of credit applied."""
    currency = changes.get("currency", "EUR")
    tax_rate = changes.get("tax_rate", Decimal("0.19"))
    subtotal = sum(line.amount_micros for line in lines)
    tax = round(Fraction(subtotal) * Fraction(tax_rate))
    drawn = sum(line.already_drawn_micros for line in lines)
    exact = subtotal + tax - drawn - credit_micros
    minor = 10 ** (6 - currency_of(currency).exponent)
    due = max(0, round(Fraction(exact, minor)) * minor)
    taxed = (a_line(99, kind=LineKind.TAX, description="Tax", account="tax_payable", amount_micros=tax),)
    fields: dict[str, Any] = {
        "project_id": PROJECT_ID,
        "id": "inv_019d4b0e7c00" + "ab" * 10,
        "kind": InvoiceKind.INVOICE,
        "period": "2026-03",
        "span": MARCH,
        "part": 1,
        "number": 7,
        "state": InvoiceState.FINALIZED,
        "currency": currency,
        "lines": (*lines, *(taxed if tax else ())),
        "tax_rate": tax_rate,
        "subtotal_micros": subtotal,
        "tax_micros": tax,
        "total_micros": subtotal + tax,
        "already_drawn_micros": drawn,
        "credit_applied_micros": credit_micros,
        "overdraft_billed_micros": 0,
        "credit_granted_micros": max(0, -exact),
        "rounding_micros": 0 if exact < 0 else due - exact,
        "amount_due_micros": due,
        "paid_micros": 0,
        "blockers": (),
        "input_digest": "9f2c" * 16,
        "cutoff": 48211,
        "ledger_version": 57,
        "transaction_id": "txn_019d4b0e7c00" + "ab" * 10,
        "project_name": "Acme Production GmbH",
        "timezone": BERLIN,
        "created_at": parse("2026-04-01T22:00:00Z"),
        "finalized_at": parse("2026-04-01T22:00:00Z"),
    }
    return Invoice(**fields | changes)


def a_draft(*lines: Line, **changes: Any) -> Invoice:
    """The same before it is issued."""
    fields: dict[str, Any] = {
        "state": InvoiceState.DRAFT,
        "number": None,
        "finalized_at": None,
        "ledger_version": None,
        "transaction_id": None,
    }
    return an_invoice(*lines, **fields | changes)


def a_month() -> Invoice:
    """An invoice with a bit of everything."""
    return an_invoice(
        a_line(
            1,
            kind=LineKind.SUBSCRIPTION,
            description="Team plan, 5 seats",
            quantity_micros=5_000_000,
            account="revenue:subscription",
            amount_micros=245_000_000,
            workings={
                "parts": [{"what": "Team plan, 5 seats", "quantity": "5", "rate": "49", "amount": "245"}],
                "exact": "245",
                "rounding": "0",
                "amount": "245.000000",
            },
        ),
        a_line(
            2,
            kind=LineKind.PRORATION,
            description="Team plan, 2 more seats from 17 March",
            quantity_micros=2_000_000,
            account="revenue:subscription",
            service=Period(parse("2026-03-17T09:30:00Z"), MARCH.end),
            amount_micros=45_900_404,
            workings={
                "parts": [
                    {
                        "what": "2 seats for the rest of the period",
                        "quantity": "696/743",
                        "rate": "49",
                        "amount": "34104/743",
                    }
                ],
                "exact": "34104/743",
            },
        ),
        a_usage_line(TIERS, 1_750_000_000, 3),
        a_usage_line(Tariff(Unit(Decimal("0.0000025"))), 1_000_000, 4, description="Storage, GB-days"),
        a_line(5, already_drawn_micros=12_500_000),
        a_line(
            6,
            kind=LineKind.ADJUSTMENT,
            metric_key="api_tokens",
            description="API tokens of February, recorded late",
            quantity_micros=120_000_000,
            period="2026-02",
            service=FEBRUARY,
            account="revenue:api_tokens",
            amount_micros=12_000_000,
        ),
        credit_micros=100_000_000,
    )
