"""Promises of ``PaymentStore``: what was paid and why stays as it was written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from neruba_core.invoices.model import InvoiceKind
from neruba_core.money import MAX_TOTAL_MICROS
from neruba_core.payments.model import (
    AllocationKind,
    Collection,
    CorrectionKind,
    DisputeStatus,
    EventState,
    Payment,
    PaymentStatus,
)
from neruba_core.storage.port import Storage, UnitOfWork
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import AWKWARD, book, later, new_id, tenant
from neruba_core.testing.contract.units import ANY_FAILURE, read


def under_the_head(storage: Storage, project_id: str, call: Callable[[UnitOfWork], Any]) -> None:
    """Commit what *call* does, under the project's head."""
    with storage.work() as work:
        work.ledger.lock_heads([project_id])
        call(work)


def billed(storage: Storage, project_id: str, number: int = 1, **changes: Any) -> str:
    """Commit a finalized invoice; its id."""
    invoice = samples.invoice(project_id, number=number, part=number, **changes)
    under_the_head(storage, project_id, lambda work: work.invoices.finalize([invoice]))
    return invoice.id


def booked(storage: Storage, project_id: str) -> str:
    """Commit a transaction; its id."""
    return book(storage, project_id).id


def added(storage: Storage, payment: Payment) -> Payment:
    """Commit the payment."""
    under_the_head(storage, payment.project_id, lambda work: work.payments.add_payment(payment))
    return payment


