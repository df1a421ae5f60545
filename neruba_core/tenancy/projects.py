"""Projects: founding, finding, archiving.

An archived project stays readable for ever and takes no more writes, except those that take access
away (revoking a key, removing a member or the payment method): what is allowed can always be narrowed.
"""

from __future__ import annotations

from typing import Protocol

from attrs import evolve

from neruba_core import money
from neruba_core.audit.changes import note_change
from neruba_core.audit.model import Origin
from neruba_core.audit.store import HasAudit
from neruba_core.errors import ExternalKeyTaken, ProjectArchived, ProjectNotFound
from neruba_core.identity.store import HasIdentity
from neruba_core.identity.users import user_of
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.pages import Page, limited, page, place_of
from neruba_core.tenancy.model import Membership, MetricPolicy, Project, Role
from neruba_core.tenancy.roles import require
from neruba_core.tenancy.store import HasTenancy

PLATFORM = "system"
"""Who creates the projects that have no owner; their external keys are unique among themselves."""


class Recorded(HasTenancy, HasAudit, Protocol):
    """Projects, and the trail of changes to them."""


class Founding(Recorded, HasIdentity, Protocol):
    """What founding a project reads and writes."""


def create_project(
    work: Founding,
    *,
    name: str,
    external_key: str | None,
    currency: str,
    credit_limit_micros: int,
    owner: str | None,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> Project:
    """Found a project, with *owner* (a user id) as its first member.

    Its ledger head is the caller's to add in the same unit: the ledger lies above tenancy. Raises
    ``UserNotFound`` or ``ExternalKeyTaken``.
    """
    if owner is not None:
        user_of(work, owner)
    project = Project(
        id=ids.new("prj"),
        name=name,
        external_key=external_key,
        currency=currency,
        credit_limit_micros=credit_limit_micros,
        metric_policy=MetricPolicy.OPEN,
        max_backdate_days=None,
        timezone="UTC",
        created_by=PLATFORM if owner is None else owner,
        created_at=at,
    )
    holder = work.tenancy.add_project(project)
    if holder is not None:
        raise ExternalKeyTaken(str(holder.external_key), holder.id)
    if owner is not None:
        work.tenancy.put_member(Membership(project.id, owner, Role.OWNER, at))
    note_change(
        work,
        project.id,
        "project.created",
        project.id,
        {
            "name": name,
            "externalKey": external_key,
            "currency": currency,
            "creditLimit": money.text(credit_limit_micros),
            "owner": owner,
        },
        at=at,
        ids=ids,
        origin=origin,
    )
    return project


def existing(work: HasTenancy, project_id: str) -> Project:
    """The project, archived or not. Raises ``ProjectNotFound``."""
    project = work.tenancy.project(project_id)
    if project is None:
        raise ProjectNotFound(project_id)
    return project


def writable(work: HasTenancy, project_id: str) -> Project:
    """The project, if it takes writes. Raises ``ProjectNotFound`` or ``ProjectArchived``."""
    return _unless_archived(existing(work, project_id))


def locked(work: HasTenancy, project_id: str) -> Project:
    """The project, locked against other changes of its settings, people, keys and metrics.

    Raises ``ProjectNotFound``.
    """
    project = work.tenancy.lock_project(project_id)
    if project is None:
        raise ProjectNotFound(project_id)
    return project


def locked_writable(work: HasTenancy, project_id: str) -> Project:
    """Like ``locked``, if it takes writes. Raises ``ProjectNotFound`` or ``ProjectArchived``."""
    return _unless_archived(locked(work, project_id))


def all_projects(work: HasTenancy, *, limit: int, cursor: str | None) -> Page[Project]:
    """Every project, newest first."""
    rows = work.tenancy.all_projects(limit=limited(limit) + 1, before=place_of(cursor, "projects"))
    return page(rows, limit, "id", "projects")


def open_ids(work: HasTenancy) -> list[str]:
    """The ids of the projects that may have something left to bill, ascending: an archived one too, until it
    is invoiced beyond that."""
    return sorted([*work.tenancy.live_ids(), *work.tenancy.closing_ids()])


def projects_of(work: HasTenancy, user_id: str, *, limit: int, cursor: str | None) -> Page[Project]:
    """The projects that the user is a member of, newest first."""
    filters = ("projects", user_id)
    rows = work.tenancy.projects_of(user_id, limit=limited(limit) + 1, before=place_of(cursor, *filters))
    return page(rows, limit, "id", *filters)


def memberships_of(work: HasTenancy, user_id: str) -> tuple[tuple[Project, Role], ...]:
    """The user's projects, newest first, each with the user's role."""
    memberships = work.tenancy.memberships_of(user_id)
    projects = work.tenancy.projects([membership.project_id for membership in memberships])
    newest_first = sorted(memberships, key=lambda membership: membership.project_id, reverse=True)
    return tuple((projects[membership.project_id], membership.role) for membership in newest_first)


def archive(work: Recorded, project_id: str, *, role: Role, at: Instant, ids: Ids, origin: Origin) -> Project:
    """Refuse further writes to the project; the first archiving's moment stays.

    Raises ``RoleMissing`` or ``ProjectNotFound``.
    """
    require(role, Role.OWNER)
    project = locked(work, project_id)
    if project.archived_at is not None:
        return project
    archived = evolve(project, archived_at=at)
    work.tenancy.replace_project(archived)
    note_change(work, project_id, "project.archived", project_id, {}, at=at, ids=ids, origin=origin)
    return archived


def _unless_archived(project: Project) -> Project:
    if project.archived_at is not None:
        raise ProjectArchived(project.id)
    return project
