"""What falls due in a project, read from what is stored."""

from __future__ import annotations

from datetime import timedelta

from neruba_core.instants import Instant
from neruba_core.namespaces.agenda import DueKind
from neruba_core.testing.builders import rehearsal
from neruba_core.testing.clock import NOON
from neruba_core.testing.provider import RehearsedProvider

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def test_what_falls_due_is_told_soonest_first():
    """
    Grants with what is free of them, holds, the next billing run; nothing that is over.
    """
    neruba = rehearsal(runs_due=False)
    project = neruba.projects.create(name="Acme").id

    def grant(amount: str, days: int | None) -> str:
        credit = neruba.wallets.credit(
            project,
            amount=amount,
            description="c",
            idempotency_key=f"{days}",
            expires_at=None if days is None else NOON + days * DAY,
        )
        assert credit.value.grant_id is not None
        return credit.value.grant_id

    late, soon, _ = grant("10", 60), grant("20", 2), grant("30", None)
    hold = neruba.holds.reserve(project, amount="5", description="h", idempotency_key="h").value

    found = neruba.schedule.of_project(project)
    first = neruba.schedule.of_project(project, limit=1)

    told = [(due.kind, due.subject, due.at, due.amount_micros) for due in found.items]
    assert told == [
        (DueKind.HOLD_EXPIRY, hold.id, NOON + HOUR, 5_000_000),
        (DueKind.GRANT_EXPIRY, soon, NOON + 2 * DAY, 15_000_000),
        (DueKind.BILLING_RUN, "2026-03", NOON + timedelta(days=15, hours=12), None),
        (DueKind.GRANT_EXPIRY, late, NOON + 60 * DAY, 10_000_000),
    ]
    assert first.items == found.items[:1]
    assert not any(due.late(found.as_of) for due in found.items)


def test_what_is_overdue_comes_first_however_much_waits():
    """
    Of many messages the oldest, and not the latest.
    """
    neruba = rehearsal(runs_due=False)
    project = neruba.projects.create(name="Acme").id
    for name in ("one", "two"):
        neruba.webhooks.create(project, url=f"https://{name}.example.com/", message_types=["credit.granted"])
        for number in range(3):
            neruba.wallets.credit(project, amount="1", description="c", idempotency_key=f"{name}{number}")
            neruba.clock.advance(minutes=1)

    found = neruba.schedule.of_project(project, limit=3)

    assert [due.at - NOON for due in found.items] == [timedelta(minutes=minute) for minute in range(3)]
    assert {due.kind for due in found.items} == {DueKind.DELIVERY}
    assert [due.late(found.as_of) for due in found.items] == [True, True, False]


def test_money_that_is_asked_for_is_in_the_schedule():
    """
    A refund that its provider has not answered, and an invoice that nobody has collected yet.
    """
    provider = RehearsedProvider()
    neruba = rehearsal(runs_due=False, providers=(provider,))
    project = neruba.projects.create(name="Acme", credit_limit="100").id
    neruba.payments.set_method(project, provider="rehearsed", customer="cus_1")
    paid = neruba.payments.pay(project, amount="20", provider="rehearsed", idempotency_key="p").value
    provider.then(["lose"])
    refund = neruba.payments.refund(
        project, paid.id, amount="5", reason="asked for", idempotency_key="r"
    ).value
    neruba.charges.charge(project, amount="40", description="c", idempotency_key="c")
    neruba.clock.advance(days=20)
    (billed,) = neruba.billing.run_due()
    assert billed.result is not None
    invoice = billed.result.invoice
    assert invoice is not None

    def told() -> dict[str, tuple[str, Instant, int | None]]:
        found = neruba.schedule.of_project(project).items
        return {due.kind.value: (due.subject, due.at, due.amount_micros) for due in found}

    before = told()
    provider.then(["decline"])
    neruba.collection.collect_due()
    after = told()

    assert before["refund"] == (refund.id, NOON + timedelta(minutes=1), 5_000_000)
    assert before["collection"] == (invoice.id, neruba.clock(), 25_000_000)
    assert after["collection"] == (invoice.id, neruba.clock() + DAY, 25_000_000)


def test_a_period_that_nobody_has_billed_is_late():
    """
    The first of them, if it has something to bill: the later ones wait for it.
    """
    neruba = rehearsal(runs_due=False)
    project = neruba.projects.create(name="Acme", credit_limit="100").id
    before = neruba.schedule.of_project(project)
    for month in range(2):
        neruba.charges.charge(project, amount="1", description="c", idempotency_key=f"{month}")
        neruba.clock.advance(days=31)

    found = neruba.schedule.of_project(project)
    neruba.billing.run_due()
    after = neruba.schedule.of_project(project)

    assert [(due.subject, due.late(found.as_of)) for due in found.items] == [
        ("2026-03", True),
        ("2026-05", False),
    ]
    assert [due.subject for due in before.items] == ["2026-03"]
    assert [due.subject for due in after.items] == ["2026-05"]
