"""Projects, their people, their keys."""

from __future__ import annotations

from typing import Annotated, Self

from attrs import evolve, frozen
from msgspec import UNSET, Meta, UnsetType

from neruba_core.access.model import AccessKey as CoreKey
from neruba_core.access.model import IssuedKey as CoreIssuedKey
from neruba_core.access.model import IssuedPlatformKey as CoreIssuedPlatformKey
from neruba_core.access.model import PlatformKey as CorePlatformKey
from neruba_core.access.model import PlatformScope, Scope
from neruba_core.instants import Instant
from neruba_core.tenancy.model import BillingMode, Invited, LateUsagePolicy, MetricPolicy, OnEmpty, Role
from neruba_core.tenancy.model import Invitation as CoreInvitation
from neruba_core.tenancy.model import Member as CoreMember
from neruba_core.tenancy.model import Project as CoreProject
from neruba_server.wire.kinds import (
    Amount,
    Currency,
    Days,
    Email,
    GraceHours,
    Hours,
    Key255,
    Minutes,
    Moment,
    Money,
    Name,
    TaxRate,
    Units,
    Zone,
)


@frozen
class NewProject:
    """A project; ``currency`` is USD and ``creditLimit`` zero unless given. ``ownerEmail`` names the owner
    where a platform key asks, and nowhere else."""

    name: Name
    external_key: Key255 | None = None
    currency: Currency | None = None
    credit_limit: Units | None = None
    owner_email: Email | None = None


@frozen
class TopUp:
    """When, by how much and how often credit is topped up by itself; at most ``monthlyCap`` in a calendar
    month of the project's time zone."""

    threshold: Amount
    amount: Amount
    monthly_cap: Amount
    cool_down_minutes: Minutes = 60


@frozen
class ProjectChanges:
    """The settings to change; what is left out stays as it is."""

    name: Name | UnsetType = UNSET
    credit_limit: Units | UnsetType = UNSET
    metric_policy: MetricPolicy | UnsetType = UNSET
    max_backdate_days: Days | UnsetType | None = UNSET
    timezone: Zone | UnsetType = UNSET
    billing_mode: BillingMode | UnsetType = UNSET
    on_empty: OnEmpty | UnsetType = UNSET
    late_usage_policy: LateUsagePolicy | UnsetType = UNSET
    grace_hours: GraceHours | UnsetType = UNSET
    tax_rate: TaxRate | UnsetType = UNSET
    low_balance_threshold: Units | UnsetType | None = UNSET
    top_up: TopUp | UnsetType | None = UNSET


@frozen
class TopUpInForce:
    """When, by how much and how often credit is topped up."""

    threshold: Money
    amount: Money
    monthly_cap: Money
    cool_down_minutes: int


@frozen
class Terms:
    """What is in force until ``until``, when the ``billingMode`` and ``timezone`` of the project begin."""

    billing_mode: BillingMode
    timezone: str
    until: Moment


@frozen
class Project:
    """The tenant and billed party: one wallet, one currency. ``termsInForce`` is null unless a change of
    ``billingMode`` or ``timezone`` waits for the present period's end."""

    id: str
    name: str
    external_key: str | None
    currency: str
    credit_limit: Money
    metric_policy: MetricPolicy
    max_backdate_days: int | None
    timezone: str
    billing_mode: BillingMode
    terms_in_force: Terms | None
    on_empty: OnEmpty
    late_usage_policy: LateUsagePolicy
    grace_hours: int
    tax_rate: TaxRate
    low_balance_threshold: Money | None
    top_up: TopUpInForce | None
    created_at: Moment
    archived_at: Moment | None

    @classmethod
    def of(cls, project: CoreProject, at: Instant) -> Self:
        """The project as people see it at *at*."""
        begin = project.terms_begin(at)
        return cls(
            id=project.id,
            name=project.name,
            external_key=project.external_key,
            currency=project.currency,
            credit_limit=project.credit_limit_micros,
            metric_policy=project.metric_policy,
            max_backdate_days=project.max_backdate_days,
            timezone=project.timezone,
            billing_mode=project.billing_mode,
            terms_in_force=(
                None
                if begin is None
                else Terms(project.billing_mode_at(at), project.timezone_at(at), until=begin)
            ),
            on_empty=project.on_empty,
            late_usage_policy=project.late_usage_policy,
            grace_hours=project.grace_hours,
            tax_rate=project.tax_rate,
            low_balance_threshold=project.low_balance_micros,
            top_up=(
                None
                if project.top_up is None
                else TopUpInForce(
                    project.top_up.threshold_micros,
                    project.top_up.amount_micros,
                    project.top_up.monthly_cap_micros,
                    project.top_up.cool_down_minutes,
                )
            ),
            created_at=project.created_at,
            archived_at=project.archived_at,
        )


@frozen
class Projects:
    """Projects, newest first."""

    items: tuple[Project, ...]
    next_cursor: str | None


@frozen
class NewMember:
    """Someone to be made a member, or invited."""

    email: Email
    role: Role


@frozen
class RoleChange:
    """The role that a member shall have."""

    role: Role


