"""Who is let in, for every route of the table; and two tenants that never meet.

Nothing here lists routes: a new one is tried with all the rest, and one that these tests do not know how to
try fails them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import pytest

from neruba_core.access.model import PlatformScope, Scope
from neruba_core.tenancy.model import Role
from neruba_server.auth import Anyone, Machines, Operators, People, PeopleOrMachines
from neruba_server.routes.route import NOT_FOUND, Idempotency, Route
from neruba_server.routes.table import ROUTES
from tests.server.world import CHARGE, CREDIT, PASSWORD, USAGE, Answer, Tenant, World, stocked

BODIES: Mapping[str, Any] = {
    "login": {"email": "viewer@one.example", "password": PASSWORD},
    "refresh": {"refreshToken": "of-nobody"},
    "changePassword": {"currentPassword": PASSWORD, "newPassword": "seven-herons-rise-2"},
    "acceptInvitation": {"token": "of-nobody", "password": PASSWORD},
    "createProject": {"name": "Acme"},
    "changeProject": {},
    "archiveProject": {},
    "addMember": {"email": "newcomer@example.com", "role": "viewer"},
    "changeRole": {"role": "viewer"},
    "issueAccessKey": {"name": "Usage ingest", "scopes": ["ingest:usage"]},
    "rotateAccessKey": {"overlapHours": 1},
    "recordUsage": USAGE,
    "recordUsageBatch": {"events": [{"idempotencyKey": "door", **USAGE}]},
    "charge": {**CHARGE, "amount": "0.5"},
    "voidUsage": {"reason": "sent by a test"},
    "hold": {**CHARGE, "amount": "0.5"},
    "captureHold": {"amount": "0.5"},
    "releaseHold": {},
    "issuePlatformKey": {"name": "Sign-up", "scopes": ["projects:write"]},
    "rotatePlatformKey": {"overlapHours": 1},
    "declareSharedMetric": {"key": "shared_metric"},
    "changeSharedMetric": {"unit": "tokens"},
    "declareSharedPrice": {"metricKey": "shared_metric", "model": "unit", "unitAmount": "0.000002"},
    "declareMetric": {"key": "new_metric"},
    "changeMetric": {"unit": "tokens"},
    "publishPlan": {"key": "team", "name": "Team", "amount": "49.00"},
    "decideSubscription": {"planKey": "pro", "quantity": 2},
    "declarePrice": {"metricKey": "api_tokens", "model": "unit", "unitAmount": "0.000002"},
    "runBilling": {"period": "2025-10"},
    "finalizeInvoice": {},
    "voidInvoice": {"reason": "wrong price"},
    "recordPayment": {"provider": "manual", "amount": "1"},
    "refundPayment": {"amount": "1", "reason": "twice"},
    "issueCreditNote": {"amount": "0.5", "reason": "outage"},
    "writeOffInvoice": {"reason": "nobody pays"},
    "createWebhookEndpoint": {"url": "https://hooks.example.com/neruba"},
    "rotateWebhookSecret": {"overlapHours": 1},
    "testWebhookEndpoint": {},
    "redeliverWebhook": {},
    "grantCredit": CREDIT,
    "debit": {**CHARGE, "amount": "0.5"},
    "reverseTransaction": {"reason": "typo", "amount": "0.5"},
    "reprocessProviderEvent": {},
    "setPaymentMethod": {"provider": "rehearsed", "customer": "cus_1"},
    "replayQuarantined": {},
    "discardQuarantined": {},
}
"""A request that the route takes, by operation."""

PLATFORM: Mapping[str, PlatformScope] = {
    "createProject": PlatformScope.PROJECTS_WRITE,
    "issueAccessKey": PlatformScope.PROJECTS_WRITE,
    "decideSubscription": PlatformScope.PROJECTS_WRITE,
    "grantCredit": PlatformScope.CREDIT_WRITE,
    "listDecisions": PlatformScope.READ_BILLING,
    "listPlans": PlatformScope.READ_BILLING,
    "getPlan": PlatformScope.READ_BILLING,
    "listSharedMetrics": PlatformScope.READ_BILLING,
    "listSharedPrices": PlatformScope.READ_BILLING,
}
"""What opens to platform keys, by operation, besides the reads that open to a project's ``read:billing``."""

