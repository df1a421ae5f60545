"""Projects, who belongs to them, and what each role includes."""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

from neruba_core.instants import Instant


class MetricPolicy(StrEnum):
    """What happens to usage that no declared metric covers."""

    OPEN = "open"
    STRICT = "strict"


@frozen
class Project:
    """The tenant and billed party: one wallet, one currency.

    *created_by* is the user (or ``system``) whose external keys are unique.
    """

    id: str
    name: str
    external_key: str | None
    currency: str
    credit_limit_micros: int
    metric_policy: MetricPolicy
    max_backdate_days: int | None
    timezone: str
    created_by: str
    created_at: Instant
    archived_at: Instant | None = None


class Role(StrEnum):
    """What a member may do. Owner includes all; every role includes viewer; admin is not finance."""

    OWNER = "owner"
    ADMIN = "admin"
    FINANCE = "finance"
    SUPPORT = "support"
    VIEWER = "viewer"

    def includes(self, needed: Role) -> bool:
        """Whether someone of this role may do what *needed* may."""
        return self is needed or self is Role.OWNER or needed is Role.VIEWER


@frozen
class Member:
    """A member as people see one: the membership and the person's email."""

    user_id: str
    email: str
    role: Role
    created_at: Instant


@frozen
class Membership:
    """A person's role in a project."""

    project_id: str
    user_id: str
    role: Role
    created_at: Instant


@frozen
class Invitation:
    """A role waiting for someone who has no user yet; its token is known by its SHA-256 only."""

    project_id: str
    id: str
    email: str
    role: Role
    token_hash: str
    invited_by: str
    created_at: Instant
    expires_at: Instant
    accepted_at: Instant | None = None


@frozen
class Invited:
    """An invitation and its plaintext token, held only long enough to hand it over."""

    invitation: Invitation
    token: str = field(repr=False)
