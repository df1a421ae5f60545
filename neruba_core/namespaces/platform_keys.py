"""``neruba.platform_keys``: the credentials of backends that work across projects."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from attrs import frozen

from neruba_core import texts
from neruba_core.access import keys, platform, secrets
from neruba_core.access.model import IssuedPlatformKey, PlatformKey, PlatformScope
from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.context import Context
from neruba_core.instants import utc
from neruba_core.pages import DEFAULT_LIMIT, Page


@frozen
class PlatformKeys:
    """Platform keys. The secret of a key is answered once, when it is made, and kept only as an HMAC."""

    _context: Context

    def issue(
        self,
        *,
        name: str,
        scopes: Iterable[PlatformScope | str],
        expires_at: datetime | None = None,
        origin: Origin = SYSTEM,
    ) -> IssuedPlatformKey:
        """Issue a key with at least one scope, none twice.

        Raises ``TextInvalid`` (name), ``FormatInvalid`` (scopes, or an expiry that is not in the future) or
        ``Instant…`` refusals.
        """
        context = self._context
        clean_name = texts.clean(name)
        wanted = keys.scopes_of(PlatformScope, scopes)
        expiry = None if expires_at is None else utc(expires_at)
        return context.write(
            lambda work: platform.issue(
                work,
                name=clean_name,
                scopes=wanted,
                expires_at=expiry,
                mint=self._mint,
                at=context.clock(),
                ids=context.ids,
                actor=origin.actor,
            )
        )

    def list(self, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[PlatformKey]:
        """The keys without secrets, revoked ones included, newest first; *limit* 1–200.

        Raises ``FormatInvalid``, ``CursorInvalid`` or ``CursorMismatch``.
        """
        return self._context.read(lambda work: platform.page_of_keys(work, limit=limit, cursor=cursor))

    def revoke(self, key_id: str) -> PlatformKey:
        """Refuse the key from now on; twice is fine. Raises ``AccessKeyNotFound``."""
        context = self._context
        return context.write(lambda work: platform.revoke(work, key_id, at=context.clock()))

    def rotate(self, key_id: str, *, overlap_hours: int = 0, origin: Origin = SYSTEM) -> IssuedPlatformKey:
        """Issue a key of the same name, scopes and lifetime; the old one ends after *overlap_hours*, as with
        ``neruba.access_keys.rotate``.

        Raises ``FormatInvalid``, ``AccessKeyNotFound`` or ``AccessKeyEnded``.
        """
        context = self._context
        hours = keys.overlap(overlap_hours)
        return context.write(
            lambda work: platform.rotate(
                work,
                key_id,
                overlap_hours=hours,
                mint=self._mint,
                at=context.clock(),
                ids=context.ids,
                actor=origin.actor,
            )
        )

    def authenticate(self, secret: str) -> PlatformKey:
        """The key that *secret* opens. Raises ``KeyRefused``; a typo is refused without the database."""
        context = self._context
        key_id = secrets.key_id_of(secret)
        secret_hash = secrets.digest(secret, context.pepper)
        return context.read(lambda work: platform.authenticate(work, key_id, secret_hash, at=context.clock()))

    def _mint(self, key_id: str) -> secrets.Minted:
        context = self._context
        return secrets.mint(key_id, context.key_environment, context.pepper, context.ids.randomness)