TENANTS = [route for route in ROUTES if "projectId" in route.parameters]


@pytest.fixture
def world(world: World) -> World:
    """
    Tenants that have something behind every door.
    """
    return stocked(world)


def path_of(route: Route, ids: Mapping[str, str]) -> str:
    return route.path_of(ids)


async def try_route(
    world: World, route: Route, path: str, *who: Mapping[str, str], key: str = "door"
) -> Answer:
    """Ask as the route wants to be asked."""
    if route.request is not None:
        assert route.operation in BODIES, f"say in BODIES what {route.operation} takes"
    body = BODIES.get(route.operation)
    if route.operation == "createProject" and any(one in world.platform.values() for one in who):
        body = {**BODIES["createProject"], "ownerEmail": "newcomer@example.com"}
    return await world.ask(
        route.method,
        path,
        *who,
        key=None if route.idempotency is Idempotency.NONE else key,
        json=body,
    )


Caller: TypeAlias = Role | Scope | PlatformScope | str


def callers(world: World, tenant: Tenant) -> Iterator[tuple[Caller, Mapping[str, str]]]:
    """Everyone who might ask, those with the least rights first."""
    yield "nobody", {}
    yield "outsider", world.outsider
    yield "foreigner", world.other.owner
    yield from ((f"foreign {scope.value}", headers) for scope, headers in world.other.machines.items())
    yield from tenant.machines.items()
    yield from world.platform.items()
    yield from ((role, tenant.people[role]) for role in reversed(Role))
    yield "operator", world.operator


def verdict(route: Route, caller: Caller) -> str | None:
    """The code that *caller* is refused with by *route*, ``None`` if let in; said a second time here, from
    the contract, and not taken from the door."""
    who = route.who
    if isinstance(who, Anyone):
        return None
    if caller == "nobody":
        return "auth.credentials_missing"
    if isinstance(caller, PlatformScope):
        return _platform_verdict(route, caller)
    machine = isinstance(caller, Scope) or (isinstance(caller, str) and caller.startswith("foreign "))
    tenants = "projectId" in route.parameters
    match who:
        case People(roles):
            if machine:
                return "access.role_missing"
            if not tenants or caller == "operator":
                return None
            if caller in ("outsider", "foreigner"):
                return "project.not_found"
            assert isinstance(caller, Role)
            return None if any(caller.includes(role) for role in roles) else "access.role_missing"
        case Operators():
            return None if caller == "operator" else "access.role_missing"
        case Machines(scope):
            if not machine:
                return "access.scope_missing"
            name = caller.value if isinstance(caller, Scope) else str(caller).removeprefix("foreign ")
            return None if name == scope.value else "access.scope_missing"
        case PeopleOrMachines(_, scope):
            if caller in ("outsider", "foreigner") or (machine and not isinstance(caller, Scope)):
                return "project.not_found"
            if isinstance(caller, Scope):
                return None if caller is scope else "access.scope_missing"
            return None
    raise AssertionError(f"who is {who}?")


def _platform_scope(route: Route) -> PlatformScope | None:
    if isinstance(route.who, PeopleOrMachines) and route.who.scope is Scope.READ_BILLING:
        return PlatformScope.READ_BILLING
    return PLATFORM.get(route.operation)


def _platform_verdict(route: Route, scope: PlatformScope) -> str | None:
    needed = _platform_scope(route)
    if needed is not None:
        return None if scope is needed else "access.scope_missing"
    return "access.role_missing" if isinstance(route.who, People | Operators) else "access.scope_missing"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation)
