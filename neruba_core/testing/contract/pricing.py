"""Promises of ``PricingStore``: versions of prices that nobody changes, and meters under the head."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from neruba_core.instants import EPOCH
from neruba_core.money import MAX_MICROS, MAX_TOTAL_MICROS
from neruba_core.pricing.meters import Meter
from neruba_core.pricing.model import (
    Graduated,
    Package,
    Percentage,
    Price,
    Tariff,
    Terms,
    Tier,
    Unit,
    Volume,
)
from neruba_core.storage.port import Storage, UnitOfWork
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import (
    AWKWARD,
    END,
    MICROSECOND,
    START,
    STORED,
    TOKENS,
    later,
    new_id,
    tenant,
)
from neruba_core.testing.contract.units import ANY_FAILURE, Rival, answer, read, start, together, waits, write

TIERS = (
    Tier(100_000_000, Decimal("1")),
    Tier(MAX_MICROS, Decimal("0.000000000001"), Decimal("0.5")),
    Tier(None, Decimal("0"), Decimal("8999999999999.999999999999")),
)
TERMS: dict[str, Terms] = {
    "unit": Unit(Decimal("0.0000015")),
    "graduated": Graduated(TIERS),
    "volume": Volume(TIERS),
    "package": Package(1_000_000_000, Decimal("5")),
    "percentage": Percentage(Decimal("0.029"), Decimal("0.3")),
    "percentage alone": Percentage(Decimal("0.029")),
}


def own(storage: Storage, project_id: str) -> dict[str, tuple[Price, ...]]:
    """The project's own prices."""
    return read(storage, lambda work: work.pricing.prices([project_id]))[project_id]


def kept(storage: Storage, price: Price) -> tuple[Price, ...]:
    """The versions of the same metric and list, as they are stored."""
    if price.project_id is not None:
        return own(storage, price.project_id).get(price.metric_key, ())
    return read(storage, lambda work: work.pricing.shared_prices()).get(price.metric_key, ())


def write_meters(storage: Storage, *meters: Meter) -> None:
    """Commit the meters, under the heads' locks."""
    with storage.work() as work:
        work.ledger.lock_heads(sorted({meter.project_id for meter in meters}))
        work.pricing.write_meters(meters)


def some_price(storage: Storage, of: str, **changes: Any) -> Price:
    """A price of a new project's or of the catalogue's, for a metric of its own."""
    project_id = tenant(storage) if of == "project" else None
    return samples.price(project_id, **{"metric_key": new_id("metric"), **changes})


