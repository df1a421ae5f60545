"""Every route, in one table.

aiohttp's registration, the door, the OpenAPI document and the generated tests of roles, scopes and
tenants all derive from it, so a route cannot exist for one of them and not for the others.
"""

from __future__ import annotations

from neruba_server.routes.route import Route
from neruba_server.routes.table import (
    billing,
    catalogue,
    ingest,
    money,
    operation,
    payments,
    people,
    webhooks,
)

ROUTES: tuple[Route, ...] = (
    *people.ROUTES,
    *ingest.ROUTES,
    *catalogue.ROUTES,
    *money.ROUTES,
    *billing.ROUTES,
    *payments.ROUTES,
    *webhooks.ROUTES,
    *operation.ROUTES,
)
