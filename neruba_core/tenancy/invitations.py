"""Invitations: a role waiting for someone who has no user yet.

The token is shown once, to whoever invites, and kept as a hash. It opens for 7 days and once; a newer
invitation of the same email withdraws the older, and membership withdraws them all. Holding a token
proves nothing about a user who exists by now: that user's password must come with it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

from neruba_core.audit.changes import note_change
from neruba_core.audit.model import Origin
from neruba_core.errors import InvitationInvalid
from neruba_core.identity.model import User
from neruba_core.identity.store import HasIdentity
from neruba_core.identity.tokens import digest, new_token
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.tenancy.model import Invitation, Invited, Membership, Role
from neruba_core.tenancy.projects import Recorded, existing, locked_writable
from neruba_core.tenancy.store import HasTenancy

LIFETIME = timedelta(days=7)


class Inviting(HasTenancy, HasIdentity, Protocol):
    """Invitations and the users that exist by now."""


def invite(
    work: Recorded, project_id: str, email: str, role: Role, *, at: Instant, ids: Ids, origin: Origin
) -> Invited:
    """Invite *email* to a project that is locked and takes writes."""
    withdraw(work, project_id, email, at=at)
    token = new_token(ids.randomness)
    invitation = Invitation(
        project_id=project_id,
        id=ids.new("ivt"),
        email=email,
        role=role,
        token_hash=digest(token),
        invited_by=origin.actor,
        created_at=at,
        expires_at=at + LIFETIME,
    )
    work.tenancy.add_invitation(invitation)
    note_change(
        work,
        project_id,
        "member.invited",
        invitation.id,
        {"email": email, "role": role.value},
        at=at,
        ids=ids,
        origin=origin,
    )
    return Invited(invitation, token)


def withdraw(work: HasTenancy, project_id: str, email: str, *, at: Instant) -> None:
    """Close the open invitations of *email*, as if they had been accepted."""
    for invitation in work.tenancy.invitations(project_id):
        if invitation.email == email and invitation.accepted_at is None:
            work.tenancy.accept_invitation(invitation, at)


def open_invitations(work: HasTenancy, project_id: str, *, at: Instant) -> tuple[Invitation, ...]:
    """Those that can still be accepted, the latest first. Raises ``ProjectNotFound``."""
    existing(work, project_id)
    return tuple(each for each in reversed(work.tenancy.invitations(project_id)) if _is_open(each, at))


def invited(work: Inviting, token: str, *, at: Instant) -> tuple[Invitation, User | None]:
    """The open invitation of *token*, and the user that its email has by now.

    Raises ``InvitationInvalid``.
    """
    invitation = work.tenancy.invitation_by_token(digest(token))
    if invitation is None or not _is_open(invitation, at):
        raise InvitationInvalid
    return invitation, work.identity.user_by_email(invitation.email)


def accept(work: Recorded, token: str, user: User, *, at: Instant, ids: Ids, origin: Origin) -> Membership:
    """Make *user*, whose email is the invited one, a member; someone who is one by now keeps the role.

    Raises ``InvitationInvalid`` or ``ProjectArchived``.
    """
    invitation = work.tenancy.invitation_by_token(digest(token))
    if invitation is None or not _is_open(invitation, at) or invitation.email != user.email:
        raise InvitationInvalid
    locked_writable(work, invitation.project_id)
    if not work.tenancy.accept_invitation(invitation, at):
        raise InvitationInvalid
    present = work.tenancy.membership(invitation.project_id, user.id)
    if present is not None:
        return present
    membership = Membership(invitation.project_id, user.id, invitation.role, at)
    work.tenancy.put_member(membership)
    note_change(
        work,
        invitation.project_id,
        "member.joined",
        user.id,
        {"email": user.email, "role": invitation.role.value, "invitation": invitation.id},
        at=at,
        ids=ids,
        origin=Origin(f"user:{user.id}", origin.request_id),
    )
    return membership


def _is_open(invitation: Invitation, at: Instant) -> bool:
    return invitation.accepted_at is None and at < invitation.expires_at
