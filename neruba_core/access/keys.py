"""Access keys: issuing, rotating, revoking, and recognising one that is presented."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Protocol, TypeVar

from attrs import evolve

from neruba_core import instants
from neruba_core.access import secrets
from neruba_core.access.model import AccessKey, IssuedKey, PlatformKey, PlatformScope, Scope
from neruba_core.access.secrets import Mint
from neruba_core.access.store import HasAccess
from neruba_core.audit.changes import note_change
from neruba_core.audit.model import Origin
from neruba_core.audit.store import HasAudit
from neruba_core.choices import choice
from neruba_core.errors import AccessKeyEnded, AccessKeyNotFound, FormatInvalid, KeyRefused
from neruba_core.idempotency.fingerprint import Json
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.pages import Page, limited, page, place_of
from neruba_core.tenancy.projects import existing, locked, locked_writable
from neruba_core.tenancy.store import HasTenancy
from neruba_core.texts import shown

MOST_OVERLAP_HOURS = 168

S = TypeVar("S", Scope, PlatformScope)
K = TypeVar("K", AccessKey, PlatformKey)


class Keyed(HasAccess, HasTenancy, Protocol):
    """Keys and the projects they belong to."""


class Keeping(Keyed, HasAudit, Protocol):
    """What a change of a project's keys reads and writes."""


def scopes_of(kind: type[S], given: Iterable[S | str]) -> tuple[S, ...]:
    """The scopes in the order given: at least one, none twice. Raises ``FormatInvalid``."""
    scopes = tuple(choice(kind, scope, "a scope") for scope in given)
    if not scopes or len(set(scopes)) != len(scopes):
        raise FormatInvalid(
            "a list of at least one scope, none twice", ", ".join(scope.value for scope in scopes)
        )
    return scopes


def overlap(hours: object) -> int:
    """Return *hours* if a rotated key may live on so long. Raises ``FormatInvalid``."""
    if isinstance(hours, bool) or not isinstance(hours, int) or not 0 <= hours <= MOST_OVERLAP_HOURS:
        raise FormatInvalid(f"a whole number of hours from 0 to {MOST_OVERLAP_HOURS}", shown(hours))
    return hours


def issue(
    work: Keeping,
    project_id: str,
    *,
    name: str,
    scopes: tuple[Scope, ...],
    expires_at: Instant | None,
    mint: Mint,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> IssuedKey:
    """Make a key. Raises ``FormatInvalid`` (expiry), ``ProjectNotFound`` or ``ProjectArchived``."""
    require_future(expires_at, at)
    locked_writable(work, project_id)
    issued = _issue(work, project_id, name, scopes, expires_at, mint=mint, at=at, ids=ids)
    details: dict[str, Json] = {
        "name": name,
        "scopes": [scope.value for scope in scopes],
        "expiresAt": None if expires_at is None else instants.text(expires_at),
    }
    note_change(work, project_id, "access_key.issued", issued.key.id, details, at=at, ids=ids, origin=origin)
    return issued


def rotate(
    work: Keeping,
    project_id: str,
    key_id: str,
    *,
    overlap_hours: int,
    mint: Mint,
    at: Instant,
    ids: Ids,
    origin: Origin,
) -> IssuedKey:
    """Make a key like the one of *key_id*, which ends after *overlap_hours*, or now.

    Raises ``ProjectNotFound``, ``ProjectArchived``, ``AccessKeyNotFound`` or ``AccessKeyEnded``.
    """
    locked_writable(work, project_id)
    key = _key(work, project_id, key_id)
    if not key.alive(at):
        raise AccessKeyEnded(key_id)
    expires_at = successors_expiry(key, at)
    issued = _issue(work, project_id, key.name, key.scopes, expires_at, mint=mint, at=at, ids=ids)
    work.access.replace_key(ending(key, at, overlap_hours))
    details: dict[str, Json] = {"successor": issued.key.id, "overlapHours": overlap_hours}
    note_change(work, project_id, "access_key.rotated", key_id, details, at=at, ids=ids, origin=origin)
    return issued


def revoke(
    work: Keeping, project_id: str, key_id: str, *, at: Instant, ids: Ids, origin: Origin
) -> AccessKey:
    """End a key, of an archived project too; the first revocation's moment stays.

    Raises ``ProjectNotFound`` or ``AccessKeyNotFound``.
    """
    locked(work, project_id)
    key = _key(work, project_id, key_id)
    if key.revoked_at is not None:
        return key
    revoked = evolve(key, revoked_at=at)
    work.access.replace_key(revoked)
    note_change(work, project_id, "access_key.revoked", key_id, {}, at=at, ids=ids, origin=origin)
    return revoked


def page_of_keys(work: Keyed, project_id: str, *, limit: int, cursor: str | None) -> Page[AccessKey]:
    """The project's keys, newest first. Raises ``ProjectNotFound``."""
    existing(work, project_id)
    filters = ("access_keys", project_id)
    rows = work.access.keys(project_id, limit=limited(limit) + 1, before=place_of(cursor, *filters))
    return page(rows, limit, "id", *filters)


def authenticate(work: HasAccess, key_id: str, secret_hash: str, *, at: Instant) -> AccessKey:
    """The living key of this id and secret. Raises ``KeyRefused``, and does not say why."""
    key = work.access.key(key_id)
    if key is None or not secrets.same(key.secret_hash, secret_hash) or not key.alive(at):
        raise KeyRefused
    return key


def require_future(expires_at: Instant | None, at: Instant) -> None:
    """Raise ``FormatInvalid`` where a key would have ended before it begins."""
    if expires_at is not None and expires_at <= at:
        raise FormatInvalid("an expiry in the future", instants.text(expires_at))


def successors_expiry(key: AccessKey | PlatformKey, at: Instant) -> Instant | None:
    """When a key that takes over from *key* at *at* ends: it lives as long as that one was made for."""
    return None if key.expires_at is None else at + (key.expires_at - key.created_at)


def ending(key: K, at: Instant, overlap_hours: int) -> K:
    """The key as it is once it has a successor; an overlap never prolongs its life."""
    if overlap_hours == 0:
        return evolve(key, revoked_at=at)
    end = at + timedelta(hours=overlap_hours)
    return evolve(key, expires_at=end if key.expires_at is None else min(key.expires_at, end))


def _issue(
    work: HasAccess,
    project_id: str,
    name: str,
    scopes: tuple[Scope, ...],
    expires_at: Instant | None,
    *,
    mint: Mint,
    at: Instant,
    ids: Ids,
) -> IssuedKey:
    key_id = ids.new(secrets.ID_PREFIX)
    minted = mint(key_id)
    key = AccessKey(
        id=key_id,
        project_id=project_id,
        name=name,
        scopes=scopes,
        prefix=minted.prefix,
        secret_hash=minted.secret_hash,
        created_at=at,
        expires_at=expires_at,
    )
    work.access.add_key(key)
    return IssuedKey(key, minted.secret)


def _key(work: HasAccess, project_id: str, key_id: str) -> AccessKey:
    key = work.access.key(key_id)
    # Keys are found by id alone; that of another project must look like none at all.
    if key is None or key.project_id != project_id:
        raise AccessKeyNotFound(key_id)
    return key
