"""Promises of ``WalletStore``: grants, and the lots with something in them."""

from __future__ import annotations

import pytest

from neruba_core.money import MAX_MICROS
from neruba_core.storage.port import Storage
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import book, later, new_id, tenant
from neruba_core.testing.contract.units import ANY_FAILURE, read, write
from neruba_core.wallets.model import Grant, GrantKind, Lot


def fill(storage: Storage, grant: Grant, micros: int) -> None:
    """Commit a grant's wallet account with *micros* in it."""
    with storage.work() as work:
        work.ledger.lock_heads([grant.project_id])
        work.ledger.write_accounts([samples.account(grant.project_id, grant.account, -micros)])


class Wallets(Promises):
    """Grants and lots."""

    @pytest.mark.parametrize("kind", GrantKind)
    @pytest.mark.parametrize("expires_at", [None, later(micros=1)])
    def test_a_grant_comes_back_as_it_was_stored(
        self, storage: Storage, kind: GrantKind, expires_at: object
    ) -> None:
        """
        By id and among all of its project.
        """
        project_id = tenant(storage)
        booked, _ = book(storage, project_id)
        grant = samples.grant(booked, kind=kind, priority=-5, amount_micros=MAX_MICROS, expires_at=expires_at)

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
        booked, _ = book(storage, project_id)
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
        booked, _ = book(storage, project_id)
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
        booked, _ = book(storage, project_id)
        full, expired, emptied, unfilled, least = (
            samples.grant(booked, expires_at=expires_at)
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

    def test_open_lots_are_told_within_the_unit_that_fills_them(self, storage: Storage) -> None:
        """
        A grant may be spent by the next command of its own unit.
        """
        project_id = tenant(storage)
        grant_id = new_id("gra")

        with storage.work() as work:
            booked, _ = samples.book_in(work, project_id)
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
            booked, _posted = book(storage, tenant(storage))
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
        booked, _ = book(storage, project_id)
        old = samples.grant(booked)
        new = samples.grant(booked, succeeds=old.id)

        with storage.work() as work:
            work.wallets.add_grants([old])
            work.wallets.add_grants([new])

        assert read(storage, lambda work: work.wallets.grants(project_id, [new.id])) == {new.id: new}
