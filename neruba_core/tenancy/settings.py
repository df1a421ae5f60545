"""Changing a project's settings: each field has its own role, and a change is all or nothing.

Most settings change at once. The terms by which usage is counted into periods and paid for, the time zone and
the billing mode, change at once only while the project has no usage; then they change where the present
period ends, and ``earlier_terms`` remember what is in force until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import cache
from typing import Protocol, TypedDict
from zoneinfo import available_timezones

from attrs import evolve

from neruba_core import instants, money
from neruba_core.audit.changes import note_change
from neruba_core.audit.model import Origin
from neruba_core.errors import FormatInvalid
from neruba_core.idempotency.fingerprint import Json
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.tenancy.model import (
    BillingMode,
    EarlierTerms,
    LateUsagePolicy,
    MetricPolicy,
    OnEmpty,
    Project,
    Role,
    TopUp,
)
from neruba_core.tenancy.projects import Recorded, locked_writable
from neruba_core.tenancy.roles import require
from neruba_core.texts import shown

MOST_BACKDATE_DAYS = 36_500
MOST_GRACE_HOURS = 2_160
MOST_COOL_DOWN_MINUTES = 44_640

# Files that some machines keep among the zones: they mean something else on each of them.
_NOT_ZONES = {"localtime", "Factory", "posixrules"}


class Settings(TypedDict, total=False):
    """The settings to change, in checked form; a field that is left out stays as it is."""

    name: str
    credit_limit_micros: int
    metric_policy: MetricPolicy
    max_backdate_days: int | None
    timezone: str
    billing_mode: BillingMode
    on_empty: OnEmpty
    late_usage_policy: LateUsagePolicy
    grace_hours: int
    tax_rate: Decimal
    low_balance_micros: int | None
    top_up: TopUp | None


class _Usage(Protocol):
    def events(self, project_id: str, *, limit: int, before: str | None) -> Sequence[object]: ...


class Changeable(Recorded, Protocol):
    """A project and a look at whether it has usage."""

    @property
    def usage(self) -> _Usage: ...


_FINANCES = {"credit_limit_micros", "billing_mode", "on_empty", "tax_rate", "low_balance_micros", "top_up"}


def role_for_field(field: str) -> Role:
    """The role that changing this setting needs: how usage is paid for, how much may be owed and what tax
    is due are finance's matters."""
    return Role.FINANCE if field in _FINANCES else Role.ADMIN


def changes_terms(changes: Settings) -> bool:
    """Whether *changes* may have to wait for the present period's end."""
    return "timezone" in changes or "billing_mode" in changes


def changes_available(changes: Settings) -> bool:
    """Whether *changes* may make what is available too little, or enough."""
    return not {"credit_limit_micros", "low_balance_micros", "top_up"}.isdisjoint(changes)


def top_up(
    *, threshold_micros: int, amount_micros: int, monthly_cap_micros: int, cool_down_minutes: object
) -> TopUp:
    """Return the top-up if it can ever happen: its amount is within its cap. Raises ``FormatInvalid``."""
    if (
        isinstance(cool_down_minutes, bool)
        or not isinstance(cool_down_minutes, int)
        or not 1 <= cool_down_minutes <= MOST_COOL_DOWN_MINUTES
    ):
        raise FormatInvalid(
            f"a whole number of minutes from 1 to {MOST_COOL_DOWN_MINUTES}", shown(cool_down_minutes)
        )
    if monthly_cap_micros < amount_micros:
        raise FormatInvalid(
            f"a monthly cap that allows one top-up of {money.text(amount_micros)}",
            money.text(monthly_cap_micros),
        )
    return TopUp(threshold_micros, amount_micros, monthly_cap_micros, cool_down_minutes)


def top_up_values(top_up: TopUp) -> dict[str, Json]:
    """The top-up as it is shown."""
    return {
        "threshold": money.text(top_up.threshold_micros),
        "amount": money.text(top_up.amount_micros),
        "monthlyCap": money.text(top_up.monthly_cap_micros),
        "coolDownMinutes": top_up.cool_down_minutes,
    }


def timezone(name: object) -> str:
    """Return *name* if it is an IANA time zone. Raises ``FormatInvalid``."""
    if not isinstance(name, str) or name not in _zones():
        raise FormatInvalid("an IANA time zone such as Europe/Berlin", shown(name, most=80))
    instants.zone(name)
    return name


