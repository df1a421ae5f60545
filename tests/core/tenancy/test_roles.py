"""The lattice of roles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_core.errors import FormatInvalid, ProjectNotFound, RoleMissing
from neruba_core.tenancy.model import Role
from neruba_core.tenancy.roles import require, require_grant, require_taking
from neruba_core.tenancy.settings import role_for_field

roles = st.sampled_from(Role)


def allowed(check, *args):
    try:
        check(*args)
    except RoleMissing:
        return False
    return True


@given(roles, roles, roles)
def test_inclusion_is_an_order(one, other, third):
    """
    Every role includes itself; no two include each other; what is included is included all the way.
    """
    assert one.includes(one)
    assert one is other or not (one.includes(other) and other.includes(one))
    if one.includes(other) and other.includes(third):
        assert one.includes(third)


@given(roles)
def test_owner_is_above_and_viewer_below_every_role(role):
    """
    The lattice has a top and a bottom.
    """
    assert Role.OWNER.includes(role)
    assert role.includes(Role.VIEWER)


@given(roles, roles)
def test_nobody_grants_what_is_not_theirs(by, granted):
    """
    Only people's managers grant, and only roles that theirs includes.
    """
    assert allowed(require_grant, by, granted) is (by.includes(Role.ADMIN) and by.includes(granted))


def test_an_admin_makes_admins_and_viewers_only():
    """
    Managing people is not a way to money: admin does not include finance, so it cannot hand it out.
    """
    granted = {role for role in Role if allowed(require_grant, Role.ADMIN, role)}

    assert granted == {Role.ADMIN, Role.VIEWER}


@given(roles, roles)
def test_only_owners_take_from_owners(by, present):
    """
    An admin may remove anyone else, since people who leave must go at once.
    """
    expected = by is Role.OWNER or (by is Role.ADMIN and present is not Role.OWNER)

    assert allowed(require_taking, by, present) is expected


def test_a_missing_role_is_named():
    """
    The refusal says what would have been needed.
    """
    with pytest.raises(RoleMissing) as refused:
        require(Role.ADMIN, Role.FINANCE)

    assert refused.value.needed == "finance"


def test_only_the_credit_limit_is_finances():
    """
    How much may be owed is a matter of money, all else of settings.
    """
    fields = ("name", "credit_limit_micros", "metric_policy", "max_backdate_days", "timezone")

    assert [role_for_field(field).value for field in fields] == [
        "admin",
        "finance",
        "admin",
        "admin",
        "admin",
    ]


def test_a_project_one_cannot_see_is_like_none(stage):
    """
    A stranger gets the answer of a project that does not exist.
    """
    ada, bob = stage.user("ada"), stage.user("bob")
    project = stage.projects.create(name="Acme", owner=ada.id)

    with pytest.raises(ProjectNotFound) as hidden:
        stage.projects.role(project.id, bob)
    with pytest.raises(ProjectNotFound) as missing:
        stage.projects.role("prj_none", ada)

    assert stage.projects.role(project.id, ada) is Role.OWNER
    assert str(hidden.value).replace(project.id, "prj_none") == str(missing.value)


def test_an_operator_is_owner_everywhere(stage):
    """
    But not of what does not exist.
    """
    staff = stage.user("staff", operator=True)
    project = stage.projects.create(name="Acme")

    assert stage.projects.role(project.id, staff) is Role.OWNER
    with pytest.raises(ProjectNotFound):
        stage.projects.role("prj_none", staff)


def test_a_word_that_is_no_role_is_refused(stage):
    """
    The refusal lists those there are.
    """
    project = stage.projects.create(name="Acme")

    with pytest.raises(FormatInvalid, match="owner, admin, finance, support, viewer"):
        stage.members.add(project.id, email="bob@example.com", role="boss")
