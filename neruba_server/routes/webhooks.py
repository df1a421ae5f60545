"""Who listens to a project, and what became of the messages to them."""

from __future__ import annotations

from aiohttp import web

from neruba_core import Neruba
from neruba_server import present
from neruba_server.routes.call import Answer, Call
from neruba_server.routes.query import page_of
from neruba_server.wire import support as support_wire
from neruba_server.wire import webhooks as wire

OVERLAP_HOURS = 24


async def create(call: Call) -> web.Response:
    sent = await call.read(wire.NewWebhookEndpoint)

    def act(bound: Neruba) -> Answer:
        made = bound.webhooks.create(
            call.project, url=sent.url, message_types=sent.message_types or (), origin=call.origin
        )
        return Answer(
            wire.WebhookEndpointWithSecret.of_made(made, with_secret=True),
            keep=wire.WebhookEndpointWithSecret.of_made(made, with_secret=False),
            subject_id=made.endpoint.id,
        )

    return await call.once(sent, act)


async def listed(call: Call) -> web.Response:
    page = page_of(call.query())
    found = await call.run(lambda neruba: neruba.webhooks.list(call.project, **page))
    items = tuple(wire.WebhookEndpoint.of(endpoint) for endpoint in found.items)
    return present.json(wire.WebhookEndpoints(items, found.next_cursor))


async def delete(call: Call) -> web.Response:
    endpoint_id = call.path("endpointId")
    await call.write(
        lambda bound: bound.webhooks.delete(call.project, endpoint_id, origin=call.origin), status=204
    )
    return present.empty()


async def rotate_secret(call: Call) -> web.Response:
    sent = await call.read(wire.SecretRotation, optional=True)
    endpoint_id = call.path("endpointId")
    hours = OVERLAP_HOURS if sent.overlap_hours is None else sent.overlap_hours

    def act(bound: Neruba) -> Answer:
        made = bound.webhooks.rotate_secret(
            call.project, endpoint_id, overlap_hours=hours, origin=call.origin
        )
        return Answer(
            wire.WebhookEndpointWithSecret.of_made(made, with_secret=True),
            keep=wire.WebhookEndpointWithSecret.of_made(made, with_secret=False),
            subject_id=endpoint_id,
        )

    return await call.once(sent, act)


async def test(call: Call) -> web.Response:
    sent = await call.read(support_wire.Nothing, optional=True)
    endpoint_id = call.path("endpointId")

    def act(bound: Neruba) -> Answer:
        delivery = bound.webhooks.test(call.project, endpoint_id, origin=call.origin)
        return Answer(wire.WebhookDelivery.of(delivery), subject_id=delivery.id)

    return await call.once(sent, act)


async def deliveries(call: Call) -> web.Response:
    query = call.query()
    endpoint_id = call.path("endpointId")
    found = await call.run(
        lambda neruba: neruba.webhooks.deliveries(
            call.project, endpoint_id=endpoint_id, state=query.get("state"), **page_of(query)
        )
    )
    items = tuple(wire.WebhookDelivery.of(delivery) for delivery in found.items)
    return present.json(wire.WebhookDeliveries(items, found.next_cursor))


async def redeliver(call: Call) -> web.Response:
    sent = await call.read(support_wire.Nothing, optional=True)
    endpoint_id, delivery_id = call.path("endpointId"), call.path("deliveryId")

    def act(bound: Neruba) -> Answer:
        delivery = bound.webhooks.redeliver(
            call.project, delivery_id, endpoint_id=endpoint_id, origin=call.origin
        )
        return Answer(wire.WebhookDelivery.of(delivery), status=200, subject_id=delivery_id)

    return await call.once(sent, act)
