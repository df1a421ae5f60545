"""Credit for some metrics only, through the whole loop: drawn by usage, applied on invoices, given back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from neruba_core.errors import InsufficientCredit, KeyReused, NerubaError
from neruba_core.ledger.model import TransactionType
from neruba_core.tenancy.model import BillingMode, OnEmpty
from neruba_core.testing.builders import rehearsal
from neruba_core.testing.clock import SettableClock
from neruba_core.wallets.sweep import scope_faults
from tests.core.billing.stage import APRIL, DAY, GRACE, MARCH, Months, figures

METRICS = ("calls", "tokens")


def months(*, prepaid: bool, on_empty: OnEmpty = OnEmpty.REFUSE, **details: Any) -> Months:
    """A project in March whose metrics cost 1 a unit."""
    months = Months(rehearsal(clock=SettableClock(MARCH + DAY), runs_due=False), **details)
    if prepaid:
        project = months.billing.projects.get(months.id)
        with months.billing._context.storage.work() as work:
            work.tenancy.replace_project(evolve(project, billing_mode=BillingMode.PREPAID, on_empty=on_empty))
    for metric in METRICS:
        months.price(metric, unit_amount="1")
    return months


def grants(months: Months) -> dict[tuple[str, ...], str]:
    """What remains, by the metrics that it pays for."""
    found: dict[tuple[str, ...], int] = {}
    for each in months.billing.wallets.get(months.id).grants:
        found[each.metric_keys] = found.get(each.metric_keys, 0) + each.remaining_micros
    return {keys: f"{micros / 1_000_000:g}" for keys, micros in found.items()}


def test_prepaid_usage_draws_it_before_credit_for_anything():
    """
    A charge cannot, and says what there is without it.
    """
    at = months(prepaid=True)
    at.credit("10")
    at.credit("20", metric_keys=["tokens"])
    wallet = at.billing.wallets.get(at.id)
    assert (str(wallet.balance), str(wallet.available)) == ("30.000000", "10.000000")

    at.use("15", MARCH + DAY, "tokens")
    assert grants(at) == {(): "10", ("tokens",): "5"}
    with pytest.raises(InsufficientCredit) as refused:
        at.charge("11")
    assert refused.value.available == "10.000000"
    at.charge("10")
    at.use("5", MARCH + DAY, "tokens")
    with pytest.raises(InsufficientCredit):
        at.use("1", MARCH + DAY, "calls")
    assert grants(at) == {}
    assert at.sweep.faults == ()


def test_usage_beside_an_overdraft_still_has_its_own_credit():
    """
    Though the limit is reached; and a void gives it back there, not to the overdraft.
    """
    at = months(prepaid=True, credit_limit="10")
    at.charge("10")
    at.credit("20", metric_keys=["tokens"])
    used = at.use("15", MARCH + DAY, "tokens")
    assert grants(at) == {("tokens",): "5"}

    at.void_usage(used)

    assert grants(at) == {("tokens",): "20"}
    assert at.accounts["overdraft"] == "10.000000"
    assert at.sweep.faults == ()


def test_what_came_out_of_the_overdraft_last_is_repaid_first():
    """
    Ten of the usage were paid with its own credit, five with debt: the debt goes first.
    """
    at = months(prepaid=True, credit_limit="10")
    at.credit("10", metric_keys=["tokens"])
    at.use("8", MARCH + DAY, "tokens")
    used = at.use("7", MARCH + DAY, "tokens")
    assert at.accounts["overdraft"] == "5.000000"

    at.void_usage(used)

    assert grants(at) == {("tokens",): "2"}
    assert "overdraft" not in at.accounts


def test_a_share_of_expired_credit_comes_back_for_the_same_metrics():
    """
    With the time that was left of it.
    """
    at = months(prepaid=True)
    at.credit("20", metric_keys=["tokens"], expires_at=MARCH + 3 * DAY)
    used = at.use("15", MARCH + DAY, "tokens")
    at.at(MARCH + 10 * DAY)

    at.void_usage(used)

    (grant,) = at.billing.wallets.get(at.id).grants
    assert (grant.metric_keys, str(grant.remaining)) == (("tokens",), "15.000000")
    assert grant.expires_at == MARCH + 12 * DAY
    assert at.sweep.faults == ()


def test_an_invoice_takes_it_for_lines_of_its_metrics_but_no_tax():
    """
    Twelve of tokens are covered, the tax on them and the calls are not; the draft says the same.
    """
    at = months(prepaid=False)
    at.set(tax_rate="0.25")
    at.credit("100", metric_keys=["tokens"])
    at.credit("3")
    at.use("12", MARCH + DAY, "tokens")
    at.use("8", MARCH + DAY, "calls")
    at.at(APRIL)
    draft = at.bill(finalize=False)
    at.at(APRIL + GRACE)

    invoice = at.bill()

    assert figures(draft) == figures(invoice)
    assert figures(invoice) == {
        "subtotal": "20.000000",
        "tax": "5.000000",
        "total": "25.000000",
        "credit": "15.000000",
        "due": "10.000000",
    }
    assert grants(at) == {("tokens",): "88"}
    at.void(invoice)
    assert grants(at) == {("tokens",): "100", (): "3"}
    assert at.sweep.faults == ()


def test_a_void_takes_nothing_from_it():
    """
    The overdraft that the invoice had billed is owed again, though there is credit for tokens.
    """
    at = months(prepaid=False, credit_limit="10")
    at.charge("10")
    at.credit("5", metric_keys=["tokens"])
    at.at(APRIL + GRACE)
    invoice = at.bill()
    assert figures(invoice)["due"] == "10.000000"

    at.void(invoice)

    assert grants(at) == {("tokens",): "5"}
    assert at.accounts["overdraft"] == "10.000000"
    assert at.sweep.faults == ()


def test_a_capture_beyond_its_draws_leaves_it_alone():
    """
    What a hold held against the limit comes out of credit for anything that is free by then, or is owed.
    """
    at = months(prepaid=False, credit_limit="10")
    held = at.billing.holds.reserve(at.id, amount="8", description="job", idempotency_key="h").value
    at.credit("3")
    at.credit("20", metric_keys=["tokens"])

    at.billing.holds.capture(at.id, held.id, idempotency_key="c")

    assert grants(at) == {("tokens",): "20"}
    assert at.accounts["overdraft"] == "5.000000"
    assert at.sweep.faults == ()


def test_the_sweep_names_what_took_from_it_without_right():
    """
    A charge that drew credit for tokens, as a faulty release might.
    """
    at = months(prepaid=False)
    granted = at.credit("5", metric_keys=["tokens"])
    at.credit("5")
    charged = at.charge("5")
    with at.billing._context.storage.snapshot() as work:
        (entry,) = [each for each in charged.entries if each.account.startswith("wallet:")]
        (grant,) = [each for each in work.wallets.grants_of(at.id) if each.transaction_id == granted.id]
        assert list(scope_faults(work, at.id)) == []
        drawn = evolve(grant, id=entry.account.removeprefix("wallet:"))
        wrong: Any = SimpleNamespace(ledger=work.ledger, wallets=SimpleNamespace(grants_of=lambda _: [drawn]))
        assert list(scope_faults(wrong, at.id)) == [
            f"transaction {charged.id} may take nothing from grant {drawn.id}"
        ]


def test_a_retry_with_other_metrics_is_another_request():
    """
    They are a part of what the key stands for; their order is not.
    """
    at = months(prepaid=False)

    def credit(*keys: str) -> Any:
        return at.billing.wallets.credit(
            at.id, amount="1", description="x", idempotency_key="k", metric_keys=keys or None
        )

    made = credit("tokens", "calls").value
    assert credit("calls", "tokens").value == made
    for keys in (("tokens",), ()):
        with pytest.raises(KeyReused):
            credit(*keys)


COMMANDS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "credit",
                "charge",
                "debit",
                "hold",
                "use",
                "use",
                "use",
                "void",
                "reverse",
                "days",
                "bill",
                "unbill",
            ]
        ),
        st.integers(1, 30),
        st.sampled_from([(), ("calls",), ("tokens",), METRICS]),
        st.booleans(),
    ),
    min_size=3,
    max_size=14,
)


@settings(max_examples=40, deadline=None)
@given(COMMANDS, st.booleans(), st.sampled_from(OnEmpty), st.sampled_from(["0", "15"]))
def test_whatever_happens_the_books_are_right(commands, prepaid, on_empty, limit):
    """
    They balance, no grant pays for what it may not, and no invoice takes more credit than it has lines for.
    """
    at = months(prepaid=prepaid, on_empty=on_empty, credit_limit=limit)
    used: list[str] = []
    booked = []
    invoice = None
    for word, number, keys, flag in commands:
        available = at.billing.wallets.get(at.id).available_micros
        metric = METRICS[flag]
        try:
            match word:
                case "credit":
                    ends = at.billing.clock() + 2 * DAY if flag else None
                    booked.append(
                        at.credit(str(number), metric_keys=keys or None, expires_at=ends, priority=number % 2)
                    )
                case "charge":
                    booked.append(at.charge(str(number)))
                case "debit":
                    debited = at.billing.wallets.debit(
                        at.id, amount=str(number), description="x", idempotency_key=next(at._keys)
                    )
                    booked.append(debited.value)
                case "hold":
                    at.billing.holds.reserve(
                        at.id, amount=str(number), description="x", idempotency_key=next(at._keys)
                    )
                case "use":
                    used.append(at.use(str(number), MARCH + DAY, metric))
                case "void" if used:
                    at.void_usage(used.pop(number % len(used)))
                case "reverse" if booked:
                    at.reverse(booked[number % len(booked)])
                case "days":
                    at.at(at.billing.clock() + (number % 4) * DAY)
                    at.billing.wallets.expire_due()
                case "bill" if invoice is None:
                    at.at(max(APRIL + GRACE, at.billing.clock()))
                    invoice = at.run().invoice
                case "unbill" if invoice is not None:
                    at.void(invoice)
                    invoice = None
        except NerubaError:
            pass
        assert at.sweep.faults == ()
        now = at.billing.wallets.get(at.id)
        assert all(grant.remaining_micros > 0 for grant in now.grants)
        if word in {"charge", "debit", "hold"} or (word == "use" and on_empty is OnEmpty.REFUSE):
            assert now.available_micros >= min(available, 0)
    _in_and_out(at)


def _in_and_out(at: Months) -> None:
    """What was put in a grant is what was taken from it and what remains; nothing else has taken from it."""
    with at.billing._context.storage.snapshot() as work:
        for grant in work.wallets.grants_of(at.id):
            entries = work.ledger.entries(at.id, limit=1000, before=None, account=grant.account)
            assert all(-entry.balance_after_micros >= 0 for entry in entries)
            for entry in entries:
                taken = work.ledger.transaction(at.id, entry.transaction_id)
                assert taken is not None
                if entry.debit_micros and grant.metric_keys:
                    assert taken.type not in {TransactionType.CHARGE, TransactionType.DEBIT}
                    if taken.type is TransactionType.USAGE:
                        assert taken.metadata is not None
                        assert taken.metadata["metricKey"] in grant.metric_keys
        for invoice in work.invoices.issued(at.id, None):
            due = sum(
                line.amount_micros - line.already_drawn_micros for line in invoice.lines if line.metric_key
            )
            assert 0 <= invoice.credit_applied_micros <= max(due, 0)
