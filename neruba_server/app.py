"""Putting the server together; the only place that knows all its parts.

``create_app`` makes an aiohttp application that can be served alone or mounted in a host's own with
``add_subapp``. It opens nothing of its own: the façade, and with it the database, is the caller's. Whoever
serves it alone does so with ``neruba_server.connections.Runner``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import attrs
from aiohttp import HttpVersion11, hdrs, web

from neruba_core import Neruba
from neruba_core.errors import NerubaError
from neruba_core.ids import Ids
from neruba_core.testing.clock import SettableClock
from neruba_server import openapi, problems, trail
from neruba_server.auth import Anyone, Door, KeyRing, challenge, networks
from neruba_server.direct import DIRECT, Direct
from neruba_server.docs_page.page import add_docs
from neruba_server.headers import finished, request_id_of
from neruba_server.logs import PRINCIPAL
from neruba_server.outbound.deliveries import Deliveries
from neruba_server.present import OUTCOME
from neruba_server.problems import MethodNotAllowed, RouteNotFound
from neruba_server.routes.call import Call, House
from neruba_server.routes.route import NOT_FOUND, Route
from neruba_server.routes.table import ROUTES
from neruba_server.routes.table.operation import TEST_CLOCK
from neruba_server.settings import Settings
from neruba_server.ticker import Ticker
from neruba_server.writer import Writer

T = TypeVar("T")

log = logging.getLogger("neruba.server")

HOUSE: web.AppKey[House] = web.AppKey("house", House)

POOL_THREADS = 4
HASHING_THREADS = 2
UNDER_TEST_CLOCK_MINUTES = 10 * 366 * 24 * 60
"""How long a login lasts under a test clock: moving it on by a year must not sign anybody out."""

_PARAMETER = re.compile(r"\{\w+\}")
_PATH_VALUE = re.compile(r"[A-Za-z0-9._:-]{1,255}", re.ASCII)

Endpoint = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(neruba: Neruba, settings: Settings, *, clock: SettableClock | None = None) -> web.Application:
    """The application over *neruba*, which stays the caller's to close; with the test *clock* that *neruba*
    takes its time from, people may move it."""
    house, ticker = _house(neruba, settings, clock)
    deliveries = Deliveries(neruba) if settings.send_webhooks else None
    house.alive = lambda: ticker.alive and (deliveries is None or deliveries.alive)
    app = web.Application()
    app[HOUSE] = house
    app[DIRECT] = Direct(house, {route.path: route for route in ROUTES if route.command is not None})
    served = [(route.method, route.path) for route in ROUTES if settings.expose_docs or not route.exposed]
    for route in ROUTES:
        if (route.method, route.path) in served:
            _add(app, house, route)
    if clock is not None:
        _add(app, house, TEST_CLOCK)
        served.append((TEST_CLOCK.method, TEST_CLOCK.path))
    if settings.expose_docs:
        house.openapi = openapi.text()
        served += [
            ("GET", path)
            for path in add_docs(
                app, lambda response, request: finished(response, request_id_of(request.headers, house.ids))
            )
        ]
    app.router.add_route("*", "/{rest:.*}", _unrouted(house, served), expect_handler=_expect(house))

    async def start(_: web.Application) -> None:
        house.writer.start()
        ticker.start()
        if deliveries is not None:
            deliveries.start()
        house.started = True

    async def refuse_readiness(_: web.Application) -> None:
        house.stopping = True

    async def stop(_: web.Application) -> None:
        house.stopping = True
        await house.writer.stop()
        await ticker.stop()
        if deliveries is not None:
            await deliveries.stop()
        house.pool.shutdown(wait=True)
        house.hashing.shutdown(wait=True)

    app.on_startup.append(start)
    app.on_shutdown.append(refuse_readiness)
    app.on_cleanup.append(stop)
    return app


def _house(neruba: Neruba, settings: Settings, clock: SettableClock | None) -> tuple[House, Ticker]:
    ids = Ids(clock=neruba.now)
    keys = KeyRing(neruba)
    pool = ThreadPoolExecutor(POOL_THREADS, "neruba-pool")

    async def run(act: Callable[[], T]) -> T:
        return await house.run(act)

    house = House(
        neruba=neruba,
        settings=settings,
        ids=ids,
        keys=keys,
        door=Door(neruba, keys, run),
        writer=Writer(
            neruba,
            lambda noted: trail.rows_of(noted, at=neruba.now(), ids=ids),
        ),
        pool=pool,
        hashing=ThreadPoolExecutor(HASHING_THREADS, "neruba-argon2"),
        sessions=attrs.evolve(
            neruba.sessions,
            access_minutes=settings.access_token_minutes if clock is None else UNDER_TEST_CLOCK_MINUTES,
        ),
        trusted=networks(settings.trusted_proxies),
        clock=clock,
    )
    ticker = Ticker(neruba, keys, run, jobs=settings.jobs if settings.run_jobs else ())
    return house, ticker


def _add(app: web.Application, house: House, route: Route) -> None:
    endpoint = _endpoint(house, route)
    if route.method == "GET":
        app.router.add_get(route.path, endpoint, expect_handler=_expect(house))
    else:
        app.router.add_route(route.method, route.path, endpoint, expect_handler=_expect(house))


def _endpoint(house: House, route: Route) -> Endpoint:
    """The route as aiohttp calls it: the door, the handler, and one place for everything that goes wrong."""
    door, handler, who = house.door, route.handler, route.who
    tenant = "projectId" in route.parameters
    others = tuple(name for name in route.parameters if name != "projectId")

    async def endpoint(request: web.Request) -> web.StreamResponse:
        call = Call(house, request, request_id_of(request.headers, house.ids), route)
        response: web.Response
        try:
            if tenant:
                project_id = request.match_info["projectId"]
                if _PATH_VALUE.fullmatch(project_id) is None:
                    # Nothing is called so; but nobody is told before they have shown who they are.
                    project_id = "-"
                call.principal = await door.admit(request, who, project_id)
                call.project_id = project_id
            else:
                call.principal = await door.admit(request, who, None)
            request[PRINCIPAL] = call.actor
            for name in others:
                value = request.match_info[name]
                if _PATH_VALUE.fullmatch(value) is None:
                    raise NOT_FOUND[name](value)
            response = await handler(call)
        except NerubaError as error:
            response = await _refused(call, error)
        except web.HTTPException as error:
            response = await _refused(call, problems.of_http(error))
        except Exception:
            log.exception("request %s failed", call.request_id)
            response = problems.refused(problems.Internal(), call.request_id)
        return finished(response, call.request_id)

    return endpoint


async def _refused(call: Call, error: NerubaError) -> web.Response:
    status = problems.status_of(error)
    if status >= 500:
        log.warning("request %s: %s", call.request_id, error)
    elif call.route.writes and not call.noted:
        # The trail is a courtesy here: that it cannot be written changes nothing about the refusal.
        try:
            await call.note_refusal(error)
        except Exception as trouble:
            log.warning("request %s left no trail: %s", call.request_id, trouble)
    response = problems.refused(error, call.request_id)
    if call.outcome is not None:
        response.headers[OUTCOME] = call.outcome.value
    if status == 401 and not isinstance(call.route.who, Anyone):
        response.headers[hdrs.WWW_AUTHENTICATE] = challenge(call.route.who)
    return response


def _unrouted(house: House, served: Sequence[tuple[str, str]]) -> Endpoint:
    """Whatever path or method none of the *served* routes has, refused in our words.

    A route and not a middleware: every request would pay for a middleware, and nearly none needs it.
    """
    patterns = [(method, re.compile(_PARAMETER.sub("[^{}/]+", path))) for method, path in served]

    async def unrouted(request: web.Request) -> web.StreamResponse:
        path = f"/{request.match_info['rest']}"
        methods = {method for method, pattern in patterns if pattern.fullmatch(path)}
        error: NerubaError = RouteNotFound()
        if methods:
            error = MethodNotAllowed(tuple(sorted(methods | ({"HEAD"} if "GET" in methods else set()))))
        request_id = request_id_of(request.headers, house.ids)
        return finished(problems.refused(error, request_id), request_id)

    return unrouted


def _expect(house: House) -> Callable[[web.Request], Awaitable[web.StreamResponse | None]]:
    async def expect(request: web.Request) -> web.StreamResponse | None:
        if request.headers.get(hdrs.EXPECT, "").lower() != "100-continue":
            request_id = request_id_of(request.headers, house.ids)
            return finished(problems.refused(problems.ExpectationFailed(), request_id), request_id)
        if request.version >= HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # The answer itself has not begun.
            request.writer.output_size = 0
        return None

    return expect
