"""Runs: the same inputs give the same invoice, as a dry run, as a draft and for good."""

from __future__ import annotations

import random
from decimal import Decimal
from fractions import Fraction

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from neruba_core import money
from neruba_core.billing.assemble import assemble
from neruba_core.billing.model import RunState
from neruba_core.errors import (
    FormatInvalid,
    InvoiceBlocked,
    PeriodEarlierOpen,
    PeriodNotBegun,
    PeriodOpen,
    ProjectArchived,
    ProjectNotFound,
    StorageUnavailable,
)
from neruba_core.invoices.model import InvoiceState, Line
from neruba_core.invoices.spoken import spoken
from neruba_core.pricing.exact import units
from neruba_core.pricing.model import Tier
from neruba_core.storage.memory.storage import MemoryStorage
from neruba_core.testing.builders import Rehearsal, rehearsal
from neruba_core.testing.clock import SettableClock
from neruba_core.testing.failing import failing
from tests.core.billing.stage import APRIL, DAY, GRACE, MARCH, MAY, Months, figures, lines

TIERS = [Tier.of("100", "1.00"), Tier.of("1000", "0.50"), Tier.of(None, "0.10")]


# --- what is billed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "fields", "quantity", "amount"),
    [
        ("unit", {"unit_amount": "0.000002"}, "1250", "0.002500"),
        ("unit", {"unit_amount": "0.0000015"}, "1", "0.000002"),
        ("unit", {"unit_amount": "0.0000025"}, "1", "0.000002"),
        ("graduated", {"tiers": TIERS}, "1500", "600.000000"),
        ("volume", {"tiers": TIERS}, "1500", "150.000000"),
        ("volume", {"tiers": TIERS}, "100", "100.000000"),
        ("volume", {"tiers": TIERS}, "100.000001", "50.000000"),
        ("package", {"package_size": "1000", "package_amount": "5.00"}, "1", "5.000000"),
        ("package", {"package_size": "1000", "package_amount": "5.00"}, "1000", "5.000000"),
        ("package", {"package_size": "1000", "package_amount": "5.00"}, "1000.000001", "10.000000"),
    ],
)
def test_the_figures_that_anyone_can_check_by_hand(acme, model, fields, quantity, amount):
    """
    As an invoice bills them.
    """
    acme.price(model=model, **fields)
    acme.use(quantity)

    invoice = acme.bill()

    assert lines(invoice) == [("usage", "tokens", amount)]
    assert invoice.lines[0].model == model
    assert_lines_add_up(invoice)


def assert_lines_add_up(invoice):
    """The parts of each line add up to its amount, and the lines to the sums."""
    for line in invoice.lines:
        how = line.workings
        exact = sum((Fraction(part["amount"]) for part in how["parts"]), start=Fraction(0))
        assert exact == Fraction(how["exact"])
        assert exact + Fraction(how["rounding"]) == units(line.amount_micros)
    assert sum(line.amount_micros for line in invoice.lines) == invoice.total_micros
    assert sum(line.already_drawn_micros for line in invoice.lines) == invoice.already_drawn_micros
    assert invoice.subtotal_micros + invoice.tax_micros == invoice.total_micros
    assert invoice.amount_due_micros == (
        invoice.total_micros
        - invoice.already_drawn_micros
        - invoice.credit_applied_micros
        + invoice.overdraft_billed_micros
        + invoice.credit_granted_micros
        + invoice.rounding_micros
    )


def test_the_wallet_pays_first_and_the_rest_is_due(acme):
    """
    10.005 of usage and 3.001234 in the wallet: 7.00 is due, and the residue is named.
    """
    acme.price(unit_amount="0.0015")
    acme.use("6670")
    acme.credit("3.001234")
    acme.at(APRIL + GRACE)

    invoice = acme.bill()

    assert figures(invoice) == {
        "subtotal": "10.005000",
        "total": "10.005000",
        "credit": "3.001234",
        "rounding": "-0.003766",
        "due": "7.000000",
    }
    assert acme.accounts == {
        "promotions": "3.001234",
        "receivable": "7.000000",
        "rounding": "0.003766",
        "revenue:tokens": "-10.005000",
    }
    assert acme.sweep.faults == ()


