"""Payments: what they settle, in which order, and what becomes of the rest."""

from __future__ import annotations

import pytest

from neruba_core.errors import (
    AmountNotPayable,
    AmountNotPositive,
    InvoiceNotFound,
    InvoiceNotIssued,
    InvoiceNotVoidable,
    InvoiceSettled,
    KeyReused,
    NotReversible,
    PaymentNotFound,
    ProjectArchived,
    ProjectNotFound,
    ProviderUnknown,
    StorageUnavailable,
)
from neruba_core.idempotency.outcomes import Accepted, Replayed
from neruba_core.storage.memory.storage import MemoryStorage
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.failing import failing
from tests.core.payments.stage import Till


def test_a_payment_settles_its_invoice(acme):
    """
    The money is in the till, nothing is receivable any more, and the invoice is paid.
    """
    invoice = acme.owe("12")
    assert acme.stands(invoice) == ("finalized", "12.000000")

    payment = acme.pay("12", invoice, reference="SEPA 17")

    assert payment.status.value == "succeeded"
    assert payment.invoice_id == invoice.id
    assert acme.stands(invoice) == ("paid", "0.000000")
    assert acme.accounts == {"cash:manual": "12.000000", "revenue:tokens": "-12.000000"}
    assert acme.allocated(payment) == {invoice.id: "12.000000"}
    assert acme.billing.payments.get(acme.id, payment.id) == payment
    booked = acme.billing.ledger.transaction(acme.id, payment.transaction_id)
    assert (booked.type.value, booked.description) == ("payment", "SEPA 17")
    assert acme.proved()


def test_part_of_an_invoice_can_be_paid(acme):
    """
    It stays open until the last of it has come.
    """
    invoice = acme.owe("12")

    acme.pay("5", invoice)
    assert acme.stands(invoice) == ("finalized", "7.000000")
    acme.pay("7", invoice)

    assert acme.stands(invoice) == ("paid", "0.000000")
    assert acme.proved()


def test_what_exceeds_an_invoice_settles_the_oldest_others_and_then_becomes_credit(acme):
    """
    The named one first, whatever its age.
    """
    oldest, middle, newest = acme.owe("10"), acme.owe("20"), acme.owe("30")

    first = acme.pay("35", newest)
    assert [acme.stands(each)[1] for each in (oldest, middle, newest)] == [
        "5.000000",
        "20.000000",
        "0.000000",
    ]
    second = acme.pay("40", middle)

    assert acme.allocated(first) == {newest.id: "30.000000", oldest.id: "5.000000"}
    assert acme.allocated(second) == {middle.id: "20.000000", oldest.id: "5.000000"}
    assert second.granted_micros == 15_000_000
    (grant,) = acme.billing.wallets.get(acme.id).grants
    assert (grant.id, grant.kind.value) == (second.grant_id, "paid")
    assert acme.balance == "15.000000"
    assert acme.proved()


def test_a_payment_without_an_invoice_is_a_top_up(acme):
    """
    Even if something is open: it is for what comes.
    """
    invoice = acme.owe("10")

    payment = acme.pay("25")

    assert payment.granted_micros == payment.amount_micros
    assert acme.allocated(payment) == {}
    assert acme.stands(invoice) == ("finalized", "10.000000")
    assert acme.accounts["cash:manual"] == "25.000000"
    assert acme.balance == "25.000000"
    assert acme.proved()


def test_a_top_up_repays_the_overdraft_first(acme):
    """
    As any new credit does.
    """
    acme.set(credit_limit="100")
    acme.charge("30")

    acme.pay("50")

    assert acme.balance == "20.000000"
    assert "overdraft" not in acme.accounts or acme.accounts["overdraft"] == "0.000000"
    assert acme.proved()


def test_the_same_key_pays_once(acme):
    """
    The same request gives the same payment, another one under the key is refused, another key pays again.
    """
    invoice = acme.owe("12")
    fields = {"amount": "5", "invoice_id": invoice.id, "idempotency_key": "wire-1"}

    first = acme.billing.payments.pay(acme.id, **fields)
    again = acme.billing.payments.pay(acme.id, **fields | {"amount": "5.000000"})
    with pytest.raises(KeyReused):
        acme.billing.payments.pay(acme.id, **fields | {"amount": "6"})
    other = acme.billing.payments.pay(acme.id, **fields | {"idempotency_key": "wire-2"})

    assert type(first) is Accepted
    assert type(again) is Replayed
    assert again.value == first.value
    assert other.value.id != first.value.id
    assert acme.stands(invoice) == ("finalized", "2.000000")


