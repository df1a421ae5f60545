"""The people of a project: adding, changing roles, removing.

A project that has an owner keeps one. Changes of its people take the project's lock, so that of two
owners who leave at once, the second is told to stay.
"""

from __future__ import annotations

from typing import Protocol

from attrs import evolve

from neruba_core.audit.changes import note_change
from neruba_core.audit.model import Origin
from neruba_core.errors import LastOwner, MemberExists, MemberNotFound
from neruba_core.identity.store import HasIdentity
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.tenancy.invitations import invite, withdraw
from neruba_core.tenancy.model import Invited, Member, Membership, Role
from neruba_core.tenancy.projects import Recorded, existing, locked, locked_writable
from neruba_core.tenancy.roles import require_grant, require_taking
from neruba_core.tenancy.store import HasTenancy


class Peopled(HasTenancy, HasIdentity, Protocol):
    """Memberships and the users behind them."""


class Staffing(Recorded, HasIdentity, Protocol):
    """What a change of a project's people reads and writes."""


def members_of(work: Peopled, project_id: str) -> tuple[Member, ...]:
    """All members, the latest first. Raises ``ProjectNotFound``."""
    existing(work, project_id)
    memberships = work.tenancy.members(project_id)
    users = work.identity.users_by_id([membership.user_id for membership in memberships])
    latest_first = sorted(memberships, key=lambda each: (each.created_at, each.user_id), reverse=True)
    return tuple(_member(each, users[each.user_id].email) for each in latest_first)


def add_member(
    work: Staffing,
    project_id: str,
    email: str,
    role: Role,
    *,
    by: Role,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> Member | Invited:
    """Make the user with this email a member, or invite whoever will be.

    Raises ``RoleMissing``, ``ProjectNotFound``, ``ProjectArchived`` or ``MemberExists``.
    """
    require_grant(by, role)
    locked_writable(work, project_id)
    user = work.identity.user_by_email(email)
    if user is None:
        return invite(work, project_id, email, role, at=at, ids=ids, origin=origin)
    if work.tenancy.membership(project_id, user.id) is not None:
        raise MemberExists(user.id)
    membership = Membership(project_id, user.id, role, at)
    work.tenancy.put_member(membership)
    # One of before there was such a user must not bring back someone who is removed later.
    withdraw(work, project_id, email, at=at)
    note_change(
        work,
        project_id,
        "member.added",
        user.id,
        {"email": email, "role": role.value},
        at=at,
        ids=ids,
        origin=origin,
    )
    return _member(membership, email)


def change_role(
    work: Staffing,
    project_id: str,
    user_id: str,
    role: Role,
    *,
    by: Role,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> Member:
    """Give a member another role.

    Raises ``RoleMissing``, ``ProjectNotFound``, ``ProjectArchived``, ``MemberNotFound`` or ``LastOwner``.
    """
    require_grant(by, role)
    locked_writable(work, project_id)
    membership = _membership(work, project_id, user_id)
    email = work.identity.users_by_id([user_id])[user_id].email
    if membership.role is role:
        return _member(membership, email)
    require_taking(by, membership.role)
    _require_another_owner(work, membership)
    changed = evolve(membership, role=role)
    work.tenancy.put_member(changed)
    note_change(
        work,
        project_id,
        "member.role_changed",
        user_id,
        {"role": role.value, "before": membership.role.value},
        at=at,
        ids=ids,
        origin=origin,
    )
    return _member(changed, email)


def remove_member(
    work: Staffing, project_id: str, user_id: str, *, by: Role, at: Instant, ids: Ids, origin: Origin
) -> None:
    """Take a member out, of an archived project too.

    Raises ``RoleMissing``, ``ProjectNotFound``, ``MemberNotFound`` or ``LastOwner``.
    """
    locked(work, project_id)
    membership = _membership(work, project_id, user_id)
    require_taking(by, membership.role)
    _require_another_owner(work, membership)
    work.tenancy.remove_member(project_id, user_id)
    note_change(
        work,
        project_id,
        "member.removed",
        user_id,
        {"before": membership.role.value},
        at=at,
        ids=ids,
        origin=origin,
    )


def _membership(work: HasTenancy, project_id: str, user_id: str) -> Membership:
    membership = work.tenancy.membership(project_id, user_id)
    if membership is None:
        raise MemberNotFound(user_id)
    return membership


def _require_another_owner(work: HasTenancy, leaving: Membership) -> None:
    if leaving.role is not Role.OWNER:
        return
    members = work.tenancy.members(leaving.project_id)
    if not any(each.role is Role.OWNER and each.user_id != leaving.user_id for each in members):
        raise LastOwner


def _member(membership: Membership, email: str) -> Member:
    return Member(membership.user_id, email, membership.role, membership.created_at)
