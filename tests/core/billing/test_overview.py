"""One page that explains the present."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import process_time
from typing import Any

import pytest

from neruba_core.errors import FormatInvalid
from neruba_core.instants import EPOCH, Period
from neruba_core.storage.sql.statements import Statements
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.clock import NOON

M = 1_000_000


@pytest.fixture
def project_id(billing: Rehearsal) -> str:
    return billing.projects.create(name="Acme", credit_limit="50").id


def record(billing: Rehearsal, project_id: str, key: str, timestamp: datetime, **changes: object) -> None:
    new = {"metric_key": "tokens", "units": "5", "timestamp": timestamp, **changes}
    billing.usage.record(project_id, idempotency_key=key, **new)  # type: ignore[arg-type]


def lines(billing: Rehearsal, project_id: str, period: str | None = None) -> list[tuple[str, str, int]]:
    found = billing.billing.overview(project_id, period=period).usage
    return [(line.period, line.quantity.metric.key, line.quantity.units_micros // M) for line in found]


def test_an_empty_project_explains_itself(billing, project_id):
    """
    Zeroes and an empty list are an explanation too.
    """
    overview = billing.billing.overview(project_id)

    assert (overview.usage, overview.recent_transactions) == ((), ())
    assert overview.period == Period(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
    assert str(overview.wallet.available) == "50.000000"
    assert overview.available_after_accrued_micros == 50 * M
    assert overview.ledger.balanced
    assert overview.as_of == NOON


def test_the_parts_agree_with_the_slices(billing, project_id):
    """
    Wallet, ledger and outcomes as their own reads tell them.
    """
    billing.wallets.credit(project_id, amount="100", description="x", idempotency_key="c")
    for number in range(12):
        billing.charges.charge(project_id, amount="1", description="x", idempotency_key=f"k{number}")
    record(billing, project_id, "u", NOON)

    overview = billing.billing.overview(project_id)

    assert overview.wallet == billing.wallets.get(project_id)
    assert overview.ingest == billing.audit.totals(project_id)
    assert overview.ingest.accepted == 13
    assert overview.ledger.transactions == 13
    assert [transaction.version for transaction in overview.recent_transactions] == list(range(13, 3, -1))
    assert str(overview.wallet.balance) == "88.000000"
    assert (str(overview.wallet.held), str(overview.wallet.credit_limit)) == ("0.000000", "50.000000")
    assert overview.wallet.grants[0].amount == 100


def test_every_month_with_usage_is_shown(billing, project_id):
    """
    An event with an old timestamp shows at once, and months without usage do not.
    """
    record(billing, project_id, "a", NOON)
    record(billing, project_id, "b", NOON - timedelta(days=70), metric_key="requests")
    record(billing, project_id, "c", NOON)

    assert lines(billing, project_id) == [("2026-01", "requests", 5), ("2026-03", "tokens", 10)]


def test_a_month_can_be_asked_for(billing, project_id):
    """
    Then the usage and the period are of that month.
    """
    record(billing, project_id, "a", NOON)
    record(billing, project_id, "b", NOON - timedelta(days=70))

    overview = billing.billing.overview(project_id, period="2026-01")

    assert lines(billing, project_id, "2026-01") == [("2026-01", "tokens", 5)]
    assert overview.period.start == datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(FormatInvalid):
        billing.billing.overview(project_id, period="January")


def test_a_month_far_away_is_shown_at_once(billing, project_id):
    """
    Also where periods were billed before: those between are not gone through.
    """
    billing.clock.set("2026-05-02T00:00:00Z")
    billing.billing.run(project_id, "2026-03", finalize=True)
    started = process_time()

    overview = billing.billing.overview(project_id, period="8645-12")

    assert overview.period.start == datetime(8645, 12, 1, tzinfo=UTC)
    assert process_time() - started < 0.5


def test_months_pass_in_the_projects_zone(billing, project_id):
    """
    The last hour of March in UTC is April in Berlin.
    """
    billing.projects.update(project_id, timezone="Europe/Berlin")
    billing.clock.set("2026-03-31T22:30:00Z")
    record(billing, project_id, "a", billing.clock())

    assert lines(billing, project_id) == [("2026-04", "tokens", 5)]
    assert billing.billing.overview(project_id).period.start == datetime(2026, 3, 31, 22, tzinfo=UTC)


def test_the_oldest_event_of_all_breaks_nothing(billing, project_id):
    """
    The first moment of 1970 is of December 1969 in New York.
    """
    billing.projects.update(project_id, timezone="America/New_York")
    record(billing, project_id, "a", EPOCH)

    assert lines(billing, project_id) == [("1969-12", "tokens", 5)]


def test_an_event_a_little_ahead_counts_in_the_month_to_come(billing, project_id):
    """
    Clocks differ by minutes, also on the last evening of a month.
    """
    billing.clock.set("2026-03-31T23:58:00Z")
    record(billing, project_id, "a", billing.clock() + timedelta(minutes=4))

    assert lines(billing, project_id) == [("2026-04", "tokens", 5)]


def test_an_old_event_costs_no_more_than_another(database, monkeypatch):
    """
    However many months lie between: what is open is found by the days on which there is usage.
    """
    counted: list[str] = []
    billing = Rehearsal(database, runs_due=False)
    project_id = billing.projects.create(name="Acme").id
    record(billing, project_id, "a", NOON)
    record(billing, project_id, "b", NOON - timedelta(days=40))

    def look() -> int:
        counted.clear()
        billing.billing.overview(project_id)
        return len(counted)

    rows = Statements._rows

    def counting(self: Statements, text: str, parameters: Any) -> Any:
        counted.append(text)
        return rows(self, text, parameters)

    monkeypatch.setattr(Statements, "_rows", counting)
    before = look()
    record(billing, project_id, "c", EPOCH)

    assert ("1970-01", "tokens", 5) in lines(billing, project_id)
    assert look() <= before + 1