@frozen
class Member:
    """A person of the project."""

    user_id: str
    email: str
    role: Role
    created_at: Moment

    @classmethod
    def of(cls, member: CoreMember) -> Member:
        """The member as people see one."""
        return cls(member.user_id, member.email, member.role, member.created_at)


@frozen
class Invitation:
    """A role that waits for someone who has no user yet; ``token`` is shown once."""

    id: str
    email: str
    role: Role
    token: str | None
    expires_at: Moment

    @classmethod
    def of(cls, invitation: CoreInvitation, token: str | None) -> Invitation:
        """The invitation, with its token if this is the one time to show it."""
        return cls(invitation.id, invitation.email, invitation.role, token, invitation.expires_at)


@frozen
class Added:
    """Either the new member or the invitation of someone who is no user yet."""

    member: Member | None = None
    invitation: Invitation | None = None

    @classmethod
    def of(cls, added: CoreMember | Invited, *, with_token: bool) -> Added:
        """What came of adding someone."""
        if isinstance(added, Invited):
            return cls(invitation=Invitation.of(added.invitation, added.token if with_token else None))
        return cls(member=Member.of(added))


@frozen
class Founded(Project):
    """A new project; ``owner`` tells a platform key what became of the owner that it named."""

    owner: Added | None = None

    @classmethod
    def by_platform(
        cls, project: CoreProject, at: Instant, owner: CoreMember | Invited, *, with_token: bool
    ) -> Founded:
        """The project and its owner, with an invitation's token if this is the one time to show it."""
        return evolve(cls.of(project, at), owner=Added.of(owner, with_token=with_token))


@frozen
class Members:
    """People, the latest first, and the invitations that can still be accepted."""

    items: tuple[Member, ...]
    next_cursor: str | None
    invitations: tuple[Invitation, ...]


@frozen
class NewAccessKey:
    """A key to be issued."""

    name: Name
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1, extra_json_schema={"uniqueItems": True})]
    expires_at: Moment | None = None


@frozen
class Rotation:
    """How long the old key still works."""

    overlap_hours: Hours | None = None


@frozen
class AccessKey:
    """A project's machine credential, without its secret."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    prefix: str
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None
    last_used_at: Moment | None

    @classmethod
    def of(cls, key: CoreKey) -> AccessKey:
        """The key as people see it."""
        return cls(
            id=key.id,
            name=key.name,
            scopes=key.scopes,
            prefix=key.prefix,
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            last_used_at=key.last_used_at,
        )


@frozen
class IssuedAccessKey:
    """A new key; ``accessKey`` appears in this one answer only."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    prefix: str
    access_key: str | None
    created_at: Moment
    expires_at: Moment | None

    @classmethod
    def of(cls, issued: CoreIssuedKey, *, with_secret: bool) -> IssuedAccessKey:
        """The key, with its secret if this is the one time to show it."""
        key = issued.key
        return cls(
            id=key.id,
            name=key.name,
            scopes=key.scopes,
            prefix=key.prefix,
            access_key=issued.secret if with_secret else None,
            created_at=key.created_at,
            expires_at=key.expires_at,
        )


@frozen
class AccessKeys:
    """Keys, newest first, revoked ones included."""

    items: tuple[AccessKey, ...]
    next_cursor: str | None


@frozen
class NewPlatformKey:
    """A platform key to be issued."""

    name: Name
    scopes: Annotated[tuple[PlatformScope, ...], Meta(min_length=1, extra_json_schema={"uniqueItems": True})]
    expires_at: Moment | None = None


@frozen
class PlatformKey:
    """The credential of a backend that works across projects, without its secret."""

    id: str
    name: str
    scopes: tuple[PlatformScope, ...]
    prefix: str
    created_at: Moment
    created_by: str
    expires_at: Moment | None
    revoked_at: Moment | None
    last_used_at: Moment | None

    @classmethod
    def of(cls, key: CorePlatformKey) -> PlatformKey:
        """The key as operators see it."""
        return cls(
            id=key.id,
            name=key.name,
            scopes=key.scopes,
            prefix=key.prefix,
            created_at=key.created_at,
            created_by=key.created_by,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            last_used_at=key.last_used_at,
        )


@frozen
class IssuedPlatformKey:
    """A new platform key; ``accessKey`` appears in this one answer only."""

    id: str
    name: str
    scopes: tuple[PlatformScope, ...]
    prefix: str
    access_key: str | None
    created_at: Moment
    expires_at: Moment | None

    @classmethod
    def of(cls, issued: CoreIssuedPlatformKey, *, with_secret: bool) -> IssuedPlatformKey:
        """The key, with its secret if this is the one time to show it."""
        key = issued.key
        return cls(
            id=key.id,
            name=key.name,
            scopes=key.scopes,
            prefix=key.prefix,
            access_key=issued.secret if with_secret else None,
            created_at=key.created_at,
            expires_at=key.expires_at,
        )


@frozen
class PlatformKeys:
    """Platform keys, newest first, revoked ones included."""

    items: tuple[PlatformKey, ...]
    next_cursor: str | None
