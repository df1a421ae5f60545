"""Who asks, and whether they may.

People bring an access token and have a role in each project; machines bring an access key, which belongs
to one project and has scopes, or a platform key, which belongs to none and has scopes in all. The door is
passed before a body is read: whoever may not know of a project learns nothing about it, not even whether
their request would have been well-formed.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias, TypeVar

from aiohttp import hdrs, web
from attrs import define, field, frozen
from multidict import CIMultiDictProxy, istr

from neruba_core import Neruba
from neruba_core.access import secrets
from neruba_core.access.model import AccessKey, PlatformKey, PlatformScope, Scope
from neruba_core.errors import (
    AccessKeyNeeded,
    KeyRefused,
    ProjectNotFound,
    RoleMissing,
    ScopeMissing,
    SessionEnded,
)
from neruba_core.identity.model import Session, User
from neruba_core.instants import Instant
from neruba_core.tenancy.model import Role
from neruba_server.problems import CredentialsBoth, CredentialsMissing

T = TypeVar("T")

KEY_HEADER = istr("X-Api-Key")
KEY_CACHE_SECONDS = 5.0
MOST_CACHED_KEYS = 10_000
MOST_TOKEN_CHARACTERS = 512

OPERATOR = "operator"
"""What is missing, as a role, to whoever is none."""

BEARER = 'Bearer realm="neruba"'
API_KEY = 'ApiKey realm="neruba", header="x-api-key"'


# --- who a route is for ------------------------------------------------------------------------


@frozen
class Anyone:
    """No credentials are asked for."""


@frozen
class People:
    """A signed-in person, of any one of *roles* in the route's project if it has one; and platform keys with
    the scope *platform*, if it names one."""

    roles: tuple[Role, ...] = ()
    platform: PlatformScope | None = None


@frozen
class Operators:
    """A signed-in person of the deployment's own staff."""


@frozen
class Machines:
    """An access key with *scope*; the project is the key's."""

    scope: Scope


@frozen
class PeopleOrMachines:
    """A person with *role*, or an access key of the route's project with *scope*; and platform keys with the
    scope *platform*, if it names one."""

    role: Role
    scope: Scope
    platform: PlatformScope | None = None


Guarded: TypeAlias = People | Operators | Machines | PeopleOrMachines
Audience: TypeAlias = Anyone | Guarded


# --- who asks ----------------------------------------------------------------------------------


@frozen
class Person:
    """Someone signed in; *role* is what they are in the route's project."""

    user: User
    session: Session
    role: Role | None = None

    @property
    def actor(self) -> str:
        """As the trail names them."""
        return f"user:{self.user.id}"


@frozen
class Machine:
    """The holder of an access key."""

    key: AccessKey
    actor: str = ""

    @classmethod
    def of(cls, key: AccessKey) -> Machine:
        """The holder of *key*."""
        return cls(key, f"key:{key.id}")


@frozen
class Platform:
    """The holder of a platform key."""

    key: PlatformKey
    actor: str = ""

    @classmethod
    def of(cls, key: PlatformKey) -> Platform:
        """The holder of *key*."""
        return cls(key, f"key:{key.id}")


Holder: TypeAlias = Machine | Platform
Principal: TypeAlias = Person | Holder | None


class Run(Protocol):
    """Runs a call on a thread that may wait for the database."""

    def __call__(self, act: Callable[[], T], /) -> Awaitable[T]: ...