class Payments(Promises):
    """Payments and what came of them."""

    def test_a_payment_comes_back_as_it_was_stored(self, storage: Storage) -> None:
        """
        Pending with nothing, or settled with everything; the transaction may be booked after it.
        """
        project_id = tenant(storage)
        transaction_id = new_id("txn")
        full = samples.payment(
            project_id,
            provider=AWKWARD,
            amount_micros=MAX_TOTAL_MICROS,
            invoice_id=billed(storage, project_id),
            reference=AWKWARD,
            request_id="req_1",
            provider_id="pi_1",
            failure=AWKWARD,
            settled_at=later(micros=1),
            transaction_id=transaction_id,
            granted_micros=MAX_TOTAL_MICROS,
            refunded_micros=MAX_TOTAL_MICROS,
            fee_micros=MAX_TOTAL_MICROS,
            customer=AWKWARD,
            method=AWKWARD,
            tries=3,
            asked_at=later(micros=2),
            disputed_micros=0,
        )
        pending = added(storage, samples.payment(project_id))

        with storage.work() as work:
            work.ledger.lock_heads([project_id])
            work.payments.add_payment(full)
            samples.book_in(work, project_id, id=transaction_id)

        assert read(storage, lambda work: work.payments.payment(project_id, full.id)) == full
        assert read(storage, lambda work: work.payments.payment(project_id, pending.id)) == pending
        assert read(storage, lambda work: work.payments.payment(project_id, "pay_none")) is None

    def test_settling_changes_what_it_may_and_nothing_else(self, storage: Storage) -> None:
        """
        The amount and what it was meant for stay.
        """
        project_id = tenant(storage)
        pending = added(storage, samples.payment(project_id, reference="SEPA"))
        changes: dict[str, Any] = {
            "status": PaymentStatus.SUCCEEDED,
            "provider_id": "pi_1",
            "failure": AWKWARD,
            "settled_at": later(seconds=5),
            "transaction_id": booked(storage, project_id),
            "granted_micros": 25_000_000,
            "refunded_micros": 3,
            "fee_micros": 4,
            "tries": 5,
            "asked_at": later(seconds=6),
            "disputed_micros": 7,
        }
        wrong = evolve(
            pending, amount_micros=1, reference="other", provider="other", actor="other", **changes
        )

        under_the_head(storage, project_id, lambda work: work.payments.put_payment(wrong))

        expected = evolve(pending, **changes)
        assert read(storage, lambda work: work.payments.payment(project_id, pending.id)) == expected

    def test_what_is_due_is_found_across_projects(self, storage: Storage) -> None:
        """
        Longest due first, and no more than asked for; what is settled is not due.
        """
        projects = sorted(tenant(storage) for _ in range(2))
        moments = {late: later(seconds=late) for late in (1, 2, 3, 9)}
        made = {
            late: added(storage, samples.payment(projects[late % 2], due_at=moment))
            for late, moment in moments.items()
        }
        added(storage, samples.payment(projects[0]))

        def due(limit: int = 9) -> list[tuple[str, str]]:
            found = read(storage, lambda work: work.payments.due_payments(moments[3], limit=10_000))
            return [each for each in found if each[0] in projects][:limit]

        assert due() == [(made[late].project_id, made[late].id) for late in (1, 2, 3)]
        assert len(read(storage, lambda work: work.payments.due_payments(moments[3], limit=2))) == 2
        settled = evolve(made[2], status=PaymentStatus.FAILED, settled_at=moments[3], due_at=None)
        under_the_head(storage, settled.project_id, lambda work: work.payments.put_payment(settled))
        assert due() == [(made[late].project_id, made[late].id) for late in (1, 3)]
        again = evolve(made[1], due_at=moments[9], tries=1)
        under_the_head(storage, again.project_id, lambda work: work.payments.put_payment(again))
        assert due() == [(made[3].project_id, made[3].id)]
        just_before = later(seconds=3, micros=-1)
        assert read(storage, lambda work: work.payments.next_due_payment(just_before)) == moments[3]
        assert read(storage, lambda work: work.payments.next_due_payment(later(seconds=10**9))) is None

    def test_a_project_has_one_payment_method(self, storage: Storage) -> None:
        """
        The latest one, until it is removed.
        """
        project_id, other = tenant(storage), tenant(storage)
        first = samples.payment_method(project_id, method=None)
        second = samples.payment_method(project_id, customer=AWKWARD, collects=False, provider="other")
        foreign = samples.payment_method(other)

        for method in (first, foreign, second):
            with storage.work() as work:
                work.payments.put_method(method)
        assert read(storage, lambda work: work.payments.method(project_id)) == second
        for _ in range(2):
            with storage.work() as work:
                work.payments.remove_method(project_id)

        assert read(storage, lambda work: work.payments.method(project_id)) is None
        assert read(storage, lambda work: work.payments.method(other)) == foreign

    def test_payments_are_listed_newest_first(self, storage: Storage) -> None:
        """
        Below a place, and only those of one status.
        """
        project_id = tenant(storage)
        first, second, third = (added(storage, samples.payment(project_id)) for _ in range(3))
        failed = evolve(second, status=PaymentStatus.FAILED, settled_at=later(seconds=1))
        under_the_head(storage, project_id, lambda work: work.payments.put_payment(failed))

        def ids(**wanted: Any) -> list[str]:
            query: dict[str, Any] = {"limit": 9, "before": None, **wanted}
            found = read(storage, lambda work: work.payments.payments(project_id, **query))
            return [payment.id for payment in found]

        assert ids() == [third.id, second.id, first.id]
        assert ids(limit=1) == [third.id]
        assert ids(before=third.id) == [second.id, first.id]
        assert ids(status=PaymentStatus.FAILED) == [second.id]
        assert ids(status=PaymentStatus.SUCCEEDED) == []

    def test_a_payment_is_added_once(self, storage: Storage) -> None:
        """
        Its id is taken for ever.
        """
        payment = added(storage, samples.payment(tenant(storage)))

        with pytest.raises(ANY_FAILURE):
            added(storage, payment)

    def test_refunds_are_those_of_their_payment(self, storage: Storage) -> None:
        """
        Oldest first, as they were stored.
        """
        project_id = tenant(storage)
        transaction_id = booked(storage, project_id)
        paid, other = (added(storage, samples.payment(project_id)) for _ in range(2))
        refunds = [
            samples.refund(paid, transaction_id, reason=AWKWARD, request_id="req_1"),
            samples.refund(paid, transaction_id, status=PaymentStatus.PENDING),
        ]
        foreign = samples.refund(other, transaction_id)

        for refund in (refunds[1], foreign, refunds[0]):
            under_the_head(storage, project_id, lambda work, one=refund: work.payments.add_refund(one))  # type: ignore[misc]

        assert list(read(storage, lambda work: work.payments.refunds(project_id, paid.id))) == refunds
        assert not read(storage, lambda work: work.payments.refunds(project_id, "pay_none"))

    def test_settling_a_refund_changes_what_it_may_and_nothing_else(self, storage: Storage) -> None:
        """
        The amount and whose it is stay.
        """
        project_id = tenant(storage)
        paid = added(storage, samples.payment(project_id))
        pending = samples.refund(
            paid, booked(storage, project_id), status=PaymentStatus.PENDING, due_at=later(seconds=1)
        )
        under_the_head(storage, project_id, lambda work: work.payments.add_refund(pending))
        changes: dict[str, Any] = {
            "taken_micros": 4_000_000,
            "status": PaymentStatus.FAILED,
            "provider_id": AWKWARD,
            "failure": AWKWARD,
            "settled_at": later(seconds=5),
            "tries": 4,
            "asked_at": later(seconds=2),
            "due_at": None,
        }
        wrong = evolve(pending, amount_micros=4_000_000, reason="other", actor="other", **changes)

        under_the_head(storage, project_id, lambda work: work.payments.put_refund(wrong))

        expected = evolve(pending, **changes)
        assert read(storage, lambda work: work.payments.refund(project_id, pending.id)) == expected
        assert read(storage, lambda work: work.payments.refund(project_id, "rfd_none")) is None

    def test_refunds_that_are_due_are_found_across_projects(self, storage: Storage) -> None:
        """
        Longest due first, and no more than asked for.
        """
        made = []
        for late in (3, 1, 2, 9):
            project_id = tenant(storage)
            refund = samples.refund(
                added(storage, samples.payment(project_id)),
                booked(storage, project_id),
                status=PaymentStatus.PENDING,
                due_at=later(seconds=late),
            )
            under_the_head(storage, project_id, lambda work, one=refund: work.payments.add_refund(one))  # type: ignore[misc]
            made.append((project_id, refund.id))

        found = read(storage, lambda work: work.payments.due_refunds(later(seconds=3), limit=10_000))

        assert [each for each in found if each in made] == [made[1], made[2], made[0]]
        assert len(read(storage, lambda work: work.payments.due_refunds(later(seconds=3), limit=1))) == 1
        just_before = later(seconds=3, micros=-1)
        assert read(storage, lambda work: work.payments.next_due_refund(just_before)) == later(seconds=3)
        assert read(storage, lambda work: work.payments.next_due_refund(later(seconds=10**9))) is None
        for project_id, refund_id in made:
            pending = read(storage, lambda work, of=project_id: work.payments.pending_refunds(of))  # type: ignore[misc]
            assert [refund.id for refund in pending] == [refund_id]

    def test_disputes_are_those_of_their_payment(self, storage: Storage) -> None:
        """
        Oldest first; what they took and how they end is all that changes, and a provider's id is there once.
        """
        project_id = tenant(storage)
        transaction_id = booked(storage, project_id)
        paid, other = (added(storage, samples.payment(project_id)) for _ in range(2))
        first = samples.dispute(paid, transaction_id, reason=AWKWARD)
        second = samples.dispute(paid, transaction_id, amount_micros=MAX_TOTAL_MICROS)
        foreign = samples.dispute(other, transaction_id)
        for each in (second, foreign, first):
            under_the_head(storage, project_id, lambda work, one=each: work.payments.add_dispute(one))  # type: ignore[misc]
        changes: dict[str, Any] = {
            "taken_micros": 4_000_000,
            "status": DisputeStatus.LOST,
            "fee_micros": 15_000_000,
            "fee_back_micros": 14_000_000,
            "closed_at": later(seconds=9),
        }
        wrong = evolve(first, amount_micros=4_000_000, reason="other", **changes)

        under_the_head(storage, project_id, lambda work: work.payments.put_dispute(wrong))

        found = list(read(storage, lambda work: work.payments.disputes(project_id, paid.id)))
        assert found == [evolve(first, **changes), second]
        twice = samples.dispute(paid, transaction_id, provider_id=second.provider_id)
        with pytest.raises(ANY_FAILURE):
            under_the_head(storage, project_id, lambda work: work.payments.add_dispute(twice))

    def test_what_is_to_be_collected_is_found(self, storage: Storage) -> None:
        """
        Open, not disputed, no credit note, due or never tried, with nothing under way, where a method
        collects and the project is not archived.
        """
        project_id, silent, other, archived = (tenant(storage) for _ in range(4))
        with storage.work() as work:
            project = work.tenancy.lock_project(archived)
            assert project is not None
            work.tenancy.replace_project(evolve(project, archived_at=later()))
            work.payments.put_method(samples.payment_method(archived))
            work.payments.put_method(samples.payment_method(project_id))
            work.payments.put_method(samples.payment_method(silent, collects=False))
        never, due, waiting, given_up, paid, under_way, disputed = (
            billed(storage, project_id, number) for number in range(7, 0, -1)
        )
        billed(storage, project_id, 8, kind=InvoiceKind.CREDIT_NOTE)
        for each in (silent, other, archived):
            billed(storage, each)
        added(storage, samples.payment(project_id, invoice_id=under_way, due_at=later(seconds=1)))

        def change(work: UnitOfWork) -> None:
            for invoice_id, due_at in ((due, later()), (waiting, later(micros=1)), (given_up, None)):
                work.payments.put_collection(Collection(project_id, invoice_id, 0, later(seconds=-9)))
                work.payments.put_collection(Collection(project_id, invoice_id, 2, due_at))
            marked: list[tuple[str, dict[str, Any]]] = [
                (paid, {"paid_micros": 11_910_000}),
                (disputed, {"disputed_micros": 1}),
            ]
            for invoice_id, marks in marked:
                invoice = work.invoices.invoice(project_id, invoice_id)
                assert invoice is not None
                work.invoices.set_state(evolve(invoice, **marks))

        under_the_head(storage, project_id, change)

        def found(**wanted: Any) -> list[tuple[str, str]]:
            query: dict[str, Any] = {"limit": 10_000, **wanted}
            rows = read(storage, lambda work: work.payments.collectable(later(), **query))
            return [row for row in rows if row[0] in (project_id, silent, other, archived)]

        assert found() == found(project_id=project_id) == [(project_id, due), (project_id, never)]
        for after, next_one in ((later(seconds=-9), later()), (later(), later(micros=1))):
            assert read(storage, lambda work, at=after: work.payments.next_collection(at)) == next_one  # type: ignore[misc]
        assert read(storage, lambda work: work.payments.next_collection(later(micros=1))) is None
        assert found(project_id=project_id, limit=1) == [(project_id, due)]
        assert found(project_id=silent) == found(project_id=other) == found(project_id=archived) == []
        kept = read(storage, lambda work: work.payments.collection(project_id, due))
        assert kept == Collection(project_id, due, 2, later())
        assert read(storage, lambda work: work.payments.collection(project_id, never)) is None

    def test_a_providers_event_is_kept_once(self, storage: Storage) -> None:
        """
        Word by word; another provider may use the same id.
        """
        event = samples.provider_event(payload=AWKWARD, subject_id=None)
        again = samples.provider_event(event_id=event.event_id, payload="other")
        others = evolve(event, id=new_id("pev"), provider="other")

        with storage.work() as work:
            assert [work.payments.add_event(each) for each in (event, again, others)] == [True, False, True]

        assert read(storage, lambda work: work.payments.event(event.id)) == event
        assert read(storage, lambda work: work.payments.event(again.id)) is None
        listed = read(storage, lambda work: work.payments.events(limit=2, before=None))
        assert [each.id for each in listed] == [others.id, event.id]
        below = read(
            storage,
            lambda work: work.payments.events(limit=1, before=others.id, state=EventState.IGNORED),
        )
        assert [each.id for each in below] == [event.id]
        dead = read(storage, lambda work: work.payments.events(limit=9, before=None, state=EventState.DEAD))
        assert others.id not in {each.id for each in dead}

    def test_of_two_who_take_an_event_one_has_it(self, storage: Storage) -> None:
        """
        By the number of tries; what is due is found longest due first.
        """
        late, early, future = (
            samples.provider_event(due_at=later(seconds=seconds)) for seconds in (2, 1, 99)
        )
        with storage.work() as work:
            for each in (late, early, future):
                work.payments.add_event(each)
        due = read(storage, lambda work: work.payments.due_events(later(seconds=2), limit=10_000))
        ids = {late.id, early.id, future.id}
        assert [each.id for each in due if each.id in ids] == [early.id, late.id]
        assert len(read(storage, lambda work: work.payments.due_events(later(seconds=2), limit=1))) == 1
        just_before = later(seconds=2, micros=-1)
        assert read(storage, lambda work: work.payments.next_due_event(just_before)) == later(seconds=2)
        assert read(storage, lambda work: work.payments.next_due_event(later(seconds=10**9))) is None

        taken = evolve(
            early,
            tries=1,
            state=EventState.PROCESSED,
            due_at=None,
            ended_at=later(seconds=3),
            failure=AWKWARD,
            project_id="prj_1",
            payment_id="pay_1",
        )
        with storage.work() as work:
            wrong = evolve(taken, payload="other", type="other")
            assert work.payments.put_event(wrong, tries=0)
            assert not work.payments.put_event(evolve(early, tries=1), tries=0)

        assert read(storage, lambda work: work.payments.event(early.id)) == taken

    def test_allocations_are_found_by_payment_and_by_invoice(self, storage: Storage) -> None:
        """
        By transaction and subject; what settles below zero opens again.
        """
        project_id = tenant(storage)
        one, two = (billed(storage, project_id, number) for number in (1, 2))
        first, second, third = (booked(storage, project_id) for _ in range(3))
        paid = added(storage, samples.payment(project_id)).id
        kinds = AllocationKind
        allocations = [
            samples.allocation(project_id, first, one, payment_id=paid),
            samples.allocation(project_id, first, two, payment_id=paid, micros=MAX_TOTAL_MICROS),
            samples.allocation(project_id, second, one, payment_id=paid, kind=kinds.REFUND, micros=-5),
            samples.allocation(
                project_id, second, one, subject_id="rfd_1", payment_id=paid, kind=kinds.REFUND, micros=5
            ),
            samples.allocation(project_id, third, one, kind=kinds.WRITE_OFF),
        ]

        under_the_head(storage, project_id, lambda work: work.payments.add_allocations(allocations[::-1]))

        def of_payment(work: UnitOfWork) -> list[Any]:
            return list(work.payments.allocations_of_payment(project_id, paid))

        def of_invoice(work: UnitOfWork) -> list[Any]:
            return list(work.payments.allocations_of_invoice(project_id, one))

        assert read(storage, of_payment) == allocations[:4]
        assert read(storage, of_invoice) == [allocations[0], *allocations[2:]]

    def test_a_transaction_settles_an_invoice_once_per_subject(self, storage: Storage) -> None:
        """
        Doing so again fails the unit.
        """
        project_id = tenant(storage)
        allocation = samples.allocation(project_id, booked(storage, project_id), billed(storage, project_id))
        under_the_head(storage, project_id, lambda work: work.payments.add_allocations([allocation]))

        with pytest.raises(ANY_FAILURE):
            under_the_head(storage, project_id, lambda work: work.payments.add_allocations([allocation]))

    def test_corrections_are_numbered_by_kind(self, storage: Storage) -> None:
        """
        A number is taken once; the last one given is known.
        """
        project_id = tenant(storage)
        transaction_id, invoice_id = booked(storage, project_id), billed(storage, project_id)
        note = samples.correction(project_id, transaction_id, invoice_id, reason=AWKWARD, request_id="req_1")
        second = evolve(note, id=new_id("crn"), number=2)
        written = evolve(note, id=new_id("wof"), kind=CorrectionKind.WRITE_OFF, tax_micros=0)

        for each in (written, second, note):
            under_the_head(storage, project_id, lambda work, one=each: work.payments.add_correction(one))  # type: ignore[misc]
        taken = evolve(note, id=new_id("crn"))
        with pytest.raises(ANY_FAILURE):
            under_the_head(storage, project_id, lambda work: work.payments.add_correction(taken))

        found = list(read(storage, lambda work: work.payments.corrections(project_id, [invoice_id])))
        assert found == [note, second, written]
        both = [invoice_id, "inv_none"]
        assert list(read(storage, lambda work: work.payments.corrections(project_id, both))) == found
        assert list(read(storage, lambda work: work.payments.corrections(project_id, []))) == []
        for kind, last in ((CorrectionKind.CREDIT_NOTE, 2), (CorrectionKind.WRITE_OFF, 1)):
            assert read(storage, lambda work, k=kind: work.payments.last_correction(project_id, k)) == last  # type: ignore[misc]
        nobody = tenant(storage)
        kind = CorrectionKind.CREDIT_NOTE
        assert read(storage, lambda work: work.payments.last_correction(nobody, kind)) == 0

    def test_what_is_left_to_pay_is_found_in_order(self, storage: Storage) -> None:
        """
        Finalized invoices with something open, by number; not drafts, nor what is paid.
        """
        project_id = tenant(storage)
        second, first = (billed(storage, project_id, number) for number in (2, 1))
        billed(storage, project_id, 3, paid_micros=11_910_000)
        draft = samples.invoice(project_id, part=9)
        under_the_head(storage, project_id, lambda work: work.invoices.put_drafts([draft]))

        found = read(storage, lambda work: work.invoices.left_to_pay(project_id))

        assert [each.id for each in found] == [first, second]
