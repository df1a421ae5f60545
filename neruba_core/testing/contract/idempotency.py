"""Promises of ``IdempotencyStore``: answers for ever, and keys in flight that nobody waits for."""

from __future__ import annotations

import pytest
from attrs import evolve

from neruba_core.idempotency.model import Answer
from neruba_core.storage.port import Storage
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import AWKWARD, later, new_id, person, tenant
from neruba_core.testing.contract.units import ANY_FAILURE, Rival, answer, read, start, together, waits, write

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
"""Every character that an idempotency key may have."""


class Idempotency(Promises):
    """Stored answers."""

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"code": None, "subject_id": "prj_1", "request_id": "req_1", "recorded_at": later(micros=1)},
            {"body": AWKWARD, "idempotency_key": VISIBLE, "fingerprint": bytes(range(256))},
        ],
        ids=["refusal", "success", "awkward"],
    )
    def test_an_answer_comes_back_as_it_was_stored(
        self, storage: Storage, changes: dict[str, object]
    ) -> None:
        """
        For ever and byte by byte: it is what a repeated request is answered with.
        """
        stored = samples.stored_answer(tenant(storage), **changes)

        write(storage, lambda work: work.idempotency.add_answers([stored]))

        with storage.snapshot() as work:
            found = work.idempotency.answers(
                stored.scope_id, stored.operation, [stored.idempotency_key, "other"]
            )
        assert found == {stored.idempotency_key: stored}

    def test_answers_are_found_in_bulk(self, storage: Storage) -> None:
        """
        Hundreds of keys in one question, and none in none.
        """
        project_id = tenant(storage)
        answers = [samples.stored_answer(project_id) for _ in range(500)]

        with storage.work() as work:
            work.idempotency.add_answers(answers)
            work.idempotency.add_answers([])

        with storage.snapshot() as work:
            keys = [stored.idempotency_key for stored in answers]
            assert work.idempotency.answers(project_id, "charge", keys) == dict(
                zip(keys, answers, strict=True)
            )
            assert work.idempotency.answers(project_id, "charge", []) == {}

    def test_a_key_means_something_in_its_scope_and_operation_only(self, storage: Storage) -> None:
        """
        The same key under another project, user or operation is another key.
        """
        project_id, other_id, user_id = tenant(storage), tenant(storage), person(storage)
        stored = samples.stored_answer(project_id, idempotency_key="same")
        others = [
            evolve(stored, scope_id=other_id),
            evolve(stored, scope_id=user_id),
            evolve(stored, operation="credit"),
            evolve(stored, idempotency_key="Same"),
        ]

        write(storage, lambda work: work.idempotency.add_answers([stored, *others]))

        with storage.snapshot() as work:
            for each in (stored, *others):
                found = work.idempotency.answers(each.scope_id, each.operation, [each.idempotency_key])
                assert found == {each.idempotency_key: each}

    def test_an_answer_is_never_changed(self, storage: Storage) -> None:
        """
        Storing under a taken key fails the unit, and the first answer stays.
        """
        stored = samples.stored_answer(tenant(storage))
        write(storage, lambda work: work.idempotency.add_answers([stored]))

        with pytest.raises(ANY_FAILURE):
            write(storage, lambda work: work.idempotency.add_answers([evolve(stored, body="other")]))

        found = read(
            storage,
            lambda work: work.idempotency.answers(stored.scope_id, "charge", [stored.idempotency_key]),
        )
        assert found == {stored.idempotency_key: stored}

    def test_of_many_answers_under_one_key_one_is_kept(self, storage: Storage) -> None:
        """
        The unique key holds under a race; the losers' units fail.
        """
        stored = samples.stored_answer(tenant(storage))

        def store(candidate: Answer) -> bool:
            try:
                write(storage, lambda work: work.idempotency.add_answers([candidate]))
            except Exception:
                return False
            return True

        kept = together(*(lambda n=n: store(evolve(stored, body=str(n))) for n in range(6)))

        found = read(
            storage,
            lambda work: work.idempotency.answers(stored.scope_id, "charge", [stored.idempotency_key]),
        )
        assert kept.count(True) == 1
        assert found[stored.idempotency_key].body == str(kept.index(True))

    # --- keys in flight -----------------------------------------------------------------------

    def test_keys_that_nobody_has_taken_are_ours(self, storage: Storage) -> None:
        """
        Also when we ask for them again in the same unit, and when the unit that had them is over.
        """
        keys = [(tenant(storage), "charge", new_id("sent")) for _ in range(3)]

        with storage.work() as work:
            first = work.idempotency.held_elsewhere(keys)
            again = work.idempotency.held_elsewhere(keys[::-1])
            none = work.idempotency.held_elsewhere([])
        after = write(storage, lambda work: work.idempotency.held_elsewhere(keys))

        assert first == again == none == after == set()

    def test_a_key_in_flight_is_reported_without_waiting(self, storage: Storage) -> None:
        """
        A duplicate never stalls its neighbours. (With one writer at a time it cannot even arrive.)
        """
        project_id = tenant(storage)
        taken, free = ((project_id, "charge", new_id("sent")) for _ in range(2))

        with Rival(storage, lambda work: work.idempotency.held_elsewhere([taken])) as rival:
            asking = start(
                lambda: write(storage, lambda work: work.idempotency.held_elsewhere([taken, free]))
            )
            waited = waits(asking, seconds=self.moment_seconds)
            rival.commit()
        after = write(storage, lambda work: work.idempotency.held_elsewhere([taken]))

        assert after == set()
        assert waited is not self.concurrent_writers
        assert answer(asking) == ({taken} if self.concurrent_writers else set())

    def test_keys_of_other_scopes_and_operations_are_not_in_flight(self, storage: Storage) -> None:
        """
        Scope, operation and key are told apart, however they run together.
        """
        one, other = tenant(storage), tenant(storage)
        key = new_id("sent")
        taken = (one, "charge", key)
        neighbours = [(other, "charge", key), (one, "credit", key), (one, "charg", "e" + key)]

        with Rival(storage, lambda work: work.idempotency.held_elsewhere([taken])) as rival:
            asking = start(lambda: write(storage, lambda work: work.idempotency.held_elsewhere(neighbours)))
            waits(asking)
            rival.roll_back()

        assert answer(asking) == set()