def test_an_overdraft_is_billed_with_the_charges_that_made_it(acme):
    """
    The charge line is drawn already; 800 is due for the overdraft, and the balance is zero.
    """
    acme.set(credit_limit="1000")
    acme.charge("800")
    acme.at(APRIL + GRACE)

    invoice = acme.bill()

    assert lines(invoice) == [("charge", None, "800.000000")]
    assert figures(invoice) == {
        "subtotal": "800.000000",
        "total": "800.000000",
        "drawn": "800.000000",
        "overdraft": "800.000000",
        "due": "800.000000",
    }
    assert acme.balance == "0.000000"
    assert acme.accounts == {"receivable": "800.000000", "revenue:charges": "-800.000000"}
    assert acme.sweep.faults == ()


def test_reversals_of_a_charge_are_taken_off_its_line(acme):
    """
    Those before finalization; later ones are a line of their own on the next invoice, drawn as well.
    """
    acme.credit("100")
    charged = acme.charge("20")
    gone = acme.charge("7")
    acme.reverse(charged, "5")
    acme.reverse(gone)
    acme.at(APRIL + GRACE)
    march = acme.bill()
    acme.reverse(charged, "4")
    acme.charge("1")
    acme.at(MAY + GRACE)

    april = acme.bill("2026-04")

    assert lines(march) == [("charge", None, "15.000000")]
    assert figures(march) == {"subtotal": "15.000000", "total": "15.000000", "drawn": "15.000000"}
    assert lines(april) == [("charge", None, "1.000000"), ("charge", None, "-4.000000")]
    assert figures(april) == {"subtotal": "-3.000000", "total": "-3.000000", "drawn": "-3.000000"}
    assert acme.balance == "88.000000"
    assert_lines_add_up(march)
    assert_lines_add_up(april)


def test_minimum_and_tax_have_lines_of_their_own(acme):
    """
    A minimum applies without usage too; the tax is on all of it, rounded once.
    """
    acme.price(unit_amount="1", minimum_amount="10")
    acme.price("calls", unit_amount="2", minimum_amount="3")
    acme.use("4")
    acme.set(tax_rate="0.19")
    acme.at(APRIL + GRACE)

    invoice = acme.bill()

    assert lines(invoice) == [
        ("minimum", "calls", "3.000000"),
        ("usage", "tokens", "4.000000"),
        ("minimum", "tokens", "6.000000"),
        ("tax", None, "2.470000"),
    ]
    assert (invoice.tax_rate, figures(invoice)["due"]) == (Decimal("0.19"), "15.470000")
    assert acme.accounts["tax_payable"] == "-2.470000"
    assert_lines_add_up(invoice)


def test_a_price_change_makes_two_slices(acme):
    """
    Each starts its tiers anew and has its share of what is included and of the minimum, by seconds.
    """
    acme.price(unit_amount="1")
    acme.billing.prices.create(
        acme.id,
        metric_key="tokens",
        model="unit",
        unit_amount="2",
        included="31",
        effective_from=MARCH + 20 * DAY,
    )
    acme.use("100", MARCH + DAY)
    acme.at(MARCH + 26 * DAY)
    acme.use("100", MARCH + 25 * DAY)

    invoice = acme.bill()

    assert lines(invoice) == [("usage", "tokens", "100.000000"), ("usage", "tokens", "178.000000")]
    assert invoice.lines[0].service.end == invoice.lines[1].service.start == MARCH + 20 * DAY
    assert_lines_add_up(invoice)


