"""One request while it is handled: who asks, what they sent, and how to get things done.

A handler is written against a ``Call``. It reads the body, asks the façade on a thread or hands commands
to the writer, and presents what comes back; credentials, limits, idempotency and the trail are here.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import orjson
from aiohttp import web
from attrs import define, field, frozen
from multidict import MultiMapping

from neruba_core import Neruba, texts
from neruba_core.audit.model import Origin, Outcome, Trail
from neruba_core.audit.outcomes import Unreadable
from neruba_core.batch import Command, Verdict
from neruba_core.errors import KeyInProgress, KeyInvalid, KeyMissing, KeyReused, NerubaError
from neruba_core.idempotency.once import Given, Made
from neruba_core.ids import Ids
from neruba_core.namespaces.sessions import Sessions
from neruba_core.tenancy.projects import PLATFORM
from neruba_core.testing.clock import SettableClock
from neruba_server import present, trail
from neruba_server.auth import Door, KeyRing, Machine, Person, Principal
from neruba_server.limits import JSON, MOST_BODY_BYTES, body_of, content_type, parsed
from neruba_server.problems import status_of
from neruba_server.routes.query import read_query
from neruba_server.settings import Settings
from neruba_server.wire import converter
from neruba_server.writer import KEY_RETRY_SECONDS, KEY_WAIT_SECONDS, Submission, Verdicts, Writer

T = TypeVar("T")

KEY_HEADER = "Idempotency-Key"
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


@define(eq=False)
class House:
    """What all requests share."""

    neruba: Neruba
    settings: Settings
    ids: Ids
    keys: KeyRing
    door: Door
    writer: Writer
    pool: ThreadPoolExecutor
    hashing: ThreadPoolExecutor
    """Passwords have threads of their own: a few logins must not hold up everyone else's reads."""
    sessions: Sessions
    """Those of the façade, with the deployment's token lifetime."""
    trusted: tuple[Any, ...] = ()
    stopping: bool = False
    started: bool = False
    openapi: bytes = b""
    alive: Callable[[], bool] = field(default=lambda: True)
    clock: SettableClock | None = None
    """The clock of a server under test, which people move."""
    clock_moves: asyncio.Lock = field(factory=asyncio.Lock)

    async def run(self, act: Callable[[], T]) -> T:
        """Run *act* on a thread that may wait for the database."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, act)

    async def hash(self, act: Callable[[], T]) -> T:
        """Run *act*, which computes argon2, on one of the few threads for that."""
        return await asyncio.get_running_loop().run_in_executor(self.hashing, act)


@frozen
class Answer:
    """What a write that is done at most once is answered with. *keep* is what a replay shows, where
    that differs (a secret is null in it); *subject_id* names what was made."""

    value: Any
    status: int = 201
    keep: Any = None
    subject_id: str | None = None

    def made(self) -> Made:
        """As it is stored: the status before the body."""
        shown, kept = _stored(self.status, self.value), _stored(self.status, self.keep or self.value)
        return Made(shown, kept, self.subject_id)


@define(eq=False)
class Call:
    """One request. *query* holds its checked parameters."""

    house: House
    request: web.Request
    request_id: str
    route: Any
    principal: Principal = None
    project_id: str | None = None
    noted: bool = False
    """Whether the trail has a row of it already."""
    outcome: Outcome | None = None
    """What a refused write counts as, where that is known before it is presented."""

    # --- who and where ------------------------------------------------------------------------

    @property
    def neruba(self) -> Neruba:
        return self.house.neruba

    @property
    def person(self) -> Person:
        """The person who asks, on a people's route."""
        assert isinstance(self.principal, Person), "the door lets only people in"
        return self.principal

    @property
    def machine(self) -> Machine:
        """The machine that asks, on a machines' route."""
        assert isinstance(self.principal, Machine), "the door lets only machines in"
        return self.principal

    @property
    def tenant(self) -> str | None:
        """The project of the route or of the access key; None where the request concerns no one project."""
        if self.project_id is not None:
            return self.project_id
        return self.principal.key.project_id if isinstance(self.principal, Machine) else None

    @property
    def project(self) -> str:
        """The project of the route, or of the access key."""
        tenant = self.tenant
        assert tenant is not None, "the route names a project, or is for its machines"
        return tenant

    @property
    def scope_id(self) -> str:
        """Within what an idempotency key names one write: the project, or else the person, or the platform
        whichever of its keys asks."""
        if self.tenant is not None:
            return self.tenant
        return self.principal.user.id if isinstance(self.principal, Person) else PLATFORM

    @property
    def actor(self) -> str:
        """As the trail names who asks."""
        return "anyone" if self.principal is None else self.principal.actor

    @property
    def origin(self) -> Origin:
        """As the core notes who asks."""
        return Origin(self.actor, self.request_id)

    def path(self, name: str) -> str:
        """A parameter of the path."""
        return self.request.match_info[name]

    # --- what was sent ------------------------------------------------------------------------

    async def read(self, shape: type[T], *, optional: bool = False) -> T:
        """The body as *shape*. Raises ``BodyInvalid`` with all its faults, or says why it is no JSON."""
        return converter.read(shape, await self.json(optional=optional))

    async def json(self, *, optional: bool = False) -> Any:
        """The body's JSON, whatever it says; of no body, if that is *optional*, an empty object."""
        request = self.request
        content = await body_of(request, MOST_BODY_BYTES) if request.body_exists else b""
        if optional and not content:
            return {}
        content_type(request, JSON)
        return parsed(content)

    def key(self) -> str:
        """The idempotency key, which this route requires."""
        key = self.optional_key()
        if key is None:
            raise KeyMissing
        return key

    def optional_key(self) -> str | None:
        """The idempotency key, if one was sent."""
        return key_of(self.request.headers)

    def query(self) -> Any:
        """The checked query parameters. Raises ``QueryInvalid`` with all faults."""
        return read_query(self.request, self.route.query)

    # --- getting things done ------------------------------------------------------------------

    async def run(self, act: Callable[[Neruba], T]) -> T:
        """Ask the façade something on a thread."""
        neruba = self.house.neruba
        return await self.house.run(lambda: act(neruba))

    async def submit(self, command: Command) -> web.Response:
        """Hand one command to the writer and present its verdict."""
        submission, (verdict,) = await self._submitted((command,), batch=False)
        if isinstance(verdict, Exception):
            raise verdict
        return present.verdict(verdict, request_id=self.request_id, voided_at=submission.voided_at)

    async def submit_many(self, commands: Sequence[Command]) -> Sequence[Verdict | Exception]:
        """Hand the commands of a batch to the writer; one verdict each."""
        _, verdicts = await self._submitted(commands, batch=True)
        for verdict in verdicts:
            if isinstance(verdict, NerubaError):
                raise verdict
        return verdicts

    async def _submitted(self, commands: Sequence[Command], *, batch: bool) -> tuple[Submission, Verdicts]:
        self.noted = True
        given: asyncio.Future[tuple[Submission, Verdicts]] = asyncio.get_running_loop().create_future()

        def answer(submission: Submission, verdicts: Verdicts) -> None:
            if not given.done():
                given.set_result((submission, verdicts))

        self.house.writer.submit(
            commands,
            request_id=self.request_id,
            method=self.request.method,
            path=self.request.rel_url.raw_path,
            principal=self.actor,
            answer=answer,
            batch=batch,
        )
        return await given

    async def counted(self, operation: str, error: NerubaError) -> NerubaError:
        """Count an ingest request that *error* refuses before it became a command; gives *error* back."""
        key = None
        with suppress(NerubaError):
            key = self.optional_key()
        unreadable = Unreadable(self.project, operation, error, self.origin, key)
        await self.submit(unreadable)
        self.outcome = unreadable.outcome
        return error

    async def once(
        self,
        body: Any,
        act: Callable[[Neruba], Answer],
        *,
        founds: bool = False,
        counts: bool = False,
    ) -> web.Response:
        """Do *act* in one unit of work with its trail row, at most once if there is a key.

        The row is the project's, or with *founds* that of the project which the answer shows; what
        concerns no project leaves none. With *counts*, *act* is an ingest attempt that counts itself, and
        its replays are counted here.
        """
        key = self.optional_key()
        canonical = converter.canonical(body)
        given = await self._patiently(
            lambda neruba: neruba.unit(lambda bound: self._once(bound, key, canonical, act, founds, counts))
        )
        self.noted = True
        status, content = _told(given.body)
        response = present.body(content, status)
        if key is not None:
            response.headers[present.OUTCOME] = "replayed" if given.replayed else "accepted"
        if given.replayed:
            response.headers[present.REPLAYED] = "true"
        return response

    async def write(self, act: Callable[[Neruba], T], *, status: int = 200) -> T:
        """Do *act* in one unit of work with the trail row of the project that it concerns, if any."""
        tenant = self.tenant

        def unit(bound: Neruba) -> T:
            done = act(bound)
            if tenant is not None:
                bound.audit.note_trail([self._row(tenant, status)])
            return done

        done = await self.run(lambda neruba: neruba.unit(unit))
        self.noted = True
        return done

    async def note_refusal(self, error: NerubaError) -> None:
        """Leave a row of a write that was refused after the door, if the trail can take it."""
        if self.noted or self.principal is None or self.project_id is None:
            return
        row = self._row(self.project_id, status_of(error))
        await self.run(lambda neruba: neruba.audit.note_trail([row]))

    async def _patiently(self, act: Callable[[Neruba], T]) -> T:
        """Run *act*, again for a while if another unit in flight holds its key."""
        give_up_at = time.monotonic() + KEY_WAIT_SECONDS
        while True:
            try:
                return await self.run(act)
            except KeyReused:
                self.outcome = Outcome.CONFLICT
                raise
            except KeyInProgress:
                if time.monotonic() >= give_up_at:
                    raise
            await asyncio.sleep(KEY_RETRY_SECONDS)

    def _once(
        self,
        bound: Neruba,
        key: str | None,
        body: dict[str, Any],
        act: Callable[[Neruba], Answer],
        founds: bool,
        counts: bool,
    ) -> Given:
        given = bound.once(
            lambda inner: act(inner).made(),
            scope_id=self.scope_id,
            operation=self.route.operation,
            path=self.route.path_of(self.request.match_info),
            body=body,
            idempotency_key=key,
            request_id=self.request_id,
        )
        if counts and given.replayed:
            bound.audit.count_replay(self.project)
        status, content = _told(given.body)
        project_id = orjson.loads(content)["id"] if founds else self.tenant
        if project_id is not None:
            outcome = ("replayed" if given.replayed else "accepted") if key is not None else None
            bound.audit.note_trail([self._row(project_id, status, outcome)])
        return given

    def _row(self, project_id: str, status: int, outcome: str | None = None) -> Trail:
        return trail.row(
            project_id=project_id,
            request_id=self.request_id,
            at=self.neruba.now(),
            ids=self.house.ids,
            method=self.request.method,
            path=self.request.rel_url.raw_path,
            principal=self.actor,
            status=status,
            outcome=outcome,
        )


def key_of(headers: MultiMapping[str]) -> str | None:
    """The idempotency key of a request's *headers*, if there is one: bare or quoted, in one line.

    Raises ``KeyInvalid``.
    """
    lines = headers.getall(KEY_HEADER, ())
    if not lines:
        return None
    if len(lines) > 1:
        raise KeyInvalid
    line = lines[0].strip(" \t")
    if line.startswith('"'):
        match = _QUOTED.fullmatch(line)
        if match is None:
            raise KeyInvalid
        line = re.sub(r"\\(.)", r"\1", match[1])
    return texts.idempotency_key(line)


def _stored(status: int, value: Any) -> str:
    return f"{status} {orjson.dumps(converter.written(value)).decode()}"


def _told(stored: str) -> tuple[int, bytes]:
    status, _, content = stored.partition(" ")
    return int(status), content.encode()
