"""Metrics: declaring, changing, finding.

How a metric aggregates decides what past usage comes to, so a project chooses it once. Where it has not
chosen yet, since usage brought the metric in on sight or the catalogue did, it can until the metric's usage
is first invoiced. A project has the catalogue's metrics without asking; declaring or changing one makes it
the project's own, which follows the catalogue no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypedDict

from attrs import evolve

from neruba_core import texts
from neruba_core.audit.changes import note_change
from neruba_core.audit.model import Origin
from neruba_core.audit.store import HasAudit
from neruba_core.choices import choice
from neruba_core.errors import MetricExists, MetricFixed, MetricInvalid, MetricNotFound, PropertyInvalid
from neruba_core.idempotency.fingerprint import Json
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.metering.model import Aggregation, Metric, PropertyRule, PropertyType
from neruba_core.metering.store import HasMetering
from neruba_core.tenancy.model import Project
from neruba_core.tenancy.projects import existing, locked_writable
from neruba_core.tenancy.store import HasTenancy

MOST_UNIT_BYTES = 64
MOST_PROPERTY_NAME_BYTES = 128


class Metered(HasMetering, HasTenancy, Protocol):
    """Metrics and the projects they belong to."""


class _Usage(Protocol):
    def events(
        self, project_id: str, *, limit: int, before: str | None, metric_key: str | None, end: Instant | None
    ) -> Sequence[object]: ...


class Declaring(Metered, HasAudit, Protocol):
    """What a change of a project's metrics reads and writes, with a look at whether one has usage."""

    @property
    def usage(self) -> _Usage: ...


class Declaration(TypedDict, total=False):
    """What a metric is declared or changed to, in checked form; what is left out stays as it is."""

    aggregation: Aggregation
    unit: str | None
    unique_property: str | None
    free: bool
    properties: tuple[PropertyRule, ...]


def unit(name: str | None) -> str | None:
    """Return *name* if it can be shown behind a quantity. Raises ``TextInvalid``."""
    return None if name is None else texts.clean(name, most_bytes=MOST_UNIT_BYTES)


def property_name(name: str | None) -> str | None:
    """Return *name* if an event's property can be called so. Raises ``TextInvalid``."""
    return None if name is None else texts.clean(name, most_bytes=MOST_PROPERTY_NAME_BYTES)


def rules(given: Iterable[PropertyRule]) -> tuple[PropertyRule, ...]:
    """The rules by ascending name, so that their order never makes a difference.

    Raises ``TextInvalid``, ``FormatInvalid`` (type) or ``PropertyInvalid`` (a name twice, or too many).
    """
    checked: dict[str, PropertyRule] = {}
    for rule in given:
        name = texts.clean(rule.name, most_bytes=MOST_PROPERTY_NAME_BYTES)
        if name in checked:
            raise PropertyInvalid(ascii(name), "has two rules")
        checked[name] = evolve(rule, type=choice(PropertyType, rule.type, "a property type"))
    if len(checked) > texts.MAX_PROPERTIES:
        raise PropertyInvalid("*", f"more than {texts.MAX_PROPERTIES} of them")
    return tuple(checked[name] for name in sorted(checked))


