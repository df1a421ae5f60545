"""Promises of ``LedgerStore``: one guarded head a project, append-only books, balances re-derived."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from attrs import evolve

from neruba_core.ledger.model import Charged, ChargesWanted, Head, Transaction, TransactionType
from neruba_core.money import MAX_MICROS, MAX_TOTAL_MICROS
from neruba_core.storage.port import Storage, UnitOfWork
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import AWKWARD, END, NOW, START, book, later, new_id, tenant
from neruba_core.testing.contract.units import (
    ANY_FAILURE,
    Rival,
    answer,
    read,
    start,
    state,
    together,
    undone,
    waits,
    write,
)


def locked(work: UnitOfWork, project_id: str) -> Head:
    """The project's head, locked."""
    return work.ledger.lock_heads([project_id])[project_id]


def accounts(work: UnitOfWork, *project_ids: str) -> dict[tuple[str, str], int]:
    """The accounts that hold anything."""
    return {
        (account.project_id, account.name): account.balance_micros
        for account in work.ledger.accounts(project_ids)
        if account.balance_micros
    }


def append(storage: Storage, booked: Transaction) -> None:
    """Commit to the books, under the head's lock."""
    with storage.work() as work:
        work.ledger.lock_heads([booked.project_id])
        work.ledger.append([booked])


