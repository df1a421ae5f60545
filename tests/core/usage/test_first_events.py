"""Two first events of one key, each of a metric that nobody has met."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Any

import pytest

from neruba_core import Neruba
from neruba_core.errors import KeyReused
from neruba_core.testing.clock import NOON, SettableClock


@pytest.mark.parametrize("many", [False, True])
def test_what_lost_the_race_leaves_no_metric_behind(database, many):
    """
    It is told of the conflict as if it had come later, and has declared nothing.
    """
    neruba = Neruba(database, clock=SettableClock())
    project_id = neruba.projects.create(name="Acme").id
    event: dict[str, Any] = {"units": "1", "timestamp": NOON, "idempotency_key": "same"}

    def record_second() -> list[str]:
        if many:
            sent = [{"metric_key": "second", **event}]
            return [outcome.name.value for outcome in neruba.usage.record_many(project_id, sent)]
        with pytest.raises(KeyReused):
            neruba.usage.record(project_id, metric_key="second", **event)
        return ["conflict"]

    with ThreadPoolExecutor(1) as threads:
        with neruba.work() as unit:
            unit.usage.record(project_id, metric_key="first", **event)
            second = threads.submit(record_second)
            # Long enough to have looked for the key and not found it.
            sleep(0.2)
        told = second.result()

    assert told == ["conflict"]
    # The catalogue's are listed too, which other tests may have left in the same database.
    shared = {metric.key for metric in neruba.catalogue.metrics()}
    own = [metric.key for metric in neruba.metrics.list(project_id) if metric.key not in shared]
    assert own == ["first"]