def declare(
    work: Declaring,
    project_id: str,
    key: str,
    declaration: Declaration,
    *,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> Metric:
    """Declare a metric: ``sum`` of no particular unit where *declaration* says nothing else.

    Raises ``MetricInvalid``, ``ProjectNotFound``, ``ProjectArchived``, ``MetricExists``, or ``MetricFixed``
    where usage of the catalogue's metric is invoiced that would now aggregate in another way.
    """
    plain = Metric(
        project_id=project_id,
        key=key,
        aggregation=Aggregation.SUM,
        unit=None,
        unique_property=None,
        free=False,
        properties=(),
        auto_declared=False,
        created_at=at,
    )
    metric = evolve(plain, **declaration)
    require_consistent(metric)
    project = locked_writable(work, project_id)
    if work.metering.add_metrics([metric]) == 0:
        present = work.metering.metrics([project_id])[project_id][key]
        if not present.shared:
            raise MetricExists(key)
        _require_changeable(work, project, present, metric)
        work.metering.replace_metric(metric)
    note_change(work, project_id, "metric.declared", key, _details(metric), at=at, ids=ids, origin=origin)
    return metric


def change(
    work: Declaring,
    project_id: str,
    key: str,
    changes: Declaration,
    *,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> Metric:
    """Change what *changes* names, all or nothing.

    Raises ``ProjectNotFound``, ``ProjectArchived``, ``MetricNotFound``, ``MetricFixed`` or
    ``MetricInvalid``.
    """
    project = locked_writable(work, project_id)
    metric = _named(work, project_id, key)
    changed = evolve(metric, **changes)
    if changed == metric:
        return metric
    _require_changeable(work, project, metric, changed)
    require_consistent(changed)
    changed = evolve(changed, shared=False)
    if work.metering.add_metrics([changed]) == 0:
        work.metering.replace_metric(changed)
    note_change(work, project_id, "metric.changed", key, _details(changed), at=at, ids=ids, origin=origin)
    return changed


def metrics_of(work: Metered, project_id: str) -> tuple[Metric, ...]:
    """All metrics by ascending key, with those of the catalogue that the project has not met yet.

    Raises ``ProjectNotFound``.
    """
    existing(work, project_id)
    metrics = {key: shared.followed_by(project_id) for key, shared in work.metering.shared_metrics().items()}
    metrics |= work.metering.metrics([project_id])[project_id]
    return tuple(metrics[key] for key in sorted(metrics))


def metric_named(work: Metered, project_id: str, key: str) -> Metric:
    """The metric. Raises ``ProjectNotFound`` or ``MetricNotFound``."""
    existing(work, project_id)
    return _named(work, project_id, key)


class Countable(Protocol):
    """How the events of a metric become one quantity."""

    @property
    def aggregation(self) -> Aggregation: ...
    @property
    def unique_property(self) -> str | None: ...


def require_consistent(metric: Countable) -> None:
    """Raise ``MetricInvalid`` unless a property is named where, and only where, its values are counted."""
    if metric.aggregation is Aggregation.UNIQUE:
        if metric.unique_property is None:
            raise MetricInvalid(
                "aggregation unique counts the values of a property; name it as uniqueProperty"
            )
    elif metric.unique_property is not None:
        raise MetricInvalid(
            f"uniqueProperty goes with aggregation unique, not with {metric.aggregation.value}"
        )


def counts_otherwise(metric: Countable, changed: Countable) -> bool:
    """Whether the same events may come to another quantity."""
    before = metric.aggregation, metric.unique_property
    return before != (changed.aggregation, changed.unique_property)


def _named(work: HasMetering, project_id: str, key: str) -> Metric:
    metric = work.metering.metrics([project_id])[project_id].get(key)
    if metric is not None:
        return metric
    shared = work.metering.shared_metrics().get(key)
    if shared is None:
        raise MetricNotFound(key)
    return shared.followed_by(project_id)


def _require_changeable(work: Declaring, project: Project, metric: Metric, changed: Metric) -> None:
    """Raise ``MetricFixed`` where past quantities would become others that somebody counts on."""
    if not counts_otherwise(metric, changed):
        return
    if not (metric.auto_declared or metric.shared) or _is_invoiced(work, project, metric.key):
        raise MetricFixed(metric.key)


def _is_invoiced(work: Declaring, project: Project, key: str) -> bool:
    end = project.invoiced_until
    if end is None:
        return False
    return bool(work.usage.events(project.id, limit=1, before=None, metric_key=key, end=end))


def _details(metric: Metric) -> dict[str, Json]:
    """The metric as it is now, by the names of the wire."""
    return {
        "aggregation": metric.aggregation.value,
        "unit": metric.unit,
        "uniqueProperty": metric.unique_property,
        "free": metric.free,
        "properties": {
            rule.name: {"type": rule.type.value, "required": rule.required} for rule in metric.properties
        },
    }
