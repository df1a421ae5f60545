"""``neruba.access_keys``: the credentials of a project's machines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from attrs import frozen

from neruba_core import texts
from neruba_core.access import keys, secrets
from neruba_core.access.model import AccessKey, IssuedKey, Scope
from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.context import Context
from neruba_core.instants import Instant, utc
from neruba_core.pages import DEFAULT_LIMIT, Page


@frozen
class AccessKeys:
    """Access keys. The secret of a key is answered once, when it is made, and kept only as an HMAC."""

    _context: Context

    def issue(
        self,
        project_id: str,
        *,
        name: str,
        scopes: Iterable[Scope | str],
        expires_at: datetime | None = None,
        origin: Origin = SYSTEM,
    ) -> IssuedKey:
        """Issue a key with at least one scope, none twice.

        Raises ``TextInvalid`` (name), ``FormatInvalid`` (scopes, or an expiry that is not in the
        future), ``Instant…`` refusals, ``ProjectNotFound`` or ``ProjectArchived``.
        """
        context = self._context
        clean_name = texts.clean(name)
        wanted = keys.scopes_of(Scope, scopes)
        expiry = None if expires_at is None else utc(expires_at)
        return context.write(
            lambda work: keys.issue(
                work,
                project_id,
                name=clean_name,
                scopes=wanted,
                expires_at=expiry,
                mint=self._mint,
                at=context.clock(),
                ids=context.ids,
                origin=origin,
            )
        )

    def list(self, project_id: str, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[AccessKey]:
        """The project's keys without secrets, revoked ones included, newest first; *limit* 1–200.

        Raises ``ProjectNotFound``, ``FormatInvalid``, ``CursorInvalid`` or ``CursorMismatch``.
        """
        return self._context.read(
            lambda work: keys.page_of_keys(work, project_id, limit=limit, cursor=cursor)
        )

    def revoke(self, project_id: str, key_id: str, *, origin: Origin = SYSTEM) -> AccessKey:
        """Refuse the key from now on, in an archived project too; twice is fine.

        Raises ``ProjectNotFound`` or ``AccessKeyNotFound``.
        """
        context = self._context
        return context.write(
            lambda work: keys.revoke(
                work, project_id, key_id, at=context.clock(), ids=context.ids, origin=origin
            )
        )

    def rotate(
        self, project_id: str, key_id: str, *, overlap_hours: int = 0, origin: Origin = SYSTEM
    ) -> IssuedKey:
        """Issue a key of the same name, scopes and lifetime; the old one ends after *overlap_hours*.

        The overlap is 0 (the old key is revoked at once) to 168 hours. A key that expires gives one
        that lives as long again from now. Raises ``FormatInvalid``, ``ProjectNotFound``,
        ``ProjectArchived``, ``AccessKeyNotFound`` or ``AccessKeyEnded``.
        """
        context = self._context
        hours = keys.overlap(overlap_hours)
        return context.write(
            lambda work: keys.rotate(
                work,
                project_id,
                key_id,
                overlap_hours=hours,
                mint=self._mint,
                at=context.clock(),
                ids=context.ids,
                origin=origin,
            )
        )

    def authenticate(self, secret: str) -> AccessKey:
        """The key that *secret* opens. Raises ``KeyRefused``; a typo is refused without the database."""
        context = self._context
        key_id = secrets.key_id_of(secret)
        secret_hash = secrets.digest(secret, context.pepper)
        return context.read(lambda work: keys.authenticate(work, key_id, secret_hash, at=context.clock()))

    def touch(self, used_at: Mapping[str, Instant]) -> None:
        """Note when keys, those of the platform too, were last used, by key id; moments older than the one
        noted change nothing."""
        self._context.write(lambda work: work.access.touch_keys(used_at))

    def _mint(self, key_id: str) -> secrets.Minted:
        context = self._context
        return secrets.mint(key_id, context.key_environment, context.pepper, context.ids.randomness)
