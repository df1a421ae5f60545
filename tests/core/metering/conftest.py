from __future__ import annotations

from datetime import timedelta

import pytest
from attrs import evolve

from neruba_core.metering.model import Aggregation, Metric
from neruba_core.usage.model import UsageEvent
from tests.core.identity.stage import Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def acme(stage):
    return stage.projects.create(name="Acme")


@pytest.fixture
def on_sight(stage, acme):
    """A metric that usage brought in."""
    metric = Metric(acme.id, "api_tokens", Aggregation.SUM, None, None, False, (), True, stage.at)
    stage.context.write(lambda work: work.metering.add_metrics([metric]))
    return metric


def use(stage, project_id, metric_key="api_tokens"):
    """Record one usage event now, as plainly as the store takes it."""
    event = UsageEvent(
        project_id=project_id,
        id=stage.context.ids.new("use"),
        metric_key=metric_key,
        units_micros=1,
        timestamp=stage.at,
        event_id=stage.context.ids.new("evt"),
        properties=None,
        idempotency_key=stage.context.ids.new("evt"),
        fingerprint=b"",
        fingerprint_version=1,
        received_at=stage.at,
        late=False,
        actor="system",
        request_id=None,
    )
    stage.context.write(lambda work: work.usage.insert([event]))


def invoice(stage, project_id):
    """Have all time up to now invoiced, as far as the project remembers."""
    project = stage.projects.get(project_id)
    until = stage.at + timedelta(microseconds=1)
    stage.context.write(lambda work: work.tenancy.replace_project(evolve(project, invoiced_until=until)))