def test_subscriptions_are_on_the_invoice(acme):
    """
    In advance: what is left of the first month, and the whole of the next.
    """
    acme.billing.plans.publish(key="team", name="Team", amount="31", minimum_commitment="62")
    acme.at(MARCH + 10 * DAY)
    acme.billing.subscriptions.subscribe(acme.id, plan_key="team", quantity=2)
    acme.price(unit_amount="1")
    acme.use("2", MARCH + 9 * DAY)
    acme.at(APRIL + GRACE)
    march = acme.bill()
    acme.at(MAY + GRACE)

    april = acme.bill("2026-04")

    assert lines(march) == [
        ("usage", "tokens", "2.000000"),
        ("minimum", None, "40.000000"),
        ("proration", None, "42.000000"),
        ("subscription", None, "62.000000"),
    ]
    assert [line.period for line in march.lines] == ["2026-03"] * 3 + ["2026-04"]
    assert lines(april) == [("minimum", None, "62.000000"), ("subscription", None, "62.000000")]
    assert_lines_add_up(march)
    assert_lines_add_up(april)


# --- again and again --------------------------------------------------------------------------


def content(invoice) -> tuple[Line, ...]:
    assert invoice is not None
    return invoice.lines


def test_dry_run_draft_and_final_invoice_are_the_same(acme):
    """
    The same id, lines, figures and digest; only the state and what finalization adds differ.
    """
    acme.price(unit_amount="0.0015", minimum_amount="20")
    acme.use("6670")
    acme.credit("3.001234")
    before = acme.state

    dry = acme.run(dry_run=True)
    assert acme.state == before
    draft = acme.run()
    acme.at(APRIL + GRACE)
    final = acme.run()

    invoices = [dry.invoice, draft.invoice, final.invoice]
    assert len({each.id for each in invoices}) == 1
    assert content(dry.invoice) == content(draft.invoice) == content(final.invoice)
    assert figures(dry.invoice) == figures(draft.invoice) == figures(final.invoice)
    assert dry.run.input_digest == draft.run.input_digest == final.run.input_digest
    assert [each.state for each in invoices] == ["draft", "draft", "finalized"]
    assert [each.number for each in invoices] == [None, None, 1]
    assert [each.run.state for each in (dry, draft, final)] == ["draft", "draft", "finalized"]


@pytest.mark.parametrize("when", [MARCH + 20 * DAY, APRIL + GRACE])
def test_an_unchanged_rerun_does_nothing(acme, when):
    """
    A draft or an issued invoice is answered as it is, with the record of the run that made it.
    """
    acme.price(unit_amount="1")
    acme.use("5")
    acme.at(when)
    first = acme.run()
    before = acme.state
    acme.at(when + DAY / 2)

    again = acme.run()

    assert again.invoice == first.invoice
    assert again.run == evolve(first.run, unchanged=True)
    assert acme.state == before


def test_a_draft_follows_what_is_recorded(acme):
    """
    Recomputed freely under the same id; when nothing is left, there is none.
    """
    acme.price(unit_amount="1")
    usage_id = acme.use("5")
    first = acme.bill()
    acme.use("2")
    second = acme.bill()
    with acme.billing._context.storage.snapshot() as work:
        stored = work.invoices.invoice(acme.id, first.id)

    assert first.id == second.id
    assert stored == second
    assert figures(second)["total"] == "7.000000"
    acme.void_usage(usage_id)
    assert figures(acme.bill())["total"] == "2.000000"


def test_a_draft_that_nothing_is_left_of_is_dropped(acme):
    """
    There is nothing to bill, and no invoice of zero.
    """
    acme.price(unit_amount="1")
    usage_id = acme.use("5")
    acme.bill()
    acme.void_usage(usage_id)

    result = acme.run()

    assert result.invoice is None
    assert acme.billing.invoices.list(acme.id).items == ()


