"""Promises of ``InvoiceStore``: drafts come and go, what was issued stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve

from neruba_core.instants import Period
from neruba_core.invoices.model import Invoice, InvoiceKind, InvoiceState, LineKind
from neruba_core.money import MAX_TOTAL_MICROS
from neruba_core.storage.port import Storage, UnitOfWork
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import AWKWARD, START, later, new_id, tenant
from neruba_core.testing.contract.units import ANY_FAILURE, Rival, answer, read, start, together, waits, write

LINES = (
    samples.line(description=AWKWARD, quantity_micros=10**30, amount_micros=-MAX_TOTAL_MICROS),
    samples.line(kind=LineKind.TAX, metric_key=None, quantity_micros=None, model=None, workings={}),
    samples.line(
        kind=LineKind.ADJUSTMENT,
        period="2026-01",
        service=Period(START, later(micros=1)),
        already_drawn_micros=-5,
        workings={"parts": [{"what": AWKWARD, "amount": "0.0000015"}], "capped": False, "price": None},
    ),
)
ISSUED = (InvoiceState.FINALIZED, InvoiceState.PAID)


def under_the_head(storage: Storage, project_id: str, call: Callable[[UnitOfWork], Any]) -> None:
    """Commit what *call* does, under the project's head."""
    with storage.work() as work:
        work.ledger.lock_heads([project_id])
        call(work)


def draft(storage: Storage, *invoices: Invoice) -> None:
    """Commit the invoices as drafts."""
    with storage.work() as work:
        work.ledger.lock_heads(sorted({invoice.project_id for invoice in invoices}))
        work.invoices.put_drafts(invoices)


def finalize(storage: Storage, *invoices: Invoice) -> None:
    """Commit the invoices as finalized."""
    with storage.work() as work:
        work.ledger.lock_heads(sorted({invoice.project_id for invoice in invoices}))
        work.invoices.finalize(invoices)


def set_state(storage: Storage, invoice: Invoice, **changes: Any) -> Invoice:
    """Commit a finalized invoice's changes of state; the invoice as it is then."""
    changed = evolve(invoice, **changes)
    under_the_head(storage, invoice.project_id, lambda work: work.invoices.set_state(changed))
    return changed


def stored(storage: Storage, invoice: Invoice) -> Invoice | None:
    """The invoice of the same id, as it is stored."""
    return read(storage, lambda work: work.invoices.invoice(invoice.project_id, invoice.id))


VOIDED: dict[str, Any] = {
    "past_due_at": later(seconds=4),
    "disputed_micros": 7,
    "state": InvoiceState.VOID,
    "voided_at": later(seconds=5),
    "void_reason": AWKWARD,
}
"""The changes that void an invoice."""


