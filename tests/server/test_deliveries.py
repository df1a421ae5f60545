"""Messages on their way: signed, at least once, each endpoint apart from the others."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

import pytest
from standardwebhooks import Webhook

from neruba_core import Neruba, instants
from neruba_core.errors import StorageUnavailable
from neruba_core.outbox.model import Delivery
from neruba_core.testing.builders import Rehearsal, rehearsal
from neruba_server.outbound import deliveries as loop
from tests.server.receiver import Receiver, delivering, receiving, until


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    """
    What is due is looked for often, and stopping is short.
    """
    monkeypatch.setattr(loop, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(loop, "STOP_SECONDS", 0.2)


@pytest.fixture
def neruba() -> Rehearsal:
    engine = rehearsal(runs_due=False)
    engine.clock.set(instants.now())
    return engine


def listened(neruba: Neruba, *receivers: Receiver) -> str:
    """A project that all of *receivers* listen to."""
    project = neruba.projects.create(name="Acme")
    for receiver in receivers:
        neruba.webhooks.create(project.id, url=receiver.url)
    return project.id


def credit(neruba: Neruba, project_id: str, key: str = "credit") -> None:
    neruba.wallets.credit(project_id, amount="1", description="Launch", idempotency_key=key)


def sent(neruba: Neruba, project_id: str) -> list[Delivery]:
    """The deliveries, oldest first."""
    return list(neruba.webhooks.deliveries(project_id).items)[::-1]


def states(neruba: Neruba, project_id: str) -> list[str]:
    return [delivery.state.value for delivery in sent(neruba, project_id)]


def has_tried(neruba: Neruba, project_id: str, times: int) -> bool:
    return sent(neruba, project_id)[0].tried == times


async def test_a_message_arrives_signed(neruba):
    """
    The standard library of receivers verifies it; its body is the message's, to the byte.
    """
    async with receiving(Receiver()) as receiver, delivering(neruba):
        project = neruba.projects.create(name="Acme")
        made = neruba.webhooks.create(project.id, url=receiver.url)
        credit(neruba, project.id)
        await until(lambda: states(neruba, project.id) == ["delivered"])

    ((headers, body),) = receiver.received
    told = Webhook(made.secret).verify(body, headers)
    assert told["type"] == "credit.granted"
    assert told["data"]["amount"] == "1.000000"
    assert headers["content-type"] == "application/json"
    (delivery,) = sent(neruba, project.id)
    assert headers["webhook-id"] == delivery.message_id
    assert [attempt.status for attempt in delivery.attempts] == [200]


async def test_while_a_secret_is_rotated_both_verify(neruba):
    """
    Until the overlap is over; then the new one alone does.
    """
    async with receiving(Receiver()) as receiver, delivering(neruba):
        project = neruba.projects.create(name="Acme")
        old = neruba.webhooks.create(project.id, url=receiver.url)
        new = neruba.webhooks.rotate_secret(project.id, old.endpoint.id, overlap_hours=1)
        credit(neruba, project.id)
        await until(lambda: states(neruba, project.id) == ["delivered"])
        neruba.webhooks.rotate_secret(project.id, old.endpoint.id, overlap_hours=0)
        credit(neruba, project.id, "more")
        await until(lambda: states(neruba, project.id) == ["delivered"] * 2)

    during, after = receiver.received
    for made in (old, new):
        assert Webhook(made.secret).verify(during[1], during[0])
    assert during[0]["webhook-signature"].count("v1,") == 2
    assert after[0]["webhook-signature"].count("v1,") == 1


async def test_what_fails_is_sent_again_under_the_same_id(neruba):
    """
    After the wait of the schedule, not before.
    """
    async with receiving(Receiver(status=500)) as receiver, delivering(neruba):
        project_id = listened(neruba, receiver)
        credit(neruba, project_id)
        await until(lambda: sent(neruba, project_id)[0].tried == 1)
        receiver.status = 204
        await asyncio.sleep(0.1)
        assert len(receiver.received) == 1
        neruba.clock.advance(timedelta(seconds=6))
        await until(lambda: states(neruba, project_id) == ["delivered"])

    assert len(receiver.ids) == 2
    assert len(set(receiver.ids)) == 1
    assert receiver.received[0][1] == receiver.received[1][1]
    (delivery,) = sent(neruba, project_id)
    assert [attempt.status for attempt in delivery.attempts] == [500, 204]


async def test_retry_after_is_honoured(neruba):
    """
    A receiver that asks for an hour gets it.
    """

    async def busy(request):
        from aiohttp import web

        return web.Response(status=503, headers={"Retry-After": "3600"})

    async with receiving(Receiver(answer=busy)) as receiver, delivering(neruba):
        project_id = listened(neruba, receiver)
        credit(neruba, project_id)
        await until(lambda: sent(neruba, project_id)[0].tried == 1)

    (delivery,) = sent(neruba, project_id)
    assert delivery.due_at - delivery.attempts[0].at == timedelta(hours=1)


async def test_gone_disables_the_endpoint(neruba):
    """
    410 ends what waits for it; a test message that it takes enables it again.
    """
    async with receiving(Receiver(status=410)) as receiver, delivering(neruba):
        project_id = listened(neruba, receiver)
        credit(neruba, project_id)
        await until(lambda: states(neruba, project_id) == ["dead"])
        (endpoint,) = neruba.webhooks.list(project_id).items
        assert endpoint.disabled_reason == "it answered 410 Gone"
        credit(neruba, project_id, "unheard")
        receiver.status = 200
        neruba.webhooks.test(project_id, endpoint.id)
        await until(lambda: states(neruba, project_id) == ["dead", "delivered"])

    assert receiver.types == ["credit.granted", "webhook.test"]
    (endpoint,) = neruba.webhooks.list(project_id).items
    assert endpoint.disabled_at is None


async def test_five_days_of_failing_disable_it(neruba):
    """
    Nobody listens there any more.
    """
    async with receiving(Receiver(status=500)) as receiver, delivering(neruba):
        project_id = listened(neruba, receiver)
        credit(neruba, project_id)
        for tried in range(1, 6):
            await until(partial(has_tried, neruba, project_id, tried))
            assert states(neruba, project_id) == [("pending" if tried < 5 else "dead")]
            neruba.clock.advance(timedelta(hours=30))

    (endpoint,) = neruba.webhooks.list(project_id).items
    assert endpoint.disabled_reason == "it has failed for 5 days"


async def test_a_slow_endpoint_delays_no_other(neruba):
    """
    It has its share of requests under way, and no more.
    """
    stuck = asyncio.Event()

    async def hang(request):
        from aiohttp import web

        await stuck.wait()
        return web.Response()

    count = 2 * loop.MOST_OF_ENDPOINT
    async with receiving(Receiver(answer=hang)) as slow, receiving(Receiver()) as quick:
        project_id = listened(neruba, slow, quick)
        for number in range(count):
            credit(neruba, project_id, f"{number}")
        async with delivering(neruba):
            await until(lambda: len(quick.received) == count)
            assert len(slow.received) == loop.AT_ONCE
            stuck.set()
            await until(lambda: len(slow.received) == count)

    assert len(set(quick.ids)) == len(set(slow.ids)) == count


async def test_what_waits_too_long_behind_others_is_given_back(neruba):
    """
    Its lease would run out on the way, and another would send it as well.
    """
    stuck = asyncio.Event()

    async def hang(request):
        from aiohttp import web

        await stuck.wait()
        return web.Response()

    count = loop.AT_ONCE + 3
    async with receiving(Receiver(answer=hang)) as receiver:
        project_id = listened(neruba, receiver)
        for number in range(count):
            credit(neruba, project_id, f"{number}")
        async with delivering(neruba):
            await until(lambda: len(receiver.received) == loop.AT_ONCE)
            # Within the lease, but not by much.
            neruba.clock.advance(loop.LEASE - loop.GIVEN_BACK_BEFORE)
            stuck.set()
            await until(lambda: states(neruba, project_id) == ["delivered"] * count)

    assert len(receiver.ids) == len(set(receiver.ids)) == count


async def test_stopping_gives_back_what_is_under_way(neruba):
    """
    Another takes it at once, and does not wait for the lease.
    """

    async def hang(request):
        await asyncio.sleep(60)

    async with receiving(Receiver(answer=hang)) as receiver:
        project_id = listened(neruba, receiver)
        credit(neruba, project_id)
        async with delivering(neruba) as first:
            await until(lambda: receiver.received)
        assert not first.alive
        (delivery,) = sent(neruba, project_id)
        assert (delivery.claim, delivery.tried) == (None, 0)
        receiver.answer = None
        async with delivering(neruba) as second:
            assert second.alive
            await until(lambda: states(neruba, project_id) == ["delivered"])

    assert len(receiver.ids) == 2
    assert len(set(receiver.ids)) == 1


async def test_a_database_that_is_gone_for_a_while_loses_nothing(neruba, monkeypatch):
    """
    What was sent is recorded when it is back; nothing is sent twice for that.
    """
    honest, failures = type(neruba.webhooks).go_round, [StorageUnavailable("gone") for _ in range(3)]

    def failing(self, sent, *arguments, **options):
        if sent and failures:
            raise failures.pop()
        return honest(self, sent, *arguments, **options)

    monkeypatch.setattr(type(neruba.webhooks), "go_round", failing)
    async with receiving(Receiver()) as receiver, delivering(neruba):
        project_id = listened(neruba, receiver)
        credit(neruba, project_id)
        await until(lambda: states(neruba, project_id) == ["delivered"])

    assert len(receiver.ids) == 1
