"""The people of a project."""

from __future__ import annotations

import json
import threading

import pytest

from neruba_core.audit.model import Origin
from neruba_core.errors import (
    FormatInvalid,
    LastOwner,
    MemberExists,
    MemberNotFound,
    NerubaError,
    ProjectNotFound,
    RoleMissing,
)
from neruba_core.tenancy.model import Invited, Role


@pytest.fixture
def ada(stage):
    return stage.user("ada")


@pytest.fixture
def bob(stage):
    return stage.user("bob")


@pytest.fixture
def acme(stage, ada):
    return stage.projects.create(name="Acme", owner=ada.id)


def roles(stage, project_id):
    return {member.email.partition("@")[0]: member.role.value for member in stage.members.list(project_id)}


def test_a_user_becomes_a_member_at_once(stage, acme, bob):
    """
    The trail says who did it, in which request, and what the member is.
    """
    origin = Origin("user:usr_ada", "req-1")

    member = stage.members.add(acme.id, email="Bob@Example.com", role="support", origin=origin)

    assert (member.user_id, member.email, member.role) == (bob.id, "bob@example.com", Role.SUPPORT)
    assert stage.projects.role(acme.id, bob) is Role.SUPPORT
    change = stage.audit.changes(acme.id).items[0]
    assert (change.action, change.subject, change.actor) == ("member.added", bob.id, "user:usr_ada")
    assert change.request_id == "req-1"
    assert json.loads(change.details) == {"email": "bob@example.com", "role": "support"}


def test_members_are_listed_latest_first(stage, acme, bob):
    """
    With the emails that people know each other by.
    """
    stage.pass_by(minutes=1)
    stage.members.add(acme.id, email=bob.email, role="viewer")

    listed = stage.members.list(acme.id)

    assert [(member.email, member.role.value) for member in listed] == [
        ("bob@example.com", "viewer"),
        ("ada@example.com", "owner"),
    ]


def test_a_member_is_added_once(stage, acme, bob):
    """
    A second role is a change of role, and is asked for as such.
    """
    stage.members.add(acme.id, email=bob.email, role="viewer")

    with pytest.raises(MemberExists):
        stage.members.add(acme.id, email=bob.email, role="admin")

    assert roles(stage, acme.id)["bob"] == "viewer"


@pytest.mark.parametrize("role", ["owner", "finance", "support"])
def test_an_admin_cannot_grant_beyond_admin(stage, acme, bob, role):
    """
    Neither to a new member, nor to a present one, nor to an invited one, nor to oneself.
    """
    stage.members.add(acme.id, email=bob.email, role="admin")

    for ask in (
        lambda: stage.members.add(acme.id, email=stage.user("cyd").email, role=role, by=Role.ADMIN),
        lambda: stage.members.add(acme.id, email="new@example.com", role=role, by=Role.ADMIN),
        lambda: stage.members.change_role(acme.id, bob.id, role=role, by=Role.ADMIN),
    ):
        with pytest.raises(RoleMissing) as refused:
            ask()
        assert refused.value.needed == role

    assert roles(stage, acme.id) == {"ada": "owner", "bob": "admin"}


@pytest.mark.parametrize("by", [Role.FINANCE, Role.SUPPORT, Role.VIEWER])
def test_people_are_not_for_those_below_admin(stage, acme, bob, by):
    """
    Not even to make a viewer or to let one go.
    """
    stage.members.add(acme.id, email=bob.email, role="viewer")

    for ask in (
        lambda: stage.members.add(acme.id, email="new@example.com", role="viewer", by=by),
        lambda: stage.members.change_role(acme.id, bob.id, role="viewer", by=by),
        lambda: stage.members.remove(acme.id, bob.id, by=by),
    ):
        with pytest.raises(RoleMissing):
            ask()


def test_an_admin_demotes_and_removes_anyone_but_an_owner(stage, acme, ada, bob):
    """
    Finance people leave too, and an admin sees them out; an owner answers to owners.
    """
    cyd = stage.user("cyd")
    stage.members.add(acme.id, email=bob.email, role="finance")
    stage.members.add(acme.id, email=cyd.email, role="finance")

    stage.members.change_role(acme.id, bob.id, role="viewer", by=Role.ADMIN)
    stage.members.remove(acme.id, cyd.id, by=Role.ADMIN)
    for ask in (
        lambda: stage.members.change_role(acme.id, ada.id, role="viewer", by=Role.ADMIN),
        lambda: stage.members.remove(acme.id, ada.id, by=Role.ADMIN),
    ):
        with pytest.raises(RoleMissing):
            ask()

    assert roles(stage, acme.id) == {"ada": "owner", "bob": "viewer"}


