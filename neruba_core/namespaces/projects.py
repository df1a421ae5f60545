"""``neruba.projects``: the tenants, each with one wallet and one currency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NotRequired, TypedDict, Unpack

from attrs import evolve, frozen

from neruba_core import money, texts
from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.billing.periods import containing, covering
from neruba_core.choices import choice
from neruba_core.context import Context
from neruba_core.currencies import currency_of
from neruba_core.errors import AmountNotPayable
from neruba_core.identity.model import User
from neruba_core.instants import Instant
from neruba_core.ledger.model import Head
from neruba_core.money import Amount
from neruba_core.pages import DEFAULT_LIMIT, Page
from neruba_core.pricing.exact import parse_rate
from neruba_core.storage.port import UnitOfWork
from neruba_core.tenancy import projects, roles, settings
from neruba_core.tenancy.model import BillingMode, LateUsagePolicy, MetricPolicy, OnEmpty, Project, Role
from neruba_core.tenancy.settings import Settings


class NewTopUp(TypedDict):
    """How credit is topped up by itself; see ``tenancy.model.TopUp``."""

    threshold: Amount
    amount: Amount
    monthly_cap: Amount
    cool_down_minutes: NotRequired[int]


class Changes(TypedDict, total=False):
    """What ``Projects.update`` may change; a field that is left out stays as it is."""

    name: str
    credit_limit: Amount
    metric_policy: MetricPolicy | str
    max_backdate_days: int | None
    timezone: str
    billing_mode: BillingMode | str
    on_empty: OnEmpty | str
    late_usage_policy: LateUsagePolicy | str
    grace_hours: int
    tax_rate: Amount
    low_balance_threshold: Amount | None
    top_up: NewTopUp | None


@frozen
class Projects:
    """Projects of the deployment."""

    _context: Context

    def create(
        self,
        *,
        name: str,
        external_key: str | None = None,
        currency: str = "USD",
        credit_limit: Amount = "0",
        owner: str | None = None,
        origin: Origin = SYSTEM,
    ) -> Project:
        """Create a project, whose *owner* (a user id) becomes its first member.

        *external_key* is unique per owner, and among projects without one. *currency* is ISO 4217;
        *credit_limit* is how far the wallet may go below zero. Raises ``TextInvalid``, ``FormatInvalid``
        (currency), ``Amount…`` refusals, ``UserNotFound`` (owner) or ``ExternalKeyTaken``, which names
        the project that has the key.
        """
        context = self._context
        clean_name = texts.clean(name)
        clean_key = None if external_key is None else texts.clean(external_key, most_bytes=255)
        currency_of(currency)
        limit_micros = money.parse_non_negative(credit_limit)

        def create(work: UnitOfWork) -> Project:
            project = projects.create_project(
                work,
                name=clean_name,
                external_key=clean_key,
                currency=currency,
                credit_limit_micros=limit_micros,
                owner=owner,
                at=context.clock(),
                ids=context.ids,
                origin=origin,
            )
            # Every ledger verb counts on the head being there, so no project is ever seen without one.
            work.ledger.add_head(Head(project.id))
            return project

        return context.write(create)

    def get(self, project_id: str) -> Project:
        """The project, archived or not. Raises ``ProjectNotFound``."""
        return self._context.read(lambda work: projects.existing(work, project_id))

    def list(self, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[Project]:
        """Every project of the deployment, newest first; *limit* 1–200.

        Raises ``FormatInvalid``, ``CursorInvalid`` or ``CursorMismatch``.
        """
        return self._context.read(lambda work: projects.all_projects(work, limit=limit, cursor=cursor))

    def list_of(self, user_id: str, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[Project]:
        """The projects that the user is a member of, newest first; *limit* 1–200.

        Raises ``FormatInvalid``, ``CursorInvalid`` or ``CursorMismatch``.
        """
        return self._context.read(
            lambda work: projects.projects_of(work, user_id, limit=limit, cursor=cursor)
        )

    def update(
        self,
        project_id: str,
        *,
        role: Role = Role.OWNER,
        origin: Origin = SYSTEM,
        **changes: Unpack[Changes],
    ) -> Project:
        """Change the settings that are given, all or none; *role* is what the asker is here.

        ``credit_limit``, ``billing_mode``, ``on_empty``, ``low_balance_threshold``, ``top_up`` (``None`` for
        none) and ``tax_rate`` (a fraction from 0 to 1, up to twelve places) need finance, every other field
        admin.
        ``max_backdate_days`` is 0–36,500 or ``None`` for no bound, ``grace_hours`` 0–2,160. ``timezone`` and
        ``billing_mode`` change where the present period ends, or at once while the project has no usage.
        Raises ``Invalid`` refusals, ``RoleMissing``, ``ProjectNotFound`` or ``ProjectArchived``.
        """
        context = self._context
        at = context.clock()
        parsed = _parsed(changes, at)

        def change(work: UnitOfWork) -> Project:
            heads: Mapping[str, Head] = {}
            if settings.changes_terms(parsed) or settings.changes_available(parsed):
                # Periods are written under the head, and whoever takes both locks takes it first.
                heads = work.ledger.lock_heads([project_id])
            changed = settings.change_settings(
                work,
                project_id,
                parsed,
                role=role,
                period_end=lambda project: _fixed_period_end(work, project, at),
                at=at,
                ids=context.ids,
                origin=origin,
            )
            if parsed.get("top_up") is not None:
                _need_payable(changed)
            if settings.changes_available(parsed):
                _look_at_wallet(work, heads[project_id], changed, at)
            return changed

        return context.write(change)

    def archive(self, project_id: str, *, role: Role = Role.OWNER, origin: Origin = SYSTEM) -> Project:
        """Refuse further writes to the project, for ever, but for what settles its invoices; reads go on.
        Twice is fine. The period that it happens in is the last one that is billed.

        Raises ``RoleMissing`` (owner) or ``ProjectNotFound``.
        """
        context = self._context
        return context.write(
            lambda work: projects.archive(
                work, project_id, role=role, at=context.clock(), ids=context.ids, origin=origin
            )
        )

    def role(self, project_id: str, user: User) -> Role:
        """What *user* is in the project; an operator is owner everywhere.

        Raises ``ProjectNotFound`` for someone who is no member, just as if there were no such project.
        """
        return self._context.read(lambda work: roles.role_in(work, user, project_id))


def _look_at_wallet(work: UnitOfWork, head: Head, project: Project, at: Instant) -> None:
    """Have it judged anew, at the next tick, whether the wallet is low, and to be topped up."""
    watched = project.low_balance_micros is not None or project.top_up is not None
    if watched or head.low or head.top_up_at is not None:
        due_at = at if head.due_at is None else min(head.due_at, at)
        top_up_at = None if head.top_up_at is None else min(head.top_up_at, at)
        work.ledger.write_heads([evolve(head, due_at=due_at, top_up_at=top_up_at)])


def _need_payable(project: Project) -> None:
    """Raise ``AmountNotPayable`` unless what is topped up is a whole number of the currency's minor units."""
    assert project.top_up is not None, "it was just set"
    places = currency_of(project.currency).exponent
    if project.top_up.amount_micros % 10 ** (money.PLACES - places):
        raise AmountNotPayable(project.currency, places)


