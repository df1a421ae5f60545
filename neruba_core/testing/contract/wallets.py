"""Promises of ``WalletStore``: grants, the lots with something in them, and holds."""

from __future__ import annotations

from datetime import timedelta

import pytest
from attrs import evolve

from neruba_core.ledger.model import Account, Head
from neruba_core.money import MAX_MICROS
from neruba_core.storage.port import Storage
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import NOW, book, later, new_id, tenant
from neruba_core.testing.contract.units import ANY_FAILURE, read, write
from neruba_core.wallets.model import Grant, GrantKind, Hold, HoldState, Lot


def fill(storage: Storage, grant: Grant, micros: int) -> None:
    """Commit a grant's wallet account with *micros* in it."""
    with storage.work() as work:
        work.ledger.lock_heads([grant.project_id])
        work.ledger.write_accounts([samples.account(grant.project_id, grant.account, -micros)])


class Wallets(Promises):
    """Grants, lots and holds."""

    @pytest.mark.parametrize("kind", GrantKind)
    @pytest.mark.parametrize("expires_at", [None, later(micros=1)])
    @pytest.mark.parametrize("metric_keys", [(), ("tokens",), ("a.b:c-d_e", "calls", "x" * 128)])
    def test_a_grant_comes_back_as_it_was_stored(
        self, storage: Storage, kind: GrantKind, expires_at: object, metric_keys: tuple[str, ...]
    ) -> None:
        """
        By id and among all of its project.
        """
        project_id = tenant(storage)
        booked = book(storage, project_id)
        grant = samples.grant(
            booked,
            kind=kind,
            priority=-5,
            amount_micros=MAX_MICROS,
            expires_at=expires_at,
            metric_keys=metric_keys,
        )

        write(storage, lambda work: work.wallets.add_grants([grant]))

        with storage.snapshot() as work:
            assert work.wallets.grants(project_id, [grant.id, "gra_none"]) == {grant.id: grant}
            assert work.wallets.grants(project_id, []) == {}
            assert list(work.wallets.grants_of(project_id)) == [grant]

    def test_grants_come_by_id(self, storage: Storage) -> None:
        """
        Ascending, in whatever order they were added.
        """
        project_id = tenant(storage)
        booked = book(storage, project_id)
        grants = [samples.grant(booked) for _ in range(4)]

        with storage.work() as work:
            work.wallets.add_grants(grants[2:])
            work.wallets.add_grants(grants[:2])
            work.wallets.add_grants([])

        assert list(read(storage, lambda work: work.wallets.grants_of(project_id))) == grants

    def test_a_grant_is_never_changed(self, storage: Storage) -> None:
        """
        Adding another of the same id fails the unit.
        """
        project_id = tenant(storage)
        booked = book(storage, project_id)
        grant = samples.grant(booked)
        write(storage, lambda work: work.wallets.add_grants([grant]))

        with pytest.raises(ANY_FAILURE):
            write(
                storage,
                lambda work: work.wallets.add_grants([samples.grant(booked, id=grant.id, priority=1)]),
            )

        assert list(read(storage, lambda work: work.wallets.grants_of(project_id))) == [grant]

    def test_open_lots_are_those_with_something_in_them(self, storage: Storage) -> None:
        """
        Expired or not; what remains is what their account holds, and the emptied are left out.
        """
        project_id = tenant(storage)
        booked = book(storage, project_id)
        full, expired, emptied, unfilled, least = (
            samples.grant(booked, expires_at=expires_at, metric_keys=("calls", "tokens"))
            for expires_at in (None, samples.START, None, None, None)
        )
        write(storage, lambda work: work.wallets.add_grants([full, expired, emptied, unfilled, least]))
        for grant, micros in ((full, MAX_MICROS), (expired, 7), (emptied, 5), (emptied, 0), (least, 1)):
            fill(storage, grant, micros)

        lots = read(storage, lambda work: work.wallets.open_lots([project_id]))

        assert sorted(lots, key=lambda lot: lot.grant.id) == [
            Lot(full, MAX_MICROS),
            Lot(expired, 7),
            Lot(least, 1),
        ]

    def test_an_open_lot_tells_what_is_held_of_it(self, storage: Storage) -> None:
        """
        It stands on the grant's account, beside what remains.
        """
        project_id = tenant(storage)
        booked = book(storage, project_id)
        grant = samples.grant(booked)
        write(storage, lambda work: work.wallets.add_grants([grant]))

        for held in (3, 5):
            with storage.work() as work:
                work.ledger.lock_heads([project_id])
                work.ledger.write_accounts([Account(project_id, grant.account, -5, held)])

        with storage.snapshot() as work:
            assert list(work.wallets.open_lots([project_id])) == [Lot(grant, 5, 5)]
            assert Account(project_id, grant.account, -5, 5) in work.ledger.accounts([project_id])

    def test_open_lots_are_told_within_the_unit_that_fills_them(self, storage: Storage) -> None:
        """
        A grant may be spent by the next command of its own unit.
        """
        project_id = tenant(storage)
        grant_id = new_id("gra")

        with storage.work() as work:
            booked = samples.book_in(work, project_id)
            grant = samples.grant(booked, id=grant_id)
            work.wallets.add_grants([grant])
            work.ledger.write_accounts([samples.account(project_id, grant.account, -5)])
            filled = work.wallets.open_lots([project_id])
            work.ledger.write_accounts([samples.account(project_id, grant.account, 0)])
            emptied = work.wallets.open_lots([project_id])

        assert list(filled) == [Lot(grant, 5)]
        assert list(emptied) == []

    def test_open_lots_of_many_projects_come_at_once(self, storage: Storage) -> None:
        """
        Those that were asked for and no others.
        """
        grants = []
        for _ in range(3):
            booked = book(storage, tenant(storage))
            grant = samples.grant(booked)
            with storage.work() as work:
                work.wallets.add_grants([grant])
            fill(storage, grant, 5)
            grants.append(grant)

        with storage.snapshot() as work:
            two = work.wallets.open_lots([grants[2].project_id, grants[0].project_id])
            none = work.wallets.open_lots([])

        assert {lot.grant.id for lot in two} == {grants[0].id, grants[2].id}
        assert list(none) == []

    def test_a_grant_remembers_which_one_it_succeeds(self, storage: Storage) -> None:
        """
        What is given back in place of an expired grant can be traced to it.
        """
        project_id = tenant(storage)
        booked = book(storage, project_id)
        old = samples.grant(booked)
        new = samples.grant(booked, succeeds=old.id)

        with storage.work() as work:
            work.wallets.add_grants([old])
            work.wallets.add_grants([new])

        assert read(storage, lambda work: work.wallets.grants(project_id, [new.id])) == {new.id: new}

    def test_a_hold_comes_back_as_it_was_stored(self, storage: Storage) -> None:
        """
        By id, by its event, and among the open ones; whatever it draws.
        """
        project_id = tenant(storage)
        drawn = samples.hold(project_id, description=samples.AWKWARD, event_id=samples.AWKWARD)
        bare = samples.hold(project_id, draws=(), amount_micros=MAX_MICROS)

        self.add(storage, drawn, bare)

        with storage.snapshot() as work:
            assert work.wallets.holds(project_id, [drawn.id, "hld_none"]) == {drawn.id: drawn}
            assert work.wallets.holds(project_id, []) == {}
            by_event = work.wallets.holds_by_event_ids(project_id, [samples.AWKWARD, "none"])
            assert by_event == {samples.AWKWARD: drawn}
            assert list(work.wallets.open_holds(project_id)) == [drawn, bare]

    @pytest.mark.parametrize("state", [HoldState.CAPTURED, HoldState.RELEASED, HoldState.EXPIRED])
    def test_a_hold_is_closed(self, storage: Storage, state: HoldState) -> None:
        """
        It is among the open ones no more, and says how it ended.
        """
        project_id = tenant(storage)
        hold = samples.hold(project_id)
        self.add(storage, hold)
        captured = state is HoldState.CAPTURED
        closed = hold.closed(
            state,
            at=later(micros=1),
            captured_micros=7 if captured else 0,
            transaction_id="txn_1" if captured else None,
        )

        with storage.work() as work:
            work.ledger.lock_heads([project_id])
            work.wallets.close_holds([closed])

        with storage.snapshot() as work:
            assert work.wallets.holds(project_id, [hold.id]) == {hold.id: closed}
            assert list(work.wallets.open_holds(project_id)) == []
            assert work.wallets.next_hold_expiry(project_id) is None

    def test_an_event_is_held_once(self, storage: Storage) -> None:
        """
        A second hold of the same event fails the unit; another project's does not.
        """
        project_id, other_id = tenant(storage), tenant(storage)
        self.add(storage, samples.hold(project_id, event_id="e"))
        self.add(storage, samples.hold(other_id, event_id="e"))

        with pytest.raises(ANY_FAILURE):
            self.add(storage, samples.hold(project_id, event_id="e"))

    def test_holds_expire_at_their_instant(self, storage: Storage) -> None:
        """
        Not a microsecond earlier; those that are closed expire no more.
        """
        project_id = tenant(storage)
        first = samples.hold(project_id, expires_at=later(micros=5))
        second = samples.hold(project_id, expires_at=later(micros=6))
        gone = samples.hold(project_id, expires_at=later(micros=4))
        self.add(storage, second, first, gone)
        with storage.work() as work:
            work.ledger.lock_heads([project_id])
            work.wallets.close_holds([gone.closed(HoldState.RELEASED, at=NOW)])

        with storage.snapshot() as work:
            assert work.wallets.next_hold_expiry(project_id) == later(micros=5)
            expired = [
                work.wallets.holds_expired([project_id, "prj_none"], later(micros=micros))
                for micros in (4, 5, 6)
            ]

        assert [list(each) for each in expired] == [[], [first], [first, second]]

    def test_what_was_held_at_an_instant(self, storage: Storage) -> None:
        """
        From when it was reserved until it was closed, or expires.
        """
        project_id = tenant(storage)
        open_one = samples.hold(project_id, created_at=later(micros=2), expires_at=later(micros=8))
        closed = samples.hold(project_id, created_at=later(micros=1), expires_at=later(micros=9))
        self.add(storage, open_one, closed)
        with storage.work() as work:
            work.ledger.lock_heads([project_id])
            work.wallets.close_holds([closed.closed(HoldState.RELEASED, at=later(micros=5))])

        with storage.snapshot() as work:
            held = [
                [hold.id for hold in work.wallets.holds_at(project_id, later(micros=micros))]
                for micros in (0, 1, 2, 4, 5, 7, 8)
            ]

        one, two = open_one.id, closed.id
        assert held == [[], [two], [one, two], [one, two], [one], [one], []]

    def test_heads_fall_due(self, storage: Storage) -> None:
        """
        At their instant, the longest due first, and no more than are asked for.
        """
        late, early, never = tenant(storage), tenant(storage), tenant(storage)
        long_ago = samples.START - timedelta(days=10_000)
        for project_id, due_at in ((late, long_ago + timedelta(1)), (early, long_ago), (never, None)):
            with storage.work() as work:
                head = work.ledger.lock_heads([project_id])[project_id]
                work.ledger.write_heads([evolve(head, due_at=due_at)])

        with storage.snapshot() as work:
            assert work.ledger.head(early) == Head(early, due_at=long_ago)
            before = work.ledger.heads_due(long_ago - timedelta(microseconds=1), limit=9)
            first = work.ledger.heads_due(long_ago, limit=9)
            one = work.ledger.heads_due(long_ago + timedelta(1), limit=1)
            both = work.ledger.heads_due(long_ago + timedelta(1), limit=9)
            moments = [
                work.ledger.next_head_due(long_ago - timedelta(microseconds=1)),
                work.ledger.next_head_due(long_ago),
            ]
        with storage.work() as work:
            work.ledger.lock_heads([early, late])
            work.ledger.write_heads([Head(early), Head(late)])

        assert [list(each) for each in (before, first, one, both)] == [[], [early], [early], [early, late]]
        assert moments == [long_ago, long_ago + timedelta(1)]

    def test_wallets_to_top_up_are_found(self, storage: Storage) -> None:
        """
        As those that are due are: at their instant, the longest due first, no more than are asked for.
        """
        late, early, never = tenant(storage), tenant(storage), tenant(storage)
        long_ago = samples.START - timedelta(days=10_000)
        last = long_ago + timedelta(1)
        for project_id, moment in ((late, last), (early, long_ago), (never, None)):
            with storage.work() as work:
                head = work.ledger.lock_heads([project_id])[project_id]
                work.ledger.write_heads([evolve(head, low=True, top_up_at=moment)])

        with storage.snapshot() as work:
            assert work.ledger.head(early) == Head(early, low=True, top_up_at=long_ago)
            before = work.ledger.heads_to_top_up(long_ago - timedelta(microseconds=1), limit=9)
            one = work.ledger.heads_to_top_up(last, limit=1)
            both = work.ledger.heads_to_top_up(last, limit=9)
            moments = [
                work.ledger.next_top_up(long_ago - timedelta(microseconds=1)),
                work.ledger.next_top_up(long_ago),
            ]
        with storage.work() as work:
            work.ledger.lock_heads([early, late])
            work.ledger.write_heads([Head(early), Head(late)])

        assert [list(each) for each in (before, one, both)] == [
            [],
            [(early, long_ago)],
            [(early, long_ago), (late, last)],
        ]
        assert moments == [long_ago, last]

    def add(self, storage: Storage, *holds: Hold) -> None:
        """Commit the holds."""
        with storage.work() as work:
            work.ledger.lock_heads(sorted({hold.project_id for hold in holds}))
            work.wallets.add_holds(holds)
