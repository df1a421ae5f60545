"""Projects, memberships and invitations: tables, queries and row mapping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from attrs import frozen
from sqlalchemy import (
    CheckConstraint,
    Index,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    delete,
    or_,
    select,
)
from sqlalchemy import text as sql
from sqlalchemy import update as changing

from neruba_core.instants import Instant
from neruba_core.pricing.exact import rate_text
from neruba_core.storage.sql.bulk import insert, insert_new, update, upsert
from neruba_core.storage.sql.codec import (
    dump_nouns,
    instant,
    instant_or_none,
    load_nouns,
    micros,
    micros_or_none,
)
from neruba_core.storage.sql.columns import METADATA, flag, one_of, reference, small, tenant, text, whole
from neruba_core.storage.sql.queries import Query, among, each, given
from neruba_core.storage.sql.statements import SqlStore, below
from neruba_core.tenancy.model import (
    BillingMode,
    EarlierTerms,
    Invitation,
    LateUsagePolicy,
    Membership,
    MetricPolicy,
    OnEmpty,
    Project,
    Role,
    TopUp,
)

PROJECTS = Table(
    "neruba_projects",
    METADATA,
    text("id"),
    text("name"),
    text("external_key", optional=True),
    text("currency"),
    whole("credit_limit_micros"),
    text("metric_policy"),
    small("max_backdate_days", optional=True),
    text("timezone"),
    text("created_by"),
    whole("created_at"),
    whole("archived_at", optional=True),
    text("billing_mode"),
    text("on_empty"),
    text("late_usage_policy"),
    small("grace_hours"),
    text("tax_rate"),
    text("earlier_terms"),
    whole("invoiced_until", optional=True),
    flag("listens"),
    whole("low_balance_micros", optional=True),
    text("top_up"),
    PrimaryKeyConstraint("id", name="neruba_projects_pk"),
    CheckConstraint("credit_limit_micros >= 0", name="neruba_projects_credit_limit_ck"),
    CheckConstraint("low_balance_micros >= 0", name="neruba_projects_low_balance_ck"),
    CheckConstraint("max_backdate_days >= 0", name="neruba_projects_max_backdate_ck"),
    CheckConstraint("grace_hours >= 0", name="neruba_projects_grace_ck"),
    one_of("metric_policy", MetricPolicy, "neruba_projects_metric_policy_ck"),
    one_of("billing_mode", BillingMode, "neruba_projects_billing_mode_ck"),
    one_of("on_empty", OnEmpty, "neruba_projects_on_empty_ck"),
    one_of("late_usage_policy", LateUsagePolicy, "neruba_projects_late_usage_ck"),
    # The one unique key of a project that is not its own: external keys belong to their creator.
    Index(
        "neruba_projects_external_key_uq",
        "created_by",
        "external_key",
        unique=True,
        postgresql_where=sql("external_key IS NOT NULL"),
        sqlite_where=sql("external_key IS NOT NULL"),
    ),
)

MEMBERSHIPS = Table(
    "neruba_members",
    METADATA,
    text("project_id"),
    text("user_id"),
    text("role"),
    whole("created_at"),
    PrimaryKeyConstraint("project_id", "user_id", name="neruba_members_pk"),
    tenant("neruba_members"),
    reference("neruba_members_user_fk", ["user_id"], "neruba_users", ["id"]),
    one_of("role", Role, "neruba_members_role_ck"),
    Index("neruba_members_user_ix", "user_id", "project_id"),
)

INVITATIONS = Table(
    "neruba_invitations",
    METADATA,
    text("project_id"),
    text("id"),
    text("email"),
    text("role"),
    text("token_hash"),
    text("invited_by"),
    whole("created_at"),
    whole("expires_at"),
    whole("accepted_at", optional=True),
    PrimaryKeyConstraint("project_id", "id", name="neruba_invitations_pk"),
    UniqueConstraint("project_id", "token_hash", name="neruba_invitations_token_uq"),
    tenant("neruba_invitations"),
    one_of("role", Role, "neruba_invitations_role_ck"),
    # An invitation is accepted by its token alone. 256 random bits need no global uniqueness.
    Index("neruba_invitations_token_ix", "token_hash"),
)

_ADD_PROJECT = insert_new(PROJECTS, "created_by", "external_key", where=" WHERE external_key IS NOT NULL")
_PUT_MEMBER = upsert(MEMBERSHIPS, "role")
_ADD_INVITATION = insert(INVITATIONS)

_PROJECT = Query(select(PROJECTS).where(PROJECTS.c.id == given("project_id")))
_PROJECTS = Query(each(select(PROJECTS), PROJECTS.c.id, "project_ids"))
_LIVE_IDS = Query(select(PROJECTS.c.id).where(PROJECTS.c.archived_at.is_(None)).order_by(PROJECTS.c.id))
_CLOSING_IDS = Query(
    select(PROJECTS.c.id)
    .where(
        PROJECTS.c.archived_at.is_not(None),
        or_(PROJECTS.c.invoiced_until.is_(None), PROJECTS.c.invoiced_until <= PROJECTS.c.archived_at),
    )
    .order_by(PROJECTS.c.id)
)
_PROJECT_BY_EXTERNAL_KEY = Query(
    select(PROJECTS).where(
        PROJECTS.c.created_by == given("created_by"), PROJECTS.c.external_key == given("external_key")
    )
)
# NO KEY: rows that refer to the project may be inserted meanwhile.
_LOCK_PROJECT = Query(
    select(PROJECTS).where(PROJECTS.c.id == given("project_id")).with_for_update(key_share=True)
)
# Locked in ascending order, or two units could wait for each other in a circle.
_LOCK_PROJECTS = Query(
    lambda postgresql: (
        select(PROJECTS)
        .where(among(postgresql, PROJECTS.c.id, "project_ids"))
        .order_by(PROJECTS.c.id)
        .with_for_update(key_share=True)
    )
)
_NOTE_INVOICED = update(PROJECTS, "invoiced_until")
_MEMBERSHIP = Query(
    select(MEMBERSHIPS).where(
        MEMBERSHIPS.c.project_id == given("project_id"), MEMBERSHIPS.c.user_id == given("user_id")
    )
)
_MEMBERSHIPS_OF = Query(
    select(MEMBERSHIPS).where(MEMBERSHIPS.c.user_id == given("user_id")).order_by(MEMBERSHIPS.c.project_id)
)
_MEMBERS = Query(
    select(MEMBERSHIPS).where(MEMBERSHIPS.c.project_id == given("project_id")).order_by(MEMBERSHIPS.c.user_id)
)
_INVITATION_BY_TOKEN = Query(select(INVITATIONS).where(INVITATIONS.c.token_hash == given("token_hash")))
_INVITATIONS = Query(
    select(INVITATIONS).where(INVITATIONS.c.project_id == given("project_id")).order_by(INVITATIONS.c.id)
)


@frozen
class SqlTenancy(SqlStore):
    """``TenancyStore`` within one unit."""

    def add_project(self, project: Project) -> Project | None:
        if self._statements.write(_ADD_PROJECT, [_project_row(project)]) == 1:
            return None
        holder = self._statements.ask_one(
            _PROJECT_BY_EXTERNAL_KEY, created_by=project.created_by, external_key=project.external_key
        )
        return _project(holder)

    def project(self, project_id: str) -> Project | None:
        row = self._statements.ask_one(_PROJECT, project_id=project_id)
        return None if row is None else _project(row)

    def projects(self, project_ids: Iterable[str]) -> dict[str, Project]:
        rows = self._statements.ask(_PROJECTS, project_ids=set(project_ids))
        return {row[0]: _project(row) for row in rows}

    def all_projects(self, *, limit: int, before: str | None) -> Sequence[Project]:
        query = select(PROJECTS).where(*below(PROJECTS.c.id, before)).order_by(PROJECTS.c.id.desc())
        return [_project(row) for row in self._statements.rows(query.limit(limit))]

    def live_ids(self) -> Sequence[str]:
        return [row[0] for row in self._statements.ask(_LIVE_IDS)]

    def closing_ids(self) -> Sequence[str]:
        return [row[0] for row in self._statements.ask(_CLOSING_IDS)]

    def projects_of(self, user_id: str, *, limit: int, before: str | None) -> Sequence[Project]:
        query = (
            select(PROJECTS)
            .join(MEMBERSHIPS, MEMBERSHIPS.c.project_id == PROJECTS.c.id)
            .where(MEMBERSHIPS.c.user_id == user_id, *below(MEMBERSHIPS.c.project_id, before))
            .order_by(MEMBERSHIPS.c.project_id.desc())
            .limit(limit)
        )
        return [_project(row) for row in self._statements.rows(query)]

    def lock_project(self, project_id: str) -> Project | None:
        row = self._statements.ask_one(_LOCK_PROJECT, project_id=project_id)
        return None if row is None else _project(row)

    def lock_projects(self, project_ids: Iterable[str]) -> dict[str, Project]:
        rows = self._statements.ask(_LOCK_PROJECTS, project_ids=set(project_ids))
        return {row[0]: _project(row) for row in rows}

    def note_invoiced(self, until: Mapping[str, Instant | None]) -> None:
        rows = [(micros_or_none(moment), project_id) for project_id, moment in sorted(until.items())]
        self._statements.write(_NOTE_INVOICED, rows)

    def replace_project(self, project: Project) -> None:
        names = [column.name for column in PROJECTS.columns]
        values = dict(zip(names[1:], _project_row(project)[1:], strict=True))
        self._statements.change(changing(PROJECTS).where(PROJECTS.c.id == project.id).values(values))

    # --- members ------------------------------------------------------------------------------

    def membership(self, project_id: str, user_id: str) -> Membership | None:
        row = self._statements.ask_one(_MEMBERSHIP, project_id=project_id, user_id=user_id)
        return None if row is None else _membership(row)

    def memberships_of(self, user_id: str) -> Sequence[Membership]:
        return [_membership(row) for row in self._statements.ask(_MEMBERSHIPS_OF, user_id=user_id)]

    def members(self, project_id: str) -> Sequence[Membership]:
        return [_membership(row) for row in self._statements.ask(_MEMBERS, project_id=project_id)]

    def put_member(self, membership: Membership) -> None:
        key = membership.project_id, membership.user_id
        self._statements.write(_PUT_MEMBER, [(*key, membership.role.value, micros(membership.created_at))])

    def remove_member(self, project_id: str, user_id: str) -> None:
        query = delete(MEMBERSHIPS).where(
            MEMBERSHIPS.c.project_id == project_id, MEMBERSHIPS.c.user_id == user_id
        )
        self._statements.change(query)

    # --- invitations --------------------------------------------------------------------------

    def add_invitation(self, invitation: Invitation) -> None:
        self._statements.write(_ADD_INVITATION, [_invitation_row(invitation)])

    def invitation_by_token(self, token_hash: str) -> Invitation | None:
        row = self._statements.ask_one(_INVITATION_BY_TOKEN, token_hash=token_hash)
        return None if row is None else _invitation(row)

    def invitations(self, project_id: str) -> Sequence[Invitation]:
        return [_invitation(row) for row in self._statements.ask(_INVITATIONS, project_id=project_id)]

    def accept_invitation(self, invitation: Invitation, at: Instant) -> bool:
        query = (
            changing(INVITATIONS)
            .where(INVITATIONS.c.project_id == invitation.project_id, INVITATIONS.c.id == invitation.id)
            .where(INVITATIONS.c.accepted_at.is_(None))
            .values(accepted_at=micros(at))
        )
        return self._statements.change(query) == 1

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's rows of these tables."""
        project = self.project(project_id)
        if project is not None:
            yield "projects", project
        yield from (("members", membership) for membership in self.members(project_id))
        yield from (("invitations", invitation) for invitation in self.invitations(project_id))


