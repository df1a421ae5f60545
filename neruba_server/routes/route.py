"""What a route is: all that the door, the OpenAPI document and the generated tests need to know of it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import TypeAlias

from aiohttp import web
from attrs import frozen

from neruba_core.access.model import PlatformScope, Scope
from neruba_core.errors import (
    AccessKeyNotFound,
    HoldNotFound,
    InvoiceNotFound,
    MemberNotFound,
    MetricNotFound,
    NerubaError,
    PaymentNotFound,
    PlanNotFound,
    ProjectNotFound,
    ProviderEventNotFound,
    QuarantineNotFound,
    RunNotFound,
    TransactionNotFound,
    UsageNotFound,
    WebhookDeliveryNotFound,
    WebhookEndpointNotFound,
)
from neruba_core.tenancy.model import Role
from neruba_server.auth import Audience, Machines, People, PeopleOrMachines
from neruba_server.problems import RouteNotFound
from neruba_server.routes import ingest
from neruba_server.routes.call import Call
from neruba_server.routes.query import Parameter

Handler: TypeAlias = Callable[[Call], Awaitable[web.Response]]


class Idempotency(Enum):
    """Whether a route reads ``Idempotency-Key``."""

    REQUIRED = "required"
    ACCEPTED = "accepted"
    NONE = "none"


REQUIRED, ACCEPTED, NONE = Idempotency.REQUIRED, Idempotency.ACCEPTED, Idempotency.NONE

NOT_FOUND: Mapping[str, Callable[[str], NerubaError]] = {
    "projectId": ProjectNotFound,
    "userId": MemberNotFound,
    "keyId": AccessKeyNotFound,
    "key": MetricNotFound,
    "transactionId": TransactionNotFound,
    "usageId": UsageNotFound,
    "holdId": HoldNotFound,
    "quarantineId": QuarantineNotFound,
    "planId": PlanNotFound,
    "paymentId": PaymentNotFound,
    "providerEventId": ProviderEventNotFound,
    "endpointId": WebhookEndpointNotFound,
    "deliveryId": WebhookDeliveryNotFound,
    "runId": RunNotFound,
    "invoiceId": InvoiceNotFound,
    "requestId": lambda _: RouteNotFound(),
}
"""What is not there where a parameter of the path names nothing."""

_PARAMETER = re.compile(r"\{(\w+)\}")


@frozen
class Route:
    """One route. *responses* gives the wire class of each status (``None``: no body); *operation* names
    it in OpenAPI and, for ever, in the stored answers of idempotency keys."""

    method: str
    path: str
    handler: Handler
    who: Audience
    operation: str
    summary: str
    tag: str
    responses: Mapping[int, type | None]
    request: type | None = None
    body_optional: bool = False
    ndjson: bool = False
    command: ingest.Reader | None = None
    """How the command of a single write of machines is read."""
    formats: tuple[str, ...] = ()
    """What else than JSON it answers 200 as, where ``Accept`` asks for it."""
    idempotency: Idempotency = NONE
    query: tuple[Parameter, ...] = ()
    exposed: bool = False
    """Served only where the deployment exposes its documentation."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the path's parameters."""
        return tuple(_PARAMETER.findall(self.path))

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return self.method not in ("GET", "HEAD")

    def path_of(self, values: Mapping[str, str]) -> str:
        """The path with its parameters filled in, wherever the app is mounted."""
        return _PARAMETER.sub(lambda match: values[match[1]], self.path)


VIEWER = People((Role.VIEWER,))
SUPPORT = People((Role.SUPPORT,))
FINANCE = People((Role.FINANCE,))
ADMIN = People((Role.ADMIN,))
OWNER = People((Role.OWNER,))
USAGE_READERS = PeopleOrMachines(Role.VIEWER, Scope.READ_USAGE)
BILLING_READERS = PeopleOrMachines(Role.VIEWER, Scope.READ_BILLING, PlatformScope.READ_BILLING)
USAGE_SENDERS = Machines(Scope.INGEST_USAGE)
CHARGE_SENDERS = Machines(Scope.INGEST_CHARGE)