def backdate_days(days: object) -> int | None:
    """Return *days* if usage may be dated back so far; ``None`` is no bound. Raises ``FormatInvalid``."""
    if days is None:
        return None
    if isinstance(days, bool) or not isinstance(days, int) or not 0 <= days <= MOST_BACKDATE_DAYS:
        raise FormatInvalid(f"a number of days from 0 to {MOST_BACKDATE_DAYS}", shown(days))
    return days


def grace_hours(hours: object) -> int:
    """Return *hours* if a run may wait so long for late usage. Raises ``FormatInvalid``."""
    if isinstance(hours, bool) or not isinstance(hours, int) or not 0 <= hours <= MOST_GRACE_HOURS:
        raise FormatInvalid(f"a whole number of hours from 0 to {MOST_GRACE_HOURS}", shown(hours))
    return hours


def tax_rate(rate: Decimal) -> Decimal:
    """Return *rate* if it is a fraction from 0 to 1, so that nobody's 19 % is taken for 1,900 %.

    Raises ``FormatInvalid``.
    """
    if not 0 <= rate <= 1:
        raise FormatInvalid("a fraction from 0 to 1 such as 0.19", str(rate)[:40])
    return rate


def change_settings(
    work: Changeable,
    project_id: str,
    changes: Settings,
    *,
    role: Role,
    period_end: Callable[[Project], Instant],
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> Project:
    """Apply *changes* as someone of *role*, all or nothing.

    *period_end* fixes the bounds of the project's present period, which periods lie above tenancy, and tells
    its end; it is asked only where a change waits for it. Raises ``RoleMissing``, ``ProjectNotFound`` or
    ``ProjectArchived``.
    """
    for field in changes:
        require(role, role_for_field(field))
    project = locked_writable(work, project_id)
    changed = evolve(project, **changes)
    if _terms(changed) != _terms(project):
        if work.usage.events(project_id, limit=1, before=None):
            changed = _from(changed, project, period_end(project), at)
        elif project.invoiced_until is not None:
            # At once, but the months that were invoiced stay those of the zone that they were cut in.
            changed = _from(changed, project, project.invoiced_until, at)
    if changed == project:
        return project
    work.tenancy.replace_project(changed)
    note_change(
        work,
        project_id,
        "project.updated",
        project_id,
        _details(changed, changes, at),
        at=at,
        ids=ids,
        origin=origin,
    )
    return changed


def _terms(project: Project) -> tuple[BillingMode, str]:
    return project.billing_mode, project.timezone


def _from(changed: Project, project: Project, end: Instant, at: Instant) -> Project:
    """*changed* with its terms in force from *end* on, and until then those that are in force at *at*."""
    in_force = project.billing_mode_at(at), project.timezone_at(at)
    past = tuple(terms for terms in project.earlier_terms if terms.until <= at)
    if _terms(changed) == in_force:
        # What was to change is taken back before it did.
        return evolve(changed, earlier_terms=past)
    return evolve(changed, earlier_terms=(*past, EarlierTerms(end, *in_force)))


def _details(project: Project, fields: Iterable[str], at: Instant) -> dict[str, Json]:
    """The changed settings as they are now, by their names on the wire, and when new terms begin if that
    is later."""
    shown: dict[str, tuple[str, Json]] = {
        "name": ("name", project.name),
        "credit_limit_micros": ("creditLimit", money.text(project.credit_limit_micros)),
        "metric_policy": ("metricPolicy", project.metric_policy.value),
        "max_backdate_days": ("maxBackdateDays", project.max_backdate_days),
        "timezone": ("timezone", project.timezone),
        "billing_mode": ("billingMode", project.billing_mode.value),
        "on_empty": ("onEmpty", project.on_empty.value),
        "late_usage_policy": ("lateUsagePolicy", project.late_usage_policy.value),
        "grace_hours": ("graceHours", project.grace_hours),
        "tax_rate": ("taxRate", format(project.tax_rate, "f")),
        "low_balance_micros": (
            "lowBalanceThreshold",
            None if project.low_balance_micros is None else money.text(project.low_balance_micros),
        ),
    }
    if project.top_up is not None:
        shown["top_up"] = ("topUp", top_up_values(project.top_up))
    else:
        shown["top_up"] = ("topUp", None)
    details = dict(shown[field] for field in fields)
    begin = project.terms_begin(at)
    if begin is not None and not {"timezone", "billingMode"}.isdisjoint(details):
        details["termsFrom"] = instants.text(begin)
    return details


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - _NOT_ZONES)
