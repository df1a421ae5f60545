"""``neruba.members``: the people of a project, and those invited."""

from __future__ import annotations

from attrs import frozen

from neruba_core import texts
from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.choices import choice
from neruba_core.context import Context
from neruba_core.tenancy import invitations, members
from neruba_core.tenancy.model import Invitation, Invited, Member, Role


@frozen
class Members:
    """People and their roles. *by* is always the role of whoever asks; nobody grants above it."""

    _context: Context

    def list(self, project_id: str) -> tuple[Member, ...]:
        """All members, the latest first. Raises ``ProjectNotFound``."""
        return self._context.read(lambda work: members.members_of(work, project_id))

    def invitations(self, project_id: str) -> tuple[Invitation, ...]:
        """The invitations that can still be accepted, the latest first. Raises ``ProjectNotFound``."""
        context = self._context
        return context.read(lambda work: invitations.open_invitations(work, project_id, at=context.clock()))

    def add(
        self,
        project_id: str,
        *,
        email: str,
        role: Role | str,
        by: Role = Role.OWNER,
        origin: Origin = SYSTEM,
    ) -> Member | Invited:
        """Make the user with this email a member, or invite someone who is no user yet.

        An ``Invited`` carries the invitation's token, which is shown this once, for 7 days of use; an
        earlier invitation of the same email is withdrawn. Raises ``FormatInvalid``, ``RoleMissing``,
        ``ProjectNotFound``, ``ProjectArchived`` or ``MemberExists``.
        """
        context = self._context
        address = texts.email(email)
        wanted = choice(Role, role, "a role")
        return context.write(
            lambda work: members.add_member(
                work, project_id, address, wanted, by=by, at=context.clock(), ids=context.ids, origin=origin
            )
        )

    def change_role(
        self,
        project_id: str,
        user_id: str,
        *,
        role: Role | str,
        by: Role = Role.OWNER,
        origin: Origin = SYSTEM,
    ) -> Member:
        """Give a member another role.

        Raises ``FormatInvalid``, ``RoleMissing``, ``ProjectNotFound``, ``ProjectArchived``,
        ``MemberNotFound`` or ``LastOwner``.
        """
        context = self._context
        wanted = choice(Role, role, "a role")
        return context.write(
            lambda work: members.change_role(
                work, project_id, user_id, wanted, by=by, at=context.clock(), ids=context.ids, origin=origin
            )
        )

    def remove(
        self, project_id: str, user_id: str, *, by: Role = Role.OWNER, origin: Origin = SYSTEM
    ) -> None:
        """Take a member out of the project, archived or not.

        Raises ``RoleMissing``, ``ProjectNotFound``, ``MemberNotFound`` or ``LastOwner``.
        """
        context = self._context
        context.write(
            lambda work: members.remove_member(
                work, project_id, user_id, by=by, at=context.clock(), ids=context.ids, origin=origin
            )
        )
