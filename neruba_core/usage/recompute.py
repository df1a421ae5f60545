"""The proof that rollups say what their events say: totals by rollups and from raw events, compared."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Protocol

from neruba_core.instants import EPOCH, Instant, text
from neruba_core.metering.store import HasMetering
from neruba_core.usage.model import Totals, Wanted
from neruba_core.usage.store import HasUsage

_HOUR = timedelta(hours=1)
_HOURS_OF_A_DAY = 24
_END = datetime.max.replace(tzinfo=UTC)


class RollupReads(HasMetering, HasUsage, Protocol):
    """What the proof reads."""


def rollup_faults(work: RollupReads, project_id: str, *, days: int | None, chance: Random) -> tuple[str, ...]:
    """Where the project's rollups differ from recomputation, in words.

    Every metric is compared as a whole, and hour by hour on *days* of its days, chosen by *chance*, or on
    all.
    """
    active: dict[str, list[Instant]] = {key: [] for key in work.metering.metrics([project_id])[project_id]}
    for each in work.usage.active_days([project_id]):
        active[each.metric_key].append(each.day)
    faults: list[str] = []
    for metric_key, all_days in sorted(active.items()):
        chosen = all_days if days is None else chance.sample(all_days, min(days, len(all_days)))
        wanted = [Wanted(project_id, metric_key, EPOCH, _END)]
        wanted += [one for day in sorted(chosen) for one in _hours(project_id, metric_key, day)]
        faults += _differences(work, wanted)
    return tuple(faults)


def _differences(work: HasUsage, wanted: list[Wanted]) -> Iterator[str]:
    rolled, recomputed = work.usage.totals_of(wanted), work.usage.totals_of(wanted, raw=True)
    for one, kept, raw in zip(wanted, rolled, recomputed, strict=True):
        if kept != raw:
            yield (
                f"{one.metric_key} from {text(one.start)} to {text(one.end)}: "
                f"events say {_shown(raw)}, rollups {_shown(kept)}"
            )


def _hours(project_id: str, metric_key: str, day: Instant) -> Iterator[Wanted]:
    for hour in range(_HOURS_OF_A_DAY):
        start = day + hour * _HOUR
        yield Wanted(project_id, metric_key, start, min(start, _END - _HOUR) + _HOUR)


def _shown(totals: Totals) -> str:
    return (
        f"{totals.count} events, sum {totals.sum_micros}, max {totals.max_micros}, "
        f"min {totals.min_micros}, last {totals.last_micros}"
    )
