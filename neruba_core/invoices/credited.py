"""What has been given back of what was billed for a period, and what may still be.

The documents of a period that are in force, its invoice and what supplements it, are one here: what late
usage takes off may have been billed by any of them. Credit notes are made of them by hand, and by runs for
late usage. Together they come at most to what the documents come to without what was written off, which never
came and is not to be given away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Protocol

from attrs import evolve, frozen

from neruba_core.invoices.model import Invoice, InvoiceKind


class Corrected(Protocol):
    """A credit note or a write-off made by hand, of which *credited_micros* are a credit note's."""

    @property
    def amount_micros(self) -> int: ...

    @property
    def credited_micros(self) -> int: ...

    @property
    def tax_micros(self) -> int: ...


class Corrections(Protocol):
    """The part of the store of payments, which lie above, that tells what was corrected."""

    def corrections(self, project_id: str, invoice_ids: Iterable[str]) -> Sequence[Corrected]: ...


class HasCorrections(Protocol):
    @property
    def payments(self) -> Corrections: ...


@frozen
class Credited:
    """Of a period: what was *billed*, what of it is *credited*, by hand or by runs, each with the tax in it,
    and what was *corrected* by hand, write-offs included. All are > 0 where they are anything."""

    billed_micros: int
    billed_tax_micros: int
    credited_micros: int
    credited_tax_micros: int
    corrected_micros: int
    noted_micros: int

    @classmethod
    def of(cls, documents: Iterable[Invoice], corrections: Sequence[Corrected]) -> Credited:
        """What the *documents* of a period that are in force come to, and all *corrections* of them."""
        bills: list[Invoice] = []
        notes: list[Invoice] = []
        for each in documents:
            (notes if each.kind is InvoiceKind.CREDIT_NOTE else bills).append(each)
        noted = -sum(note.total_micros for note in notes)
        noted_tax = -sum(note.tax_micros for note in notes)
        return cls(
            billed_micros=sum(bill.total_micros for bill in bills),
            billed_tax_micros=sum(bill.tax_micros for bill in bills),
            credited_micros=noted + sum(each.credited_micros for each in corrections),
            credited_tax_micros=noted_tax + sum(each.tax_micros for each in corrections),
            corrected_micros=sum(each.amount_micros for each in corrections),
            noted_micros=noted,
        )

    @property
    def left_micros(self) -> int:
        """What may still be given back."""
        return max(self.billed_micros - self.noted_micros - self.corrected_micros, 0)

    def and_billed(self, micros: int, tax_micros: int) -> Credited:
        """The same with *micros* more that were billed, *tax_micros* of it tax."""
        return evolve(
            self,
            billed_micros=self.billed_micros + micros,
            billed_tax_micros=self.billed_tax_micros + tax_micros,
        )

    def tax_share(self, micros: int) -> int:
        """How much of one more note of *micros* is tax, so that all notes together take back the same share
        of the tax as of what was billed, rounded once."""
        if not self.billed_micros:
            return 0
        together = round(
            Fraction(self.billed_tax_micros * (self.credited_micros + micros), self.billed_micros)
        )
        return min(max(together - self.credited_tax_micros, 0), micros)