async def test_a_route_lets_in_whom_it_is_for_and_nobody_else(world: World, route: Route):
    """
    Every route × every role, every scope, strangers and nobody.
    """
    path = path_of(route, world.one.ids)
    for number, (caller, headers) in enumerate(callers(world, world.one)):
        expected = verdict(route, caller)
        before = world.state(world.one)

        answer = await try_route(world, route, path, headers, key=f"door-{number}")

        if expected is not None:
            assert answer.code == expected, f"{caller} was answered {answer.status} {answer.content!r}"
            assert world.state(world.one) == before
        elif isinstance(route.who, Machines) and str(caller).startswith("foreign "):
            # Machines' routes name no project: a key acts in its own, and only there.
            assert world.state(world.one) == before
        elif not isinstance(route.who, Anyone):
            assert answer.status not in (401, 403), f"{caller} was answered {answer.content!r}"
            assert answer.code != "project.not_found"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation)
async def test_bad_credentials_are_refused_and_challenged(world: World, route: Route):
    """
    A wrong token, a wrong key, a scheme of another kind: 401. Two at once: 400.
    """
    if isinstance(route.who, Anyone):
        return
    path = path_of(route, world.one.ids)
    wrong = [
        {"Authorization": "Bearer of-nobody"},
        {"Authorization": "Basic b3duZXI6cGFzc3dvcmQ="},
        {"Authorization": "Bearer"},
        {"X-Api-Key": "nrb_test_of_nobody"},
        {"X-Api-Key": world.one.machines[Scope.INGEST_USAGE]["X-Api-Key"][:-1] + "!"},
        {"X-Api-Key": ""},
    ]
    for headers in wrong:
        answer = await try_route(world, route, path, headers)
        assert answer.status == 401
        assert "realm=" in answer.headers["WWW-Authenticate"]

    both = await try_route(world, route, path, world.one.owner, world.one.usage_key)
    twice = await try_route(world, route, path, world.one.owner, world.operator)

    assert (both.status, both.code) == (twice.status, twice.code) == (400, "auth.credentials_both")


@pytest.mark.parametrize("route", TENANTS, ids=lambda route: route.operation)
async def test_another_tenants_project_looks_like_none(world: World, route: Route):
    """
    Asking about someone else's project is answered as asking about one that does not exist.
    """
    foreign = path_of(route, world.one.ids)
    nowhere = path_of(route, {**world.one.ids, "projectId": "prj_00000000000000000000000000000000"})
    before = world.state(world.one)

    for who in _strangers(world, route):
        seen = await try_route(world, route, foreign, who)
        unseen = await try_route(world, route, nowhere, who)

        assert seen.status == unseen.status == 404
        assert _anonymous(seen) == _anonymous(unseen)
    assert world.state(world.one) == before


@pytest.mark.parametrize(
    "route",
    [route for route in TENANTS if _platform_scope(route) is not None],
    ids=lambda route: route.operation,
)
async def test_to_the_platform_a_project_that_is_not_there_looks_so(world: World, route: Route):
    """
    It may know of every project, and is told which there are none of.
    """
    scope = _platform_scope(route)
    assert scope is not None
    for nothing in ("prj_00000000000000000000000000000000", "no such thing"):
        path = path_of(route, {**world.one.ids, "projectId": nothing})

        answer = await try_route(world, route, path, world.platform[scope])

        assert (answer.status, answer.code) == (404, "project.not_found")


