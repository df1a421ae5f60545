"""What access keys ask of storage."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from neruba_core.access.model import AccessKey, PlatformKey
from neruba_core.instants import Instant


class AccessStore(Protocol):
    """Access keys, found by id alone when a request arrives and by project when people list them; and
    platform keys, which belong to no project."""

    def add_key(self, key: AccessKey) -> None: ...

    def key(self, key_id: str) -> AccessKey | None: ...

    def keys(self, project_id: str, *, limit: int, before: str | None) -> Sequence[AccessKey]:
        """The project's keys by descending id, below *before*."""

    def replace_key(self, key: AccessKey) -> None:
        """Overwrite revocation and expiry of the key of the same id."""

    def expiring_keys(
        self, project_ids: Collection[str], *, start: Instant, end: Instant
    ) -> Sequence[AccessKey]:
        """The keys of these projects that end in ``[start, end)`` and are not revoked, by ascending id."""

    def touch_keys(self, used_at: Mapping[str, Instant]) -> None:
        """Move ``last_used_at`` of keys of both kinds forward, by key id; never backward."""

    def add_platform_key(self, key: PlatformKey) -> None: ...

    def platform_key(self, key_id: str) -> PlatformKey | None: ...

    def lock_platform_key(self, key_id: str) -> PlatformKey | None:
        """The key, locked against ``lock_platform_key`` elsewhere until the unit ends."""

    def platform_keys(self, *, limit: int, before: str | None) -> Sequence[PlatformKey]:
        """All platform keys by descending id, below *before*."""

    def replace_platform_key(self, key: PlatformKey) -> None:
        """Overwrite revocation and expiry of the key of the same id."""


class HasAccess(Protocol):
    @property
    def access(self) -> AccessStore: ...
