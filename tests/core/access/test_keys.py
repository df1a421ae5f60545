"""Issuing, rotating, revoking and presenting access keys."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from neruba_core.access.model import Scope
from neruba_core.audit.model import Origin
from neruba_core.errors import (
    AccessKeyEnded,
    AccessKeyNotFound,
    CursorMismatch,
    FormatInvalid,
    InstantNaive,
    KeyRefused,
    ProjectArchived,
    ProjectNotFound,
    TextInvalid,
)

BOTH = ["ingest:usage", "ingest:charge"]


@pytest.fixture
def acme(stage):
    return stage.projects.create(name="Acme")


@pytest.fixture
def issued(stage, acme):
    return stage.access_keys.issue(acme.id, name="Usage ingest", scopes=BOTH)


def assert_refused(stage, secret):
    with pytest.raises(KeyRefused):
        stage.access_keys.authenticate(secret)


def test_a_secret_opens_its_key(stage, acme, issued):
    """
    The key knows its project and its scopes, in the order they were given.
    """
    key = stage.access_keys.authenticate(issued.secret)

    assert key == issued.key
    assert (key.project_id, key.name) == (acme.id, "Usage ingest")
    assert key.scopes == (Scope.INGEST_USAGE, Scope.INGEST_CHARGE)
    assert issued.secret.startswith(key.prefix)


def test_a_secret_is_shown_once(stage, acme, issued):
    """
    Neither the list, nor the trail, nor a log has it.
    """
    everything = (
        repr(issued) + repr(stage.access_keys.list(acme.id)) + repr(stage.audit.changes(acme.id).items)
    )

    assert issued.secret not in everything
    assert issued.secret.removeprefix(issued.key.prefix) not in everything
    assert issued.key.secret_hash not in everything


def test_a_key_is_noted_with_what_it_may_do(stage, acme):
    """
    Who gave a machine what, until when.
    """
    expiry = stage.at + timedelta(days=1)

    issued = stage.access_keys.issue(
        acme.id, name="CI", scopes=[Scope.READ_USAGE], expires_at=expiry, origin=Origin("user:usr_a")
    )

    change = stage.audit.changes(acme.id).items[0]
    assert (change.action, change.subject, change.actor) == ("access_key.issued", issued.key.id, "user:usr_a")
    assert json.loads(change.details) == {
        "name": "CI",
        "scopes": ["read:usage"],
        "expiresAt": "2026-03-18T12:00:00.000000Z",
    }


def test_a_typo_never_reaches_the_store(stage, issued, monkeypatch):
    """
    Guessing keys at random costs the database nothing.
    """
    monkeypatch.setattr(type(stage.storage), "snapshot", lambda self: pytest.fail("the store was asked"))
    typo = issued.secret[:-1] + ("A" if issued.secret[-1] != "A" else "B")

    assert_refused(stage, typo)


def test_a_well_formed_stranger_is_refused(stage, acme, issued):
    """
    Neither an unknown id nor a right id with another secret opens anything.
    """
    mint = stage.access_keys._mint

    assert_refused(stage, mint("key_" + "0" * 32).secret)
    assert_refused(stage, mint(issued.key.id).secret)


def test_a_key_opens_up_to_its_expiry(stage, acme):
    """
    And not at it.
    """
    brief = stage.access_keys.issue(acme.id, name="CI", scopes=BOTH, expires_at=stage.at + timedelta(hours=1))
    stage.pass_by(hours=1, microseconds=-1)
    assert stage.access_keys.authenticate(brief.secret)

    stage.pass_by(microseconds=1)

    assert_refused(stage, brief.secret)


@pytest.mark.parametrize("scopes", [[], ["ingest:usage", "ingest:usage"], ["ingest:everything"], ["*"]])
def test_scopes_are_known_and_named_once(stage, acme, scopes):
    """
    A key that can do nothing, or nobody knows what, is a mistake.
    """
    with pytest.raises(FormatInvalid):
        stage.access_keys.issue(acme.id, name="CI", scopes=scopes)

    assert stage.access_keys.list(acme.id).items == ()


def test_an_expiry_lies_ahead(stage, acme):
    """
    And names a moment.
    """
    for expiry, refusal in ((stage.at, FormatInvalid), (datetime(2030, 1, 1), InstantNaive)):
        with pytest.raises(refusal):
            stage.access_keys.issue(acme.id, name="CI", scopes=BOTH, expires_at=expiry)
    with pytest.raises(TextInvalid):
        stage.access_keys.issue(acme.id, name=" ", scopes=BOTH)


def test_a_revoked_key_is_refused_at_once(stage, acme, issued):
    """
    Revoking it again keeps the first moment and notes nothing.
    """
    revoked = stage.access_keys.revoke(acme.id, issued.key.id)
    stage.pass_by(days=1)

    assert stage.access_keys.revoke(acme.id, issued.key.id) == revoked
    assert_refused(stage, issued.secret)
    assert stage.actions(acme.id)[1:] == ["access_key.issued", "access_key.revoked"]


def test_a_rotated_key_dies_and_its_successor_takes_over(stage, acme, issued):
    """
    Same name, same scopes, another secret.
    """
    successor = stage.access_keys.rotate(acme.id, issued.key.id)

    assert_refused(stage, issued.secret)
    key = stage.access_keys.authenticate(successor.secret)
    assert (key.name, key.scopes, key.expires_at) == (issued.key.name, issued.key.scopes, None)
    assert json.loads(stage.audit.changes(acme.id).items[0].details) == {
        "successor": successor.key.id,
        "overlapHours": 0,
    }


def test_a_rotated_key_may_live_on_for_a_while(stage, acme, issued):
    """
    Machines are not restarted all at once.
    """
    successor = stage.access_keys.rotate(acme.id, issued.key.id, overlap_hours=24)
    stage.pass_by(hours=23)
    assert stage.access_keys.authenticate(issued.secret)

    stage.pass_by(hours=1)

    assert_refused(stage, issued.secret)
    assert stage.access_keys.authenticate(successor.secret)


def test_an_overlap_never_prolongs_a_key(stage, acme):
    """
    What ends in an hour ends in an hour; its successor lives as long as it was meant to.
    """
    brief = stage.access_keys.issue(acme.id, name="CI", scopes=BOTH, expires_at=stage.at + timedelta(hours=5))
    stage.pass_by(hours=4)

    successor = stage.access_keys.rotate(acme.id, brief.key.id, overlap_hours=24)

    assert successor.key.expires_at == stage.at + timedelta(hours=5)
    stage.pass_by(hours=1)
    assert_refused(stage, brief.secret)


def test_what_has_ended_is_not_rotated(stage, acme, issued):
    """
    A rotation would bring it back to life.
    """
    brief = stage.access_keys.issue(acme.id, name="CI", scopes=BOTH, expires_at=stage.at + timedelta(hours=1))
    stage.access_keys.revoke(acme.id, issued.key.id)
    stage.pass_by(hours=1)

    for key in (issued.key, brief.key):
        with pytest.raises(AccessKeyEnded):
            stage.access_keys.rotate(acme.id, key.id)


@pytest.mark.parametrize("hours", [-1, 169, True, 1.5, "2"])
def test_an_overlap_is_0_to_168_whole_hours(stage, acme, issued, hours):
    """
    Longer is not a rotation but two keys.
    """
    with pytest.raises(FormatInvalid):
        stage.access_keys.rotate(acme.id, issued.key.id, overlap_hours=hours)

    assert stage.access_keys.authenticate(issued.secret)


def test_another_projects_key_is_like_none(stage, issued):
    """
    It can be neither revoked nor rotated from there.
    """
    other = stage.projects.create(name="Other")

    for ask in (
        lambda: stage.access_keys.revoke(other.id, issued.key.id),
        lambda: stage.access_keys.rotate(other.id, issued.key.id),
        lambda: stage.access_keys.revoke(other.id, "key_none"),
    ):
        with pytest.raises(AccessKeyNotFound):
            ask()
    assert stage.access_keys.list(other.id).items == ()
    assert stage.access_keys.authenticate(issued.secret)


def test_a_key_of_an_archived_project_can_still_be_revoked(stage, acme, issued):
    """
    A leaked one still reads; but none is issued or rotated.
    """
    stage.projects.archive(acme.id)

    for ask in (
        lambda: stage.access_keys.issue(acme.id, name="k", scopes=BOTH),
        lambda: stage.access_keys.rotate(acme.id, issued.key.id),
    ):
        with pytest.raises(ProjectArchived):
            ask()
    stage.access_keys.revoke(acme.id, issued.key.id)

    assert_refused(stage, issued.secret)


def test_keys_are_listed_newest_first(stage, acme, issued):
    """
    Revoked ones included; a cursor serves its own project only.
    """
    second = stage.access_keys.issue(acme.id, name="two", scopes=BOTH)
    stage.access_keys.revoke(acme.id, issued.key.id)

    first_page = stage.access_keys.list(acme.id, limit=1)
    second_page = stage.access_keys.list(acme.id, limit=1, cursor=first_page.next_cursor)

    assert first_page.items == (second.key,)
    assert [key.id for key in second_page.items] == [issued.key.id]
    assert second_page.items[0].revoked_at == stage.at
    with pytest.raises(CursorMismatch):
        stage.access_keys.list(stage.projects.create(name="Other").id, cursor=first_page.next_cursor)


def test_a_key_remembers_when_it_was_last_used(stage, acme, issued):
    """
    An older moment that arrives late changes nothing.
    """
    stage.access_keys.touch({issued.key.id: stage.at})
    stage.access_keys.touch({issued.key.id: stage.at - timedelta(hours=1)})

    assert stage.access_keys.list(acme.id).items[0].last_used_at == stage.at


def test_an_unknown_project_is_told_as_such(stage):
    """
    By every verb alike.
    """
    for ask in (
        lambda: stage.access_keys.issue("prj_none", name="k", scopes=BOTH),
        lambda: stage.access_keys.list("prj_none"),
        lambda: stage.access_keys.revoke("prj_none", "key_none"),
        lambda: stage.access_keys.rotate("prj_none", "key_none"),
    ):
        with pytest.raises(ProjectNotFound):
            ask()