@given(st.randoms(use_true_random=False), st.lists(st.integers(0, 10**9), min_size=1, max_size=8))
def test_shuffled_events_give_the_same_bytes(shuffler: random.Random, quantities):
    """
    The order of arrival is nowhere in an invoice.
    """
    shuffled = list(enumerate(quantities))
    shuffler.shuffle(shuffled)

    def invoice(events):
        acme = Months(rehearsal())
        acme.price(model="graduated", tiers=TIERS)
        for place, micros in events:
            acme.use(money.text(micros), MARCH + place * DAY, idempotency_key=f"e{place}")
        acme.at(APRIL + GRACE)
        result = acme.run()
        assert result.invoice is None or len(result.invoice.lines) == 1
        return result.invoice, result.run.input_digest

    assert invoice(enumerate(quantities)) == invoice(shuffled)


def test_a_crash_at_any_storage_call_leaves_nothing_and_the_next_run_is_the_same():
    """
    The bytes of the interrupted and repeated run are those of one that was never interrupted.
    """

    def prepared():
        storage = MemoryStorage()
        acme = Months(Rehearsal(storage, clock=SettableClock(MARCH + 17 * DAY)))
        acme.set(credit_limit="1000")
        acme.price(unit_amount="0.0015", minimum_amount="20")
        acme.use("6670")
        acme.charge("5")
        acme.credit("3.001234")
        acme.run()
        acme.at(APRIL + GRACE)
        return acme, storage

    def run(acme, storage):
        return Rehearsal(storage, clock=acme.billing.clock, seed=7).billing.run(acme.id, "2026-03")

    acme, storage = prepared()
    counted = failing(storage, at=None)
    run(acme, counted)
    expected = acme.state
    assert counted.calls > 15

    for at in range(1, counted.calls + 1):
        acme, storage = prepared()
        with pytest.raises(StorageUnavailable):
            run(acme, failing(storage, at=at))
        run(acme, storage)
        assert acme.state == expected
        assert acme.sweep.faults == ()


# --- when -------------------------------------------------------------------------------------


def test_a_run_finalizes_once_the_grace_is_over(acme):
    """
    Before, it leaves a draft; to finalize waives the grace but not the period; a draft can be insisted on.
    """
    acme.price(unit_amount="1")
    acme.use("5")

    acme.at(APRIL + GRACE - DAY / 24)
    assert acme.bill().state is InvoiceState.DRAFT
    acme.at(APRIL + GRACE)
    assert acme.bill(finalize=False).state is InvoiceState.DRAFT
    assert acme.bill().state is InvoiceState.FINALIZED


def test_the_grace_can_be_waived_but_not_the_period(acme):
    """
    Before the end: refused, with nothing changed.
    """
    acme.price(unit_amount="1")
    acme.use("5")
    acme.at(APRIL - DAY)
    before = acme.state

    with pytest.raises(PeriodOpen) as refused:
        acme.run(finalize=True)

    assert refused.value.period == "2026-03"
    assert acme.state == before
    acme.at(APRIL)
    assert acme.bill(finalize=True).state is InvoiceState.FINALIZED


def test_unpriced_usage_keeps_an_invoice_in_draft(acme):
    """
    Unless its metric is free, or the run ignores it.
    """
    acme.price(unit_amount="1")
    acme.use("5")
    acme.use("3", metric="calls")
    acme.at(APRIL + GRACE)

    blocked = acme.bill(finalize=True)

    assert (blocked.state, blocked.blockers) == (InvoiceState.DRAFT, ("usage.unpriced",))
    with pytest.raises(InvoiceBlocked):
        acme.billing.invoices.finalize(acme.id, blocked.id)
    free = acme.bill(dry_run=True, ignore_unpriced=True)
    assert (free.blockers, figures(free)["total"]) == ((), "5.000000")
    acme.billing.metrics.change(acme.id, "calls", free=True)
    assert acme.billing.invoices.finalize(acme.id, blocked.id).number == 1