def _fixed_period_end(work: UnitOfWork, project: Project, at: Instant) -> Instant:
    """When the period of *at* ends; it is stored, with whatever lies between it and those that are."""
    stored = work.billing.periods([project.id])[project.id]
    span = containing(project, stored, at).span
    start, end = span.start, span.end
    if stored:
        start, end = min(start, stored[-1].span.end), max(end, stored[0].span.start)
    work.billing.put_periods(covering(project, stored, start, end))
    return span.end


def _parsed(changes: Changes, at: Instant) -> Settings:
    """Check an embedder's values. Every field at fault is refused before anything is read."""
    parsed = Settings()
    if "name" in changes:
        parsed["name"] = texts.clean(changes["name"])
    if "credit_limit" in changes:
        parsed["credit_limit_micros"] = money.parse_non_negative(changes["credit_limit"])
    if "metric_policy" in changes:
        parsed["metric_policy"] = choice(MetricPolicy, changes["metric_policy"], "a metric policy")
    if "max_backdate_days" in changes:
        parsed["max_backdate_days"] = settings.backdate_days(changes["max_backdate_days"])
    if "timezone" in changes:
        parsed["timezone"] = settings.timezone(changes["timezone"])
    if "billing_mode" in changes:
        parsed["billing_mode"] = choice(BillingMode, changes["billing_mode"], "a billing mode")
    if "on_empty" in changes:
        parsed["on_empty"] = choice(OnEmpty, changes["on_empty"], "what becomes of usage without credit")
    if "late_usage_policy" in changes:
        parsed["late_usage_policy"] = choice(
            LateUsagePolicy, changes["late_usage_policy"], "a policy for late usage"
        )
    if "grace_hours" in changes:
        parsed["grace_hours"] = settings.grace_hours(changes["grace_hours"])
    if "low_balance_threshold" in changes:
        threshold = changes["low_balance_threshold"]
        parsed["low_balance_micros"] = None if threshold is None else money.parse_non_negative(threshold)
    if "top_up" in changes:
        asked = changes["top_up"]
        parsed["top_up"] = None
        if asked is not None:
            wanted = settings.top_up(
                threshold_micros=money.parse_positive(asked["threshold"]),
                amount_micros=money.parse_positive(asked["amount"]),
                monthly_cap_micros=money.parse_positive(asked["monthly_cap"]),
                cool_down_minutes=asked.get("cool_down_minutes", 60),
            )
            # Said again it counts, even if it says the same.
            parsed["top_up"] = evolve(wanted, set_at=at)
    if "tax_rate" in changes:
        parsed["tax_rate"] = settings.tax_rate(parse_rate(changes["tax_rate"]))
    return parsed