def test_what_cannot_be_paid_is_refused_and_leaves_nothing(acme):
    """
    Drafts, void and paid invoices, parts of a cent, strangers; the key is not burned.
    """
    acme.use("5")
    draft = acme.bill(finalize=False)
    issued = acme.owe("12")
    paid = acme.owe("3")
    acme.pay("3", paid)
    before = acme.state

    with pytest.raises(InvoiceNotFound):
        acme.billing.payments.pay(acme.id, amount="1", invoice_id="inv_none", idempotency_key="k")
    with pytest.raises(AmountNotPayable):
        acme.pay("1.005", issued)
    with pytest.raises(AmountNotPositive):
        acme.pay("0", issued)
    with pytest.raises(InvoiceSettled):
        acme.pay("1", paid)
    with pytest.raises(ProviderUnknown):
        acme.pay("1", issued, provider="piggybank")
    with pytest.raises(ProjectNotFound):
        acme.billing.payments.pay("prj_none", amount="1", idempotency_key="k")
    with pytest.raises(PaymentNotFound):
        acme.billing.payments.get(acme.id, "pay_none")

    assert draft.state.value == "draft"
    assert acme.state == before
    assert acme.billing.payments.pay(acme.id, amount="1", idempotency_key="k").value.granted_micros


def test_drafts_and_void_invoices_are_paid_by_nobody(acme):
    """
    Only what was issued is owed.
    """
    acme.use("5")
    draft = acme.bill(finalize=False)
    with pytest.raises(InvoiceNotIssued, match="is a draft"):
        acme.pay("5", draft)

    issued = acme.owe("1")
    acme.void(issued)

    with pytest.raises(InvoiceNotIssued, match="is a void"):
        acme.pay("5", issued)


def test_an_archived_project_can_pay_what_it_owes(acme):
    """
    Late, or a part of it, and get back what was too much; the rest may be given up.
    """
    paid, lost = acme.owe("12"), acme.owe("7")
    acme.billing.projects.archive(acme.id)

    payment = acme.pay("20", paid)
    acme.refund(payment, "1")
    acme.refund(payment, "3")
    acme.write_off(lost)

    assert acme.stands(paid) == acme.stands(lost) == ("paid", "0.000000")
    assert (acme.accounts["bad_debt"], acme.balance) == ("3.000000", "0.000000")
    assert acme.proved()


def test_an_archived_project_takes_no_other_payment(acme):
    """
    No top-up, no credit note; nor is a provider asked for anything.
    """
    invoice = acme.owe("12")
    acme.billing.projects.archive(acme.id)

    for act in (
        lambda: acme.pay("5"),
        lambda: acme.credit_note(invoice, "5"),
        lambda: acme.charge("1"),
    ):
        with pytest.raises(ProjectArchived):
            act()


def test_neither_the_payment_is_reversed_nor_its_invoice_voided(acme):
    """
    Money goes back by refunds alone.
    """
    invoice = acme.owe("12")
    payment = acme.pay("5", invoice)

    with pytest.raises(NotReversible):
        acme.reverse(acme.billing.ledger.transaction(acme.id, payment.transaction_id))
    with pytest.raises(InvoiceNotVoidable):
        acme.void(invoice)


def test_payments_are_listed_newest_first(acme):
    """
    In pages, and by status.
    """
    made = [acme.pay("1") for _ in range(3)]

    first = acme.billing.payments.list(acme.id, limit=2)
    rest = acme.billing.payments.list(acme.id, limit=2, cursor=first.next_cursor)

    assert [*first.items, *rest.items] == made[::-1]
    assert rest.next_cursor is None
    assert acme.billing.payments.list(acme.id, status="pending").items == ()


def test_yen_have_no_decimals_and_dinars_three(billing):
    """
    A payment is a whole number of what can be paid.
    """
    yen, dinar = Till(billing, currency="JPY"), Till(billing, currency="KWD")

    yen.pay("100")
    dinar.pay("0.001")

    with pytest.raises(AmountNotPayable, match="JPY is paid with at most 0 decimals"):
        yen.pay("0.5")
    with pytest.raises(AmountNotPayable):
        dinar.pay("0.0001")


def test_a_payment_is_audited(acme):
    """
    Who recorded how much.
    """
    payment = acme.pay("5")

    change = next(iter(acme.billing.audit.changes(acme.id).items))

    assert (change.action, change.subject) == ("payment.succeeded", payment.id)
    assert '"amount":"5.000000"' in change.details


def test_a_crash_at_any_point_leaves_one_payment_or_none():
    """
    And the retry ends in exactly one, with the same books as without a crash.
    """

    def prepared() -> Till:
        till = Till(Rehearsal(MemoryStorage()))
        till.owe("12")
        return till

    def pay(storage, till):
        engine = Rehearsal(storage, clock=till.billing.clock, seed=7)
        invoice = engine.invoices.list(till.id).items[0]
        return engine.payments.pay(till.id, amount="20", invoice_id=invoice.id, idempotency_key="wire")

    till = prepared()
    counted = failing(till.billing._context.storage, at=None)
    pay(counted, till)
    expected = till.accounts
    for at in range(1, counted.calls + 1):
        till = prepared()
        storage = till.billing._context.storage
        with pytest.raises(StorageUnavailable):
            pay(failing(storage, at=at), till)
        pay(storage, till)
        assert till.accounts == expected
        assert len(till.billing.payments.list(till.id).items) == 1
        assert till.proved()
