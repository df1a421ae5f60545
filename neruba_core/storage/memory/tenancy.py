"""Projects, memberships and invitations in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from attrs import define, evolve, field

from neruba_core.instants import Instant
from neruba_core.storage.memory.tables import EVERYONE, DuplicateKey, Table, Undo
from neruba_core.tenancy.model import Invitation, Membership, Project


@define(eq=False)
class TenancyTables:
    """*members* is by project and user, *projects_of* the same rows by user and project."""

    projects: Table[str, Project] = field(factory=Table)
    by_external_key: dict[tuple[str, str], str] = field(factory=dict)
    members: Table[str, Membership] = field(factory=Table)
    projects_of: Table[str, Membership] = field(factory=Table)
    invitations: Table[str, Invitation] = field(factory=Table)
    by_token: dict[str, tuple[str, str]] = field(factory=dict)


@define(eq=False)
class MemoryTenancy:
    """``TenancyStore`` within one unit."""

    _tables: TenancyTables
    _undo: Undo

    def add_project(self, project: Project) -> Project | None:
        if project.external_key is not None:
            holder = self._tables.by_external_key.get((project.created_by, project.external_key))
            if holder is not None:
                return self.project(holder)
        self._tables.projects.add(self._undo, EVERYONE, project.id, project)
        if project.external_key is not None:
            key = (project.created_by, project.external_key)
            self._undo.put(self._tables.by_external_key, key, project.id)
        return None

    def project(self, project_id: str) -> Project | None:
        return self._tables.projects.get(EVERYONE, project_id)

    def projects(self, project_ids: Iterable[str]) -> dict[str, Project]:
        return self._tables.projects.some(EVERYONE, project_ids)

    def all_projects(self, *, limit: int, before: str | None) -> Sequence[Project]:
        return self._tables.projects.page(EVERYONE, limit=limit, before=before)

    def live_ids(self) -> Sequence[str]:
        found = self._tables.projects.descending(EVERYONE, None)
        return [project.id for project in found if project.archived_at is None][::-1]

    def closing_ids(self) -> Sequence[str]:
        found = self._tables.projects.descending(EVERYONE, None)
        return [project.id for project in found if project.closing][::-1]

    def projects_of(self, user_id: str, *, limit: int, before: str | None) -> Sequence[Project]:
        memberships = self._tables.projects_of.descending(user_id, before)
        found = (self.project(membership.project_id) for membership in memberships)
        return tuple(islice((project for project in found if project is not None), limit))

    def lock_project(self, project_id: str) -> Project | None:
        return self.project(project_id)

    def lock_projects(self, project_ids: Iterable[str]) -> dict[str, Project]:
        return self.projects(sorted(project_ids))

    def note_invoiced(self, until: Mapping[str, Instant | None]) -> None:
        for project in self.projects(until).values():
            noted = evolve(project, invoiced_until=until[project.id])
            self._tables.projects.replace(self._undo, EVERYONE, project.id, noted)

    def replace_project(self, project: Project) -> None:
        earlier = self.project(project.id)
        if earlier is None:
            return
        keys = self._tables.by_external_key
        if earlier.external_key is not None:
            self._undo.remove(keys, (earlier.created_by, earlier.external_key))
        if project.external_key is not None:
            if (project.created_by, project.external_key) in keys:
                raise DuplicateKey("the creator has another project of this external key")
            self._undo.put(keys, (project.created_by, project.external_key), project.id)
        self._tables.projects.replace(self._undo, EVERYONE, project.id, project)

    # --- members ------------------------------------------------------------------------------

    def membership(self, project_id: str, user_id: str) -> Membership | None:
        return self._tables.members.get(project_id, user_id)

    def memberships_of(self, user_id: str) -> Sequence[Membership]:
        return tuple(self._tables.projects_of.ascending(user_id))

    def members(self, project_id: str) -> Sequence[Membership]:
        return tuple(self._tables.members.ascending(project_id))

    def put_member(self, membership: Membership) -> None:
        project_id, user_id = membership.project_id, membership.user_id
        earlier = self.membership(project_id, user_id)
        if earlier is None:
            self._tables.members.add(self._undo, project_id, user_id, membership)
            self._tables.projects_of.add(self._undo, user_id, project_id, membership)
        else:
            changed = evolve(earlier, role=membership.role)
            self._tables.members.replace(self._undo, project_id, user_id, changed)
            self._tables.projects_of.replace(self._undo, user_id, project_id, changed)

    def remove_member(self, project_id: str, user_id: str) -> None:
        self._tables.members.remove(self._undo, project_id, user_id)
        self._tables.projects_of.remove(self._undo, user_id, project_id)

    # --- invitations --------------------------------------------------------------------------

    def add_invitation(self, invitation: Invitation) -> None:
        if invitation.token_hash in self._tables.by_token:
            raise DuplicateKey("the invitation's token is taken")
        place = (invitation.project_id, invitation.id)
        self._tables.invitations.add(self._undo, *place, invitation)
        self._undo.put(self._tables.by_token, invitation.token_hash, place)

    def invitation_by_token(self, token_hash: str) -> Invitation | None:
        place = self._tables.by_token.get(token_hash)
        return None if place is None else self._tables.invitations.get(*place)

    def invitations(self, project_id: str) -> Sequence[Invitation]:
        return tuple(self._tables.invitations.ascending(project_id))

    def accept_invitation(self, invitation: Invitation, at: Instant) -> bool:
        current = self._tables.invitations.get(invitation.project_id, invitation.id)
        if current is None or current.accepted_at is not None:
            return False
        accepted = evolve(current, accepted_at=at)
        self._tables.invitations.replace(self._undo, current.project_id, current.id, accepted)
        return True
