"""Claims on a payment: its refunds, and the disputes of its payer's bank.

A claim takes what the payment has paid from its end: first what exceeded the invoices, then the invoices that
were paid last, which are open again by as much. A claim that ends, as a refund that failed or a dispute that
was won, gives up what it had taken: first to claims that could not take all of theirs, and only the rest goes
back to where it came from. So at every moment, in whatever order claims came and ended::

    taken by all claims that stand = the smaller of the payment and what they claim together

What they claim beyond it has left as well, and is lost: it is in ``bad_debt``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from attrs import evolve, frozen

from neruba_core.invoices.model import Invoice
from neruba_core.payments.collect import stop
from neruba_core.payments.desk import Desk
from neruba_core.payments.model import Allocation, AllocationKind, Claim, Payment, Refund
from neruba_core.payments.postings import Share
from neruba_core.wallets.book import Decision

Shares: TypeAlias = tuple[tuple[str, int], ...]
"""How much of which invoices."""


@frozen
class Taking:
    """What a claim takes: *of_grant* of what exceeded the invoices, *of_invoices* by their ids, and what is
    *lost*, because nothing is left."""

    of_grant: int
    of_invoices: Shares
    lost: int

    @property
    def of_invoices_micros(self) -> int:
        """Of all invoices."""
        return sum(micros for _, micros in self.of_invoices)

    @property
    def micros(self) -> int:
        """What it takes of the payment."""
        return self.of_grant + self.of_invoices_micros


@frozen
class Moved:
    """What *claim* takes over of one that ends."""

    claim: Claim
    micros: int
    of_invoices: Shares


@frozen
class Ending:
    """What becomes of what *claim* had taken: *moved* to others, *shares* settle invoices again, and the rest
    is a paid grant. *opened* is what it had taken of the invoices."""

    claim: Claim
    opened: Shares
    moved: tuple[Moved, ...]
    shares: tuple[Share, ...]

    @property
    def settled_micros(self) -> int:
        """What settles invoices again."""
        return sum(share.micros for share in self.shares)

    @property
    def granted_micros(self) -> int:
        """What is a paid grant."""
        return self.claim.taken_micros - self._moved_micros - self.settled_micros

    @property
    def recovered_micros(self) -> int:
        """What is no loss any more: that of the claim itself, and of the others."""
        return self.claim.lost_micros + self._moved_micros

    @property
    def _moved_micros(self) -> int:
        return sum(each.micros for each in self.moved)


def taking(desk: Desk, payment: Payment, micros: int) -> Taking:
    """What a new claim of *micros* takes of the payment."""
    allocations = desk.work.payments.allocations_of_payment(desk.project.id, payment.id)
    taken = min(micros, payment.left_micros)
    settled = _last_first(payment, allocations)
    of_grant = payment.amount_micros - payment.gone_micros - sum(share for _, share in settled)
    of_invoices = _first_of(settled, max(taken - of_grant, 0))
    return Taking(min(taken, of_grant), of_invoices, micros - taken)


def ending(desk: Desk, payment: Payment, claim: Claim) -> Ending:
    """What becomes of what *claim* has taken of the payment, should it end now.

    Others take it over from its end too, so that what was settled first is settled again first.
    """
    allocations = desk.work.payments.allocations_of_payment(desk.project.id, payment.id)
    mine = [evolve(each, micros=-each.micros) for each in allocations if each.subject_id == claim.id]
    opened = left = _last_first(payment, mine)
    of_grant = claim.taken_micros - sum(share for _, share in opened)
    moved = []
    free = claim.taken_micros
    for other in _standing(desk, payment):
        micros = min(other.lost_micros, free)
        if not micros or other.id == claim.id:
            continue
        of_invoices = _first_of(left, max(micros - of_grant, 0))
        moved.append(Moved(other, micros, of_invoices))
        of_grant = max(of_grant - micros, 0)
        left = _without(left, of_invoices)
        free -= micros
    shares = []
    for invoice_id, micros in left[::-1]:
        invoice = paid_invoice(desk, invoice_id)
        share = min(invoice.open_micros, micros)
        if share:
            shares.append(Share(invoice, share))
    return Ending(claim, opened, tuple(moved), tuple(shares))


def write_taking(desk: Desk, decision: Decision, payment: Payment, claim: Claim, taken: Taking) -> None:
    """Write what *claim* has taken by *decision*, which is booked."""
    changes = []
    for invoice_id, micros in taken.of_invoices:
        invoice = paid_invoice(desk, invoice_id)
        if not isinstance(claim, Refund):
            invoice = evolve(invoice, disputed_micros=invoice.disputed_micros + micros)
        changes.append((invoice, -micros))
    desk.settle(decision, _kind(claim), claim.id, changes, payment.id)
    desk.work.payments.put_payment(_with(payment, claim, taken.micros))
    if isinstance(claim, Refund):
        for invoice_id, _ in taken.of_invoices:
            stop(desk, invoice_id)


def write_ending(desk: Desk, decision: Decision, payment: Payment, ended: Ending) -> None:
    """Write what has become by *decision*, which is booked, of what the claim had taken."""
    payment = _with(payment, ended.claim, -ended.claim.taken_micros)
    settled = {share.invoice.id: share.micros for share in ended.shares}
    given_up = dict(settled)
    disputed: dict[str, int] = {}
    if not isinstance(ended.claim, Refund):
        disputed = {invoice_id: -micros for invoice_id, micros in ended.opened}
    allocations = []
    for moved in ended.moved:
        payment = _with(payment, moved.claim, moved.micros)
        _put(desk, evolve(moved.claim, taken_micros=moved.claim.taken_micros + moved.micros))
        for invoice_id, micros in moved.of_invoices:
            given_up[invoice_id] = given_up.get(invoice_id, 0) + micros
            allocations.append(_allocation(decision, payment, moved.claim, invoice_id, -micros))
            if isinstance(moved.claim, Refund):
                stop(desk, invoice_id)
            else:
                disputed[invoice_id] = disputed.get(invoice_id, 0) + micros
    for invoice_id, _ in ended.opened:
        invoice = paid_invoice(desk, invoice_id)
        marked = evolve(invoice, disputed_micros=invoice.disputed_micros + disputed.get(invoice_id, 0))
        if invoice_id in settled:
            desk.settle_invoice(marked, settled[invoice_id])
        elif marked != invoice:
            desk.work.invoices.set_state(marked)
    allocations += [
        _allocation(decision, payment, ended.claim, invoice_id, micros)
        for invoice_id, micros in given_up.items()
    ]
    if allocations:
        desk.work.payments.add_allocations(allocations)
    desk.work.payments.put_payment(payment)


def paid_invoice(desk: Desk, invoice_id: str) -> Invoice:
    """An invoice that a payment has paid."""
    found = desk.work.invoices.invoice(desk.project.id, invoice_id)
    assert found is not None, "what was paid is there"
    return found


def _standing(desk: Desk, payment: Payment) -> list[Claim]:
    """The claims that hold what they have taken, oldest first."""
    claims: list[Claim] = [
        *desk.work.payments.refunds(desk.project.id, payment.id),
        *desk.work.payments.disputes(desk.project.id, payment.id),
    ]
    return sorted((each for each in claims if each.stands), key=lambda each: (each.created_at, each.id))


def _last_first(payment: Payment, allocations: Iterable[Allocation]) -> Shares:
    """What they come to of each invoice, in the order in which the payment is undone."""
    paid: dict[str, int] = {}
    for each in allocations:
        paid[each.invoice_id] = paid.get(each.invoice_id, 0) + each.micros
    order = sorted(paid, key=lambda each: (each != payment.invoice_id, each), reverse=True)
    return tuple((invoice_id, paid[invoice_id]) for invoice_id in order if paid[invoice_id])


def _first_of(shares: Shares, micros: int) -> Shares:
    """As much of the first of them as comes to *micros*."""
    found = []
    for invoice_id, share in shares:
        taken = min(share, micros)
        if taken:
            found.append((invoice_id, taken))
            micros -= taken
    return tuple(found)


def _without(shares: Shares, gone: Shares) -> Shares:
    left = dict(shares)
    for invoice_id, micros in gone:
        left[invoice_id] -= micros
    return tuple((invoice_id, micros) for invoice_id, micros in left.items() if micros)


def _with(payment: Payment, claim: Claim, micros: int) -> Payment:
    """The payment, of which the claim has taken *micros* more."""
    if isinstance(claim, Refund):
        return evolve(payment, refunded_micros=payment.refunded_micros + micros)
    return evolve(payment, disputed_micros=payment.disputed_micros + micros)


def _put(desk: Desk, claim: Claim) -> None:
    if isinstance(claim, Refund):
        desk.work.payments.put_refund(claim)
    else:
        desk.work.payments.put_dispute(claim)


def _kind(claim: Claim) -> AllocationKind:
    return AllocationKind.REFUND if isinstance(claim, Refund) else AllocationKind.DISPUTE


def _allocation(
    decision: Decision, payment: Payment, claim: Claim, invoice_id: str, micros: int
) -> Allocation:
    return Allocation(
        payment.project_id, decision.transaction_id, invoice_id, claim.id, _kind(claim), micros, payment.id
    )
