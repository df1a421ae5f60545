"""Who may do what in a project.

Owner includes every role, and every role includes viewer; admin, finance and support stand beside each
other, so that whoever manages people and keys does not thereby move money. Nobody grants a role that
theirs does not include: an admin may make admins and viewers, and only an owner makes owners, finance
and support. Taking away is wider than giving: an admin may remove or demote anyone but an owner, since
people who leave must go at once. An operator, the deployment's own staff, is owner everywhere.
"""

from __future__ import annotations

from neruba_core.errors import ProjectNotFound, RoleMissing
from neruba_core.identity.model import User
from neruba_core.tenancy.model import Role
from neruba_core.tenancy.store import HasTenancy


def require(role: Role, needed: Role) -> None:
    """Raise ``RoleMissing`` unless *role* includes *needed*."""
    if not role.includes(needed):
        raise RoleMissing(needed.value)


def require_grant(by: Role, granted: Role) -> None:
    """Raise ``RoleMissing`` unless someone of role *by* may give the role *granted*."""
    require(by, Role.ADMIN)
    require(by, granted)


def require_taking(by: Role, present: Role) -> None:
    """Raise ``RoleMissing`` unless someone of role *by* may take the role *present* from its holder."""
    require(by, Role.OWNER if present is Role.OWNER else Role.ADMIN)


def role_in(work: HasTenancy, user: User, project_id: str) -> Role:
    """What *user* is in the project. Raises ``ProjectNotFound`` for whoever may not know of it."""
    if work.tenancy.project(project_id) is None:
        raise ProjectNotFound(project_id)
    if user.operator:
        return Role.OWNER
    membership = work.tenancy.membership(project_id, user.id)
    if membership is None:
        raise ProjectNotFound(project_id)
    return membership.role
