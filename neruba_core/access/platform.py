"""Platform keys: how a backend of the deployment works across projects without a password.

A sign-up flow creates projects, their keys and their subscriptions before anyone has signed in. Its key
belongs to no project and has scopes of its own; it is nobody's role, so it can do what its scopes name in
every project and nothing else in any.
"""

from __future__ import annotations

from attrs import evolve

from neruba_core.access import secrets
from neruba_core.access.keys import ending, require_future, successors_expiry
from neruba_core.access.model import IssuedPlatformKey, PlatformKey, PlatformScope
from neruba_core.access.secrets import Mint
from neruba_core.access.store import HasAccess
from neruba_core.errors import AccessKeyEnded, AccessKeyNotFound, KeyRefused
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.pages import Page, limited, page, place_of


def issue(
    work: HasAccess,
    *,
    name: str,
    scopes: tuple[PlatformScope, ...],
    expires_at: Instant | None,
    mint: Mint,
    at: Instant,
    ids: Ids,
    actor: str,
) -> IssuedPlatformKey:
    """Make a key. Raises ``FormatInvalid`` (expiry)."""
    require_future(expires_at, at)
    key_id = ids.new(secrets.PLATFORM_ID_PREFIX)
    minted = mint(key_id)
    key = PlatformKey(
        id=key_id,
        name=name,
        scopes=scopes,
        prefix=minted.prefix,
        secret_hash=minted.secret_hash,
        created_at=at,
        created_by=actor,
        expires_at=expires_at,
    )
    work.access.add_platform_key(key)
    return IssuedPlatformKey(key, minted.secret)


def rotate(
    work: HasAccess, key_id: str, *, overlap_hours: int, mint: Mint, at: Instant, ids: Ids, actor: str
) -> IssuedPlatformKey:
    """Make a key like the one of *key_id*, which ends after *overlap_hours*, or now.

    Raises ``AccessKeyNotFound`` or ``AccessKeyEnded``.
    """
    key = _locked(work, key_id)
    if not key.alive(at):
        raise AccessKeyEnded(key_id)
    issued = issue(
        work,
        name=key.name,
        scopes=key.scopes,
        expires_at=successors_expiry(key, at),
        mint=mint,
        at=at,
        ids=ids,
        actor=actor,
    )
    work.access.replace_platform_key(ending(key, at, overlap_hours))
    return issued


def revoke(work: HasAccess, key_id: str, *, at: Instant) -> PlatformKey:
    """End a key; the first revocation's moment stays. Raises ``AccessKeyNotFound``."""
    key = _locked(work, key_id)
    if key.revoked_at is not None:
        return key
    revoked = evolve(key, revoked_at=at)
    work.access.replace_platform_key(revoked)
    return revoked


def page_of_keys(work: HasAccess, *, limit: int, cursor: str | None) -> Page[PlatformKey]:
    """All platform keys, newest first."""
    filters = ("platform_keys",)
    rows = work.access.platform_keys(limit=limited(limit) + 1, before=place_of(cursor, *filters))
    return page(rows, limit, "id", *filters)


def authenticate(work: HasAccess, key_id: str, secret_hash: str, *, at: Instant) -> PlatformKey:
    """The living key of this id and secret. Raises ``KeyRefused``, and does not say why."""
    key = work.access.platform_key(key_id)
    if key is None or not secrets.same(key.secret_hash, secret_hash) or not key.alive(at):
        raise KeyRefused
    return key


def _locked(work: HasAccess, key_id: str) -> PlatformKey:
    key = work.access.lock_platform_key(key_id)
    if key is None:
        raise AccessKeyNotFound(key_id)
    return key
