"""Founding projects, changing their settings, archiving them."""

from __future__ import annotations

import json

import pytest

from neruba_core import currencies
from neruba_core.errors import (
    AmountNegative,
    CursorMismatch,
    ExternalKeyTaken,
    FormatInvalid,
    ProjectArchived,
    ProjectInUse,
    ProjectNotFound,
    RoleMissing,
    TextInvalid,
    UserNotFound,
)
from neruba_core.ledger.model import Head
from neruba_core.tenancy import settings
from neruba_core.tenancy.model import MetricPolicy, Role
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
    Admins keep settings, finance the credit limit.
    """
    stage.projects.update(acme.id, role=Role.ADMIN, name="Acme", timezone="Asia/Tokyo")
    stage.projects.update(acme.id, role=Role.FINANCE, credit_limit=7)

    found = stage.projects.get(acme.id)
    assert (found.name, found.timezone, found.credit_limit_micros) == ("Acme", "Asia/Tokyo", 7_000_000)


def test_a_time_zone_is_fixed_once_there_is_usage(stage, acme):
    """
    Usage was counted into the days of the old one; saying the same again is no change.
    """
    use(stage, acme.id)

    with pytest.raises(ProjectInUse):
        stage.projects.update(acme.id, name="Moved", timezone="Europe/Berlin")

    assert stage.projects.get(acme.id) == acme
    assert stage.projects.update(acme.id, name="Stayed", timezone="UTC").name == "Stayed"


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
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(stage, acme, changes):
    """
    The value is shown with what was expected.
    """
    with pytest.raises(FormatInvalid):
        stage.projects.update(acme.id, **changes)

    assert stage.projects.get(acme.id) == acme


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