def test_a_changed_role_is_noted_with_the_former_one(stage, acme, bob):
    """
    Asking for the role one has changes nothing and notes nothing.
    """
    stage.members.add(acme.id, email=bob.email, role="viewer")

    stage.members.change_role(acme.id, bob.id, role="admin")
    same = stage.members.change_role(acme.id, bob.id, role="admin")

    assert same.role is Role.ADMIN
    assert stage.actions(acme.id) == ["project.created", "member.added", "member.role_changed"]
    assert json.loads(stage.audit.changes(acme.id).items[0].details) == {"role": "admin", "before": "viewer"}


def test_the_last_owner_stays(stage, acme, ada, bob):
    """
    Leaving and stepping down both wait for another owner.
    """
    stage.members.add(acme.id, email=bob.email, role="admin")
    for ask in (
        lambda: stage.members.remove(acme.id, ada.id),
        lambda: stage.members.change_role(acme.id, ada.id, role="viewer"),
    ):
        with pytest.raises(LastOwner):
            ask()

    stage.members.change_role(acme.id, bob.id, role="owner")
    stage.members.change_role(acme.id, ada.id, role="viewer")

    assert roles(stage, acme.id) == {"ada": "viewer", "bob": "owner"}


def test_of_two_owners_who_leave_at_once_one_stays(stage, acme, ada, bob):
    """
    Whichever comes second is the last.
    """
    stage.members.add(acme.id, email=bob.email, role="owner")
    refusals: list[NerubaError] = []
    ready = threading.Barrier(2)

    def leave(user_id):
        ready.wait()
        try:
            stage.members.remove(acme.id, user_id)
        except LastOwner as refusal:
            refusals.append(refusal)

    threads = [threading.Thread(target=leave, args=(user.id,)) for user in (ada, bob)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(refusals) == 1
    assert list(roles(stage, acme.id).values()) == ["owner"]


def test_people_leave_an_archived_project_too(stage, acme, bob):
    """
    It can still be read, so who reads it can still be narrowed.
    """
    stage.members.add(acme.id, email=bob.email, role="viewer")
    stage.projects.archive(acme.id)

    stage.members.remove(acme.id, bob.id)

    with pytest.raises(ProjectNotFound):
        stage.projects.role(acme.id, bob)


def test_whoever_is_no_member_is_told_as_such(stage, acme, bob):
    """
    As is a project that does not exist.
    """
    for ask in (
        lambda: stage.members.remove(acme.id, bob.id),
        lambda: stage.members.change_role(acme.id, bob.id, role="viewer"),
    ):
        with pytest.raises(MemberNotFound):
            ask()
    for ask in (
        lambda: stage.members.list("prj_none"),
        lambda: stage.members.invitations("prj_none"),
        lambda: stage.members.add("prj_none", email=bob.email, role="viewer"),
        lambda: stage.members.remove("prj_none", bob.id),
    ):
        with pytest.raises(ProjectNotFound):
            ask()


def test_what_is_no_email_is_refused(stage, acme):
    """
    Nobody is invited at it.
    """
    with pytest.raises(FormatInvalid):
        stage.members.add(acme.id, email="bob", role="viewer")

    assert stage.members.invitations(acme.id) == ()


def test_an_unknown_email_is_invited(stage, acme):
    """
    The token is shown once and kept as a hash; the trail never has it.
    """
    invited = stage.members.add(acme.id, email="new@example.com", role="finance", origin=Origin("user:usr_a"))

    assert isinstance(invited, Invited)
    assert invited.token not in repr(invited)
    assert stage.members.invitations(acme.id) == (invited.invitation,)
    assert invited.invitation.invited_by == "user:usr_a"
    assert invited.token not in repr(stage.audit.changes(acme.id))
    assert invited.token not in repr(stage.members.invitations(acme.id))
