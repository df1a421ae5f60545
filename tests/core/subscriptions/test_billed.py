"""From quote to invoice: the same figures, through the façade."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeAlias

from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from neruba_core.errors import NerubaError
from neruba_core.instants import Instant, Period, month, parse
from neruba_core.invoices.model import Invoice
from neruba_core.subscriptions.subscribe import Decided
from neruba_core.testing.builders import Rehearsal, rehearsal
from neruba_core.testing.clock import SettableClock

Shown: TypeAlias = tuple[str, str, Period, int]

MONTHS = ("2026-02", "2026-03", "2026-04", "2026-05", "2026-06")


@frozen
class Wish:
    """Something that is decided after the *share*-th part of a month."""

    share: int
    plan_key: str | None
    quantity: int
    effective: str
    trial_days: int | None


wishes = st.lists(
    st.builds(
        Wish,
        share=st.integers(0, 999),
        plan_key=st.sampled_from(["pro", "team", "behind", None]),
        quantity=st.integers(1, 9),
        effective=st.sampled_from(["now", "now", "period_end", "period_start"]),
        trial_days=st.none() | st.integers(0, 40),
    ),
    max_size=3,
)


@settings(max_examples=30)
@given(
    st.lists(wishes, min_size=len(MONTHS), max_size=len(MONTHS)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
)
def test_what_was_quoted_is_on_the_invoice(months, zone):
    """
    To the micro-unit, after months of random changes, each billed before the next is quoted.
    """
    neruba = rehearsal(clock=SettableClock(parse("2026-02-01T12:00:00Z")))
    project = neruba.projects.create(name="Acme")
    neruba.projects.update(project.id, timezone=zone)
    neruba.plans.publish(key="pro", name="Pro", amount="29.99")
    neruba.plans.publish(key="team", name="Team", amount="7.000001", trial_days=10)
    neruba.plans.publish(key="behind", name="Behind", amount="100", billing="arrears")
    quotes: list[Decided] = []
    invoices: list[Invoice] = []
    for name, wanted in zip(MONTHS, months, strict=True):
        period = month(name, zone)
        quotes += decided_in(neruba, project.id, period, sorted(wanted, key=lambda wish: wish.share))
        neruba.clock.set(period.end)
        result = neruba.billing.run(project.id, name, finalize=True)
        if result.invoice is not None:
            assert result.invoice.finalized_at is not None
            invoices.append(result.invoice)

    periods = [month(name, zone) for name in MONTHS]
    for place, quoted in enumerate(quotes):
        later = quotes[place + 1] if place + 1 < len(quotes) else None
        effect = next((each for each in periods if quoted.decision.effective_at in each), None)
        if effect is not None and not replaces(later, quoted, effect):
            assert billed(invoices, quoted, effect) == expected(quoted, later)


def decided_in(neruba: Rehearsal, project_id: str, period: Period, wanted: Sequence[Wish]) -> list[Decided]:
    """What came of the wishes that were not refused; each was quoted first, and quoted the same."""
    taken = []
    for wish in wanted:
        neruba.clock.set(period.start + (period.end - period.start) * wish.share / 1000)
        when: str | Instant = period.start if wish.effective == "period_start" else wish.effective
        asked: dict[str, Any] = {"cancel": True}
        if wish.plan_key is not None:
            asked = {
                "plan_key": wish.plan_key,
                "quantity": wish.quantity,
                "trial_days": wish.trial_days,
            }
        try:
            quoted = neruba.subscriptions.quote(project_id, effective=when, **asked)
        except NerubaError:
            continue
        if asked.pop("cancel", False):
            decided = neruba.subscriptions.cancel(project_id, effective=when)
        else:
            decided = neruba.subscriptions.subscribe(project_id, effective=when, **asked)
        assert figures(quoted) == figures(decided)
        taken.append(decided)
    return taken


def figures(decided: Decided) -> list[Shown]:
    return [(line.kind, line.description, line.span, line.amount_micros) for line in decided.lines]


def billed(invoices: Sequence[Invoice], quoted: Decided, period: Period) -> list[Shown]:
    """What the invoices show for the decision, about the *period* that it takes effect in."""
    return [
        (line.kind.value, line.description, line.service, line.amount_micros)
        for invoice in invoices
        for line in invoice.lines
        if line.workings.get("decision") == quoted.decision.id and line.service.start in period
    ]


def expected(quoted: Decided, later: Decided | None) -> list[Shown]:
    """The quote, without the end of a trial that a later decision came before."""
    ends_at = quoted.decision.trial_ends_at
    overtaken = later is not None and ends_at is not None and later.decision.effective_at <= ends_at
    return [shown for shown in figures(quoted) if not (overtaken and shown[2].start == ends_at)]


def replaces(later: Decided | None, quoted: Decided, period: Period) -> bool:
    """Whether *quoted* never took effect on its own: *later* took its instant at the period's start."""
    return later is not None and quoted.decision.effective_at == later.decision.effective_at == period.start


def test_a_plan_prices_what_its_projects_come_to_count():
    """
    Nobody had the metrics when it was published: one is the project's own, the other came with its usage.
    """
    neruba = rehearsal(clock=SettableClock(parse("2026-03-01T12:00:00Z")))
    neruba.plans.publish(
        key="pro",
        name="Pro",
        amount="0",
        prices=[
            {"metric_key": "calls", "model": "unit", "unit_amount": "2"},
            {"metric_key": "desks", "model": "unit", "unit_amount": "3"},
        ],
    )
    project = neruba.projects.create(name="Acme")
    neruba.subscriptions.subscribe(project.id, plan_key="pro")
    neruba.metrics.declare(project.id, key="desks", aggregation="max")
    for number, (metric_key, units) in enumerate([("calls", "5"), ("desks", "4"), ("desks", "7")]):
        neruba.usage.record(
            project.id,
            metric_key=metric_key,
            units=units,
            timestamp=neruba.clock(),
            idempotency_key=str(number),
        )
    neruba.clock.set("2026-04-01T00:00:00Z")

    invoice = neruba.billing.run(project.id, "2026-03", finalize=True).invoice

    assert invoice is not None
    assert {line.metric_key: line.amount_micros for line in invoice.lines if line.metric_key} == {
        "calls": 10_000_000,
        "desks": 21_000_000,
    }


def test_a_change_on_the_first_of_a_month_that_was_billed_ahead():
    """
    Decided while the invoice before is still being written, or after it: the month costs the same.
    """
    totals = []
    for early in (True, False):
        neruba = rehearsal(clock=SettableClock(parse("2026-03-01T00:00:00Z")))
        project = neruba.projects.create(name="Acme")
        neruba.plans.publish(key="pro", name="Pro", amount="30")
        neruba.plans.publish(key="team", name="Team", amount="45")
        neruba.subscriptions.subscribe(project.id, plan_key="pro")
        neruba.clock.set("2026-04-01T00:00:00Z")
        if early:
            neruba.subscriptions.subscribe(project.id, plan_key="team")
        march = neruba.billing.run(project.id, "2026-03", finalize=True)
        if not early:
            neruba.subscriptions.subscribe(project.id, plan_key="team")
        neruba.clock.advance(timedelta(days=30))
        april = neruba.billing.run(project.id, "2026-04", finalize=True)
        assert march.invoice is not None
        assert april.invoice is not None
        totals.append(march.invoice.total_micros + april.invoice.total_micros)

    assert totals == [(30 + 45 + 45) * 1_000_000] * 2