@define(eq=False)
class KeyRing:
    """Keys by the secret that was presented, remembered for a few seconds.

    A revoked key is forgotten at once here and within ``KEY_CACHE_SECONDS`` in other processes. Only a
    digest of a secret is held.
    """

    neruba: Neruba
    used_at: dict[str, Instant] = field(factory=dict)
    _known: dict[bytes, tuple[Holder, float]] = field(factory=dict)
    _looking: dict[bytes, asyncio.Task[Holder]] = field(factory=dict)
    _generation: int = 0

    async def holder(self, secret: str, run: Run) -> Holder:
        """Whom *secret* belongs to, or ``KeyRefused``."""
        digest = _digest(secret)
        holder = self._remembered(digest) or await self._found(digest, secret, run)
        if not self._used(holder):
            raise KeyRefused
        return holder

    def remembered(self, secret: str) -> Holder | None:
        """Whom *secret* belongs to, if that need not be looked up and it is no secret of the past."""
        holder = self._remembered(_digest(secret))
        return holder if holder is not None and self._used(holder) else None

    def _remembered(self, digest: bytes) -> Holder | None:
        known = self._known.get(digest)
        return None if known is None or known[1] < time.monotonic() else known[0]

    def _used(self, holder: Holder) -> bool:
        now = self.neruba.now()
        if not holder.key.alive(now):
            return False
        self.used_at[holder.key.id] = now
        return True

    def forget(self, key_id: str) -> None:
        """Look the key up again from now on, since it has changed."""
        self._generation += 1
        for digest in [digest for digest, (holder, _) in self._known.items() if holder.key.id == key_id]:
            del self._known[digest]

    async def _found(self, digest: bytes, secret: str, run: Run) -> Holder:
        # Many requests with one key arrive together; one of them asks, the others wait for its answer.
        looking = self._looking.get(digest)
        if looking is None:
            looking = asyncio.ensure_future(self._look_up(digest, secret, run))
            self._looking[digest] = looking
            looking.add_done_callback(lambda _: self._looking.pop(digest, None))
        return await asyncio.shield(looking)

    async def _look_up(self, digest: bytes, secret: str, run: Run) -> Holder:
        generation = self._generation
        until = time.monotonic() + KEY_CACHE_SECONDS
        holder = await run(lambda: self._authenticated(secret))
        # What was read before a revocation must not be remembered after it.
        if generation == self._generation:
            if len(self._known) >= MOST_CACHED_KEYS:
                self._known.clear()
            self._known[digest] = (holder, until)
        return holder

    def _authenticated(self, secret: str) -> Holder:
        if secrets.is_platform(secret):
            return Platform.of(self.neruba.platform_keys.authenticate(secret))
        return Machine.of(self.neruba.access_keys.authenticate(secret))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


@define(eq=False)
class Door:
    """Lets in whom a route is for."""

    neruba: Neruba
    keys: KeyRing
    run: Run

    async def admit(self, request: web.Request, audience: Audience, project_id: str | None) -> Principal:
        """Who asks, if the route is for them.

        Raises ``CredentialsBoth``, ``CredentialsMissing``, ``SessionEnded``, ``KeyRefused``,
        ``ProjectNotFound``, ``RoleMissing`` or ``ScopeMissing``.
        """
        if isinstance(audience, Anyone):
            return None
        secret, token = _credentials(request, audience)
        if secret is not None:
            holder = await self.keys.holder(secret, self.run)
            if isinstance(holder, Machine):
                _admit_machine(holder, audience, project_id)
            else:
                _admit_platform(holder, audience)
                if project_id is not None:
                    await self.run(lambda: self.neruba.projects.get(project_id))
            return holder
        assert token is not None, "one of the two was given"
        return await self.run(lambda: self._person(token, audience, project_id))

    def machine(self, headers: CIMultiDictProxy[str], audience: Machines) -> Machine | None:
        """The machine that asks with a key that is remembered, if the route is for it.

        None says nothing against it: ``admit`` asks the database, and refuses with a reason.
        """
        secret = headers.get(KEY_HEADER)
        if secret is None or hdrs.AUTHORIZATION in headers or len(headers.getall(KEY_HEADER)) > 1:
            return None
        holder = self.keys.remembered(secret)
        if type(holder) is not Machine or audience.scope not in holder.key.scopes:
            return None
        return holder

    def _person(self, token: str, audience: Guarded, project_id: str | None) -> Person:
        user, session = self.neruba.sessions.authenticate(token)
        if isinstance(audience, Machines):
            raise AccessKeyNeeded(audience.scope.value)
        if isinstance(audience, Operators):
            if not user.operator:
                raise RoleMissing(OPERATOR)
            return Person(user, session)
        if project_id is None:
            return Person(user, session)
        role = self.neruba.projects.role(project_id, user)
        needed = audience.roles if isinstance(audience, People) else (audience.role,)
        if needed and not any(role.includes(one) for one in needed):
            raise RoleMissing(needed[0].value)
        return Person(user, session, role)


