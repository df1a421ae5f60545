"""What tenancy asks of storage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from neruba_core.instants import Instant
from neruba_core.tenancy.model import Invitation, Membership, Project


class TenancyStore(Protocol):
    """Projects, memberships and invitations.

    ``(created_by, external_key)`` is unique among projects that have an external key.
    """

    def add_project(self, project: Project) -> Project | None:
        """Insert *project* and return None; where its creator has that external key already, insert
        nothing and return the project that holds it. Waits for a competitor in flight."""

    def project(self, project_id: str) -> Project | None: ...

    def projects(self, project_ids: Iterable[str]) -> dict[str, Project]: ...

    def all_projects(self, *, limit: int, before: str | None) -> Sequence[Project]:
        """Every project of the deployment by descending id, below *before*."""

    def live_ids(self) -> Sequence[str]:
        """The ids of all projects of the deployment that are not archived, ascending."""

    def closing_ids(self) -> Sequence[str]:
        """The ids of the archived projects that have not been invoiced beyond their archiving, ascending."""

    def projects_of(self, user_id: str, *, limit: int, before: str | None) -> Sequence[Project]:
        """The projects that the user is a member of, by descending id, below *before*."""

    def lock_project(self, project_id: str) -> Project | None:
        """The project, locked against ``lock_project`` elsewhere until the unit ends."""

    def lock_projects(self, project_ids: Iterable[str]) -> dict[str, Project]:
        """Like ``lock_project`` for many, taken in ascending id so that no two units wait in a circle."""

    def note_invoiced(self, until: Mapping[str, Instant | None]) -> None:
        """Overwrite ``invoiced_until`` of these projects, which the caller has locked."""

    def replace_project(self, project: Project) -> None:
        """Overwrite the project of the same id."""

    def membership(self, project_id: str, user_id: str) -> Membership | None: ...

    def memberships_of(self, user_id: str) -> Sequence[Membership]: ...

    def members(self, project_id: str) -> Sequence[Membership]:
        """All members by ascending user id."""

    def put_member(self, membership: Membership) -> None:
        """Insert the membership, or overwrite the role of the one with the same project and user."""

    def remove_member(self, project_id: str, user_id: str) -> None: ...

    def add_invitation(self, invitation: Invitation) -> None: ...

    def invitation_by_token(self, token_hash: str) -> Invitation | None: ...

    def invitations(self, project_id: str) -> Sequence[Invitation]:
        """All invitations by ascending id."""

    def accept_invitation(self, invitation: Invitation, at: Instant) -> bool:
        """Compare and set: mark it accepted; False if it was before."""


class HasTenancy(Protocol):
    @property
    def tenancy(self) -> TenancyStore: ...
