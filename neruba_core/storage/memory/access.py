"""Access keys in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from attrs import define, evolve, field

from neruba_core.access.model import AccessKey, PlatformKey
from neruba_core.instants import Instant
from neruba_core.storage.memory.tables import EVERYONE, DuplicateKey, Table, Undo


@define(eq=False)
class AccessTables:
    """*project_of* tells whose a key is, since a request names the key alone."""

    keys: Table[str, AccessKey] = field(factory=Table)
    project_of: dict[str, str] = field(factory=dict)
    platform_keys: Table[str, PlatformKey] = field(factory=Table)


@define(eq=False)
class MemoryAccess:
    """``AccessStore`` within one unit."""

    _tables: AccessTables
    _undo: Undo

    def add_key(self, key: AccessKey) -> None:
        if key.id in self._tables.project_of:
            raise DuplicateKey(f"access key {key.id!r} is there already")
        self._tables.keys.add(self._undo, key.project_id, key.id, key)
        self._undo.put(self._tables.project_of, key.id, key.project_id)

    def key(self, key_id: str) -> AccessKey | None:
        project_id = self._tables.project_of.get(key_id)
        return None if project_id is None else self._tables.keys.get(project_id, key_id)

    def keys(self, project_id: str, *, limit: int, before: str | None) -> Sequence[AccessKey]:
        return self._tables.keys.page(project_id, limit=limit, before=before)

    def replace_key(self, key: AccessKey) -> None:
        current = self._tables.keys.get(key.project_id, key.id)
        if current is not None:
            # Only these two: the rest of *key* may be older than what a busy server has touched since.
            self._replace(evolve(current, revoked_at=key.revoked_at, expires_at=key.expires_at))

    def expiring_keys(
        self, project_ids: Collection[str], *, start: Instant, end: Instant
    ) -> Sequence[AccessKey]:
        keys = (key for project_id in project_ids for key in self._tables.keys.ascending(project_id))
        found = (
            key
            for key in keys
            if key.revoked_at is None and key.expires_at is not None and start <= key.expires_at < end
        )
        return sorted(found, key=lambda key: key.id)

    def touch_keys(self, used_at: Mapping[str, Instant]) -> None:
        for key_id, at in used_at.items():
            current = self.key(key_id)
            if current is not None and (current.last_used_at is None or current.last_used_at < at):
                self._replace(evolve(current, last_used_at=at))
            platform = self.platform_key(key_id)
            if platform is not None and (platform.last_used_at is None or platform.last_used_at < at):
                self._replace_platform(evolve(platform, last_used_at=at))

    # --- platform keys ------------------------------------------------------------------------

    def add_platform_key(self, key: PlatformKey) -> None:
        self._tables.platform_keys.add(self._undo, EVERYONE, key.id, key)

    def platform_key(self, key_id: str) -> PlatformKey | None:
        return self._tables.platform_keys.get(EVERYONE, key_id)

    def lock_platform_key(self, key_id: str) -> PlatformKey | None:
        return self.platform_key(key_id)

    def platform_keys(self, *, limit: int, before: str | None) -> Sequence[PlatformKey]:
        return self._tables.platform_keys.page(EVERYONE, limit=limit, before=before)

    def replace_platform_key(self, key: PlatformKey) -> None:
        current = self.platform_key(key.id)
        if current is not None:
            self._replace_platform(evolve(current, revoked_at=key.revoked_at, expires_at=key.expires_at))

    def _replace_platform(self, key: PlatformKey) -> None:
        self._tables.platform_keys.replace(self._undo, EVERYONE, key.id, key)

    def _replace(self, key: AccessKey) -> None:
        self._tables.keys.replace(self._undo, key.project_id, key.id, key)
