"""What falls due, and when: a period, once its grace is over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from neruba_core.billing import periods
from neruba_core.billing.inputs import RunWork, is_closed
from neruba_core.billing.model import BillingPeriod
from neruba_core.instants import EPOCH, Instant
from neruba_core.tenancy.model import Project
from neruba_core.tenancy.store import HasTenancy


class DueWork(RunWork, HasTenancy, Protocol):
    """What is looked at to find what is due."""


def due_at(project: Project, period: BillingPeriod) -> Instant:
    """When the grace of *period* is over."""
    return period.span.end + timedelta(hours=project.grace_hours)


def due_periods(work: DueWork, project_ids: Sequence[str], *, at: Instant) -> dict[str, list[str]]:
    """The names of the open periods whose grace is over at *at*, oldest first, for each project that has
    any. They need not have anything to bill; nothing that has is left out."""
    projects = work.tenancy.projects(project_ids)
    stored = work.billing.periods(sorted(projects))
    starts = _first_activity(work, projects)
    due: dict[str, list[str]] = {}
    for project_id, project in sorted(projects.items()):
        rows, start = stored[project_id], starts[project_id]
        if any(row.invoiced_at is not None for row in rows):
            # The first may be open again, its invoice void.
            start = rows[0].span.start
        # A moment later than any whose period is over.
        last = at - timedelta(hours=project.grace_hours)
        if project.archived_at is not None:
            last = min(last, project.archived_at)
        names = [
            period.name
            for period in periods.covering(project, rows, start, last)
            if not is_closed(project, rows, period) and due_at(project, period) <= at
        ]
        if names:
            due[project_id] = names
    return due


def next_dues(work: DueWork, project_ids: Sequence[str], *, after: Instant) -> list[Instant]:
    """When the next period of each project falls due, later than *after*."""
    projects = work.tenancy.projects(project_ids)
    stored = work.billing.periods(sorted(projects))
    dues = []
    for project in projects.values():
        open_since = max(after - timedelta(hours=project.grace_hours), EPOCH)
        period = periods.containing(project, stored[project.id], open_since)
        if not project.archived_before(period.span.start):
            dues.append(due_at(project, period))
    return dues


def billable(work: DueWork, project_ids: Sequence[str], name: str) -> list[str]:
    """Those of the projects that the period *name* of is not wholly after their archiving.

    Raises ``FormatInvalid`` for a name that is no month.
    """
    projects = work.tenancy.projects(project_ids)
    stored = work.billing.periods(sorted(projects))
    return [
        each
        for each in project_ids
        if not projects[each].archived_before(periods.named(projects[each], stored[each], name).span.start)
    ]


def _first_activity(work: DueWork, projects: dict[str, Project]) -> dict[str, Instant]:
    """When each project began: nothing is charged or subscribed before it was created, but usage may be
    older."""
    starts = {project.id: project.created_at for project in projects.values()}
    never_billed = [project.id for project in projects.values() if project.invoiced_until is None]
    for day in work.usage.active_days(sorted(never_billed)):
        starts[day.project_id] = min(starts[day.project_id], day.day)
    for project_id, decisions in work.subscriptions.decisions(sorted(projects)).items():
        for decision in decisions:
            starts[project_id] = min(starts[project_id], decision.effective_at)
    return starts
