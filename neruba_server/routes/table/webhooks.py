"""Where listeners are told, and what became of it."""

from __future__ import annotations

from neruba_core.outbox.model import DeliveryState
from neruba_server.routes import query as q
from neruba_server.routes import webhooks
from neruba_server.routes.query import PAGE
from neruba_server.routes.route import ACCEPTED, ADMIN, Route
from neruba_server.wire import support as wire_support
from neruba_server.wire import webhooks as wire_webhooks

ROUTES = (
    Route(
        "POST",
        "/projects/{projectId}/webhook-endpoints",
        webhooks.create,
        ADMIN,
        "createWebhookEndpoint",
        "Have messages sent to a URL; the secret that they are signed with is shown once",
        "Webhooks",
        {201: wire_webhooks.WebhookEndpointWithSecret},
        wire_webhooks.NewWebhookEndpoint,
        idempotency=ACCEPTED,
    ),
    Route(
        "GET",
        "/projects/{projectId}/webhook-endpoints",
        webhooks.listed,
        ADMIN,
        "listWebhookEndpoints",
        "The endpoints, without their secrets",
        "Webhooks",
        {200: wire_webhooks.WebhookEndpoints},
        query=PAGE,
    ),
    Route(
        "DELETE",
        "/projects/{projectId}/webhook-endpoints/{endpointId}",
        webhooks.delete,
        ADMIN,
        "deleteWebhookEndpoint",
        "Send nothing more to an endpoint, not even what waits for it",
        "Webhooks",
        {204: None},
    ),
    Route(
        "POST",
        "/projects/{projectId}/webhook-endpoints/{endpointId}/rotate-secret",
        webhooks.rotate_secret,
        ADMIN,
        "rotateWebhookSecret",
        "Give an endpoint a new secret; for a while messages are signed with both",
        "Webhooks",
        {201: wire_webhooks.WebhookEndpointWithSecret},
        wire_webhooks.SecretRotation,
        body_optional=True,
        idempotency=ACCEPTED,
    ),
    Route(
        "POST",
        "/projects/{projectId}/webhook-endpoints/{endpointId}/test",
        webhooks.test,
        ADMIN,
        "testWebhookEndpoint",
        "Send an endpoint a message of type webhook.test, even if it is disabled",
        "Webhooks",
        {201: wire_webhooks.WebhookDelivery},
        wire_support.Nothing,
        body_optional=True,
        idempotency=ACCEPTED,
    ),
    Route(
        "GET",
        "/projects/{projectId}/webhook-endpoints/{endpointId}/deliveries",
        webhooks.deliveries,
        ADMIN,
        "listWebhookDeliveries",
        "What became of the messages to an endpoint, newest first",
        "Webhooks",
        {200: wire_webhooks.WebhookDeliveries},
        query=(q.word("state", DeliveryState), *PAGE),
    ),
    Route(
        "POST",
        "/projects/{projectId}/webhook-endpoints/{endpointId}/deliveries/{deliveryId}/redeliver",
        webhooks.redeliver,
        ADMIN,
        "redeliverWebhook",
        "Send a message again under the same id, whatever became of it",
        "Webhooks",
        {200: wire_webhooks.WebhookDelivery},
        wire_support.Nothing,
        body_optional=True,
        idempotency=ACCEPTED,
    ),
)
