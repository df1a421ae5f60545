"""Staying signed in, and signing out."""

from __future__ import annotations

import pytest

from neruba_core.errors import (
    InvalidCredentials,
    LoginThrottled,
    PasswordUnfit,
    RefreshReused,
    SessionEnded,
    UserNotFound,
)
from neruba_core.identity import sessions
from neruba_core.identity.tokens import digest, new_token
from neruba_core.namespaces.sessions import Sessions
from tests.core.identity.stage import ANOTHER, PASSWORD


@pytest.fixture
def tokens(stage):
    stage.user()
    return stage.sessions.login("ada@example.com", PASSWORD)


def assert_ended(stage, *access_tokens):
    for token in access_tokens:
        with pytest.raises(SessionEnded):
            stage.sessions.authenticate(token)


def test_a_token_is_256_bits_and_kept_as_a_hash(stage, tokens):
    """
    Nothing that opens a session can be read from the store.
    """
    kept = stage.context.read(lambda work: work.identity.session_by_access(digest(tokens.access_token)))

    assert len(new_token(lambda count: bytes(count))) == 43
    assert tokens.access_token not in repr(kept)
    assert kept.access_hash == digest(tokens.access_token)


@pytest.mark.parametrize("token", ["", "x", "\ud800", "é" * 100])
def test_an_unknown_token_is_refused(stage, token):
    """
    Whatever was never given out opens nothing.
    """
    with pytest.raises(SessionEnded):
        stage.sessions.authenticate(token)
    with pytest.raises(SessionEnded):
        stage.sessions.refresh(token)


def test_an_access_token_lives_half_an_hour(stage, tokens):
    """
    It works up to, and not at, its end.
    """
    stage.pass_by(minutes=29, seconds=59)
    assert stage.sessions.authenticate(tokens.access_token)

    stage.pass_by(seconds=1)

    assert_ended(stage, tokens.access_token)


def test_the_life_of_an_access_token_can_be_set(stage):
    """
    A deployment may trust its tokens for shorter.
    """
    stage.user()
    brief = Sessions(stage.context, access_minutes=1)

    tokens = brief.login("ada@example.com", PASSWORD)

    assert tokens.expires_in_seconds == 60
    stage.pass_by(minutes=1)
    assert_ended(stage, tokens.access_token)
    assert brief.refresh(tokens.refresh_token).expires_in_seconds == 60


def test_a_refresh_gives_new_tokens_and_stops_the_old(stage, tokens):
    """
    There is one living access token in a session, and one refresh token.
    """
    stage.pass_by(minutes=10)

    fresh = stage.sessions.refresh(tokens.refresh_token)

    assert stage.sessions.authenticate(fresh.access_token)[0] == tokens.user
    assert_ended(stage, tokens.access_token)


def test_a_spent_refresh_token_ends_the_whole_session(stage, tokens):
    """
    One of two holders is a thief, so neither goes on; the end is kept although the call raises.
    """
    fresh = stage.sessions.refresh(tokens.refresh_token)

    with pytest.raises(RefreshReused):
        stage.sessions.refresh(tokens.refresh_token)

    assert_ended(stage, fresh.access_token)
    with pytest.raises(SessionEnded):
        stage.sessions.refresh(fresh.refresh_token)


def test_a_rotation_lost_to_another_ends_the_session(stage, tokens, monkeypatch):
    """
    Of two refreshes at the same moment, one comes second: that is a reuse like any other.
    """
    memory = type(stage.context.read(lambda work: work.identity))
    monkeypatch.setattr(memory, "rotate", lambda self, session, *, spent_refresh_hash: False)

    with pytest.raises(RefreshReused):
        stage.sessions.refresh(tokens.refresh_token)

    assert_ended(stage, tokens.access_token)


def test_a_refresh_token_lives_thirty_days_from_its_last_exchange(stage, tokens):
    """
    Whoever comes back within the month stays signed in.
    """
    stage.pass_by(days=29)
    fresh = stage.sessions.refresh(tokens.refresh_token)
    stage.pass_by(days=29)
    latest = stage.sessions.refresh(fresh.refresh_token)

    stage.pass_by(days=30)

    with pytest.raises(SessionEnded):
        stage.sessions.refresh(latest.refresh_token)


def test_a_logout_stops_the_tokens_at_once(stage, tokens):
    """
    Signing out of one session leaves the others alone; doing it twice is no error.
    """
    elsewhere = stage.sessions.login("ada@example.com", PASSWORD)
    _, session = stage.sessions.authenticate(tokens.access_token)

    stage.sessions.logout(session.id)
    stage.sessions.logout(session.id)

    assert_ended(stage, tokens.access_token)
    with pytest.raises(SessionEnded):
        stage.sessions.refresh(tokens.refresh_token)
    assert stage.sessions.authenticate(elsewhere.access_token)


def test_a_changed_password_ends_every_session(stage, tokens):
    """
    Whoever else was signed in is out, and only the new password opens.
    """
    elsewhere = stage.sessions.login("ada@example.com", PASSWORD)

    stage.sessions.change_password(tokens.user.id, PASSWORD, ANOTHER)

    assert_ended(stage, tokens.access_token, elsewhere.access_token)
    with pytest.raises(InvalidCredentials):
        stage.sessions.login("ada@example.com", PASSWORD)
    assert stage.sessions.login("ada@example.com", ANOTHER)


def test_a_password_is_changed_only_by_who_knows_it(stage, tokens):
    """
    A borrowed session cannot take over an account, nor guess without brakes.
    """
    for _ in range(5):
        with pytest.raises(InvalidCredentials):
            stage.sessions.change_password(tokens.user.id, ANOTHER, ANOTHER)

    with pytest.raises(LoginThrottled):
        stage.sessions.change_password(tokens.user.id, PASSWORD, ANOTHER)

    assert stage.sessions.authenticate(tokens.access_token)


def test_an_unfit_new_password_is_refused(stage, tokens):
    """
    Nothing is changed, and no failure is counted.
    """
    with pytest.raises(PasswordUnfit):
        stage.sessions.change_password(tokens.user.id, PASSWORD, "too short")
    with pytest.raises(UserNotFound):
        stage.sessions.change_password("usr_none", PASSWORD, ANOTHER)

    assert stage.sessions.authenticate(tokens.access_token)


def test_a_disabled_user_is_out_even_if_a_session_slipped_through(stage, tokens):
    """
    The user is looked at on every request, not only the session.
    """
    stage.users.disable("ada@example.com")
    user = stage.users.get("ada@example.com")
    slipped = stage.context.write(
        lambda work: sessions.open_session(work, user, at=stage.at, ids=stage.context.ids, access_minutes=30)
    )

    assert_ended(stage, tokens.access_token, slipped.access_token)
    with pytest.raises(SessionEnded):
        stage.sessions.refresh(slipped.refresh_token)
