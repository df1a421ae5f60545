"""A line's workings, read back: the addends that its amount is made of, and the rounding.

``workings`` holds plain JSON values with numbers as exact text (``"600"``, ``"31/3"``), written by whatever
assembled the line. Where there are parts, they add up to ``exact``, and ``exact`` with ``rounding`` to the
amount.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from attrs import frozen

from neruba_core import money
from neruba_core.invoices.model import Line
from neruba_core.pricing.exact import fraction_text, units

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"


@frozen
class Addend:
    """One addend of an amount: *amount* is *quantity* × *rate* where there is a rate."""

    what: str
    quantity: Fraction | None
    rate: Fraction | None
    amount: Fraction


@frozen
class Reading:
    """The addends add up to *exact*; *exact* and *rounding* add up to the line's amount."""

    addends: tuple[Addend, ...]
    exact: Fraction
    rounding: Fraction


def reading(line: Line) -> Reading:
    """The workings of *line*; a line without any is its own only addend."""
    amount = units(line.amount_micros)
    addends = tuple(_addend(part) for part in line.workings.get("parts", ()))
    if not addends:
        addends = (Addend(line.description, None, None, _number(line.workings.get("exact")) or amount),)
    exact = sum((addend.amount for addend in addends), start=Fraction(0))
    return Reading(addends, exact, amount - exact)


def _addend(part: dict[str, str]) -> Addend:
    amount = _number(part["amount"])
    assert amount is not None, "every part has an amount"
    return Addend(part["what"], _number(part.get("quantity")), _number(part.get("rate")), amount)


def _number(text: str | None) -> Fraction | None:
    return None if text is None else Fraction(text)


# --- in words ---------------------------------------------------------------------------------


def spelled(value: Fraction) -> str:
    """*value* as people write it: grouped in thousands where a decimal is finite, else as a fraction."""
    text = fraction_text(value)
    if "/" not in text:
        text = format(Decimal(text), ",f")
    return text.replace("-", MINUS)


def plainly(value: Fraction) -> str:
    """An amount of micro-units with all six decimals."""
    return amount_text(int(value * money.MICROS), money.PLACES)


def amount_text(micros: int, places: int) -> str:
    """An amount with exactly *places* decimals."""
    return f"{money.decimal(micros):,.{places}f}".replace("-", MINUS)


def sum_text(addend: Addend) -> str:
    """How the addend came about: ``900 × 0.5 = 450``."""
    if addend.rate is None or addend.quantity is None:
        return spelled(addend.amount)
    return f"{spelled(addend.quantity)} {TIMES} {spelled(addend.rate)} = {spelled(addend.amount)}"