@pytest.mark.parametrize(
    ("route", "name"),
    [(route, name) for route in ROUTES for name in route.parameters if name != "projectId"],
    ids=lambda value: value if isinstance(value, str) else value.operation,
)
async def test_another_tenants_id_looks_like_none(world: World, route: Route, name: str):
    """
    An id of another tenant, in one's own project, is answered as an id of nothing.
    """
    if name in ("key", "requestId", "planId", "providerEventId"):
        # Metric keys and request ids are the clients' own names; the same may stand in every project.
        # Plans and what providers send are the deployment's.
        return
    assert name in NOT_FOUND, f"say in NOT_FOUND what is missing where {name} names nothing"
    own = world.other.ids
    foreign = path_of(route, {**own, name: world.one.ids[name]})
    nowhere = path_of(route, {**own, name: world.one.ids[name][:-8] + "ffffffff"})
    states = world.state(world.one), world.state(world.other)
    who = world.other.machines[route.who.scope] if isinstance(route.who, Machines) else world.other.owner
    if isinstance(route.who, Operators):
        who = world.operator

    seen = await try_route(world, route, foreign, who, key="first")
    unseen = await try_route(world, route, nowhere, who, key="second")

    assert seen.status == unseen.status == 404
    assert _anonymous(seen) == _anonymous(unseen)
    assert (world.state(world.one), world.state(world.other)) == states


@pytest.mark.parametrize(
    "route", [route for route in TENANTS if route.query], ids=lambda route: route.operation
)
async def test_a_cursor_or_filter_of_another_tenant_shows_nothing(world: World, route: Route):
    """
    Cursors belong to their list; a filter by a foreign id finds nothing.
    """
    names = {parameter.name for parameter in route.query}
    if "cursor" in names:
        for number in range(3):
            await world.ask("POST", "/ingest/usage", world.one.usage_key, key=f"{number}", json=USAGE)
            await world.ask("POST", "/ingest/usage", world.one.usage_key, key=f"x{number}", json={})
            await world.ask(
                "POST",
                f"/projects/{world.one.id}/transactions/credit",
                world.one.finance,
                key=f"{number}",
                json=CREDIT,
            )
            await world.ask(
                "POST",
                f"/projects/{world.one.id}/payments",
                world.one.finance,
                key=f"{number}",
                json=BODIES["recordPayment"],
            )
            key = f"metric_{number}"
            await world.ask("POST", f"/projects/{world.one.id}/metrics", world.one.owner, json={"key": key})
            decision = {"planKey": "pro", "quantity": number + 1}
            await world.ask("POST", f"/projects/{world.one.id}/subscription", world.one.owner, json=decision)
            price = {**BODIES["declarePrice"], "metricKey": key}
            await world.ask("POST", f"/projects/{world.one.id}/prices", world.one.owner, json=price)
        path = path_of(route, world.one.ids)
        line = f"&line={world.one.ids['lineId']}" if "line" in names else ""
        page = await world.ask("GET", f"{path}?limit=1{line}", world.one.owner)
        cursor = page.json["nextCursor"]
        assert cursor is not None

        stolen = await world.ask(
            "GET", f"{path_of(route, world.other.ids)}?cursor={cursor}", world.other.owner
        )
        garbled = await world.ask("GET", f"{path_of(route, world.one.ids)}?cursor=x{cursor}", world.one.owner)

        assert (stolen.status, stolen.code) == (400, "cursor.mismatch")
        assert (garbled.status, garbled.code) == (400, "cursor.invalid")
    if "accessKeyId" in names:
        path = f"{path_of(route, world.other.ids)}?accessKeyId={world.one.ids['keyId']}"
        assert (await world.ask("GET", path, world.other.owner)).json["items"] == []


@pytest.mark.parametrize(
    "route",
    [
        route
        for route in ROUTES
        if route.idempotency is not Idempotency.NONE and not isinstance(route.who, Operators)
    ],
    ids=lambda route: route.operation,
)
async def test_tenants_do_not_share_idempotency_keys(world: World, route: Route):
    """
    The same key in two tenants is two keys.
    """
    answers = []
    for tenant in (world.one, world.other):
        machine = isinstance(route.who, Machines)
        who = tenant.machines[route.who.scope] if isinstance(route.who, Machines) else tenant.owner
        assert machine or isinstance(route.who, People)
        answers.append(await try_route(world, route, path_of(route, tenant.ids), who, key="shared"))
    first, second = answers

    assert first.status == second.status < 300
    assert "Idempotent-Replayed" not in second.headers
    assert first.content != second.content


