"""What falls due in a project, read from what is stored."""

from __future__ import annotations

from datetime import timedelta

from neruba_core.namespaces.agenda import DueKind
from neruba_core.testing.builders import rehearsal
from neruba_core.testing.clock import NOON

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