class Invoices(Promises):
    """Invoices."""

    @pytest.mark.parametrize("kind", InvoiceKind)
    @pytest.mark.parametrize("lines", [(), LINES], ids=["empty", "full"])
    def test_a_draft_comes_back_as_it_was_stored(
        self, storage: Storage, kind: InvoiceKind, lines: tuple[Any, ...]
    ) -> None:
        """
        With its lines in their order and their workings to the last digit.
        """
        invoice = samples.invoice(
            tenant(storage), kind=kind, lines=lines, blockers=("usage.unpriced", AWKWARD), tax_rate=Decimal(0)
        )

        draft(storage, invoice)

        assert stored(storage, invoice) == invoice
        assert read(storage, lambda work: work.invoices.invoice(invoice.project_id, "inv_none")) is None

    def test_a_finalized_invoice_comes_back_as_it_was_stored(self, storage: Storage) -> None:
        """
        With the transaction that posted it, which may be booked after it in the same unit.
        """
        project_id = tenant(storage)
        transaction_id = new_id("txn")
        negative = dict.fromkeys(
            (
                "subtotal_micros",
                "tax_micros",
                "total_micros",
                "already_drawn_micros",
                "credit_applied_micros",
                "overdraft_billed_micros",
                "credit_granted_micros",
                "rounding_micros",
            ),
            -MAX_TOTAL_MICROS,
        )
        invoice = samples.invoice(
            project_id,
            number=1,
            part=3,
            lines=LINES,
            project_name=AWKWARD,
            tax_rate=Decimal("0.077"),
            amount_due_micros=MAX_TOTAL_MICROS,
            cutoff=MAX_TOTAL_MICROS,
            ledger_version=MAX_TOTAL_MICROS,
            transaction_id=transaction_id,
            finalized_at=later(micros=1),
            span=Period(START, later(micros=1)),
            **negative,
        )

        with storage.work() as work:
            work.ledger.lock_heads([project_id])
            work.invoices.finalize([invoice])
            samples.book_in(work, project_id, id=transaction_id)

        assert stored(storage, invoice) == invoice

    # --- drafts -------------------------------------------------------------------------------

    def test_a_draft_is_overwritten_and_then_finalized(self, storage: Storage) -> None:
        """
        Whole, as often as the run is repeated; beside it others may be new.
        """
        project_id = tenant(storage)
        first = samples.invoice(project_id)
        second = evolve(first, lines=LINES, total_micros=-7, blockers=("usage.unpriced",), cutoff=8)
        other = samples.invoice(project_id, part=2, kind=InvoiceKind.CREDIT_NOTE)
        final = samples.invoice(project_id, id=first.id, number=1, lines=())

        draft(storage, first)
        draft(storage, second, other)
        redrafted = stored(storage, first)
        finalize(storage, final)

        assert redrafted == second
        assert stored(storage, first) == final
        assert stored(storage, other) == other

    def test_a_draft_can_be_removed(self, storage: Storage) -> None:
        """
        It alone; its part is free again, and an unknown one is no fault.
        """
        project_id = tenant(storage)
        gone, kept = samples.invoice(project_id), samples.invoice(project_id, part=2)
        draft(storage, gone, kept)

        under_the_head(storage, project_id, lambda work: work.invoices.remove_draft(project_id, gone.id))
        under_the_head(storage, project_id, lambda work: work.invoices.remove_draft(project_id, "inv_none"))
        again = samples.invoice(project_id)
        draft(storage, again)

        assert stored(storage, gone) is None
        assert stored(storage, kept) == kept
        assert stored(storage, again) == again

    @pytest.mark.parametrize("taken", ["part", "number"])
    def test_a_part_and_a_number_are_given_once(self, storage: Storage, taken: str) -> None:
        """
        Another invoice that claims one fails the unit; another project has its own.
        """
        project_id = tenant(storage)
        first = samples.invoice(project_id, number=1)
        claims: dict[str, Any] = {"part": {"number": 2}, "number": {"number": 1, "part": 2}}[taken]
        finalize(storage, first, samples.invoice(tenant(storage), number=1))

        with pytest.raises(ANY_FAILURE):
            finalize(storage, samples.invoice(project_id, **claims))

        listed = read(storage, lambda work: work.invoices.invoices(project_id, limit=9, before=None))
        assert list(listed) == [first]

    # --- what was issued ----------------------------------------------------------------------

    @pytest.mark.parametrize("state", [*ISSUED, InvoiceState.VOID])
    @pytest.mark.parametrize("change", ["draft", "finalize", "remove", "reopen"])
    def test_what_was_issued_is_never_changed(
        self, storage: Storage, state: InvoiceState, change: str
    ) -> None:
        """
        Neither overwritten nor made a draft again nor removed: the unit fails.
        """
        project_id = tenant(storage)
        invoice = samples.invoice(project_id, number=1)
        finalize(storage, invoice)
        if state is not InvoiceState.FINALIZED:
            changes = VOIDED if state is InvoiceState.VOID else {"state": state}
            invoice = set_state(storage, invoice, **changes)
        harm: dict[str, Callable[[UnitOfWork], None]] = {
            "draft": lambda work: work.invoices.put_drafts([samples.invoice(project_id, id=invoice.id)]),
            "finalize": lambda work: work.invoices.finalize([evolve(invoice, lines=())]),
            "remove": lambda work: work.invoices.remove_draft(project_id, invoice.id),
            "reopen": lambda work: work.invoices.set_state(
                evolve(invoice, state=InvoiceState.DRAFT, voided_at=None)
            ),
        }

        with pytest.raises(ANY_FAILURE):
            under_the_head(storage, project_id, harm[change])

        assert stored(storage, invoice) == invoice

    def test_only_state_payment_and_void_are_set(self, storage: Storage) -> None:
        """
        Whatever else is given is left aside.
        """
        invoice = samples.invoice(tenant(storage), number=1)
        finalize(storage, invoice)

        others = {"lines": (), "project_name": "Other", "timezone": "Asia/Tokyo"}
        set_state(storage, invoice, state=InvoiceState.PAID, paid_micros=5, **others)
        paid = stored(storage, invoice)
        set_state(storage, invoice, **VOIDED)

        assert paid == evolve(invoice, state=InvoiceState.PAID, paid_micros=5)
        assert stored(storage, invoice) == evolve(invoice, **VOIDED)

    def test_the_state_of_a_draft_is_not_set(self, storage: Storage) -> None:
        """
        It becomes an invoice by being finalized; and one that is not there is no fault.
        """
        invoice = samples.invoice(tenant(storage))
        draft(storage, invoice)

        set_state(storage, invoice, **VOIDED)
        set_state(storage, samples.invoice(invoice.project_id, number=1), paid_micros=1)

        assert stored(storage, invoice) == invoice

    # --- finding them -------------------------------------------------------------------------

    def test_documents_of_a_period_come_by_part(self, storage: Storage) -> None:
        """
        In every state, for many projects at once, also for one that has none.
        """
        one, other, bare = tenant(storage), tenant(storage), tenant(storage)
        parts = [
            samples.invoice(one, part=part, number=number) for part, number in ((1, 1), (2, 2), (10, None))
        ]
        theirs = samples.invoice(other)
        finalize(storage, parts[1], parts[0], samples.invoice(one, period="2026-04", number=9))
        draft(storage, parts[2], theirs)

        with storage.snapshot() as work:
            found = work.invoices.of_period([bare, other, one], "2026-03")
            none = work.invoices.of_period([], "2026-03")

        assert found == {bare: (), other: (theirs,), one: tuple(parts)}
        assert none == {}

    def test_the_last_number_of_each_project_is_told(self, storage: Storage) -> None:
        """
        Zero where none was given; a voided invoice keeps its number.
        """
        one, other, bare = tenant(storage), tenant(storage), tenant(storage)
        last = samples.invoice(one, number=10, part=2)
        finalize(storage, samples.invoice(one, number=9), last)
        set_state(storage, last, **VOIDED)
        draft(storage, samples.invoice(other))

        with storage.snapshot() as work:
            assert work.invoices.last_numbers([bare, one, other]) == {bare: 0, one: 10, other: 0}
            assert work.invoices.last_numbers([]) == {}

    def test_what_was_issued_about_a_period_is_found(self, storage: Storage) -> None:
        """
        By its own period or by that of a line, once each and in the order of their numbers; drafts and what
        was voided bill nothing.
        """
        project_id = tenant(storage)

        def about(number: int | None, own: str, *others: str, **changes: Any) -> Invoice:
            lines = tuple(samples.line(period=period) for period in others)
            return samples.invoice(project_id, number=number, period=own, lines=lines, **changes)

        january, march = (
            about(10, "2026-01", "2026-01"),
            about(11, "2026-03", "2026-01", "2026-01", "2026-02"),
        )
        april, empty = about(12, "2026-04", "2026-04"), about(2, "2026-05")
        gone, waiting = about(13, "2026-01", part=2), about(None, "2026-01", part=3)
        finalize(storage, april, march)
        finalize(storage, january, gone, empty)
        draft(storage, waiting)
        march = set_state(storage, march, state=InvoiceState.PAID)
        set_state(storage, gone, **VOIDED)

        with storage.snapshot() as work:
            assert list(work.invoices.issued(project_id)) == [empty, january, march, april]
            assert list(work.invoices.issued(project_id, ["2026-01", "2026-02"])) == [january, march]
            assert list(work.invoices.issued(project_id, ["2026-05", "2026-06"])) == [empty]
            assert list(work.invoices.issued(project_id, [])) == []

    def test_what_was_voided_is_found_for_many_projects(self, storage: Storage) -> None:
        """
        Only that, by project and number; a project without any has none.
        """
        one, other, foreign = sorted(tenant(storage) for _ in range(3))
        gone = [
            samples.invoice(one, number=12, part=1),
            samples.invoice(one, number=2, part=2),
            samples.invoice(other, number=1, lines=LINES),
        ]
        finalize(storage, *gone, samples.invoice(one, number=3, part=3), samples.invoice(foreign, number=1))
        draft(storage, samples.invoice(other, part=4))
        twelve, two, first = (set_state(storage, each, **VOIDED) for each in gone)

        with storage.snapshot() as work:
            assert list(work.invoices.voided([other, one])) == [two, twelve, first]
            assert list(work.invoices.voided([foreign])) == []
            assert list(work.invoices.voided([])) == []

    def test_invoices_are_listed_newest_first(self, storage: Storage) -> None:
        """
        By descending id, strictly below ``before``, and if wanted those of one state.
        """
        project_id = tenant(storage)
        finalized = [samples.invoice(project_id, number=number, part=number) for number in (1, 2, 3)]
        drafted = samples.invoice(project_id, part=4)
        finalize(storage, finalized[2], finalized[0])
        draft(storage, drafted)
        finalize(storage, finalized[1])

        with storage.snapshot() as work:
            first = work.invoices.invoices(project_id, limit=2, before=None)
            second = work.invoices.invoices(project_id, limit=9, before=finalized[1].id)
            drafts = work.invoices.invoices(project_id, limit=9, before=None, state=InvoiceState.DRAFT)
            others = work.invoices.invoices(
                project_id, limit=9, before=finalized[2].id, state=InvoiceState.FINALIZED
            )

        assert list(first) == [drafted, finalized[2]]
        assert list(second) == [finalized[0]]
        assert list(drafts) == [drafted]
        assert list(others) == [finalized[1], finalized[0]]

    def test_what_is_left_to_pay_is_told(self, storage: Storage) -> None:
        """
        Of finalized invoices alone, credit notes left aside, and exact beyond 64 bits.
        """
        project_id = tenant(storage)
        due = {"amount_due_micros": MAX_TOTAL_MICROS}
        invoices = [samples.invoice(project_id, number=number, part=number, **due) for number in range(1, 7)]
        finalize(storage, *invoices)
        finalize(storage, samples.invoice(project_id, number=7, part=7, amount_due_micros=0))
        draft(storage, samples.invoice(project_id, part=8, **due))
        note = {"kind": InvoiceKind.CREDIT_NOTE, "amount_due_micros": -5}
        finalize(storage, samples.invoice(project_id, number=9, part=9, **note))
        before = read(storage, lambda work: work.invoices.open_totals(project_id))

        set_state(storage, invoices[0], paid_micros=MAX_TOTAL_MICROS - 1)
        set_state(storage, invoices[1], paid_micros=MAX_TOTAL_MICROS)
        set_state(storage, invoices[2], state=InvoiceState.PAID)
        set_state(storage, invoices[3], **VOIDED)

        with storage.snapshot() as work:
            assert before == (6, 6 * MAX_TOTAL_MICROS)
            assert work.invoices.open_totals(project_id) == (3, 2 * MAX_TOTAL_MICROS + 1)
            assert work.invoices.open_totals("prj_none") == (0, 0)

    # --- PDFs ---------------------------------------------------------------------------------

    def test_the_first_pdf_is_kept(self, storage: Storage) -> None:
        """
        Byte by byte, whatever is made later.
        """
        invoice = samples.invoice(tenant(storage), number=1)
        project_id, content = invoice.project_id, bytes(range(256)) * 512
        finalize(storage, invoice)
        before = read(storage, lambda work: work.invoices.pdf(project_id, invoice.id))

        first = write(storage, lambda work: work.invoices.keep_pdf(project_id, invoice.id, content))
        second = write(storage, lambda work: work.invoices.keep_pdf(project_id, invoice.id, b"other"))

        assert before is None
        assert first == second == content
        assert read(storage, lambda work: work.invoices.pdf(project_id, invoice.id)) == content

    def test_of_many_pdfs_made_at_once_one_is_kept(self, storage: Storage) -> None:
        """
        And all who made one are given the same.
        """
        invoice = samples.invoice(tenant(storage), number=1)
        finalize(storage, invoice)

        def keep(content: bytes) -> bytes:
            return write(
                storage, lambda work: work.invoices.keep_pdf(invoice.project_id, invoice.id, content)
            )

        kept = together(*(lambda n=n: keep(b"%d" % n) for n in range(5)))

        found = read(storage, lambda work: work.invoices.pdf(invoice.project_id, invoice.id))
        assert set(kept) == {found}

    def test_whoever_makes_a_pdf_waits_for_a_competitor_in_flight(self, storage: Storage) -> None:
        """
        Theirs is the one only if they commit.
        """
        invoice = samples.invoice(tenant(storage), number=1)
        finalize(storage, invoice)
        project_id = invoice.project_id

        with Rival(storage, lambda work: work.invoices.keep_pdf(project_id, invoice.id, b"theirs")) as rival:
            ours = start(
                lambda: write(storage, lambda work: work.invoices.keep_pdf(project_id, invoice.id, b"ours"))
            )
            waited = waits(ours)
            rival.commit()

        assert waited
        assert answer(ours) == b"theirs"

    def test_hundreds_of_invoices_are_written_at_once(self, storage: Storage) -> None:
        """
        As a run over many projects does.
        """
        project_ids = [tenant(storage) for _ in range(50)]
        invoices = [
            samples.invoice(project_id, number=part, part=part, lines=LINES)
            for part in (1, 2, 3)
            for project_id in project_ids
        ]

        finalize(storage, *invoices)

        with storage.snapshot() as work:
            found = work.invoices.of_period(project_ids, "2026-03")
            assert set(work.invoices.last_numbers(project_ids).values()) == {3}
        assert [each.id for project_id in project_ids for each in found[project_id]] == [
            each.id for each in sorted(invoices, key=lambda invoice: (invoice.project_id, invoice.part))
        ]