def test_usage_without_any_price_has_no_invoice(acme):
    """
    There is nothing to show yet; the run's record tells that something is unpriced.
    """
    acme.use("3", metric="calls")
    acme.at(APRIL + GRACE)

    result = acme.run()

    assert result.invoice is None
    assert (result.run.state, result.run.counts["unpriced"]) == (RunState.DRAFT, 1)
    assert acme.billing.projects.get(acme.id).invoiced_until is None


def test_periods_are_finalized_in_their_order(acme):
    """
    A month with something to bill comes first; empty ones are closed along with a later one.
    """
    acme.price(unit_amount="1")
    acme.use("5")
    acme.at(APRIL + GRACE)
    acme.bill()
    acme.use("2", APRIL)
    acme.at(MAY + 62 * DAY)
    acme.use("2", MAY + 31 * DAY)

    with pytest.raises(PeriodEarlierOpen) as refused:
        acme.run("2026-06")
    april = acme.bill("2026-04")
    june = acme.bill("2026-06")

    assert (refused.value.period, refused.value.earlier) == ("2026-06", "2026-04")
    assert (april.number, june.number) == (2, 3)
    may = acme.run("2026-05")
    assert (may.invoice, may.run.unchanged, may.run.state) == (None, True, RunState.FINALIZED)
    assert acme.billing.projects.get(acme.id).invoiced_until == june.span.end


def test_before_the_first_invoice_any_month_may_come_first(acme):
    """
    Usage before it is adjusted on the next invoice, and once only.
    """
    acme.price(unit_amount="1")
    acme.use("7", MARCH - 40 * DAY)
    acme.use("5")
    acme.run("2026-01", finalize=False)
    acme.at(APRIL + GRACE)
    march = acme.bill()
    acme.use("1", APRIL)
    acme.at(MAY + GRACE)
    april = acme.bill("2026-04")
    acme.use("1", MAY)
    acme.at(MAY + 31 * DAY + GRACE)

    may = acme.bill("2026-05")

    assert lines(march) == [("usage", "tokens", "5.000000")]
    assert lines(april) == [("usage", "tokens", "1.000000"), ("adjustment", "tokens", "7.000000")]
    assert april.lines[1].period == "2026-01"
    assert lines(may) == [("usage", "tokens", "1.000000")]
    assert acme.billing.invoices.list(acme.id, state="draft").items == ()


def test_a_draft_of_fees_is_not_passed_over_by_the_first_invoice(acme):
    """
    Nothing would bill them any more; once they are billed, the next month is.
    """
    acme.billing.plans.publish(key="pro", name="Pro", amount="10", billing="arrears")
    acme.billing.subscriptions.subscribe(acme.id, plan_key="pro")
    acme.use("5", metric="unpriced")
    acme.at(APRIL + GRACE)
    assert acme.bill().blockers == ("usage.unpriced",)
    acme.at(MAY + GRACE)

    for dry_run in (True, False):
        with pytest.raises(PeriodEarlierOpen) as refused:
            acme.run("2026-04", dry_run=dry_run)
        assert refused.value.earlier == "2026-03"
    march = acme.bill(ignore_unpriced=True)
    april = acme.bill("2026-04")

    assert [(each.number, figures(each)["total"]) for each in (march, april)] == [
        (1, "4.677419"),
        (2, "10.000000"),
    ]


def test_an_issued_page_keeps_the_days_of_its_own_zone(acme):
    """
    A project without usage changes its zone at once, but not for what it was billed.
    """
    acme.billing.plans.publish(key="pro", name="Pro", amount="10")
    acme.billing.subscriptions.subscribe(acme.id, plan_key="pro")
    acme.at(APRIL + GRACE)
    march = acme.bill()
    page = acme.billing.invoices.html(acme.id, march.id)

    acme.set(timezone="Asia/Kolkata", name="Acme India")
    acme.set(timezone="Pacific/Apia")
    acme.at(MAY + GRACE)
    april = acme.bill("2026-04")

    assert acme.billing.invoices.html(acme.id, march.id) == page
    assert april.span.start == march.span.end
    assert "Pacific/Apia" in acme.billing.invoices.html(acme.id, april.id)