async def test_each_setting_has_its_own_role(world: World):
    """
    What money hangs on is finance's matter, all else admin's; a mixed change is all or nothing.
    """
    one = world.one
    path = f"/projects/{one.id}"
    settings: dict[Role, dict[str, Any]] = {
        Role.ADMIN: {
            "name": "New name",
            "metricPolicy": "strict",
            "maxBackdateDays": 30,
            "timezone": "Asia/Tokyo",
            "lateUsagePolicy": "credit_note",
            "graceHours": 48,
        },
        Role.FINANCE: {
            "creditLimit": "10",
            "billingMode": "prepaid",
            "onEmpty": "record",
            "taxRate": "0.19",
            "lowBalanceThreshold": "5",
            "topUp": {"threshold": "5", "amount": "20", "monthlyCap": "100"},
        },
    }
    for needed, changes in settings.items():
        for field, value in changes.items():
            for role in Role:
                answer = await world.ask("PATCH", path, one.people[role], json={field: value})
                assert (answer.status == 200) is role.includes(needed), (field, role)
    before = world.state(one)

    mixed = await world.ask(
        "PATCH", path, one.people[Role.ADMIN], json={"name": "Other", "creditLimit": "99"}
    )

    assert (mixed.status, mixed.code) == (403, "access.role_missing")
    assert world.state(one) == before


async def test_nobody_grants_above_their_own_role(world: World):
    """
    An admin makes viewers and admins, not owners; the last owner stays.
    """
    one = world.one
    path = f"/projects/{one.id}/members"
    admin, owner = one.people[Role.ADMIN], one.owner
    me = (await world.ask("GET", "/auth/me", owner)).json["id"]

    above = await world.ask("POST", path, admin, json={"email": "x@example.com", "role": "owner"})
    within = await world.ask("POST", path, admin, json={"email": "x@example.com", "role": "viewer"})
    last = await world.ask("DELETE", f"{path}/{me}", owner)
    down = await world.ask("PATCH", f"{path}/{me}", owner, json={"role": "viewer"})

    assert (above.status, above.code) == (403, "access.role_missing")
    assert within.status == 201
    assert within.json["invitation"]["token"]
    assert (last.status, last.code) == (down.status, down.code) == (409, "member.last_owner")


async def test_a_revoked_key_is_refused_at_once(world: World):
    """
    In the process that revoked it there is no moment of grace, although keys are remembered.
    """
    one = world.one
    secret = one.usage_key
    listed = await world.ask("GET", f"/projects/{one.id}/access-keys", one.owner)
    key_id = next(key["id"] for key in listed.json["items"] if key["name"] == "ingest:usage")
    before = await world.ask("POST", "/ingest/usage", secret, key="r1", json=USAGE)

    revoked = await world.ask("DELETE", f"/projects/{one.id}/access-keys/{key_id}", one.owner)
    twice = await world.ask("DELETE", f"/projects/{one.id}/access-keys/{key_id}", one.owner)
    after = await world.ask("POST", "/ingest/usage", secret, key="r2", json=USAGE)

    assert (before.status, revoked.status, twice.status) == (201, 204, 204)
    assert (after.status, after.code) == (401, "access.key_refused")


def _strangers(world: World, route: Route) -> Iterator[Mapping[str, str]]:
    yield world.other.owner
    yield world.outsider
    if isinstance(route.who, PeopleOrMachines):
        yield from world.other.machines.values()


def _anonymous(answer: Answer) -> tuple[str, list[str]]:
    """An answer without the ids that were asked for."""
    text = re.sub(rb"[a-z]{3}_[0-9a-f]{24,}", b"<id>", answer.content).decode()
    return text, sorted(name for name in answer.headers if name != "Date")