def takes_tokens(audience: Guarded) -> bool:
    """Whether a route for *audience* may let people in."""
    return not isinstance(audience, Machines)


def takes_keys(audience: Guarded) -> bool:
    """Whether a route for *audience* may let holders of keys in."""
    match audience:
        case People(platform=scope):
            return scope is not None
        case Operators():
            return False
        case _:
            return True


def challenge(audience: Guarded) -> str:
    """What a 401 of a route for *audience* asks for."""
    asked = [BEARER] * takes_tokens(audience) + [API_KEY] * takes_keys(audience)
    return ", ".join(asked)


def _credentials(request: web.Request, audience: Guarded) -> tuple[str | None, str | None]:
    headers = request.headers
    secrets = headers.getall(KEY_HEADER, ())
    tokens = headers.getall(hdrs.AUTHORIZATION, ())
    if len(secrets) + len(tokens) > 1:
        raise CredentialsBoth
    if secrets:
        return secrets[0], None
    if not tokens:
        raise CredentialsMissing(_wanted(audience))
    scheme, _, token = tokens[0].partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise CredentialsMissing(_wanted(audience))
    if len(token) > MOST_TOKEN_CHARACTERS or not token.isascii():
        raise SessionEnded
    return None, token


def _wanted(audience: Guarded) -> str:
    bearer, key = "Authorization: Bearer <accessToken>", "x-api-key: <accessKey>"
    return " or ".join([bearer] * takes_tokens(audience) + [key] * takes_keys(audience))


def _admit_machine(machine: Machine, audience: Guarded, project_id: str | None) -> None:
    match audience:
        case Machines(scope) | PeopleOrMachines(scope=scope):
            if project_id is not None and project_id != machine.key.project_id:
                raise ProjectNotFound(project_id)
            if scope not in machine.key.scopes:
                raise ScopeMissing(scope.value)
        case People(roles):
            raise RoleMissing(roles[0].value if roles else "member")
        case Operators():
            raise RoleMissing(OPERATOR)


def _admit_platform(platform: Platform, audience: Guarded) -> None:
    match audience:
        case People(platform=PlatformScope() as scope) | PeopleOrMachines(platform=PlatformScope() as scope):
            if scope not in platform.key.scopes:
                raise ScopeMissing(scope.value)
        case Machines(wanted) | PeopleOrMachines(scope=wanted):
            raise ScopeMissing(wanted.value)
        case People(roles):
            raise RoleMissing(roles[0].value if roles else "member")
        case Operators():
            raise RoleMissing(OPERATOR)


def client_address(request: web.Request, trusted: tuple[Any, ...]) -> str | None:
    """The address that logins are throttled by: the peer's, or what a trusted proxy says it is.

    Of ``X-Forwarded-For`` the last address that is no trusted proxy counts: whatever stands before it is
    the client's own word.
    """
    address = request.remote
    if address is None or not _within(address, trusted):
        return address
    forwarded = ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, ())).split(",")
    for hop in reversed([hop.strip() for hop in forwarded if hop.strip()]):
        if not _is_address(hop):
            return address
        address = hop
        if not _within(hop, trusted):
            return hop
    return address


def networks(texts: tuple[str, ...]) -> tuple[Any, ...]:
    """The trusted networks, parsed once."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def _within(address: str, trusted: tuple[Any, ...]) -> bool:
    if not trusted or not _is_address(address):
        return False
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return any(parsed in network for network in trusted if network.version == parsed.version)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
