"""Promises of ``OutboxStore``: messages are kept in order, and of two who deliver one is heard."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from neruba_core.outbox.model import Delivery, DeliveryAttempt, DeliveryState, Endpoint, MessageType, Salt
from neruba_core.storage.port import Storage, UnitOfWork
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import AWKWARD, NOW, later, new_id, tenant
from neruba_core.testing.contract.units import Rival, answer, read, start, together, waits, write

FOREVER = later(seconds=1_000_000)


def listening(storage: Storage, project_id: str | None = None, **changes: Any) -> Endpoint:
    """Commit an endpoint, of a new project unless one is given."""
    endpoint = samples.endpoint(project_id or tenant(storage), **changes)
    write(storage, lambda work: work.outbox.add_endpoint(endpoint))
    return endpoint


def sent(storage: Storage, endpoint: Endpoint, **changes: Any) -> Delivery:
    """Commit a message and its delivery to the endpoint."""
    message = samples.message(endpoint.project_id)
    delivery = samples.delivery(endpoint.project_id, endpoint.id, message.id, **changes)

    def act(work: UnitOfWork) -> None:
        work.outbox.add_messages([message])
        work.outbox.add_deliveries([delivery])

    write(storage, act)
    return delivery


def stored(storage: Storage, delivery: Delivery) -> Delivery | None:
    """The delivery as it is now."""
    return read(storage, lambda work: work.outbox.delivery(delivery.project_id, delivery.id))


def claimed(storage: Storage, endpoint: Endpoint, claim: str, **changes: Any) -> list[Delivery]:
    """Claim what is due at the endpoint, in a unit of its own."""
    values: dict[str, Any] = {"now": NOW, "until": later(seconds=60), "limit": 9} | changes
    return write(storage, lambda work: list(work.outbox.claim(endpoint, claim, **values)))


class Outbox(Promises):
    """Endpoints, messages and deliveries."""

    def test_an_endpoint_comes_back_as_it_was_given(self, storage: Storage) -> None:
        """
        With its message types and salts in their order; an unknown one is None.
        """
        given = listening(
            storage,
            url="https://example.com/" + AWKWARD.encode().hex(),
            message_types=(MessageType.WALLET_LOW, MessageType.CHARGE_CREATED),
            salts=(Salt("new"), Salt("old", later(seconds=5))),
            failing_since=NOW,
            disabled_at=later(micros=1),
            disabled_reason=AWKWARD,
        )

        with storage.snapshot() as work:
            assert work.outbox.endpoint(given.project_id, given.id) == given
            assert work.outbox.endpoint(given.project_id, "whe_none") is None
            assert list(work.outbox.endpoints(given.project_id, limit=9, before=None)) == [given]

    def test_an_endpoint_changes_but_for_its_address(self, storage: Storage) -> None:
        """
        What was told to one address is never told to have gone to another.
        """
        given = listening(storage)
        changed = evolve(
            given,
            message_types=(MessageType.HOLD_EXPIRED,),
            salts=(Salt("other"),),
            failing_since=NOW,
            disabled_at=NOW,
            disabled_reason="gone",
        )

        write(storage, lambda work: work.outbox.replace_endpoint(evolve(changed, url="https://elsewhere")))

        assert read(storage, lambda work: work.outbox.endpoint(given.project_id, given.id)) == changed

    def test_endpoints_are_listed_newest_first_without_deleted_ones(self, storage: Storage) -> None:
        """
        A page at a time.
        """
        project_id = tenant(storage)
        for name in ("a", "b", "c"):
            listening(storage, project_id, id=f"whe_{name}")
        listening(storage, project_id, id="whe_d", deleted_at=NOW)

        with storage.snapshot() as work:
            first = work.outbox.endpoints(project_id, limit=2, before=None)
            second = work.outbox.endpoints(project_id, limit=2, before="whe_b")

        assert [endpoint.id for endpoint in first] == ["whe_c", "whe_b"]
        assert [endpoint.id for endpoint in second] == ["whe_a"]

    def test_those_who_listen_are_neither_deleted_nor_disabled(self, storage: Storage) -> None:
        """
        By project; one where nobody listens is left out.
        """
        one, other, silent = tenant(storage), tenant(storage), tenant(storage)
        second, first = listening(storage, one, id="whe_b"), listening(storage, one, id="whe_a")
        theirs = listening(storage, other)
        listening(storage, one, deleted_at=NOW)
        listening(storage, silent, disabled_at=NOW)

        found = read(storage, lambda work: work.outbox.listeners({one, other, silent}))

        assert {name: list(endpoints) for name, endpoints in found.items()} == {
            one: [first, second],
            other: [theirs],
        }

    def test_sequence_numbers_ascend_from_one_without_gaps(self, storage: Storage) -> None:
        """
        Each project has its own; what a unit that failed took is given out again.
        """
        one, other = tenant(storage), tenant(storage)

        first = write(storage, lambda work: dict(work.outbox.take_sequences({one: 3, other: 1})))
        with Rival(storage, lambda work: work.outbox.take_sequences({one: 5})) as rival:
            rival.roll_back()
        second = write(storage, lambda work: dict(work.outbox.take_sequences({one: 1})))

        assert (first, second) == ({one: 1, other: 1}, {one: 4})

    def test_whoever_asks_for_a_number_waits_for_a_unit_in_flight(self, storage: Storage) -> None:
        """
        So the order of the numbers is the order of the commits.
        """
        project_id = tenant(storage)

        def take() -> int:
            return write(storage, lambda work: work.outbox.take_sequences({project_id: 1}))[project_id]

        with Rival(storage, lambda work: work.outbox.take_sequences({project_id: 1})) as rival:
            ours = start(take)
            waited = waits(ours)
            rival.commit()

        assert waited
        assert answer(ours) == 2

    def test_messages_come_back_by_their_ids(self, storage: Storage) -> None:
        """
        To the byte; unknown ones are left out.
        """
        project_id = tenant(storage)
        one, other = samples.message(project_id, body=AWKWARD), samples.message(project_id, sequence=2)

        write(storage, lambda work: work.outbox.add_messages([one, other]))

        found = read(storage, lambda work: work.outbox.messages(project_id, [one.id, "msg_none"]))
        assert dict(found) == {one.id: one}

    def test_a_delivery_comes_back_as_it_was_given(self, storage: Storage) -> None:
        """
        With all its attempts.
        """
        delivery = sent(
            storage,
            listening(storage),
            state=DeliveryState.DEAD,
            tried=2,
            ended_at=later(seconds=9),
            by_hand=True,
            claim="someone",
            attempts=(
                DeliveryAttempt(NOW, 17, 500),
                DeliveryAttempt(later(micros=1), 15_000, None, AWKWARD),
            ),
        )

        assert stored(storage, delivery) == delivery

    def test_deliveries_are_listed_newest_first(self, storage: Storage) -> None:
        """
        A page at a time, of all endpoints or of one, in any state or in one.
        """
        project_id = tenant(storage)
        one, other = listening(storage, project_id), listening(storage, project_id)
        for name, endpoint in (("a", one), ("b", other), ("c", one)):
            sent(storage, endpoint, id=f"dlv_{name}")
        sent(storage, one, id="dlv_d", state=DeliveryState.DELIVERED, ended_at=NOW)

        def listed(**given: Any) -> list[str]:
            values = {"limit": 9, "before": None} | given
            with storage.snapshot() as work:
                return [delivery.id for delivery in work.outbox.deliveries(project_id, **values)]

        assert listed() == ["dlv_d", "dlv_c", "dlv_b", "dlv_a"]
        assert listed(limit=2, before="dlv_d") == ["dlv_c", "dlv_b"]
        assert listed(endpoint_id=one.id) == ["dlv_d", "dlv_c", "dlv_a"]
        assert listed(endpoint_id=one.id, state=DeliveryState.PENDING) == ["dlv_c", "dlv_a"]

    def test_what_is_due_is_found_by_endpoint(self, storage: Storage) -> None:
        """
        At its very moment; not at deleted endpoints, nor what has ended.
        """
        due, early, deleted, done = (listening(storage) for _ in range(4))
        sent(storage, due, due_at=NOW)
        sent(storage, early, due_at=later(micros=1))
        sent(storage, deleted)
        sent(storage, done, state=DeliveryState.DEAD, ended_at=NOW)
        write(storage, lambda work: work.outbox.replace_endpoint(evolve(deleted, deleted_at=NOW)))

        found = [endpoint.id for endpoint in read(storage, lambda work: work.outbox.due_endpoints(NOW))]

        assert due.id in found
        assert not {early.id, deleted.id, done.id} & set(found)

    def test_what_was_due_longest_is_claimed_first(self, storage: Storage) -> None:
        """
        At most so many, with the claim, and due again when it runs out.
        """
        endpoint = listening(storage)
        last, first, future = (
            sent(storage, endpoint, due_at=later(seconds=seconds)) for seconds in (-1, -2, 1)
        )

        one = claimed(storage, endpoint, "one", limit=1)
        rest = claimed(storage, endpoint, "two")
        none = claimed(storage, endpoint, "three")

        assert one == [evolve(first, claim="one", due_at=later(seconds=60))]
        assert rest == [evolve(last, claim="two", due_at=later(seconds=60))]
        assert none == []
        for limit in (3, 2):
            waiting = read(storage, lambda work, most=limit: work.outbox.pending(endpoint, limit=most))  # type: ignore[misc]
            assert list(waiting) == [future, *rest, *one][:limit]
        assert [stored(storage, delivery) for delivery in (first, last, future)] == [*one, *rest, future]

    def test_a_claim_that_was_never_heard_of_again_runs_out(self, storage: Storage) -> None:
        """
        Then another takes the delivery, and what the first one says later changes nothing.
        """
        endpoint = listening(storage)
        sent(storage, endpoint)
        [lost] = claimed(storage, endpoint, "lost")
        [taken] = claimed(storage, endpoint, "other", now=later(seconds=60), until=FOREVER)

        heard = write(storage, lambda work: work.outbox.still_claimed([lost, taken]))
        of_lost = write(storage, lambda work: work.outbox.still_claimed([lost]))

        assert set(heard) == {taken.id}
        assert set(of_lost) == set()
        assert stored(storage, lost) == taken

    def test_the_outcome_is_kept_of_whoever_holds_the_claim(self, storage: Storage) -> None:
        """
        Once: the claim goes with it.
        """
        endpoint = listening(storage)
        sent(storage, endpoint)
        [mine] = claimed(storage, endpoint, "mine")
        ended = evolve(
            mine,
            state=DeliveryState.DELIVERED,
            ended_at=NOW,
            claim=None,
            tried=1,
            attempts=(DeliveryAttempt(NOW, 5, 204),),
        )

        def keep(work: UnitOfWork) -> list[str]:
            heard = list(work.outbox.still_claimed([mine]))
            work.outbox.replace_deliveries([ended] if heard else [])
            return heard

        assert [write(storage, keep) for _ in range(2)] == [[mine.id], []]
        assert stored(storage, mine) == ended

    def test_of_many_who_claim_at_once_each_delivery_goes_to_one(self, storage: Storage) -> None:
        """
        Nobody waits for a competitor longer than its unit takes.
        """
        endpoint = listening(storage)
        ids = {sent(storage, endpoint).id for _ in range(12)}

        taken = together(*(lambda n=n: claimed(storage, endpoint, str(n), limit=12) for n in range(4)))

        found = [delivery.id for deliveries in taken for delivery in deliveries]
        found += [delivery.id for delivery in claimed(storage, endpoint, "rest", limit=12)]
        assert sorted(found) == sorted(ids)

    def test_what_waits_for_an_endpoint_can_be_ended(self, storage: Storage) -> None:
        """
        Claimed or not, but not what was sent by hand, and not at another endpoint.
        """
        project_id = tenant(storage)
        endpoint, other = listening(storage, project_id), listening(storage, project_id)
        taken, waiting = sent(storage, endpoint), sent(storage, endpoint, due_at=FOREVER)
        kept = [
            sent(storage, endpoint, by_hand=True, due_at=FOREVER),
            sent(storage, endpoint, state=DeliveryState.DELIVERED, ended_at=NOW),
            sent(storage, other),
        ]
        claimed(storage, endpoint, "someone")

        count = write(
            storage,
            lambda work: work.outbox.end_pending(
                project_id, endpoint.id, DeliveryState.CANCELLED, at=later(seconds=1)
            ),
        )

        assert count == 2
        for delivery in (taken, waiting):
            now = stored(storage, delivery)
            assert now is not None
            assert (now.state, now.ended_at, now.claim) == (DeliveryState.CANCELLED, later(seconds=1), None)
        assert [stored(storage, delivery) for delivery in kept] == kept

    def test_an_endpoint_is_locked_until_the_unit_ends(self, storage: Storage) -> None:
        """
        Of two who count its failures neither is lost; unknown ones are left out.
        """
        endpoint = listening(storage)
        name = (endpoint.project_id, endpoint.id)
        changed = evolve(endpoint, failing_since=NOW)

        def change(work: UnitOfWork) -> None:
            work.outbox.lock_endpoints([name])
            work.outbox.replace_endpoint(changed)

        with Rival(storage, change) as rival:
            ours = start(
                lambda: write(
                    storage,
                    lambda work: dict(
                        work.outbox.lock_endpoints([name, (endpoint.project_id, new_id("whe"))])
                    ),
                )
            )
            waited = waits(ours)
            rival.commit()

        assert waited
        assert answer(ours) == {name: changed}