class Ledger(Promises):
    """Heads, accounts, transactions and entries."""

    # --- heads --------------------------------------------------------------------------------

    def test_a_new_head_is_at_zero(self, storage: Storage) -> None:
        """
        Version 0 and no money; there is none where there is no project.
        """
        project_id = tenant(storage)

        with storage.work() as work:
            assert work.ledger.head(project_id) == Head(project_id)
            assert work.ledger.lock_heads([project_id, "prj_none"]) == {project_id: Head(project_id)}
            assert work.ledger.lock_heads([]) == {}
            assert work.ledger.head("prj_none") is None
            assert work.ledger.heads([project_id, "prj_none"]) == {project_id: Head(project_id)}
            assert work.ledger.heads([]) == {}

    @pytest.mark.parametrize("micros", [MAX_TOTAL_MICROS, -MAX_TOTAL_MICROS, 0, 1])
    def test_a_head_holds_64_bits(self, storage: Storage, micros: int) -> None:
        """
        The largest balances are kept exactly, also those below zero.
        """
        head = Head(tenant(storage), 7, micros, abs(micros), abs(micros), abs(micros))

        with storage.work() as work:
            locked(work, head.project_id)
            work.ledger.write_heads([head])
            inside = work.ledger.head(head.project_id)

        assert inside == read(storage, lambda work: work.ledger.head(head.project_id)) == head

    def test_many_heads_are_locked_read_and_written_at_once(self, storage: Storage) -> None:
        """
        Asked for in any order, even twice.
        """
        project_ids = [tenant(storage) for _ in range(20)]
        shuffled = random.Random(1).sample(project_ids, k=20)

        with storage.work() as work:
            heads = work.ledger.lock_heads([*shuffled, shuffled[0]])
            work.ledger.write_heads(
                [evolve(heads[each], version=1, balance_micros=n) for n, each in enumerate(shuffled)]
            )
            work.ledger.write_heads([])

        with storage.snapshot() as work:
            found = [work.ledger.head(each) for each in shuffled]
            at_once = work.ledger.heads([*shuffled, shuffled[0]])
        assert heads == {each: Head(each) for each in project_ids}
        assert found == [Head(each, version=1, balance_micros=n) for n, each in enumerate(shuffled)]
        assert at_once == dict(zip(shuffled, found, strict=True))

    def test_no_movement_is_lost_under_the_head(self, storage: Storage) -> None:
        """
        Each of six threads reads what all before it wrote: versions come out without gaps.
        """
        project_id = tenant(storage)

        def move() -> None:
            for _ in range(5):
                with storage.work() as work:
                    head = locked(work, project_id)
                    movements = ("promotions", 3), ("overdraft", -3)
                    booked = samples.transaction(project_id, head.version + 1, *movements)
                    balance = head.balance_micros + 3
                    work.ledger.append([booked])
                    work.ledger.write_accounts([samples.account(project_id, "promotions", balance)])
                    work.ledger.write_heads([evolve(head, version=booked.version, balance_micros=balance)])

        together(*([move] * 6))

        with storage.snapshot() as work:
            listed = work.ledger.transactions(project_id, limit=99, before=None)
            assert work.ledger.head(project_id) == Head(project_id, version=30, balance_micros=90)
            assert [booked.version for booked in listed] == list(range(30, 0, -1))
            assert accounts(work, project_id) == {(project_id, "promotions"): 90}
            assert work.ledger.balances(project_id)["promotions"] == 90

    def test_whoever_holds_a_head_sees_all_that_was_committed_under_it(self, storage: Storage) -> None:
        """
        Although its unit began before: head, accounts, transactions and lots are of the moment of the lock.
        """
        project_id = tenant(storage)
        grant_id = new_id("gra")

        def grant_credit(work: UnitOfWork) -> None:
            account = f"wallet:{grant_id}"
            booked = samples.book_in(work, project_id, ("promotions", 5), (account, -5))
            work.wallets.add_grants([samples.grant(booked, id=grant_id)])
            work.ledger.write_accounts([samples.account(project_id, account, -5)])

        def look() -> tuple[Head | None, Head, dict[tuple[str, str], int], int, int]:
            with storage.work() as work:
                # A first read, so that a database which takes its snapshot then has taken it.
                early = work.ledger.head(project_id)
                head = locked(work, project_id)
                lots = work.wallets.open_lots([project_id])
                transactions = work.ledger.transactions(project_id, limit=9, before=None)
                return early, head, accounts(work, project_id), len(lots), len(transactions)

        with Rival(storage, grant_credit) as rival:
            ours = start(look)
            waited = waits(ours)
            rival.commit()

        early, *seen = answer(ours)
        assert waited
        assert early == Head(project_id, version=0 if self.concurrent_writers else 1)
        assert seen == [Head(project_id, version=1), {(project_id, f"wallet:{grant_id}"): -5}, 1, 1]

    def test_a_lock_ends_with_a_unit_that_fails(self, storage: Storage) -> None:
        """
        The next one finds the head as it was before.
        """
        project_id = tenant(storage)

        with Rival(storage, lambda work: samples.book_in(work, project_id)) as rival:
            ours = start(lambda: write(storage, lambda work: locked(work, project_id)))
            waits(ours)
            rival.roll_back()

        assert answer(ours) == Head(project_id)

    def test_heads_of_different_projects_do_not_wait_for_each_other(self, storage: Storage) -> None:
        """
        No two tenants ever contend, where the store lets two write at all.
        """
        one, other = tenant(storage), tenant(storage)

        with Rival(storage, lambda work: locked(work, one)) as rival:
            ours = start(lambda: book(storage, other))
            waited = waits(ours, seconds=self.moment_seconds)
            rival.roll_back()

        answer(ours)
        assert waited is not self.concurrent_writers

    def test_units_that_lock_the_same_heads_in_any_order_all_commit(self, storage: Storage) -> None:
        """
        Locks are taken in the order of project ids, so nobody waits in a circle.
        """
        project_ids = [tenant(storage) for _ in range(6)]

        def move(seed: int) -> None:
            order = random.Random(seed)
            for _ in range(5):
                chosen = order.sample(project_ids, k=4)
                with storage.work() as work:
                    heads = work.ledger.lock_heads(chosen)
                    work.ledger.write_heads(
                        [evolve(heads[each], version=heads[each].version + 1) for each in chosen]
                    )

        together(*(lambda n=n: move(n) for n in range(5)))

        with storage.snapshot() as work:
            heads = [work.ledger.head(each) for each in project_ids]
        assert sum(head.version for head in heads if head is not None) == 5 * 5 * 4

    def test_projects_that_changed_are_found_by_version(self, storage: Storage) -> None:
        """
        Those whose head is at another version than the one given, which is 0 where none is.
        """
        still, moved, new = tenant(storage), tenant(storage), tenant(storage)
        book(storage, moved)
        book(storage, new)

        with storage.snapshot() as work:
            ours = {still, moved, new}
            assert ours & set(work.ledger.projects_changed_since({})) == {moved, new}
            assert ours & set(work.ledger.projects_changed_since({moved: 1})) == {new}
            assert ours & set(work.ledger.projects_changed_since({still: 1, moved: 2, new: 1})) == {
                still,
                moved,
            }
            assert ours & set(work.ledger.projects_changed_since(dict.fromkeys(ours, 0))) == {moved, new}

    # --- accounts -----------------------------------------------------------------------------

    @pytest.mark.parametrize("micros", [MAX_TOTAL_MICROS, -MAX_TOTAL_MICROS, 1, -1])
    def test_an_account_holds_64_bits(self, storage: Storage, micros: int) -> None:
        """
        Written for the first time or over what was there.
        """
        project_id = tenant(storage)
        name = "revenue:Some.Metric:1"

        with storage.work() as work:
            locked(work, project_id)
            work.ledger.write_accounts([samples.account(project_id, name, 5)])
            work.ledger.write_accounts([samples.account(project_id, name, micros)])

        assert read(storage, lambda work: accounts(work, project_id)) == {(project_id, name): micros}

    def test_accounts_of_many_projects_come_at_once(self, storage: Storage) -> None:
        """
        Those that were asked for and no others.
        """
        one, other, third = (tenant(storage) for _ in range(3))
        with storage.work() as work:
            work.ledger.lock_heads([one, other, third])
            work.ledger.write_accounts(
                [samples.account(each, "overdraft", n) for n, each in enumerate((one, other, third), 1)]
            )
            work.ledger.write_accounts([])

        with storage.snapshot() as work:
            assert accounts(work, one, other) == {(one, "overdraft"): 1, (other, "overdraft"): 2}
            assert accounts(work) == {}

    def test_emptied_wallet_accounts_are_left_out(self, storage: Storage) -> None:
        """
        A project's grants only ever grow in number; other accounts stay, even at zero.
        """
        project_id = tenant(storage)
        with storage.work() as work:
            locked(work, project_id)
            work.ledger.write_accounts(
                [
                    samples.account(project_id, "overdraft", 5),
                    samples.account(project_id, "wallet:gra_1", -5),
                    samples.account(project_id, "wallet:gra_2", -5),
                ]
            )

        with storage.work() as work:
            locked(work, project_id)
            work.ledger.write_accounts(
                [samples.account(project_id, "wallet:gra_1", 0), samples.account(project_id, "overdraft", 0)]
            )

        found = read(storage, lambda work: work.ledger.accounts([project_id]))
        assert sorted((account.name, account.balance_micros) for account in found) == [
            ("overdraft", 0),
            ("wallet:gra_2", -5),
        ]

    def test_an_emptied_wallet_account_can_be_filled_again(self, storage: Storage) -> None:
        """
        A reversal gives back to the grant that was drawn.
        """
        project_id = tenant(storage)

        for micros in (-5, 0, -3):
            with storage.work() as work:
                locked(work, project_id)
                work.ledger.write_accounts([samples.account(project_id, "wallet:gra_1", micros)])

        assert read(storage, lambda work: accounts(work, project_id)) == {(project_id, "wallet:gra_1"): -3}

    # --- transactions -------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"metadata": {}, "event_id": AWKWARD, "description": AWKWARD, "render_version": 3},
            {
                "type": TransactionType.CHARGE,
                "operation": "charge",
                "amount_micros": MAX_MICROS,
                "balance_after_micros": -MAX_TOTAL_MICROS,
                "metadata": {"invoice": "a", AWKWARD: AWKWARD, "paid": True, "lines": 2**53 - 1},
                "grant_id": None,
                "request_id": "req_1",
                "effective_at": later(micros=1),
                "recorded_at": later(micros=2),
                "fingerprint": bytes(range(256)),
            },
            {"type": TransactionType.DEBIT, "balance_after_micros": MAX_TOTAL_MICROS},
            {"type": TransactionType.USAGE},
            {"type": TransactionType.INVOICE},
        ],
        ids=["plain", "awkward", "charge", "debit", "usage", "invoice"],
    )
    def test_a_transaction_comes_back_as_it_was_booked(
        self, storage: Storage, changes: dict[str, object]
    ) -> None:
        """
        By id, by key, by event id and in the list; it is answered again from this row.
        """
        project_id = tenant(storage)

        booked = book(storage, project_id, **changes)

        operation, key = booked.operation, booked.idempotency_key
        with storage.snapshot() as work:
            assert work.ledger.transaction(project_id, booked.id) == booked
            assert work.ledger.transaction(project_id, "txn_none") is None
            assert work.ledger.transactions_by_keys(project_id, operation, [key, "-"]) == {key: booked}
            by_event_id = work.ledger.transactions_by_event_ids(
                project_id, operation, [booked.event_id or "-", "--"]
            )
            assert by_event_id == ({} if booked.event_id is None else {booked.event_id: booked})
            assert list(work.ledger.transactions(project_id, limit=9, before=None)) == [booked]
        assert len(booked.entries) == 2

    def test_a_transaction_is_answered_with_these_bytes_for_ever(self, storage: Storage) -> None:
        """
        Those of version 1: whatever is changed here was answered differently to somebody.
        """
        project_id = tenant(storage)
        movements = ("wallet:grt_1", 3_000_001), ("overdraft", 1), ("revenue:charges", -3_000_002)
        booked = book(
            storage,
            project_id,
            *movements,
            type=TransactionType.CHARGE,
            operation="charge",
            amount_micros=3_000_002,
            balance_after_micros=-1,
            description='GPU ☃ "quoted"',
            event_id="event",
            metadata={"b": 1, "a": True, "ü": "\n"},
        )

        found = read(storage, lambda work: work.ledger.transaction(project_id, booked.id))

        assert found is not None
        assert (
            found.body
            == booked.body
            == (
                f'{{"id":"{booked.id}","projectId":"{project_id}","type":"charge","amount":"3.000002",'
                '"balanceAfter":"-0.000001","description":"GPU ☃ \\"quoted\\"","eventId":"event",'
                '"metadata":{"a":true,"b":1,"ü":"\\n"},"grantId":null,"reverses":null,"entries":['
                '{"account":"wallet:grt_1","debit":"3.000001","credit":"0.000000"},'
                '{"account":"overdraft","debit":"0.000001","credit":"0.000000"},'
                '{"account":"revenue:charges","debit":"0.000000","credit":"3.000002"}],'
                '"createdAt":"2026-03-17T10:15:00.123457Z"}'
            )
        )

    def test_metadata_cannot_be_changed_from_outside(self, storage: Storage) -> None:
        """
        The caller's dictionary stays the caller's.
        """
        project_id = tenant(storage)
        metadata = {"invoice": "a"}
        booked = book(storage, project_id, metadata=metadata)

        metadata["invoice"] = "b"

        found = read(storage, lambda work: work.ledger.transaction(project_id, booked.id))
        assert found is not None
        assert found.metadata == {"invoice": "a"}

    def test_keys_and_event_ids_belong_to_an_operation(self, storage: Storage) -> None:
        """
        A credit and a charge may have the same names; many may have no event id.
        """
        project_id = tenant(storage)
        one = book(storage, project_id, operation="credit", idempotency_key="same", event_id="same")
        other = book(storage, project_id, operation="charge", idempotency_key="same", event_id="same")
        book(storage, project_id)
        book(storage, project_id)

        with storage.snapshot() as work:
            for booked in (one, other):
                asked = (project_id, booked.operation, ["same"])
                assert work.ledger.transactions_by_keys(*asked) == {"same": booked}
                assert work.ledger.transactions_by_event_ids(*asked) == {"same": booked}
            assert work.ledger.transactions_by_keys(project_id, "debit", ["same"]) == {}
            assert work.ledger.transactions_by_keys(project_id, "credit", []) == {}
            assert work.ledger.transactions_by_event_ids(project_id, "credit", []) == {}

    @pytest.mark.parametrize("taken", ["version", "id", "idempotency_key", "event_id"])
    def test_what_is_taken_fails_the_unit(self, storage: Storage, taken: str) -> None:
        """
        The books are append-only: nothing of the second transaction stays, nothing of the first changes.
        """
        project_id = tenant(storage)
        booked = book(storage, project_id, event_id="event")
        before = state(storage, project_id)
        version = booked.version if taken == "version" else 2
        changes = {"event_id": "other event"}
        if taken != "version":
            changes[taken] = getattr(booked, taken)

        with pytest.raises(ANY_FAILURE):
            append(
                storage,
                samples.transaction(project_id, version, ("promotions", 1), ("overdraft", -1), **changes),
            )

        assert state(storage, project_id) == before

    def test_entries_of_a_place_that_is_taken_fail_the_unit(self, storage: Storage) -> None:
        """
        No line can be slipped under a transaction's number later.
        """
        project_id = tenant(storage)
        posted = book(storage, project_id).entries
        before = state(storage, project_id)
        slipped = tuple(evolve(entry, account="adjustments") for entry in posted)

        with pytest.raises(ANY_FAILURE):
            append(storage, evolve(samples.transaction(project_id, 2), entries=slipped))

        assert state(storage, project_id) == before

    def test_hundreds_of_transactions_are_booked_at_once(self, storage: Storage) -> None:
        """
        Of several projects, in one call, with all their entries.
        """
        projects = [tenant(storage), tenant(storage)]
        movements = ("promotions", 2), ("overdraft", -2)
        booked = [samples.transaction(projects[n % 2], n // 2 + 1, *movements) for n in range(400)]

        with storage.work() as work:
            work.ledger.lock_heads(projects)
            work.ledger.append(booked)
            work.ledger.append([])

        with storage.snapshot() as work:
            keys = [each.idempotency_key for each in booked if each.project_id == projects[1]]
            found = work.ledger.transactions_by_keys(projects[1], "credit", keys)
            assert list(map(found.get, keys)) == [each for each in booked if each.project_id == projects[1]]
            assert work.ledger.transaction_count(projects[0]) == 200
            assert work.ledger.balances(projects[0]) == {"promotions": 400, "overdraft": -400}
            assert len(work.ledger.entries(projects[0], limit=999, before=None)) == 400

    def test_transactions_are_listed_latest_first(self, storage: Storage) -> None:
        """
        By version as a number, strictly below the place ``before``.
        """
        project_id = tenant(storage)
        booked = [samples.transaction(project_id, version) for version in (1, 2, 9, 10, 11, 100)]
        with storage.work() as work:
            locked(work, project_id)
            work.ledger.append(booked[::-1])

        with storage.snapshot() as work:
            first = work.ledger.transactions(project_id, limit=2, before=None)
            second = work.ledger.transactions(project_id, limit=2, before=booked[4].place)
            third = work.ledger.transactions(project_id, limit=9, before=booked[2].place)
            end = work.ledger.transactions(project_id, limit=9, before=booked[0].place)

        assert list(first) == [booked[5], booked[4]]
        assert list(second) == [booked[3], booked[2]]
        assert list(third) == [booked[1], booked[0]]
        assert list(end) == []

    def test_transactions_are_filtered_by_type_and_period(self, storage: Storage) -> None:
        """
        The period bounds the effective time, half-open to the microsecond.
        """
        project_id = tenant(storage)
        kinds = [TransactionType.CREDIT, TransactionType.CHARGE, TransactionType.DEBIT]
        booked = [
            book(storage, project_id, type=kinds[n % 3], effective_at=later(micros=n), recorded_at=NOW)
            for n in range(7)
        ]

        with storage.snapshot() as work:
            charges = work.ledger.transactions(project_id, limit=9, before=None, type=TransactionType.CHARGE)
            within = work.ledger.transactions(
                project_id, limit=9, before=None, start=later(micros=2), end=later(micros=5)
            )
            begun = work.ledger.transactions(project_id, limit=9, before=None, start=later(micros=5))
            ended = work.ledger.transactions(project_id, limit=9, before=None, end=later(micros=1))
            credits_within = work.ledger.transactions(
                project_id, limit=1, before=booked[6].place, type=TransactionType.CREDIT, start=NOW
            )

        assert list(charges) == [booked[4], booked[1]]
        assert list(within) == [booked[4], booked[3], booked[2]]
        assert list(begun) == [booked[6], booked[5]]
        assert list(ended) == [booked[0]]
        assert list(credits_within) == [booked[3]]

    def test_reversals_are_found_by_their_original(self, storage: Storage) -> None:
        """
        By ascending version; what reverses nothing is nobody's reversal.
        """
        project_id = tenant(storage)
        original = book(storage, project_id)
        other = book(storage, project_id)
        reversals = [
            book(
                storage, project_id, type=TransactionType.REVERSAL, operation="reverse", reverses=original.id
            )
            for _ in range(2)
        ]

        with storage.snapshot() as work:
            assert list(work.ledger.reversals_of(project_id, original.id)) == reversals
            assert list(work.ledger.reversals_of(project_id, other.id)) == []
            assert list(work.ledger.reversals_of(project_id, reversals[0].id)) == []

    def test_charges_are_told_with_their_reversals(self, storage: Storage) -> None:
        """
        Those effective in the span, those of before that were booked since, and what was reversed since.
        """
        project_id, other = tenant(storage), tenant(storage)

        def charge(day: int, of: str = project_id) -> Transaction:
            when = START + timedelta(days=day)
            return book(storage, of, type=TransactionType.CHARGE, operation="charge", effective_at=when)

        def reverse(booked: Transaction, micros: int) -> Transaction:
            return book(
                storage,
                project_id,
                type=TransactionType.REVERSAL,
                operation="reverse",
                reverses=booked.id,
                amount_micros=micros,
                effective_at=START + timedelta(days=90),
            )

        earlier, credit = charge(-5), book(storage, project_id)
        reversed_then, early = reverse(earlier, 1), charge(2)
        since = early.version
        booked_late, within, last, after = charge(-1), charge(0), charge(30), charge(31)
        reversals = [reverse(each, 2) for each in (earlier, booked_late, early, after)]
        reverse(credit, 3)
        foreign = charge(3, of=other)

        with storage.snapshot() as work:
            found = work.ledger.charges(
                [ChargesWanted(other, START, END, 0), ChargesWanted(project_id, START, END, since)]
            )
            everything = work.ledger.charges([ChargesWanted(project_id, START, END, 0)])
            nothing = work.ledger.charges([])

        expected = [early, booked_late, within, last, *reversals[:3], foreign]
        assert [charged.id for charged in found] == [
            each.id for each in sorted(expected, key=lambda each: (each.project_id, each.version))
        ]
        assert found[0] == Charged(
            project_id, early.version, early.id, early.amount_micros, early.effective_at, None
        )
        assert {charged.id for charged in everything} == {
            each.id for each in (*expected[:-1], earlier, reversed_then)
        }
        assert nothing == [] or nothing == ()

    def test_transactions_are_counted(self, storage: Storage) -> None:
        """
        By counting them, whatever the head says.
        """
        project_id = tenant(storage)
        for _ in range(3):
            book(storage, project_id)

        with storage.snapshot() as work:
            assert work.ledger.transaction_count(project_id) == 3
            assert work.ledger.transaction_count("prj_none") == 0

    # --- entries ------------------------------------------------------------------------------

    def test_entries_are_listed_latest_first(self, storage: Storage) -> None:
        """
        By version and number as numbers, strictly below the place ``before``, of one account or all.
        """
        project_id = tenant(storage)
        many = [("promotions", 1)] * 11 + [("overdraft", -11)]
        posted = [
            *book(storage, project_id, *many).entries,
            *book(storage, project_id, ("promotions", 2), ("overdraft", -2)).entries,
        ]
        latest_first = posted[::-1]

        with storage.snapshot() as work:
            everything = work.ledger.entries(project_id, limit=99, before=None)
            second = work.ledger.entries(project_id, limit=3, before=latest_first[1].place)
            within = work.ledger.entries(project_id, limit=2, before=posted[10].place)
            overdraft = work.ledger.entries(project_id, limit=99, before=None, account="overdraft")
            page = work.ledger.entries(
                project_id, limit=2, before=latest_first[0].place, account="promotions"
            )
            first = work.ledger.entries(project_id, limit=9, before=posted[0].place)

        assert list(everything) == latest_first
        assert list(second) == latest_first[2:5]
        assert list(within) == [posted[9], posted[8]]
        assert list(overdraft) == [latest_first[0], posted[11]]
        assert list(page) == [posted[12], posted[10]]
        assert list(first) == []

    def test_entries_of_a_transaction_come_by_number(self, storage: Storage) -> None:
        """
        Also beyond nine.
        """
        project_id = tenant(storage)
        booked = book(storage, project_id, *[("promotions", 1)] * 11, ("overdraft", -11))

        found = read(storage, lambda work: work.ledger.transaction(project_id, booked.id))

        assert found == booked
        assert [entry.number for entry in booked.entries] == list(range(1, 13))

    @pytest.mark.parametrize("micros", [MAX_TOTAL_MICROS, -MAX_TOTAL_MICROS])
    def test_an_entry_holds_64_bits(self, storage: Storage, micros: int) -> None:
        """
        Amounts and the balance after them.
        """
        project_id = tenant(storage)

        booked = book(storage, project_id, ("promotions", micros), ("overdraft", -micros))

        listed = read(storage, lambda work: work.ledger.entries(project_id, limit=9, before=None))
        assert list(listed) == list(booked.entries)[::-1]
        assert read(storage, lambda work: work.ledger.transaction(project_id, booked.id)) == booked

    # --- balances -----------------------------------------------------------------------------

    def test_balances_are_derived_from_entries_alone(self, storage: Storage) -> None:
        """
        What was written to the accounts does not matter: that is how a wrong one is found.
        """
        project_id = tenant(storage)
        book(storage, project_id, ("promotions", 100), ("wallet:gra_1", -100))
        book(storage, project_id, ("wallet:gra_1", 30), ("revenue:Calls", -30))
        with storage.work() as work:
            locked(work, project_id)
            work.ledger.write_accounts([samples.account(project_id, "promotions", 99)])

        with storage.snapshot() as work:
            balances = work.ledger.balances(project_id)
            none = work.ledger.balances("prj_none")

        assert balances == {"promotions": 100, "wallet:gra_1": -70, "revenue:Calls": -30}
        assert none == {}

    def test_balances_can_be_read_as_of_then_and_as_known_then(self, storage: Storage) -> None:
        """
        Both bounds are inclusive and to the microsecond, alone or together.
        """
        project_id = tenant(storage)
        for number, (effective, recorded) in enumerate([(0, 0), (1, 5), (5, 5), (2, 9)]):
            micros = 10**number
            book(
                storage,
                project_id,
                ("promotions", micros),
                ("overdraft", -micros),
                effective_at=later(micros=effective),
                recorded_at=later(micros=recorded),
            )

        def balance(work: UnitOfWork, **bounds: int) -> int:
            moments = {name: later(micros=micros) for name, micros in bounds.items()}
            return work.ledger.balances(project_id, **moments).get("promotions", 0)

        with storage.snapshot() as work:
            assert balance(work) == 1111
            assert balance(work, as_of=-1) == balance(work, known_at=-1) == 0
            assert balance(work, as_of=0) == balance(work, known_at=4) == 1
            assert balance(work, as_of=2) == 1011
            assert balance(work, known_at=5) == 111
            assert balance(work, as_of=2, known_at=5) == 11
            assert balance(work, as_of=5, known_at=9) == 1111

    def test_balances_survive_turnover_beyond_64_bits(self, storage: Storage) -> None:
        """
        What went through an account may exceed what it can ever hold.
        """
        project_id = tenant(storage)
        for _ in range(3):
            book(storage, project_id, ("promotions", MAX_MICROS), ("overdraft", -MAX_MICROS))
            book(storage, project_id, ("promotions", -MAX_MICROS), ("overdraft", MAX_MICROS))
        book(storage, project_id, ("promotions", MAX_TOTAL_MICROS), ("overdraft", -MAX_TOTAL_MICROS))

        balances = read(storage, lambda work: work.ledger.balances(project_id))

        assert balances == {"promotions": MAX_TOTAL_MICROS, "overdraft": -MAX_TOTAL_MICROS}

    def test_balances_beyond_64_bits_are_told_too(self, storage: Storage) -> None:
        """
        The sweep must be able to see a wrong sum, not trip over it.
        """
        project_id = tenant(storage)
        for _ in range(3):
            book(storage, project_id, ("promotions", MAX_MICROS), ("overdraft", -MAX_MICROS))

        balances = read(storage, lambda work: work.ledger.balances(project_id))

        assert balances == {"promotions": 3 * MAX_MICROS, "overdraft": -3 * MAX_MICROS}

    def test_a_booking_in_a_savepoint_that_fails_leaves_no_trace(self, storage: Storage) -> None:
        """
        The version it had is given out again.
        """
        project_id = tenant(storage)

        with storage.work() as work:
            with undone(work.savepoint()):
                samples.book_in(work, project_id)
            booked = samples.book_in(work, project_id)

        with storage.snapshot() as work:
            assert booked.version == 1
            assert list(work.ledger.transactions(project_id, limit=9, before=None)) == [booked]
            assert work.ledger.head(project_id) == Head(project_id, version=1)