def test_a_void_page_keeps_the_days_of_its_own_zone(acme):
    """
    Even where nothing is invoiced any more, so that the zone changes at once for all that is to come.
    """
    acme.billing.plans.publish(key="pro", name="Pro", amount="10")
    acme.at(MARCH)
    acme.billing.subscriptions.subscribe(acme.id, plan_key="pro")
    acme.at(APRIL + GRACE)
    march = acme.void(acme.bill())
    invoices = acme.billing.invoices
    page, words = invoices.html(acme.id, march.id), spoken(invoices.explain(acme.id, march.id))

    acme.set(timezone="Pacific/Apia", name="Renamed")
    again = acme.bill()

    assert invoices.get(acme.id, march.id) == march
    assert invoices.html(acme.id, march.id) == page
    assert spoken(invoices.explain(acme.id, march.id)) == words
    assert "Pacific/Apia" in invoices.html(acme.id, again.id)


def test_what_cannot_be_run_is_refused(acme):
    """
    Each with its own words.
    """
    with pytest.raises(FormatInvalid):
        acme.run("march")
    with pytest.raises(PeriodNotBegun):
        acme.run("2026-04")
    with pytest.raises(ProjectNotFound):
        acme.billing.billing.run("prj_none", "2026-03")
    acme.billing.projects.archive(acme.id)
    acme.at(APRIL)
    with pytest.raises(ProjectArchived):
        acme.run("2026-04")
    assert acme.run("2026-04", dry_run=True).invoice is None


def test_the_record_of_a_run_is_kept(acme):
    """
    What it counted up to, what it found, what it came to; of a dry run nothing is kept.
    """
    acme.price(unit_amount="1")
    acme.use("5")
    acme.run(dry_run=True)
    draft = acme.run()
    acme.at(APRIL + GRACE)
    final = acme.run()

    records = acme.billing.billing.runs(acme.id, period="2026-03").items

    assert records == (final.run, draft.run)
    assert final.run.counts["events"] == final.run.counts["lines"] == 1
    assert final.run.totals["total"] == final.run.totals["amountDue"] == 5_000_000
    assert final.run.invoice_ids == (final.invoice.id,)


# --- voiding ----------------------------------------------------------------------------------


def test_a_void_undoes_an_invoice_and_opens_its_period(acme):
    """
    Credit is back where it was, nothing is receivable; the next run makes the next part and number.
    """
    acme.price(unit_amount="1")
    acme.use("5")
    acme.credit("2")
    acme.at(APRIL + GRACE)
    before = acme.accounts
    first = acme.bill()

    voided = acme.void(first)

    assert (voided.state, voided.void_reason) == (InvoiceState.VOID, "wrong")
    assert acme.void(first) == voided
    assert acme.accounts == before
    assert acme.sweep.faults == ()
    acme.use("1")
    second = acme.bill()
    assert (second.part, second.number) == (2, 2)
    assert second.id != first.id
    assert lines(second) == [("usage", "tokens", "6.000000")]


def test_a_void_brings_the_overdraft_back(acme):
    """
    What was billed of it is charged again, from new credit first.
    """
    acme.set(credit_limit="1000")
    acme.charge("800")
    acme.at(APRIL + GRACE)
    invoice = acme.bill()
    acme.credit("300")

    acme.void(invoice)

    assert acme.balance == "-500.000000"
    assert acme.accounts == {
        "overdraft": "500.000000",
        "promotions": "300.000000",
        "revenue:charges": "-800.000000",
    }
    assert acme.sweep.faults == ()


# --- many projects ----------------------------------------------------------------------------


