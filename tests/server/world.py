"""Two tenants, people of every role, keys of every scope, and a client that holds every answer against the
OpenAPI document."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from aiohttp import ClientSession
from aiohttp.test_utils import BaseTestServer, TestServer
from attrs import define, field
from openapi_schema_validator import OAS31Validator

from neruba_core import Neruba
from neruba_core.access.model import PlatformScope, Scope
from neruba_core.tenancy.model import Invited, Member, Role
from neruba_core.testing.contract import samples
from neruba_core.testing.states import State, state
from neruba_server.app import create_app
from neruba_server.connections import Runner
from neruba_server.openapi import _problems, document
from neruba_server.problems import CONTENT_TYPE
from neruba_server.routes.route import Route
from neruba_server.routes.table import ROUTES
from neruba_server.settings import Settings

PASSWORD = "four-swans-cross-9"
USAGE = {"metricKey": "api_tokens", "units": "1250.000000", "timestamp": "2026-03-17T10:15:00.000Z"}
CREDIT = {"amount": "100.000000", "description": "Launch credit"}
CHARGE = {"amount": "12.500000", "description": "GPU hour"}

_PATTERNS = [(route, re.compile(re.sub(r"\{\w+\}", "[^/]+", route.path))) for route in ROUTES]


@define
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def code(self) -> Any:
        """The code of the problem, if it is one."""
        return self.json["code"] if self.headers.get("Content-Type") == CONTENT_TYPE else None

    def faults(self) -> set[tuple[str, str]]:
        """Where the request is at fault, and with which code."""
        return {(fault["path"], fault["code"]) for fault in self.json.get("errors", ())}


@define
class Client:
    """Asks, and holds each answer against the document."""

    session: ClientSession
    base: str

    async def ask(
        self,
        method: str,
        path: str,
        *who: Mapping[str, str],
        key: str | None = None,
        documented: bool = True,
        headers: Any = None,
        **request: Any,
    ) -> Answer:
        sent: list[tuple[str, str]] = [pair for one in who for pair in one.items()]
        sent += list(headers.items() if isinstance(headers, Mapping) else headers or ())
        if key is not None:
            sent.append(("Idempotency-Key", key))
        async with self.session.request(
            method, self.base + path, headers=sent, allow_redirects=False, **request
        ) as response:
            answer = Answer(response.status, response.headers, await response.read())
        assert answer.headers["X-Request-Id"]
        assert answer.headers["Server"] == "neruba"
        if documented:
            hold(method, path, answer)
        return answer


def route_of(method: str, path: str) -> Route | None:
    plain = path.partition("?")[0]
    found = [route for route, pattern in _PATTERNS if route.method == method and pattern.fullmatch(plain)]
    # /ingest/usage/batch and /ingest/usage/{usageId}/void do not overlap, nor does anything else.
    assert len(found) <= 1
    return found[0] if found else None


def hold(method: str, path: str, answer: Answer) -> None:
    """Fail unless the document says that this route may answer so."""
    route = route_of(method, path)
    if route is None:
        return
    responses = described()["paths"][route.path][method.lower()]["responses"]
    assert str(answer.status) in responses, f"{route.operation} answers {answer.status}: {answer.content!r}"
    content = responses[str(answer.status)].get("content")
    if content is None:
        assert answer.content == b""
        return
    kind = answer.headers["Content-Type"].partition(";")[0]
    assert kind in content, f"{route.operation} answers {answer.status} as {kind}"
    if not kind.endswith("json"):
        return
    validator(json.dumps(content[kind]["schema"])).validate(answer.json)
    if kind == CONTENT_TYPE:
        document_of_problem = answer.json
        assert document_of_problem["status"] == answer.status
        assert document_of_problem["code"] in _problems(route)[answer.status]


@cache
def described() -> dict[str, Any]:
    return document()


@cache
def validator(schema: str) -> OAS31Validator:
    return OAS31Validator({**json.loads(schema), "components": described()["components"]})


@define
class Tenant:
    """A project and everything in it that has an id."""

    id: str
    people: dict[Role, Mapping[str, str]] = field(factory=dict)
    machines: dict[Scope, Mapping[str, str]] = field(factory=dict)
    ids: dict[str, str] = field(factory=dict)

    @property
    def owner(self) -> Mapping[str, str]:
        return self.people[Role.OWNER]

    @property
    def finance(self) -> Mapping[str, str]:
        return self.people[Role.FINANCE]

    @property
    def usage_key(self) -> Mapping[str, str]:
        return self.machines[Scope.INGEST_USAGE]

    @property
    def charge_key(self) -> Mapping[str, str]:
        return self.machines[Scope.INGEST_CHARGE]


@define
class World:
    """A deployment with two tenants that must never meet."""

    neruba: Neruba
    client: Client
    one: Tenant
    other: Tenant
    operator: Mapping[str, str]
    outsider: Mapping[str, str]
    platform: Mapping[PlatformScope, Mapping[str, str]]

    async def ask(self, method: str, path: str, *who: Mapping[str, str], **request: Any) -> Answer:
        return await self.client.ask(method, path, *who, **request)

    def state(self, tenant: Tenant) -> State:
        """What a tenant consists of now, to be compared with what it did."""
        return state(self.neruba, tenant.id)


def bearer(neruba: Neruba, email: str, *, operator: bool = False) -> Mapping[str, str]:
    """Headers of someone new who is signed in."""
    neruba.users.add(email, PASSWORD, operator=operator)
    return {"Authorization": f"Bearer {neruba.sessions.login(email, PASSWORD).access_token}"}


def tenant(neruba: Neruba, name: str) -> Tenant:
    """A project with a person of each role, a key of each scope, and one of everything."""
    owner = bearer(neruba, f"owner@{name}.example")
    owner_id = neruba.users.get(f"owner@{name}.example").id
    project = neruba.projects.create(name=name, owner=owner_id)
    made = Tenant(project.id, {Role.OWNER: owner})
    for role in Role:
        if role is not Role.OWNER:
            made.people[role] = bearer(neruba, f"{role.value}@{name}.example")
            neruba.members.add(project.id, email=f"{role.value}@{name}.example", role=role)
    for scope in Scope:
        issued = neruba.access_keys.issue(project.id, name=scope.value, scopes=[scope])
        made.machines[scope] = {"X-Api-Key": issued.secret}
    made.ids = _one_of_each(neruba, project.id, name)
    return made


def _one_of_each(neruba: Neruba, project_id: str, name: str) -> dict[str, str]:
    from neruba_core.instants import parse

    spare = neruba.users.add(f"spare@{name}.example", PASSWORD)
    member = neruba.members.add(project_id, email=spare.email, role=Role.VIEWER)
    assert isinstance(member, Member)
    invited = neruba.members.add(project_id, email=f"invited@{name}.example", role=Role.VIEWER)
    assert isinstance(invited, Invited)
    key = neruba.access_keys.issue(project_id, name="spare", scopes=[Scope.READ_USAGE])
    neruba.metrics.declare(project_id, key="api_tokens")
    at = parse("2026-03-17T10:15:00Z")
    usage = neruba.usage.record(
        project_id, metric_key="api_tokens", units="1", timestamp=at, idempotency_key=f"{name}-usage"
    )
    neruba.projects.update(project_id, metric_policy="strict")
    waiting = neruba.usage.record(
        project_id, metric_key="unknown", units="1", timestamp=at, idempotency_key=f"{name}-waiting"
    )
    neruba.projects.update(project_id, metric_policy="open")
    plan = neruba.plans.publish(key="pro", name="Pro", amount="29.00")
    credit = neruba.wallets.credit(
        project_id, amount="50", description="first", idempotency_key=f"{name}-credit"
    )
    if neruba.payments.asks_outside:
        # Nothing is to happen by itself while others look at the world.
        neruba.payments.set_method(
            project_id, provider="rehearsed", customer=f"cus_{name}", collects_invoices=False
        )
    billed = _two_months_billed(neruba, project_id, name)
    return {
        **billed,
        "projectId": project_id,
        "userId": spare.id,
        "keyId": key.key.id,
        "key": "api_tokens",
        "usageId": usage.value.id,
        "quarantineId": waiting.value.id,
        "transactionId": credit.value.id,
        "planId": plan.id,
        "providerEventId": _told(neruba, name),
        "requestId": f"{name}-request",
        "invitation": invited.token,
    }


def _told(neruba: Neruba, name: str) -> str:
    """What a payment provider has sent."""
    event = samples.provider_event(event_id=f"evt_{name}", received_at=neruba.now())
    with neruba._context.storage.work() as work:
        work.payments.add_event(event)
    return event.id


def _two_months_billed(neruba: Neruba, project_id: str, name: str) -> dict[str, str]:
    """An invoice and a draft of two months long past; the invoice has a line of several events."""
    from neruba_core.instants import parse

    neruba.metrics.declare(project_id, key="storage")
    neruba.prices.create(
        project_id,
        metric_key="storage",
        model="unit",
        unit_amount="0.01",
        effective_from=parse("2025-01-01T00:00:00Z"),
    )
    for number, day in enumerate(("2025-10-03", "2025-10-04", "2025-10-05", "2025-11-03")):
        neruba.usage.record(
            project_id,
            metric_key="storage",
            units="100",
            timestamp=parse(f"{day}T00:00:00Z"),
            idempotency_key=f"{name}-storage-{number}",
        )
    first = neruba.billing.run(project_id, "2025-10", finalize=True)
    neruba.billing.run(project_id, "2025-11", finalize=False)
    assert first.invoice is not None
    return {"runId": first.run.id, "invoiceId": first.invoice.id, "lineId": first.invoice.lines[0].id}


def stocked(world: World) -> World:
    """*world*, whose tenants also have a hold, a payment, an invoice of which something is open, and somebody
    who listens. It is apart from the rest, for it moves money that other tests count."""
    for tenant in (world.one, world.other):
        tenant.ids |= _money_in_and_out(world.neruba, tenant.id)
        tenant.ids |= _listened_to(world.neruba, tenant.id)
    return world


def _listened_to(neruba: Neruba, project_id: str) -> dict[str, str]:
    """Two endpoints, and two deliveries to one of them."""
    url = "https://hooks.example.com/neruba"
    neruba.webhooks.create(project_id, url=url, message_types=["invoice.paid"])
    endpoint = neruba.webhooks.create(project_id, url=url).endpoint
    neruba.webhooks.test(project_id, endpoint.id)
    delivery = neruba.webhooks.test(project_id, endpoint.id)
    return {"endpointId": endpoint.id, "deliveryId": delivery.id}


def _money_in_and_out(neruba: Neruba, project_id: str) -> dict[str, str]:
    from neruba_core.instants import parse

    neruba.usage.record(
        project_id,
        metric_key="storage",
        units="10000",
        timestamp=parse("2025-11-04T00:00:00Z"),
        idempotency_key="beyond-the-credit",
    )
    billed = neruba.billing.run(project_id, "2025-11", finalize=True).invoice
    assert billed is not None
    neruba.wallets.credit(project_id, amount="50", description="again", idempotency_key="stock-credit")
    hold = neruba.holds.reserve(project_id, amount="1", description="GPU", idempotency_key="stock-hold")
    # A top-up: an invoice of which a part was paid cannot be voided.
    paid = neruba.payments.pay(project_id, amount="7", idempotency_key="stock-payment").value
    return {
        "holdId": hold.value.id,
        "paymentId": paid.id,
        "invoiceId": billed.id,
        "lineId": billed.lines[0].id,
    }


async def world_of(neruba: Neruba, server: BaseTestServer, session: ClientSession) -> World:
    """Two tenants behind *server*."""
    client = Client(session, str(server.make_url("")).rstrip("/"))
    return World(
        neruba,
        client,
        tenant(neruba, "one"),
        tenant(neruba, "other"),
        operator=bearer(neruba, "operator@example.com", operator=True),
        outsider=bearer(neruba, "outsider@example.com"),
        platform={
            scope: {"X-Api-Key": neruba.platform_keys.issue(name=scope.value, scopes=[scope]).secret}
            for scope in PlatformScope
        },
    )


class OwnServer(TestServer):
    """A test server that serves as ``neruba serve`` does."""

    async def _make_runner(self, **options: Any) -> Runner:
        options.pop("debug", None)
        return Runner(self.app, **options)


def served(neruba: Neruba, **settings: Any) -> TestServer:
    """A server that is not started yet. It sends no messages: what tests look at stands still."""
    return OwnServer(create_app(neruba, Settings(**{"send_webhooks": False, **settings})))
