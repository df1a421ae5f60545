"""Promises of ``AccessStore``: keys found by id alone, listed by project, touched forward only; and keys of
the platform, which have no project."""

from __future__ import annotations

from datetime import datetime

import pytest
from attrs import evolve

from neruba_core.access.model import AccessKey, PlatformScope, Scope
from neruba_core.storage.port import Storage
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import AWKWARD, NOW, later, new_id, tenant
from neruba_core.testing.contract.units import ANY_FAILURE, Rival, answer, read, start, together, waits, write


class Access(Promises):
    """Access keys."""

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"name": AWKWARD, "scopes": tuple(Scope)},
            {"scopes": (Scope.READ_USAGE,), "expires_at": later(micros=1), "revoked_at": later(micros=2)},
            {"scopes": (), "last_used_at": NOW},
        ],
        ids=["plain", "awkward", "ended", "used"],
    )
    def test_a_key_comes_back_as_it_was_stored(self, storage: Storage, changes: dict[str, object]) -> None:
        """
        The order of its scopes included.
        """
        key = samples.access_key(tenant(storage), **changes)

        write(storage, lambda work: work.access.add_key(key))

        with storage.snapshot() as work:
            assert work.access.key(key.id) == key
            assert work.access.key("key_none") is None

    def test_keys_are_listed_newest_first(self, storage: Storage) -> None:
        """
        By descending id, strictly below ``before``.
        """
        project_id = tenant(storage)
        keys = [samples.access_key(project_id) for _ in range(4)]
        with storage.work() as work:
            for key in (keys[2], keys[0], keys[3], keys[1]):
                work.access.add_key(key)

        with storage.snapshot() as work:
            first = work.access.keys(project_id, limit=2, before=None)
            second = work.access.keys(project_id, limit=9, before=keys[2].id)

        assert list(first) == [keys[3], keys[2]]
        assert list(second) == [keys[1], keys[0]]

    def test_revocation_and_expiry_can_be_overwritten(self, storage: Storage) -> None:
        """
        Nothing else is: the last use may have moved on since the key was read.
        """
        key = samples.access_key(tenant(storage))
        with storage.work() as work:
            work.access.add_key(key)
            work.access.touch_keys({key.id: NOW})

        ended = evolve(key, revoked_at=later(seconds=1), expires_at=later(seconds=2), last_used_at=None)
        write(storage, lambda work: work.access.replace_key(ended))

        found = read(storage, lambda work: work.access.key(key.id))
        assert found == evolve(ended, last_used_at=NOW)

    def test_the_last_use_never_moves_backward(self, storage: Storage) -> None:
        """
        Uses are reported late and out of order; unknown keys are passed over.
        """
        project_id = tenant(storage)
        one, other = samples.access_key(project_id), samples.access_key(project_id)
        with storage.work() as work:
            work.access.add_key(one)
            work.access.add_key(other)

        with storage.work() as work:
            work.access.touch_keys({one.id: later(micros=5), "key_none": NOW})
            work.access.touch_keys({one.id: later(micros=4), other.id: later(micros=1)})
            work.access.touch_keys({})

        with storage.snapshot() as work:
            assert work.access.key(one.id) == evolve(one, last_used_at=later(micros=5))
            assert work.access.key(other.id) == evolve(other, last_used_at=later(micros=1))
            assert work.access.key("key_none") is None

    def test_touching_many_keys_at_once_stands_in_nobodys_way(self, storage: Storage) -> None:
        """
        Two units that touch the same keys, named in opposite orders, both commit.
        """
        project_id = tenant(storage)
        keys = [samples.access_key(project_id) for _ in range(20)]
        with storage.work() as work:
            for key in keys:
                work.access.add_key(key)

        def touch(touched: list[AccessKey], at: datetime) -> None:
            for _ in range(5):
                write(storage, lambda work: work.access.touch_keys({key.id: at for key in touched}))

        together(lambda: touch(keys, NOW), lambda: touch(keys[::-1], later(seconds=1)))

        found = read(storage, lambda work: work.access.keys(project_id, limit=50, before=None))
        assert {key.last_used_at for key in found} == {later(seconds=1)}

    def test_a_key_id_is_taken_once(self, storage: Storage) -> None:
        """
        In the whole deployment, since a request names nothing else; the unit fails.
        """
        key = samples.access_key(tenant(storage), id=new_id("key"))
        write(storage, lambda work: work.access.add_key(key))
        thief = samples.access_key(tenant(storage), id=key.id)

        with pytest.raises(ANY_FAILURE):
            write(storage, lambda work: work.access.add_key(thief))

        assert read(storage, lambda work: work.access.key(key.id)) == key

    # --- platform keys ------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"name": AWKWARD, "scopes": tuple(PlatformScope)},
            {"expires_at": later(micros=1), "revoked_at": later(micros=2)},
            {"scopes": (), "last_used_at": NOW},
        ],
        ids=["plain", "awkward", "ended", "used"],
    )
    def test_a_platform_key_comes_back_as_it_was_stored(
        self, storage: Storage, changes: dict[str, object]
    ) -> None:
        """
        Locked or not; and it is no key of a project.
        """
        key = samples.platform_key(**changes)

        write(storage, lambda work: work.access.add_platform_key(key))

        with storage.work() as work:
            assert work.access.platform_key(key.id) == key
            assert work.access.lock_platform_key(key.id) == key
            assert work.access.platform_key("pky_none") is None
            assert work.access.lock_platform_key("pky_none") is None
            assert work.access.key(key.id) is None

    def test_platform_keys_are_listed_newest_first(self, storage: Storage) -> None:
        """
        By descending id, strictly below ``before``.
        """
        keys = [samples.platform_key() for _ in range(4)]
        with storage.work() as work:
            for key in (keys[2], keys[0], keys[3], keys[1]):
                work.access.add_platform_key(key)

        with storage.snapshot() as work:
            first = work.access.platform_keys(limit=2, before=None)
            second = work.access.platform_keys(limit=2, before=keys[2].id)

        assert list(first) == [keys[3], keys[2]]
        assert list(second) == [keys[1], keys[0]]

    def test_revocation_and_last_use_of_a_platform_key_move_apart(self, storage: Storage) -> None:
        """
        Overwriting the one leaves the other; the last use never moves backward.
        """
        key, other = samples.platform_key(), samples.platform_key()
        project_key = samples.access_key(tenant(storage))
        with storage.work() as work:
            work.access.add_platform_key(key)
            work.access.add_platform_key(other)
            work.access.add_key(project_key)
            work.access.touch_keys({key.id: later(micros=5), project_key.id: NOW, "pky_none": NOW})
            work.access.touch_keys({key.id: later(micros=4)})

        ended = evolve(key, name="Other", revoked_at=later(seconds=1), expires_at=later(seconds=2))
        with storage.work() as work:
            work.access.replace_platform_key(ended)
            work.access.replace_platform_key(evolve(ended, id="pky_none"))

        with storage.snapshot() as work:
            assert work.access.platform_key(key.id) == evolve(
                ended, name=key.name, last_used_at=later(micros=5)
            )
            assert work.access.platform_key(other.id) == other
            assert work.access.key(project_key.id) == evolve(project_key, last_used_at=NOW)
            assert work.access.platform_key("pky_none") is None

    def test_a_platform_key_is_locked_by_one(self, storage: Storage) -> None:
        """
        So that it is rotated once.
        """
        key = samples.platform_key()
        write(storage, lambda work: work.access.add_platform_key(key))

        with Rival(storage, lambda work: work.access.lock_platform_key(key.id)) as rival:
            ours = start(lambda: write(storage, lambda work: work.access.lock_platform_key(key.id)))
            waited = waits(ours)
            rival.commit()

        assert waited
        assert answer(ours) == key

    def test_a_platform_key_id_is_taken_once(self, storage: Storage) -> None:
        """
        The unit that takes it again fails.
        """
        key = samples.platform_key()
        write(storage, lambda work: work.access.add_platform_key(key))

        with pytest.raises(ANY_FAILURE):
            write(storage, lambda work: work.access.add_platform_key(key))

        assert read(storage, lambda work: work.access.platform_key(key.id)) == key