def test_a_failing_project_harms_no_other(billing, monkeypatch):
    """
    It is reported with its error; the others are billed.
    """
    projects = [Months(billing) for _ in range(5)]
    for each in projects:
        each.price(unit_amount="1")
        each.use("5")
    broken = projects[2].id

    def failing_assemble(inputs, **options):
        if inputs.project.id == broken:
            raise ZeroDivisionError
        return assemble(inputs, **options)

    monkeypatch.setattr("neruba_core.billing.run.assemble", failing_assemble)
    projects[0].at(APRIL + GRACE)

    ran = list(billing.billing.run_all("2026-03"))

    assert [each.done for each in ran] == [1, 2, 3, 4, 5]
    assert [each.project_id for each in ran] == [each.id for each in projects]
    assert [each.error is not None for each in ran] == [False, False, True, False, False]
    assert isinstance(ran[2].error, ZeroDivisionError)
    assert [figures(each.result.invoice)["due"] for each in ran if each.result] == ["5.000000"] * 4


def test_many_projects_in_one_unit_are_billed_as_each_alone(billing):
    """
    Whatever their zones, prices and charges.
    """
    zones = ["UTC", "Europe/Berlin", "Pacific/Apia", "America/New_York"]
    projects = []
    for number, zone in enumerate(zones * 2):
        each = Months(billing)
        each.set(timezone=zone, credit_limit="100")
        each.price(model="graduated", tiers=TIERS)
        each.use(str(number + 150), MARCH + 12 * DAY)
        each.charge(str(number + 1))
        projects.append(each)
    projects[0].at(APRIL + 2 * GRACE)

    alone = [each.run(dry_run=True).invoice for each in projects]
    together = [each.result.invoice for each in billing.billing.run_all("2026-03") if each.result]

    assert list(map(content, alone)) == list(map(content, together))
    assert list(map(figures, alone)) == list(map(figures, together))
    assert all(each.sweep.faults == () for each in projects)


def test_the_clock_runs_what_falls_due_on_the_way(acme):
    """
    Month by month, each at the moment that its grace is over.
    """
    acme.price(unit_amount="1")
    acme.use("5")
    acme.billing.clock.set(APRIL)
    acme.use("3", APRIL)

    acme.billing.clock.set(MAY + GRACE)

    april, march = acme.billing.invoices.list(acme.id).items
    assert (march.finalized_at, april.finalized_at) == (APRIL + GRACE, MAY + GRACE)
    assert (march.number, april.number) == (1, 2)
    assert acme.billing.billing.run_due() == []


def test_what_is_due_is_run_oldest_first(billing):
    """
    What was left undone for months is caught up; who is stuck harms nobody.
    """
    one, stuck = Months(billing), Months(billing)
    for each in (one, stuck):
        each.price(unit_amount="1")
        each.use("5", MARCH - 50 * DAY)
        each.use("5", MARCH)
    stuck.use("1", MARCH - 50 * DAY, metric="calls")
    one.at(APRIL + GRACE)

    ran = billing.billing.run_due()

    assert [(each.project_id, each.period) for each in ran] == [
        (one.id, "2026-01"),
        (stuck.id, "2026-01"),
        (one.id, "2026-03"),
    ]
    assert [each.result.run.state for each in ran] == ["finalized", "draft", "finalized"]
    assert billing.billing.next_due() == MAY + GRACE


def test_a_period_with_nothing_to_bill_may_be_run_again_as_well(acme):
    """
    The second run of the same nothing changes nothing and keeps no record; something new is no rerun.
    """
    acme.at(MARCH + DAY)
    first = acme.run()
    before = acme.state

    again = acme.run()

    assert (first.invoice, first.run.unchanged) == (None, False)
    assert (again.invoice, again.run) == (None, evolve(first.run, unchanged=True))
    assert acme.state == before
    acme.price(unit_amount="1")
    acme.use("5")
    assert not acme.run().run.unchanged
