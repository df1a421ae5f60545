"""Adding people, finding them, giving them passwords, disabling them."""

from __future__ import annotations

import pytest

from neruba_core.errors import (
    CursorMismatch,
    EmailTaken,
    FormatInvalid,
    InvalidCredentials,
    LoginThrottled,
    PasswordUnfit,
    SessionEnded,
    UserNotFound,
)
from tests.core.identity.stage import ANOTHER, PASSWORD


def test_a_user_is_found_by_email_however_it_is_written(stage):
    """
    Emails are kept in the form they are compared by.
    """
    ada = stage.users.add("Ada@Example.COM", PASSWORD, operator=True)

    assert stage.users.get("ADA@example.com") == ada
    assert (ada.email, ada.operator, ada.created_at) == ("ada@example.com", True, stage.at)
    assert ada.password_hash not in repr(ada)


def test_an_email_is_taken_once(stage):
    """
    The second user of an email is refused and the first stays.
    """
    ada = stage.user()

    with pytest.raises(EmailTaken):
        stage.users.add("ADA@example.com", ANOTHER)

    assert stage.users.list().items == (ada,)


@pytest.mark.parametrize(
    ("email", "password", "refusal"),
    [("ada", PASSWORD, FormatInvalid), ("ada@example.com", "short", PasswordUnfit)],
)
def test_what_is_no_email_or_no_password_is_refused(stage, email, password, refusal):
    """
    Nothing is added.
    """
    with pytest.raises(refusal):
        stage.users.add(email, password)

    assert stage.users.list().items == ()


def test_users_are_listed_newest_first_page_by_page(stage):
    """
    Following the cursors gives every user once.
    """
    added = [stage.user(name) for name in ("ada", "bob", "cyd")]

    first = stage.users.list(limit=2)
    second = stage.users.list(limit=2, cursor=first.next_cursor)

    assert [*first.items, *second.items] == added[::-1]
    assert second.next_cursor is None
    with pytest.raises(CursorMismatch):
        stage.projects.list(cursor=first.next_cursor)


@pytest.mark.parametrize("limit", [0, -1, 201, True, "10"])
def test_a_page_has_1_to_200_items(stage, limit):
    """
    Anything else is refused, not clipped.
    """
    with pytest.raises(FormatInvalid, match="1 to 200"):
        stage.users.list(limit=limit)


def test_a_password_given_by_staff_ends_every_session_and_every_wait(stage):
    """
    Whoever was locked out by a guesser gets in with the new password at once.
    """
    stage.user()
    tokens = stage.sessions.login("ada@example.com", PASSWORD)
    for _ in range(5):
        with pytest.raises(InvalidCredentials):
            stage.sessions.login("ada@example.com", ANOTHER)
    with pytest.raises(LoginThrottled):
        stage.sessions.login("ada@example.com", PASSWORD)

    stage.users.set_password("ada@example.com", ANOTHER)

    with pytest.raises(SessionEnded):
        stage.sessions.authenticate(tokens.access_token)
    assert stage.sessions.login("ada@example.com", ANOTHER)


def test_disabling_ends_every_session_and_keeps_its_first_moment(stage):
    """
    Doing it again changes nothing.
    """
    stage.user()
    tokens = stage.sessions.login("ada@example.com", PASSWORD)
    disabled = stage.users.disable("ada@example.com")
    stage.pass_by(days=1)

    again = stage.users.disable("ada@example.com")

    assert again == disabled == stage.users.get("ada@example.com")
    with pytest.raises(SessionEnded):
        stage.sessions.authenticate(tokens.access_token)


def test_an_unknown_user_is_told_as_such(stage):
    """
    These verbs are for the deployment's own staff: there is nothing to hide.
    """
    for ask in (
        lambda: stage.users.get("nobody@example.com"),
        lambda: stage.users.disable("nobody@example.com"),
        lambda: stage.users.set_password("nobody@example.com", PASSWORD),
    ):
        with pytest.raises(UserNotFound):
            ask()
