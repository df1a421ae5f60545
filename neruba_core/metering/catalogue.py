"""The catalogue's metrics: declared once for the deployment, for every project that declares none of its own.

A project gets its own row of a catalogue metric when it first meets it, so that recording usage looks in one
place; the row follows the catalogue until the project makes it its own. Meeting a metric holds it, and
changing it locks it, so no project can be left with what the catalogue was before.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from neruba_core.errors import MetricExists, MetricFixed, MetricNotFound
from neruba_core.instants import Instant
from neruba_core.metering.metrics import Declaration, counts_otherwise, require_consistent
from neruba_core.metering.model import Aggregation, Metric, SharedMetric
from neruba_core.metering.store import HasMetering


def declare(
    work: HasMetering, key: str, declaration: Declaration, *, at: Instant, actor: str
) -> SharedMetric:
    """Declare a metric for all projects. Those that have one of this key keep it.

    Raises ``MetricInvalid`` or ``MetricExists``.
    """
    plain = SharedMetric(
        key=key,
        aggregation=Aggregation.SUM,
        unit=None,
        unique_property=None,
        free=False,
        properties=(),
        created_at=at,
        created_by=actor,
    )
    metric = evolve(plain, **declaration)
    require_consistent(metric)
    if not work.metering.add_shared_metric(metric):
        raise MetricExists(key)
    return metric


def change(work: HasMetering, key: str, changes: Declaration) -> SharedMetric:
    """Change what *changes* names, all or nothing, here and in every project that follows.

    Raises ``MetricNotFound``, ``MetricInvalid`` or ``MetricFixed``.
    """
    metric = work.metering.lock_shared_metric(key)
    if metric is None:
        raise MetricNotFound(key)
    changed = evolve(metric, **changes)
    require_consistent(changed)
    if counts_otherwise(metric, changed):
        raise MetricFixed(key)
    if changed != metric:
        work.metering.replace_shared_metric(changed)
        work.metering.update_followers(changed)
    return changed


def offered(work: HasMetering, keys: Iterable[str]) -> dict[str, SharedMetric]:
    """The catalogue's metrics of these keys, held until the unit ends so that a project can follow them."""
    return work.metering.hold_shared_metrics(keys)


def known(work: HasMetering, project_id: str, key: str) -> Metric | None:
    """The project's metric of this key, which it may meet here for the first time."""
    metric = work.metering.metrics([project_id])[project_id].get(key)
    if metric is not None:
        return metric
    shared = offered(work, [key]).get(key)
    if shared is None:
        return None
    followed = shared.followed_by(project_id)
    work.metering.add_metrics([followed])
    return followed
