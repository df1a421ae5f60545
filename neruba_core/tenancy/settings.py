"""Changing a project's settings: each field has its own role, and a change is all or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Protocol, TypedDict
from zoneinfo import available_timezones

from attrs import evolve

from neruba_core import instants, money
from neruba_core.audit.changes import note_change
from neruba_core.audit.model import Origin
from neruba_core.errors import FormatInvalid, ProjectInUse
from neruba_core.idempotency.fingerprint import Json
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.tenancy.model import MetricPolicy, Project, Role
from neruba_core.tenancy.projects import Recorded, locked_writable
from neruba_core.tenancy.roles import require

MOST_BACKDATE_DAYS = 36_500

# Files that some machines keep among the zones: they mean something else on each of them.
_NOT_ZONES = {"localtime", "Factory", "posixrules"}


class Settings(TypedDict, total=False):
    """The settings to change, in checked form; a field that is left out stays as it is."""

    name: str
    credit_limit_micros: int
    metric_policy: MetricPolicy
    max_backdate_days: int | None
    timezone: str


class _Usage(Protocol):
    def events(self, project_id: str, *, limit: int, before: str | None) -> Sequence[object]: ...


class Changeable(Recorded, Protocol):
    """A project and a look at whether it has usage."""

    @property
    def usage(self) -> _Usage: ...


def role_for_field(field: str) -> Role:
    """The role that changing this setting needs: how much may be owed is finance's matter."""
    return Role.FINANCE if field == "credit_limit_micros" else Role.ADMIN


def timezone(name: object) -> str:
    """Return *name* if it is an IANA time zone. Raises ``FormatInvalid``."""
    if not isinstance(name, str) or name not in _zones():
        raise FormatInvalid("an IANA time zone such as Europe/Berlin", ascii(name)[:80])
    instants.zone(name)
    return name


def backdate_days(days: object) -> int | None:
    """Return *days* if usage may be dated back so far; ``None`` is no bound. Raises ``FormatInvalid``."""
    if days is None:
        return None
    if isinstance(days, bool) or not isinstance(days, int) or not 0 <= days <= MOST_BACKDATE_DAYS:
        raise FormatInvalid(f"a number of days from 0 to {MOST_BACKDATE_DAYS}", ascii(days)[:40])
    return days


def change_settings(
    work: Changeable,
    project_id: str,
    changes: Settings,
    *,
    role: Role,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> Project:
    """Apply *changes* as someone of *role*, all or nothing.

    Raises ``RoleMissing``, ``ProjectNotFound``, ``ProjectArchived`` or ``ProjectInUse`` (a time zone,
    once usage has been counted into the days of the old one).
    """
    for field in changes:
        require(role, role_for_field(field))
    project = locked_writable(work, project_id)
    changed = evolve(project, **changes)
    if changed == project:
        return project
    if changed.timezone != project.timezone and work.usage.events(project_id, limit=1, before=None):
        raise ProjectInUse("timezone")
    work.tenancy.replace_project(changed)
    note_change(
        work,
        project_id,
        "project.updated",
        project_id,
        _details(changed, changes),
        at=at,
        ids=ids,
        origin=origin,
    )
    return changed


def _details(project: Project, fields: Iterable[str]) -> dict[str, Json]:
    """The changed settings as they are now, by their names on the wire."""
    shown: dict[str, tuple[str, Json]] = {
        "name": ("name", project.name),
        "credit_limit_micros": ("creditLimit", money.text(project.credit_limit_micros)),
        "metric_policy": ("metricPolicy", project.metric_policy.value),
        "max_backdate_days": ("maxBackdateDays", project.max_backdate_days),
        "timezone": ("timezone", project.timezone),
    }
    return dict(shown[field] for field in fields)


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - _NOT_ZONES)