def _project_row(project: Project) -> tuple[Any, ...]:
    return (
        project.id,
        project.name,
        project.external_key,
        project.currency,
        project.credit_limit_micros,
        project.metric_policy.value,
        project.max_backdate_days,
        project.timezone,
        project.created_by,
        micros(project.created_at),
        micros_or_none(project.archived_at),
        project.billing_mode.value,
        project.on_empty.value,
        project.late_usage_policy.value,
        project.grace_hours,
        rate_text(project.tax_rate),
        dump_nouns(project.earlier_terms),
        micros_or_none(project.invoiced_until),
        project.listens,
        project.low_balance_micros,
        dump_nouns(() if project.top_up is None else (project.top_up,)),
    )


def _project(row: Any) -> Project:
    project_id, name, external_key, currency, credit_limit, policy, max_backdate_days, *rest = row
    timezone, created_by, created_at, archived_at, billing_mode, on_empty, late_policy, *rest = rest
    grace_hours, tax_rate, earlier_terms, invoiced_until, listens, low_balance, top_up = rest
    return Project(
        project_id,
        name,
        external_key,
        currency,
        credit_limit,
        MetricPolicy(policy),
        max_backdate_days,
        timezone,
        created_by,
        instant(created_at),
        instant_or_none(archived_at),
        BillingMode(billing_mode),
        OnEmpty(on_empty),
        LateUsagePolicy(late_policy),
        grace_hours,
        Decimal(tax_rate),
        load_nouns(EarlierTerms, earlier_terms),
        instant_or_none(invoiced_until),
        bool(listens),
        low_balance,
        next(iter(load_nouns(TopUp, top_up)), None),
    )


def _membership(row: Any) -> Membership:
    project_id, user_id, role, created_at = row
    return Membership(project_id, user_id, Role(role), instant(created_at))


def _invitation_row(invitation: Invitation) -> tuple[Any, ...]:
    return (
        invitation.project_id,
        invitation.id,
        invitation.email,
        invitation.role.value,
        invitation.token_hash,
        invitation.invited_by,
        micros(invitation.created_at),
        micros(invitation.expires_at),
        micros_or_none(invitation.accepted_at),
    )


def _invitation(row: Any) -> Invitation:
    project_id, invitation_id, email, role, token_hash, invited_by, created_at, expires_at, accepted_at = row
    return Invitation(
        project_id,
        invitation_id,
        email,
        Role(role),
        token_hash,
        invited_by,
        instant(created_at),
        instant(expires_at),
        instant_or_none(accepted_at),
    )
