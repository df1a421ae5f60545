"""What falls due, as people, keys and load balancers see it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from attrs import evolve

from neruba_core.namespaces import jobs
from neruba_core.outbox.emit import emit
from neruba_core.outbox.model import MessageType
from neruba_core.payments.model import EventState, ProviderEvent
from neruba_core.schedule.model import JobRecord
from tests.server.world import World


async def test_what_falls_due_in_a_project_is_shown(world: World):
    """
    The next billing run at least; each job is named with how it is doing.
    """
    path = f"/projects/{world.one.id}/schedule"

    shown = await world.ask("GET", path, world.one.owner)
    first = await world.ask("GET", f"{path}?limit=1", world.one.owner)

    kinds = {item["kind"] for item in shown.json["items"]}
    assert "billing_run" in kinds
    assert first.json["items"] == shown.json["items"][:1]
    assert {job["name"] for job in shown.json["jobs"]} == {job.name for job in jobs.JOBS}
    assert {job["state"] for job in shown.json["jobs"]} == {"ok"}


async def test_readiness_names_what_is_late_failing_or_stuck(world: World):
    """
    Requests are served all the same; what went wrong is not told to whoever asks.
    """
    now = world.neruba.now()
    with world.neruba._context.storage.work() as work:
        work.schedule.put_job(JobRecord("prune_trail", now, now, None, now, "secret", 4))
        work.schedule.put_job(JobRecord("tell_of_expiring_keys", now - timedelta(minutes=21)))

    answer = await world.ask("GET", "/readyz")

    assert (answer.status, answer.json["status"]) == (200, "degraded")
    assert answer.json["checks"]["schedule"] == "failing: prune_trail; stuck: tell_of_expiring_keys"


@pytest.mark.parametrize(
    ("minutes", "failing", "told"), [(4, False, "ok"), (5, False, "late"), (5, True, "ok")]
)
async def test_readiness_tells_of_messages_that_nobody_sends(
    world: World, minutes: int, failing: bool, told: str
):
    """
    But not of those to an endpoint that takes none.
    """
    neruba, project_id = world.neruba, world.one.id
    made = neruba.webhooks.create(project_id, url="https://hooks.example.com/")
    before = neruba.now() - timedelta(minutes=minutes)
    with neruba._context.storage.work() as work:
        emit(work, project_id, MessageType.WALLET_LOW, {}, at=before, ids=neruba._context.ids)
        if failing:
            work.outbox.replace_endpoint(evolve(made.endpoint, failing_since=before))

    answer = await world.ask("GET", "/readyz")

    assert answer.status == 200
    assert answer.json["checks"]["deliveries"] == told


async def test_readiness_tells_of_events_that_were_given_up(world: World):
    """
    Somebody has to look after them; which they are is not told to whoever asks.
    """
    now = world.neruba.now()
    with world.neruba._context.storage.work() as work:
        work.payments.add_event(
            ProviderEvent("pev_1", "stripe", "evt_1", "x", "pi_1", "{}", now, EventState.DEAD, ended_at=now)
        )

    answer = await world.ask("GET", "/readyz")

    assert (answer.status, answer.json["status"]) == (200, "degraded")
    assert answer.json["checks"]["provider_events"] == "dead"
