"""What is billed and not yet paid, by how long that has been so."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from attrs import frozen

from neruba_core.instants import Instant
from neruba_core.invoices.model import Invoice
from neruba_core.invoices.store import HasInvoices
from neruba_core.tenancy.model import Project

BOUNDS = (30, 60, 90)
"""The last days of the buckets but the last, which has no end."""

_DAY = timedelta(days=1)


class ReceivablesWork(HasInvoices, Protocol):
    """What receivables are read from."""


@frozen
class OpenInvoice:
    """An invoice with something open, *days* whole days after it was finalized."""

    invoice: Invoice
    days: int

    @property
    def open_micros(self) -> int:
        return self.invoice.open_micros


@frozen
class Bucket:
    """The open invoices that are *first_day* to *last_day* (``None``: or more) days old."""

    first_day: int
    last_day: int | None
    invoices: int
    open_micros: int


@frozen
class Receivables:
    """All that is open in a project, oldest invoice first."""

    project_id: str
    currency: str
    as_of: Instant
    invoices: tuple[OpenInvoice, ...]

    @property
    def open_micros(self) -> int:
        """The sum of it, which is what the ledger has as receivable."""
        return sum(each.open_micros for each in self.invoices)

    @property
    def buckets(self) -> tuple[Bucket, ...]:
        """The same by age: every bucket, even if nothing is in it."""
        firsts = (0, *(bound + 1 for bound in BOUNDS))
        return tuple(self._bucket(first, last) for first, last in zip(firsts, (*BOUNDS, None), strict=True))

    def _bucket(self, first: int, last: int | None) -> Bucket:
        found = [each for each in self.invoices if each.days >= first and (last is None or each.days <= last)]
        return Bucket(first, last, len(found), sum(each.open_micros for each in found))


def receivables(work: ReceivablesWork, project: Project, *, at: Instant) -> Receivables:
    """What is open in *project* at *at*."""
    found = work.invoices.left_to_pay(project.id)
    return Receivables(project.id, project.currency, at, tuple(_aged(invoice, at) for invoice in found))


def _aged(invoice: Invoice, at: Instant) -> OpenInvoice:
    assert invoice.finalized_at is not None, "what is to be paid has been finalized"
    return OpenInvoice(invoice, max((at - invoice.finalized_at) // _DAY, 0))
