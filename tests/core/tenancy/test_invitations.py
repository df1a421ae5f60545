"""From an invitation to a member."""

from __future__ import annotations

import pytest

from neruba_core.audit.model import Origin
from neruba_core.errors import (
    EmailTaken,
    InvalidCredentials,
    InvitationInvalid,
    LoginThrottled,
    PasswordUnfit,
    ProjectArchived,
    UserNotFound,
)
from neruba_core.tenancy import invitations
from neruba_core.tenancy.model import Role
from tests.core.identity.stage import ANOTHER, PASSWORD


@pytest.fixture
def acme(stage):
    return stage.projects.create(name="Acme", owner=stage.user("ada").id)


@pytest.fixture
def token(stage, acme):
    return stage.members.add(acme.id, email="new@example.com", role="finance").token


def test_accepting_makes_the_user_and_the_member_and_signs_in(stage, acme, token):
    """
    One step from a token to being at work; the trail names the one who joined.
    """
    tokens = stage.sessions.accept_invitation(token, PASSWORD, origin=Origin("anonymous", "req-7"))

    user, _ = stage.sessions.authenticate(tokens.access_token)
    assert (user.email, user.operator) == ("new@example.com", False)
    assert stage.projects.role(acme.id, user) is Role.FINANCE
    assert stage.members.invitations(acme.id) == ()
    change = stage.audit.changes(acme.id).items[0]
    assert (change.action, change.actor, change.request_id) == ("member.joined", f"user:{user.id}", "req-7")
    assert stage.sessions.login("new@example.com", PASSWORD)


def test_an_invitation_is_accepted_once(stage, token):
    """
    The second time the token is worth nothing.
    """
    stage.sessions.accept_invitation(token, PASSWORD)

    with pytest.raises(InvitationInvalid):
        stage.sessions.accept_invitation(token, PASSWORD)


@pytest.mark.parametrize("token", ["", "guess", "\ud800"])
def test_an_unknown_token_is_refused(stage, acme, token):
    """
    With the same answer as a used or an old one.
    """
    with pytest.raises(InvitationInvalid):
        stage.sessions.accept_invitation(token, PASSWORD)


def test_an_invitation_lasts_seven_days(stage, acme, token):
    """
    It opens up to, and not at, its end, and is then no longer listed.
    """
    stage.pass_by(days=7, microseconds=-1)
    assert len(stage.members.invitations(acme.id)) == 1

    stage.pass_by(microseconds=1)

    assert stage.members.invitations(acme.id) == ()
    with pytest.raises(InvitationInvalid):
        stage.sessions.accept_invitation(token, PASSWORD)


def test_an_unfit_password_leaves_the_invitation_open(stage, acme, token):
    """
    No user is made, and a better password is welcome.
    """
    with pytest.raises(PasswordUnfit):
        stage.sessions.accept_invitation(token, "short")

    with pytest.raises(UserNotFound):
        stage.users.get("new@example.com")
    assert stage.sessions.accept_invitation(token, PASSWORD)


def test_a_token_does_not_open_the_account_of_someone_who_exists(stage, acme, token):
    """
    Whoever invited holds the token too: the user's own password must come with it, under its brakes.
    """
    stage.user("new")
    for _ in range(5):
        with pytest.raises(InvalidCredentials):
            stage.sessions.accept_invitation(token, ANOTHER)
    with pytest.raises(LoginThrottled):
        stage.sessions.accept_invitation(token, PASSWORD)
    stage.pass_by(seconds=1)

    tokens = stage.sessions.accept_invitation(token, PASSWORD)

    assert stage.projects.role(acme.id, tokens.user) is Role.FINANCE
    assert stage.sessions.login("new@example.com", PASSWORD)


def test_a_newer_invitation_withdraws_the_older(stage, acme, token):
    """
    The latest word on someone's role is the one that counts.
    """
    newer = stage.members.add(acme.id, email="new@example.com", role="viewer")

    with pytest.raises(InvitationInvalid):
        stage.sessions.accept_invitation(token, PASSWORD)

    assert stage.members.invitations(acme.id) == (newer.invitation,)
    tokens = stage.sessions.accept_invitation(newer.token, PASSWORD)
    assert stage.projects.role(acme.id, tokens.user) is Role.VIEWER


def test_other_peoples_invitations_stay(stage, acme, token):
    """
    Withdrawing goes by email.
    """
    stage.members.add(acme.id, email="else@example.com", role="viewer")

    emails = {invitation.email for invitation in stage.members.invitations(acme.id)}

    assert emails == {"new@example.com", "else@example.com"}


def test_an_old_invitation_brings_no_one_back(stage, acme, token):
    """
    Becoming a member by another way closes it, so being removed is final.
    """
    user = stage.user("new")
    stage.members.add(acme.id, email=user.email, role="viewer")
    stage.members.remove(acme.id, user.id)

    with pytest.raises(InvitationInvalid):
        stage.sessions.accept_invitation(token, PASSWORD)


def test_a_member_by_now_keeps_the_role(stage, acme, token):
    """
    A role given to a member is newer than one that was waiting.
    """
    user = stage.user("new")
    stage.context.write(
        lambda work: invitations.accept(
            work, token, user, at=stage.at, ids=stage.context.ids, origin=Origin()
        )
    )
    stage.members.change_role(acme.id, user.id, role="support")
    again = stage.context.write(
        lambda work: invitations.invite(
            work, acme.id, user.email, Role.VIEWER, at=stage.at, ids=stage.context.ids, origin=Origin()
        )
    )

    stage.sessions.accept_invitation(again.token, PASSWORD)

    assert stage.projects.role(acme.id, user) is Role.SUPPORT


def test_an_invitation_is_for_one_email(stage, token):
    """
    Someone else cannot join with it, whoever they have proven to be.
    """
    mallory = stage.user("mallory")

    with pytest.raises(InvitationInvalid):
        stage.context.write(
            lambda work: invitations.accept(
                work, token, mallory, at=stage.at, ids=stage.context.ids, origin=Origin()
            )
        )


def test_nobody_joins_an_archived_project(stage, acme, token):
    """
    And no user is made on the way.
    """
    stage.projects.archive(acme.id)

    with pytest.raises(ProjectArchived):
        stage.sessions.accept_invitation(token, PASSWORD)

    with pytest.raises(UserNotFound):
        stage.users.get("new@example.com")


def test_of_two_who_accept_at_once_one_is_told(stage, acme, token, monkeypatch):
    """
    Both saw the invitation open and the email free; the second finds one of them gone.
    """
    memory = type(stage.context.read(lambda work: work.tenancy))
    with monkeypatch.context() as patched:
        patched.setattr(memory, "accept_invitation", lambda self, invitation, at: False)
        with pytest.raises(InvitationInvalid):
            stage.sessions.accept_invitation(token, PASSWORD)
    unseen = type(stage.context.read(lambda work: work.identity))
    stage.user("new")
    monkeypatch.setattr(unseen, "user_by_email", lambda self, email: None)

    with pytest.raises(EmailTaken):
        stage.sessions.accept_invitation(token, PASSWORD)
