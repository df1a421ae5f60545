"""Access keys, the credentials of machines, and the scopes that bound them."""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

from neruba_core.instants import Instant


class Scope(StrEnum):
    """What an access key may do; it can do nothing else."""

    INGEST_USAGE = "ingest:usage"
    INGEST_CHARGE = "ingest:charge"
    READ_USAGE = "read:usage"
    READ_BILLING = "read:billing"


class PlatformScope(StrEnum):
    """What a platform key may do in every project; it can do nothing else."""

    PROJECTS_WRITE = "projects:write"
    CREDIT_WRITE = "credit:write"
    READ_BILLING = "read:billing"


@frozen
class AccessKey:
    """A key without its secret: *secret_hash* is an HMAC of it, *prefix* what may be shown."""

    id: str
    project_id: str
    name: str
    scopes: tuple[Scope, ...]
    prefix: str
    secret_hash: str = field(repr=False)
    created_at: Instant
    expires_at: Instant | None = None
    revoked_at: Instant | None = None
    last_used_at: Instant | None = None

    def alive(self, at: Instant) -> bool:
        """Whether the key opens anything at *at*."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


@frozen
class PlatformKey:
    """The key of a backend that works across projects, without its secret; see ``AccessKey``."""

    id: str
    name: str
    scopes: tuple[PlatformScope, ...]
    prefix: str
    secret_hash: str = field(repr=False)
    created_at: Instant
    created_by: str
    expires_at: Instant | None = None
    revoked_at: Instant | None = None
    last_used_at: Instant | None = None

    def alive(self, at: Instant) -> bool:
        """Whether the key opens anything at *at*."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


@frozen
class IssuedKey:
    """A key and its plaintext secret, held only long enough to hand it over."""

    key: AccessKey
    secret: str = field(repr=False)


@frozen
class IssuedPlatformKey:
    """A platform key and its plaintext secret, held only long enough to hand it over."""

    key: PlatformKey
    secret: str = field(repr=False)