class Pricing(Promises):
    """Prices and meters."""

    # --- prices -------------------------------------------------------------------------------

    @pytest.mark.parametrize("of", ["project", "catalogue"])
    @pytest.mark.parametrize("terms", TERMS)
    def test_a_price_comes_back_as_it_was_stored(self, storage: Storage, of: str, terms: str) -> None:
        """
        Every digit of its rates, whatever its model; by id and among its metric's versions.
        """
        tariff = Tariff(TERMS[terms], 1, 2, MAX_TOTAL_MICROS)
        price = some_price(storage, of, tariff=tariff, created_by=AWKWARD, effective_from=later(micros=1))

        with storage.work() as work:
            work.pricing.lock_catalogue()
            added = work.pricing.add_price(price)

        assert added is None
        assert kept(storage, price) == (price,)
        with storage.snapshot() as work:
            assert work.pricing.price(price.project_id, price.id) == price
            assert work.pricing.price(price.project_id, "prc_none") is None

    def test_bounds_that_are_not_set_stay_so(self, storage: Storage) -> None:
        """
        No minimum is not a minimum of zero.
        """
        project_id = tenant(storage)
        none = samples.price(project_id, tariff=Tariff(TERMS["unit"]))
        zero = samples.price(project_id, tariff=Tariff(TERMS["unit"], 0, 0, 0), metric_key=STORED)

        with storage.work() as work:
            work.pricing.add_price(none)
            work.pricing.add_price(zero)

        assert own(storage, project_id) == {TOKENS: (none,), STORED: (zero,)}

    @pytest.mark.parametrize("of", ["project", "catalogue"])
    def test_versions_come_in_the_order_in_which_they_come_into_force(
        self, storage: Storage, of: str
    ) -> None:
        """
        Whatever the order in which they were declared.
        """
        first = some_price(storage, of, version=2, effective_from=EPOCH)
        same: dict[str, Any] = {"metric_key": first.metric_key}
        third = samples.price(first.project_id, **same, version=1, effective_from=later(seconds=9))
        second = samples.price(first.project_id, **same, version=3, effective_from=later(seconds=8))

        with storage.work() as work:
            for price in (third, first, second):
                work.pricing.add_price(price)

        assert kept(storage, first) == (first, second, third)

    @pytest.mark.parametrize("of", ["project", "catalogue"])
    def test_one_price_comes_into_force_at_a_time(self, storage: Storage, of: str) -> None:
        """
        A second one is not stored, and the first one is the answer. Another currency has its own.
        """
        first = some_price(storage, of)
        same: dict[str, Any] = {"metric_key": first.metric_key}
        second = samples.price(first.project_id, **same, version=2)
        foreign = samples.price(first.project_id, **same, currency="EUR")
        write(storage, lambda work: work.pricing.add_price(first))

        answers = write(storage, lambda work: [work.pricing.add_price(each) for each in (second, foreign)])

        assert answers == [first, None]
        assert kept(storage, first) == (first, foreign)

    @pytest.mark.parametrize("of", ["project", "catalogue"])
    @pytest.mark.parametrize("taken", ["version", "id"])
    def test_a_price_is_never_changed(self, storage: Storage, of: str, taken: str) -> None:
        """
        A version or an id that is taken fails the unit.
        """
        first = some_price(storage, of)
        claims: dict[str, dict[str, Any]] = {"version": {}, "id": {"id": first.id, "version": 2}}
        second = samples.price(
            first.project_id, **{"metric_key": first.metric_key, "effective_from": later(), **claims[taken]}
        )
        write(storage, lambda work: work.pricing.add_price(first))

        with pytest.raises(ANY_FAILURE):
            write(storage, lambda work: work.pricing.add_price(second))

        assert kept(storage, first) == (first,)

    def test_prices_of_many_projects_come_at_once(self, storage: Storage) -> None:
        """
        Every project that was asked for is there, also one without any; the catalogue's are not among them.
        """
        one, other, bare = tenant(storage), tenant(storage), tenant(storage)
        prices = [samples.price(one), samples.price(other, metric_key=STORED)]
        with storage.work() as work:
            for price in (*prices, samples.price(None, metric_key=new_id("metric"))):
                work.pricing.add_price(price)

        with storage.snapshot() as work:
            found = work.pricing.prices([other, bare, one])
            none = work.pricing.prices([])

        assert found == {other: {STORED: (prices[1],)}, bare: {}, one: {TOKENS: (prices[0],)}}
        assert none == {}

    def test_the_catalogue_is_no_projects(self, storage: Storage) -> None:
        """
        A price is found where it belongs and nowhere else.
        """
        price, shared = samples.price(tenant(storage)), some_price(storage, "catalogue")
        with storage.work() as work:
            work.pricing.add_price(price)
            work.pricing.add_price(shared)

        with storage.snapshot() as work:
            assert work.pricing.price(None, price.id) is None
            assert work.pricing.price(price.project_id, shared.id) is None
            assert price.id not in repr(work.pricing.shared_prices())

    def test_the_catalogue_is_changed_by_one_at_a_time(self, storage: Storage) -> None:
        """
        Whoever has the lock sees all that was committed under it.
        """
        price = some_price(storage, "catalogue")

        def declare(declared: Price) -> tuple[Price, ...]:
            with storage.work() as work:
                work.pricing.lock_catalogue()
                seen = work.pricing.shared_prices().get(declared.metric_key, ())
                work.pricing.add_price(declared)
                return seen

        def first(work: UnitOfWork) -> None:
            work.pricing.lock_catalogue()
            work.pricing.add_price(price)

        with Rival(storage, first) as rival:
            second = samples.price(None, metric_key=price.metric_key, version=2, effective_from=later())
            ours = start(lambda: declare(second))
            waited = waits(ours)
            rival.commit()

        assert waited
        assert answer(ours) == (price,)

    # --- meters -------------------------------------------------------------------------------

    @pytest.mark.parametrize("units_micros", [0, 10**30])
    @pytest.mark.parametrize("drawn_micros", [-MAX_TOTAL_MICROS, 0, MAX_TOTAL_MICROS])
    def test_a_meter_comes_back_as_it_was_written(
        self, storage: Storage, units_micros: int, drawn_micros: int
    ) -> None:
        """
        By its metric and the start of its slice; units may exceed 64 bits.
        """
        meter = samples.meter(
            tenant(storage), units_micros=units_micros, drawn_micros=drawn_micros, events=MAX_TOTAL_MICROS
        )

        write_meters(storage, meter)

        with storage.snapshot() as work:
            found = work.pricing.meters(meter.project_id, [(TOKENS, START), (TOKENS, END), (STORED, START)])
            none = work.pricing.meters(meter.project_id, [])
        assert found == {(TOKENS, START): meter}
        assert none == {}

    def test_meters_are_found_by_both_parts_of_their_name(self, storage: Storage) -> None:
        """
        Those that were asked for, not every combination of metric and start.
        """
        project_id = tenant(storage)
        meters = {
            (metric_key, at): samples.meter(project_id, metric_key=metric_key, start=at)
            for metric_key in (TOKENS, STORED)
            for at in (START, later(), later(micros=1))
        }
        write_meters(storage, *meters.values())
        wanted = [(TOKENS, START), (STORED, later(micros=1))]

        found = read(storage, lambda work: work.pricing.meters(project_id, wanted))

        assert found == {name: meters[name] for name in wanted}

    def test_a_meter_is_overwritten(self, storage: Storage) -> None:
        """
        Some meters of a write may be new, and others there already.
        """
        project_id = tenant(storage)
        write_meters(storage, samples.meter(project_id))
        changed = samples.meter(
            project_id, end=later(), price_id="prc_2", units_micros=0, events=0, drawn_micros=-1
        )
        new = samples.meter(project_id, metric_key=STORED)

        write_meters(storage, changed, new)

        found = read(
            storage, lambda work: work.pricing.meters(project_id, [(TOKENS, START), (STORED, START)])
        )
        assert found == {(TOKENS, START): changed, (STORED, START): new}

    def test_meters_of_a_period_come_in_order(self, storage: Storage) -> None:
        """
        Those that start in it, of all the projects asked for: by project, metric and start.
        """
        one, other, third = tenant(storage), tenant(storage), tenant(storage)
        expected = [
            samples.meter(one, metric_key=STORED),
            samples.meter(one, start=START),
            samples.meter(one, start=END - MICROSECOND),
            samples.meter(other, start=later()),
        ]
        others = [
            samples.meter(one, start=START - MICROSECOND),
            samples.meter(one, start=END, end=END + MICROSECOND),
            samples.meter(third),
        ]
        write_meters(storage, *others, *expected[::-1])

        with storage.snapshot() as work:
            found = work.pricing.meters_between([other, one], START, END)
            none = work.pricing.meters_between([], START, END)

        assert list(found) == expected
        assert list(none) == []

    def test_no_draw_is_lost_under_the_head(self, storage: Storage) -> None:
        """
        A meter that is read and written under the lock counts every event once.
        """
        project_id = tenant(storage)

        def count() -> None:
            for _ in range(5):
                with storage.work() as work:
                    work.ledger.lock_heads([project_id])
                    found = work.pricing.meters(project_id, [(TOKENS, START)])
                    events = found[TOKENS, START].events if found else 0
                    work.pricing.write_meters([samples.meter(project_id, events=events + 1)])

        together(*([count] * 4))

        [meter] = read(storage, lambda work: work.pricing.meters_between([project_id], START, END))
        assert meter.events == 20
