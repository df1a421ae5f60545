"""Promises of ``UnitOfWork.export``: every tenant row, once, in text that any two adapters agree on."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve

from neruba_core.storage.export import KEYS, export
from neruba_core.storage.memory import MemoryStorage
from neruba_core.storage.port import Storage, UnitOfWork
from neruba_core.storage.replay import restore
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.readings import twin
from neruba_core.testing.contract.samples import AWKWARD, NOW, new_id, person, tenant
from neruba_core.testing.contract.units import state, write
from neruba_core.usage.model import UsageEvent


def rows(storage: Storage, project_id: str, table: str) -> list[dict[str, Any]]:
    """The rows of one table in the canonical export."""
    lines = [json.loads(line) for line in state(storage, project_id).splitlines()]
    return [line["row"] for line in lines if line["table"] == table]


class Exports(Promises):
    """The canonical export."""

    def test_every_table_is_exported(self, storage: Storage) -> None:
        """
        A project with a row of each kind has a line of each, and no line is of another project.
        """
        user_id = person(storage)
        project_id = twin(storage, user_id, "one")
        other_id = twin(storage, user_id, "other")

        lines = [json.loads(line) for line in state(storage, project_id).splitlines()]

        assert {line["table"] for line in lines} == KEYS.keys()
        assert other_id not in state(storage, project_id)

    def test_what_is_exported_is_read_back(self, storage: Storage) -> None:
        """
        A row of each kind, from memory to here, and exported again to the byte.
        """
        memory = MemoryStorage()
        known = samples.user()
        write(memory, lambda work: work.identity.add_user(known))
        write(storage, lambda work: work.identity.add_user(known))
        project_id = twin(memory, known.id, "one")
        exported = state(memory, project_id)

        write(storage, lambda work: restore(work, exported.splitlines()))

        assert state(storage, project_id) == exported

    def test_a_project_that_is_not_there_exports_nothing(self, storage: Storage) -> None:
        """
        Not even a head.
        """
        assert state(storage, "prj_none") == ""

    def test_equal_state_gives_equal_bytes(self, storage: Storage) -> None:
        """
        Written in another order, to another store, the same rows are the same text.
        """
        project = samples.project(name=AWKWARD)
        events = [
            samples.usage_event(project.id, id=f"use_{name}", event_id=AWKWARD + name, properties=properties)
            for name, properties in (("b", {"z": 1, "a": True, "\u00e9": "1"}), ("B", {}), ("a", None))
        ]
        shuffled = [evolve(event, properties=_turned(event)) for event in events[::-1]]
        memory: Storage = MemoryStorage()

        def fill(work: UnitOfWork, given: list[UsageEvent]) -> str:
            samples.add_tenant(work, project)
            for event in given:
                work.usage.insert([event])
            return "\n".join(export(work, project.id))

        ours = write(storage, lambda work: fill(work, events))
        theirs = write(memory, lambda work: fill(work, shuffled))

        assert ours == theirs

    def test_values_are_written_in_one_way(self, storage: Storage) -> None:
        """
        Instants as text, money as whole micro-units, bytes in hexadecimal, absence as null.
        """
        event = samples.usage_event(
            tenant(storage), fingerprint=b"\x00\xff", properties={"yes": True, "one": 1}
        )
        write(storage, lambda work: work.usage.insert([event]))

        [row] = rows(storage, event.project_id, "usage_events")

        assert row["timestamp"] == "2026-03-17T10:15:00.123457Z"
        assert row["units_micros"] == 1_250_000_000
        assert row["fingerprint"] == "00ff"
        assert row["request_id"] is None
        assert row["late"] is False
        assert json.dumps(row["properties"]) == '{"one": 1, "yes": true}'

    def test_an_account_at_zero_is_as_good_as_none(self, storage: Storage) -> None:
        """
        Whether an adapter keeps emptied accounts is its own affair.
        """
        project_id = tenant(storage)
        before = state(storage, project_id)

        for micros in (5, 0):
            with storage.work() as work:
                work.ledger.lock_heads([project_id])
                work.ledger.write_accounts(
                    [
                        samples.account(project_id, "overdraft", micros),
                        samples.account(project_id, "wallet:gra_1", -micros),
                    ]
                )

        assert state(storage, project_id) == before

    def test_the_last_use_of_a_key_is_left_out(self, storage: Storage) -> None:
        """
        It is telemetry, written late, and says nothing about what is owed.
        """
        key = samples.access_key(tenant(storage), id=new_id("key"))
        write(storage, lambda work: work.access.add_key(key))
        before = state(storage, key.project_id)

        write(storage, lambda work: work.access.touch_keys({key.id: NOW}))

        assert state(storage, key.project_id) == before
        assert "last_used_at" not in rows(storage, key.project_id, "access_keys")[0]

    def test_what_a_unit_wrote_is_in_its_own_export(self, storage: Storage) -> None:
        """
        An export is a reading like any other.
        """
        event = samples.usage_event(tenant(storage))

        with storage.work() as work:
            work.usage.insert([event])
            inside = "\n".join(export(work, event.project_id))

        assert inside == state(storage, event.project_id)


def _turned(event: UsageEvent) -> dict[str, Any] | None:
    """The event's properties in the opposite order."""
    return None if event.properties is None else dict(reversed(list(event.properties.items())))
