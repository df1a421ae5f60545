"""Founding projects, changing their settings, archiving them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from attrs import evolve

from neruba_core import currencies
from neruba_core.errors import (
    AmountFloat,
    AmountNegative,
    AmountTooPrecise,
    CursorMismatch,
    ExternalKeyTaken,
    FormatInvalid,
    ProjectArchived,
    ProjectNotFound,
    RoleMissing,
    TextInvalid,
    UserNotFound,
)
from neruba_core.ledger.model import Head
from neruba_core.tenancy import settings
from neruba_core.tenancy.model import (
    BillingMode,
    EarlierTerms,
    LateUsagePolicy,
    MetricPolicy,
    OnEmpty,
    Role,
)
from neruba_core.usage.model import UsageEvent


@pytest.fixture
def ada(stage):
    return stage.user("ada")


@pytest.fixture
def acme(stage, ada):
    return stage.projects.create(name="Acme Production", external_key="acme-prod", owner=ada.id)


def use(stage, project_id):
    """Record one usage event, as plainly as the store takes it."""
    event = UsageEvent(
        project_id=project_id,
        id="use_1",
        metric_key="api_tokens",
        units_micros=1,
        timestamp=stage.at,
        event_id="evt_1",
        properties=None,
        idempotency_key="evt_1",
        fingerprint=b"",
        fingerprint_version=1,
        received_at=stage.at,
        late=False,
        actor="system",
        request_id=None,
    )
    stage.context.write(lambda work: work.usage.insert([event]))


# --- founding ---------------------------------------------------------------------------------


def test_a_new_project_is_open_unbounded_and_its_owners(stage, ada, acme):
    """
    Whoever creates a project owns it, and its ledger head is there from the first moment.
    """
    found = stage.projects.get(acme.id)

    assert found == acme
    assert (acme.name, acme.external_key, acme.currency) == ("Acme Production", "acme-prod", "USD")
    assert (acme.credit_limit_micros, acme.metric_policy) == (0, MetricPolicy.OPEN)
    assert (acme.max_backdate_days, acme.timezone, acme.created_by) == (None, "UTC", ada.id)
    assert stage.projects.role(acme.id, ada) is Role.OWNER
    assert stage.context.read(lambda work: work.ledger.head(acme.id)) == Head(acme.id)
    assert stage.actions(acme.id) == ["project.created"]


def test_an_embedder_needs_no_users(stage):
    """
    A project without an owner belongs to the deployment.
    """
    project = stage.projects.create(name="Acme", currency="JPY", credit_limit="12.5")

    assert (project.created_by, project.currency, project.credit_limit_micros) == (
        "system",
        "JPY",
        12_500_000,
    )
    assert stage.members.list(project.id) == ()


def test_an_external_key_is_taken_once_for_each_creator(stage, ada, acme):
    """
    The refusal names the project that has it; another creator may use the same key.
    """
    with pytest.raises(ExternalKeyTaken) as refused:
        stage.projects.create(name="Acme again", external_key="acme-prod", owner=ada.id)

    assert refused.value.project_id == acme.id
    assert stage.projects.create(name="Other", external_key="acme-prod", owner=stage.user("bob").id)
    assert stage.projects.create(name="Platform", external_key="acme-prod")
    assert stage.projects.list_of(ada.id).items == (acme,)


def test_projects_without_an_external_key_never_collide(stage, ada):
    """
    No key is not a key.
    """
    names = ["one", "two"]

    made = [stage.projects.create(name=name, owner=ada.id) for name in names]

    assert len({project.id for project in made}) == 2


@pytest.mark.parametrize(
    ("values", "refusal"),
    [
        ({"name": ""}, TextInvalid),
        ({"name": "a\nb"}, TextInvalid),
        ({"name": "Acme", "external_key": ""}, TextInvalid),
        ({"name": "Acme", "external_key": "k" * 256}, TextInvalid),
        ({"name": "Acme", "currency": "usd"}, FormatInvalid),
        ({"name": "Acme", "currency": "XXX"}, FormatInvalid),
        ({"name": "Acme", "credit_limit": "-1"}, AmountNegative),
        ({"name": "Acme", "owner": "usr_none"}, UserNotFound),
    ],
)
def test_a_project_that_makes_no_sense_is_refused(stage, values, refusal):
    """
    Nothing of it is kept.
    """
    with pytest.raises(refusal):
        stage.projects.create(**values)

    assert stage.projects.list().items == ()


def test_projects_are_listed_newest_first(stage, ada):
    """
    All of them for staff, one's own for a member; a cursor serves its own list only.
    """
    theirs = [stage.projects.create(name=f"p{number}", owner=ada.id) for number in range(3)]
    other = stage.projects.create(name="other")

    every = stage.projects.list(limit=1)
    own = stage.projects.list_of(ada.id, limit=2)

    assert every.items == (other,)
    assert stage.projects.list(cursor=every.next_cursor).items == tuple(theirs[::-1])
    assert own.items == (theirs[2], theirs[1])
    assert stage.projects.list_of(ada.id, cursor=own.next_cursor).items == (theirs[0],)
    with pytest.raises(CursorMismatch):
        stage.projects.list_of("usr_other", cursor=own.next_cursor)


def test_memberships_name_the_role(stage, ada, acme):
    """
    What someone sees on signing in: projects, newest first, and what one is there.
    """
    other = stage.projects.create(name="Other")
    stage.members.add(other.id, email=ada.email, role="viewer")

    seen = stage.sessions.memberships(ada.id)

    assert seen == ((other, Role.VIEWER), (acme, Role.OWNER))
    assert stage.sessions.memberships("usr_none") == ()


# --- settings ---------------------------------------------------------------------------------


def test_settings_change_and_the_rest_stays(stage, acme):
    """
    What is left out is not touched, and null is a value.
    """
    changed = stage.projects.update(
        acme.id,
        name="Acme",
        credit_limit="50",
        metric_policy="strict",
        max_backdate_days=30,
        timezone="Europe/Berlin",
    )
    unbounded = stage.projects.update(acme.id, max_backdate_days=None)

    assert (changed.name, changed.credit_limit_micros, changed.currency) == ("Acme", 50_000_000, "USD")
    assert (changed.metric_policy, changed.max_backdate_days) == (MetricPolicy.STRICT, 30)
    assert changed.timezone == "Europe/Berlin"
    assert (unbounded.max_backdate_days, unbounded.name) == (None, "Acme")
    assert stage.projects.get(acme.id) == unbounded


def test_the_trail_tells_what_a_setting_is_now(stage, acme):
    """
    Only the fields that were sent, by their names on the wire; a change of nothing leaves none.
    """
    stage.projects.update(acme.id, credit_limit="50", metric_policy="strict")
    stage.projects.update(acme.id, credit_limit="50.000000")
    stage.projects.update(acme.id)

    latest, _ = stage.audit.changes(acme.id).items
    assert (latest.action, latest.subject) == ("project.updated", acme.id)
    assert json.loads(latest.details) == {"creditLimit": "50.000000", "metricPolicy": "strict"}


@pytest.mark.parametrize(
    ("role", "changes", "needed"),
    [
        (Role.ADMIN, {"credit_limit": "1"}, "finance"),
        (Role.FINANCE, {"name": "Mine"}, "admin"),
        (Role.ADMIN, {"name": "Mine", "credit_limit": "1"}, "finance"),
        (Role.FINANCE, {"credit_limit": "1", "timezone": "Asia/Tokyo"}, "admin"),
        (Role.VIEWER, {"metric_policy": "strict"}, "admin"),
        (Role.SUPPORT, {"max_backdate_days": 1}, "admin"),
        (Role.ADMIN, {"billing_mode": "prepaid"}, "finance"),
        (Role.ADMIN, {"on_empty": "record"}, "finance"),
        (Role.ADMIN, {"tax_rate": "0.19"}, "finance"),
        (Role.FINANCE, {"late_usage_policy": "quarantine"}, "admin"),
        (Role.FINANCE, {"grace_hours": 1}, "admin"),
    ],
)
def test_each_setting_has_its_role_and_a_change_is_all_or_nothing(stage, acme, role, changes, needed):
    """
    One field beyond one's role refuses the whole change.
    """
    with pytest.raises(RoleMissing) as refused:
        stage.projects.update(acme.id, role=role, **changes)

    assert refused.value.needed == needed
    assert stage.projects.get(acme.id) == acme


def test_each_setting_can_be_changed_by_its_role(stage, acme):
    """
    Admins keep settings, finance whatever money hangs on.
    """
    stage.projects.update(
        acme.id,
        role=Role.ADMIN,
        name="Acme",
        timezone="Asia/Tokyo",
        late_usage_policy="credit_note",
        grace_hours=48,
    )
    stage.projects.update(
        acme.id,
        role=Role.FINANCE,
        credit_limit=7,
        billing_mode="prepaid",
        on_empty="record",
        tax_rate="0.190000000001",
    )

    found = stage.projects.get(acme.id)
    assert (found.name, found.timezone, found.credit_limit_micros) == ("Acme", "Asia/Tokyo", 7_000_000)
    assert (found.late_usage_policy, found.grace_hours) == (LateUsagePolicy.CREDIT_NOTE, 48)
    assert (found.billing_mode, found.on_empty) == (BillingMode.PREPAID, OnEmpty.RECORD)
    assert found.tax_rate == Decimal("0.190000000001")
    assert found.earlier_terms == ()
    assert json.loads(stage.audit.changes(acme.id).items[0].details) == {
        "creditLimit": "7.000000",
        "billingMode": "prepaid",
        "onEmpty": "record",
        "taxRate": "0.190000000001",
    }


# --- terms ------------------------------------------------------------------------------------

APRIL = datetime(2026, 4, 1, tzinfo=UTC)


def periods(stage, project_id):
    stored = stage.context.read(lambda work: work.billing.periods([project_id])[project_id])
    return [(period.name, period.span.start, period.span.end) for period in stored]


def test_terms_change_with_the_next_period_once_there_is_usage(stage, acme):
    """
    Until then the old ones hold, and the present period keeps its bounds.
    """
    use(stage, acme.id)

    changed = stage.projects.update(acme.id, timezone="Asia/Tokyo", billing_mode="prepaid")

    before, then = APRIL - timedelta(microseconds=1), APRIL
    assert (changed.timezone_at(before), changed.billing_mode_at(before)) == ("UTC", BillingMode.ARREARS)
    assert (changed.timezone_at(then), changed.billing_mode_at(then)) == ("Asia/Tokyo", BillingMode.PREPAID)
    assert (changed.terms_begin(stage.at), changed.terms_begin(then)) == (APRIL, None)
    assert periods(stage, acme.id) == [("2026-03", datetime(2026, 3, 1, tzinfo=UTC), APRIL)]
    assert stage.projects.get(acme.id) == changed
    assert json.loads(stage.audit.changes(acme.id).items[0].details) == {
        "timezone": "Asia/Tokyo",
        "billingMode": "prepaid",
        "termsFrom": "2026-04-01T00:00:00.000000Z",
    }


def test_the_last_terms_asked_for_are_those_that_come(stage, acme):
    """
    What is in force stays in force, however often one changes one's mind.
    """
    use(stage, acme.id)
    stage.projects.update(acme.id, billing_mode="prepaid")
    stage.pass_by(days=1)

    changed = stage.projects.update(acme.id, timezone="Europe/Berlin")

    assert changed.earlier_terms == (EarlierTerms(APRIL, BillingMode.ARREARS, "UTC"),)
    assert (changed.billing_mode, changed.timezone) == (BillingMode.PREPAID, "Europe/Berlin")


def test_terms_that_are_taken_back_in_time_never_changed(stage, acme):
    """
    Nothing is left that would begin.
    """
    use(stage, acme.id)
    stage.projects.update(acme.id, billing_mode="prepaid")

    back = stage.projects.update(acme.id, billing_mode="arrears")

    assert back == acme


def test_terms_of_many_periods_are_remembered(stage, acme):
    """
    Each for the time in which it was in force; the periods between are stored without a gap.
    """
    use(stage, acme.id)
    stage.projects.update(acme.id, billing_mode="prepaid")
    stage.pass_by(days=60)

    changed = stage.projects.update(acme.id, billing_mode="arrears", timezone="Europe/Berlin")

    june = datetime(2026, 6, 1, tzinfo=UTC)
    assert changed.earlier_terms == (
        EarlierTerms(APRIL, BillingMode.ARREARS, "UTC"),
        EarlierTerms(june, BillingMode.PREPAID, "UTC"),
    )
    stored = periods(stage, acme.id)
    assert [name for name, _, _ in stored] == ["2026-03", "2026-04", "2026-05"]
    assert all(end == start for (_, _, end), (_, start, _) in pairwise(stored))
    assert stored[-1][2] == june


def test_saying_the_same_terms_again_is_no_change(stage, acme):
    """
    And stores no period.
    """
    use(stage, acme.id)

    stage.projects.update(acme.id, name="Stayed", timezone="UTC", billing_mode="arrears")

    assert stage.projects.get(acme.id) == evolve(acme, name="Stayed")
    assert periods(stage, acme.id) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"timezone": "Mars/Olympus"},
        {"timezone": "localtime"},
        {"timezone": "../etc/passwd"},
        {"timezone": "europe/berlin"},
        {"timezone": None},
        {"metric_policy": "loose"},
        {"max_backdate_days": -1},
        {"max_backdate_days": 36_501},
        {"max_backdate_days": True},
        {"max_backdate_days": "7"},
        {"billing_mode": "later"},
        {"on_empty": "ignore"},
        {"late_usage_policy": "forget"},
        {"grace_hours": -1},
        {"grace_hours": 2_161},
        {"grace_hours": True},
        {"tax_rate": "19"},
        {"tax_rate": "1.000000000001"},
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(stage, acme, changes):
    """
    The value is shown with what was expected.
    """
    with pytest.raises(FormatInvalid):
        stage.projects.update(acme.id, **changes)

    assert stage.projects.get(acme.id) == acme


@pytest.mark.parametrize(
    ("rate", "refusal"),
    [(0.19, AmountFloat), ("0.0000000000001", AmountTooPrecise), ("-0.1", AmountNegative)],
)
def test_a_tax_rate_is_exact(stage, acme, rate, refusal):
    """
    As every rate is.
    """
    with pytest.raises(refusal):
        stage.projects.update(acme.id, tax_rate=rate)


@pytest.mark.parametrize("days", [None, 0, 36_500])
def test_the_bounds_of_backdating_are_allowed(days):
    """
    None is no bound; zero takes nothing from before now.
    """
    assert settings.backdate_days(days) == days


# --- archiving --------------------------------------------------------------------------------


def test_an_archived_project_reads_on_and_writes_no_more(stage, acme):
    """
    Settings, people, keys and metrics are all closed.
    """
    archived = stage.projects.archive(acme.id)

    assert stage.projects.get(acme.id) == archived
    assert archived.archived_at == stage.at
    for write in (
        lambda: stage.projects.update(acme.id, name="x"),
        lambda: stage.members.add(acme.id, email="bob@example.com", role="viewer"),
        lambda: stage.access_keys.issue(acme.id, name="k", scopes=["ingest:usage"]),
        lambda: stage.metrics.declare(acme.id, key="api_tokens"),
    ):
        with pytest.raises(ProjectArchived):
            write()
    assert stage.actions(acme.id) == ["project.created", "project.archived"]


def test_archiving_twice_keeps_the_first_moment(stage, acme):
    """
    The second time changes nothing and notes nothing.
    """
    archived = stage.projects.archive(acme.id)
    stage.pass_by(days=1)

    assert stage.projects.archive(acme.id) == archived
    assert stage.actions(acme.id).count("project.archived") == 1


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.OWNER])
def test_archiving_is_the_owners(stage, acme, role):
    """
    Nobody below may close a project.
    """
    with pytest.raises(RoleMissing):
        stage.projects.archive(acme.id, role=role)

    assert stage.projects.get(acme.id) == acme


def test_an_unknown_project_is_told_as_such(stage):
    """
    By every verb alike.
    """
    for ask in (
        lambda: stage.projects.get("prj_none"),
        lambda: stage.projects.update("prj_none", name="x"),
        lambda: stage.projects.archive("prj_none"),
    ):
        with pytest.raises(ProjectNotFound):
            ask()


# --- currencies -------------------------------------------------------------------------------


@pytest.mark.parametrize(("code", "exponent"), [("USD", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4), ("HUF", 2)])
def test_a_currency_knows_its_minor_unit(code, exponent):
    """
    The decimals are those of ISO 4217.
    """
    assert currencies.currency_of(code).exponent == exponent


def test_currencies_are_three_capitals_each_listed_once():
    """
    No code is given two exponents by mistake.
    """
    codes = [code for listed in currencies._CODES_BY_EXPONENT.values() for code in listed.split()]

    assert len(codes) == len(set(codes)) == len(currencies.CURRENCIES)
    assert all(len(code) == 3 and code.isalpha() and code.isupper() for code in codes)
