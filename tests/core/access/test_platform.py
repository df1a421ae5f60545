"""Issuing, rotating, revoking and presenting platform keys."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from neruba_core.access.model import PlatformScope
from neruba_core.audit.model import Origin
from neruba_core.errors import (
    AccessKeyEnded,
    AccessKeyNotFound,
    CursorMismatch,
    FormatInvalid,
    InstantNaive,
    KeyRefused,
    TextInvalid,
)

BOTH = ["projects:write", "read:billing"]


@pytest.fixture
def issued(stage):
    return stage.platform_keys.issue(name="Sign-up", scopes=BOTH, origin=Origin("user:usr_a"))


def assert_refused(stage, secret):
    with pytest.raises(KeyRefused):
        stage.platform_keys.authenticate(secret)


def test_a_secret_opens_its_key(stage, issued):
    """
    The key knows its scopes in the order they were given, and who issued it; it has no project.
    """
    key = stage.platform_keys.authenticate(issued.secret)

    assert key == issued.key
    assert (key.name, key.created_by) == ("Sign-up", "user:usr_a")
    assert key.scopes == (PlatformScope.PROJECTS_WRITE, PlatformScope.READ_BILLING)
    assert issued.secret.startswith(key.prefix)


def test_a_secret_is_shown_once(stage, issued):
    """
    Neither the list nor a log has it.
    """
    everything = repr(issued) + repr(stage.platform_keys.list())

    assert issued.secret.removeprefix(issued.key.prefix) not in everything
    assert issued.key.secret_hash not in everything


def test_keys_of_projects_and_of_the_platform_are_not_taken_for_each_other(stage, issued):
    """
    Neither opens what the other does.
    """
    acme = stage.projects.create(name="Acme")
    theirs = stage.access_keys.issue(acme.id, name="CI", scopes=["read:billing"])

    assert_refused(stage, theirs.secret)
    with pytest.raises(KeyRefused):
        stage.access_keys.authenticate(issued.secret)
    for verb in (stage.platform_keys.revoke, stage.platform_keys.rotate):
        with pytest.raises(AccessKeyNotFound):
            verb(theirs.key.id)
    with pytest.raises(AccessKeyNotFound):
        stage.access_keys.revoke(acme.id, issued.key.id)


def test_a_well_formed_stranger_is_refused(stage, issued):
    """
    Neither an unknown id nor a right id with another secret opens anything.
    """
    mint = stage.platform_keys._mint

    assert_refused(stage, mint("pky_" + "0" * 32).secret)
    assert_refused(stage, mint(issued.key.id).secret)


@pytest.mark.parametrize(
    ("values", "refusal"),
    [
        ({"scopes": []}, FormatInvalid),
        ({"scopes": ["read:billing", "read:billing"]}, FormatInvalid),
        ({"scopes": ["ingest:usage"]}, FormatInvalid),
        ({"name": " "}, TextInvalid),
        ({"expires_at": datetime(2030, 1, 1)}, InstantNaive),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(stage, values, refusal):
    """
    One without a scope, or with one of a project's keys.
    """
    with pytest.raises(refusal):
        stage.platform_keys.issue(**{"name": "Sign-up", "scopes": BOTH, **values})

    assert stage.platform_keys.list().items == ()


def test_a_key_opens_up_to_its_expiry(stage):
    """
    And not at it; nor is one issued that has none of its life before it.
    """
    brief = stage.platform_keys.issue(name="CI", scopes=BOTH, expires_at=stage.at + timedelta(hours=1))
    stage.pass_by(hours=1, microseconds=-1)
    assert stage.platform_keys.authenticate(brief.secret)

    stage.pass_by(microseconds=1)

    assert_refused(stage, brief.secret)
    with pytest.raises(FormatInvalid):
        stage.platform_keys.issue(name="CI", scopes=BOTH, expires_at=stage.at)


def test_a_revoked_key_is_refused_at_once(stage, issued):
    """
    Revoking it again keeps the first moment.
    """
    revoked = stage.platform_keys.revoke(issued.key.id)
    stage.pass_by(days=1)

    assert stage.platform_keys.revoke(issued.key.id) == revoked
    assert_refused(stage, issued.secret)


def test_a_rotated_key_dies_and_its_successor_takes_over(stage, issued):
    """
    Same name, same scopes, another secret; at once or after an overlap.
    """
    second = stage.platform_keys.rotate(issued.key.id)
    third = stage.platform_keys.rotate(second.key.id, overlap_hours=24, origin=Origin("user:usr_b"))

    assert_refused(stage, issued.secret)
    assert stage.platform_keys.authenticate(second.secret)
    stage.pass_by(hours=24)
    assert_refused(stage, second.secret)
    key = stage.platform_keys.authenticate(third.secret)
    assert (key.name, key.scopes, key.expires_at) == (issued.key.name, issued.key.scopes, None)
    assert key.created_by == "user:usr_b"


def test_what_has_ended_is_not_rotated(stage, issued):
    """
    A rotation would bring it back to life.
    """
    stage.platform_keys.revoke(issued.key.id)

    with pytest.raises(AccessKeyEnded):
        stage.platform_keys.rotate(issued.key.id)
    with pytest.raises(FormatInvalid):
        stage.platform_keys.rotate(issued.key.id, overlap_hours=169)


def test_keys_are_listed_newest_first(stage, issued):
    """
    Revoked ones included; a cursor of another list does not serve.
    """
    second = stage.platform_keys.issue(name="Billing", scopes=["credit:write"])
    revoked = stage.platform_keys.revoke(issued.key.id)

    first = stage.platform_keys.list(limit=1)

    assert first.items == (second.key,)
    assert stage.platform_keys.list(cursor=first.next_cursor).items == (revoked,)
    with pytest.raises(CursorMismatch):
        stage.projects.list(cursor=first.next_cursor)


def test_a_key_remembers_when_it_was_last_used(stage, issued):
    """
    As access keys do, and by the same call.
    """
    acme = stage.projects.create(name="Acme")
    theirs = stage.access_keys.issue(acme.id, name="CI", scopes=["read:billing"])
    used = stage.at + timedelta(hours=1)

    stage.access_keys.touch({issued.key.id: used, theirs.key.id: used})
    stage.access_keys.touch({issued.key.id: stage.at, "pky_none": used})

    assert stage.platform_keys.list().items[0].last_used_at == used
    assert stage.access_keys.list(acme.id).items[0].last_used_at == used
