"""Declaring and listing prices."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from attrs import evolve

from neruba_core import Neruba
from neruba_core.audit.model import Origin
from neruba_core.errors import (
    AmountNegative,
    CursorMismatch,
    FormatInvalid,
    InstantNaive,
    PriceAlreadyEffective,
    PriceInvalid,
    PriceRetroactive,
    ProjectArchived,
    ProjectNotFound,
)
from neruba_core.instants import Instant
from neruba_core.metering.model import Aggregation, SharedMetric
from neruba_core.pricing.meters import Meter
from neruba_core.pricing.model import Price, Tariff, Tier, Unit
from neruba_core.pricing.prices import NewPrice
from neruba_core.storage.export import export
from neruba_core.storage.port import Storage, UnitOfWork
from neruba_core.tenancy.model import Project, Role

NOON = datetime(2026, 3, 17, 12, tzinfo=UTC)
MARCH, APRIL = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)


@pytest.fixture
def neruba(storage: Storage) -> Neruba:
    """
    An engine at noon on every kind of store.
    """
    return Neruba(storage, clock=lambda: NOON, password_effort="testing")


@pytest.fixture
def acme(neruba: Neruba) -> Project:
    project = neruba.projects.create(name="Acme")
    neruba.metrics.declare(project.id, key="api_tokens")
    return project


def declare(neruba: Neruba, project_id: str | None, start: Instant | None = None, **fields: object) -> Price:
    values = {"metric_key": "api_tokens", "model": "unit", "unit_amount": "0.000002", **fields}
    return neruba.prices.create(project_id, effective_from=start, **values)  # type: ignore[arg-type]


def state(neruba: Neruba, project_id: str) -> str:
    return neruba._context.read(lambda work: "\n".join(export(work, project_id)))


def invoice_until(neruba: Neruba, project: Project, moment: Instant) -> None:
    """Let the project be as an invoice leaves it."""
    neruba._context.write(lambda work: work.tenancy.replace_project(evolve(project, invoiced_until=moment)))


def draw(neruba: Neruba, project: Project, start: Instant, end: Instant, *, events: int = 1) -> None:
    """Let the project have drawn for events of a slice."""

    def act(work: UnitOfWork) -> None:
        work.ledger.lock_heads([project.id])
        meter = Meter(project.id, "api_tokens", start, end, "prc_any", 1_000_000, events, 2)
        work.pricing.write_meters([meter])

    neruba._context.write(act)


def test_a_price_is_in_force_from_now_on_and_in_the_projects_currency(neruba, acme):
    """
    The shortest declaration is the commonest.
    """
    price = declare(neruba, acme.id, origin=Origin("user:usr_a"))

    assert price.id.startswith("prc_")
    assert price == Price(
        acme.id,
        price.id,
        "api_tokens",
        1,
        "USD",
        Tariff(Unit(Decimal("0.000002"))),
        NOON,
        NOON,
        "user:usr_a",
    )
    assert neruba.prices.list(acme.id).items == (price,)


def test_a_price_keeps_all_that_was_declared_and_the_trail_shows_it(neruba, acme):
    """
    By the names of the wire, in canonical form.
    """
    price = declare(
        neruba,
        acme.id,
        APRIL,
        model="graduated",
        unit_amount=None,
        tiers=[Tier.of("100", "1.00", "5"), Tier.of(None, "0.50")],
        included="10",
        minimum_amount="1",
        maximum_amount="1000",
        currency="USD",
    )

    assert neruba.prices.list(acme.id).items == (price,)
    change = neruba.audit.changes(acme.id).items[0]
    assert (change.action, change.subject) == ("price.declared", price.id)
    assert json.loads(change.details) == {
        "metricKey": "api_tokens",
        "version": 1,
        "effectiveFrom": "2026-04-01T00:00:00.000000Z",
        "model": "graduated",
        "tiers": [
            {"upTo": "100.000000", "unitAmount": "1", "flatAmount": "5"},
            {"upTo": None, "unitAmount": "0.5"},
        ],
        "included": "10.000000",
        "minimumAmount": "1.000000",
        "maximumAmount": "1000.000000",
    }


def test_versions_are_counted_by_metric_in_the_order_they_were_declared(neruba, acme):
    """
    Even where a later version begins earlier; the older ones stay as they are.
    """
    neruba.metrics.declare(acme.id, key="storage")

    made = [
        declare(neruba, acme.id, APRIL),
        declare(neruba, acme.id, MARCH, unit_amount="3"),
        declare(neruba, acme.id, MARCH, metric_key="storage"),
    ]

    assert [price.version for price in made] == [1, 2, 1]
    assert neruba.prices.list(acme.id).items == tuple(reversed(made))
    assert neruba.prices.list(acme.id, "storage").items == (made[2],)


def test_prices_are_listed_a_page_at_a_time(neruba, acme):
    """
    A cursor goes with its metric.
    """
    made = [declare(neruba, acme.id, NOON + timedelta(days=day)) for day in range(3)]

    first = neruba.prices.list(acme.id, "api_tokens", limit=2)
    second = neruba.prices.list(acme.id, "api_tokens", limit=2, cursor=first.next_cursor)

    assert [*first.items, *second.items] == [*reversed(made)]
    assert second.next_cursor is None
    with pytest.raises(CursorMismatch):
        neruba.prices.list(acme.id, cursor=first.next_cursor)


@pytest.mark.parametrize(
    ("values", "refusal"),
    [
        ({"metric_key": "no spaces"}, FormatInvalid),
        ({"model": "free"}, FormatInvalid),
        ({"currency": "XXX"}, FormatInvalid),
        ({"unit_amount": "-1"}, AmountNegative),
        ({"start": datetime(2026, 4, 1)}, InstantNaive),
        ({"unit_amount": None}, PriceInvalid),
    ],
)
def test_a_price_that_makes_no_sense_is_refused(neruba, acme, values, refusal):
    """
    And changes nothing.
    """
    before = state(neruba, acme.id)

    with pytest.raises(refusal):
        declare(neruba, acme.id, **values)

    assert state(neruba, acme.id) == before


@pytest.mark.parametrize(
    ("values", "path"),
    [({"metric_key": "unknown"}, "/metricKey"), ({"currency": "EUR"}, "/currency")],
)
def test_a_price_that_does_not_fit_its_project_is_refused_where_it_does_not(neruba, acme, values, path):
    """
    A metric that nobody declared, another currency than the wallet's.
    """
    before = state(neruba, acme.id)

    with pytest.raises(PriceInvalid) as refused:
        declare(neruba, acme.id, **values)

    assert refused.value.path == path
    assert state(neruba, acme.id) == before


def test_only_a_living_project_takes_prices(neruba, acme):
    """
    An archived one keeps those that it has.
    """
    price = declare(neruba, acme.id)
    neruba.projects.archive(acme.id, role=Role.OWNER)

    with pytest.raises(ProjectArchived):
        declare(neruba, acme.id, APRIL)
    for act in (lambda: declare(neruba, "prj_x"), lambda: neruba.prices.list("prj_x")):
        with pytest.raises(ProjectNotFound):
            act()
    assert neruba.prices.list(acme.id).items == (price,)


def test_two_prices_cannot_begin_at_once(neruba, acme):
    """
    The refusal names the one that is there; a microsecond later is another instant.
    """
    price = declare(neruba, acme.id, APRIL)
    before = state(neruba, acme.id)

    with pytest.raises(PriceAlreadyEffective) as refused:
        declare(neruba, acme.id, APRIL, unit_amount="3")

    assert refused.value.price_id == price.id
    assert state(neruba, acme.id) == before
    assert declare(neruba, acme.id, APRIL + timedelta(microseconds=1)).version == 2


def test_no_price_begins_in_an_invoiced_period(neruba, acme):
    """
    From the end of the last one on, any may; until then even a metric without a price gets none.
    """
    invoice_until(neruba, acme, MARCH)
    before = state(neruba, acme.id)

    with pytest.raises(PriceRetroactive) as refused:
        declare(neruba, acme.id, MARCH - timedelta(microseconds=1))

    assert refused.value.earliest == "2026-03-01T00:00:00.000000Z"
    assert state(neruba, acme.id) == before
    assert declare(neruba, acme.id, MARCH).version == 1


def test_no_price_cuts_a_slice_that_events_were_drawn_in(neruba, acme):
    """
    Its share of what is included would shrink under them, wherever in it they lie.
    """
    draw(neruba, acme, MARCH, APRIL)
    before = state(neruba, acme.id)

    for start in (MARCH, NOON, APRIL - timedelta(microseconds=1)):
        with pytest.raises(PriceRetroactive) as refused:
            declare(neruba, acme.id, start)
        assert refused.value.earliest == "2026-04-01T00:00:00.000000Z"

    assert state(neruba, acme.id) == before
    assert declare(neruba, acme.id, APRIL).effective_from == APRIL


def test_draws_elsewhere_stand_in_no_prices_way(neruba, acme):
    """
    Of another metric, of nothing left, or under a version that begins later and goes on ruling.
    """
    neruba.metrics.declare(acme.id, key="storage")
    declare(neruba, acme.id, NOON)
    draw(neruba, acme, NOON, APRIL)
    draw(neruba, acme, MARCH, NOON, events=0)

    assert declare(neruba, acme.id, MARCH, metric_key="storage").version == 1
    assert declare(neruba, acme.id, MARCH + timedelta(days=3)).version == 2


# --- the catalogue ----------------------------------------------------------------------------


@pytest.fixture
def shared(neruba: Neruba, acme: Project) -> str:
    """
    A metric of the catalogue, which all tests of a database have in common, under a key of its own.
    """
    key = f"of_{acme.id}"
    metric = SharedMetric(key, Aggregation.SUM, None, None, False, (), NOON, "system")
    neruba._context.write(lambda work: work.metering.add_shared_metric(metric))
    return key


def test_the_catalogue_has_prices_of_its_own(neruba, acme, shared):
    """
    In USD unless they say so, with versions by metric and currency, apart from every project's.
    """
    made = [
        declare(neruba, None, MARCH, metric_key=shared),
        declare(neruba, None, MARCH, metric_key=shared, currency="EUR"),
        declare(neruba, None, APRIL, metric_key=shared),
    ]

    assert [(price.currency, price.version) for price in made] == [("USD", 1), ("EUR", 1), ("USD", 2)]
    assert {price.project_id for price in made} == {None}
    assert neruba.prices.list(None, shared).items == tuple(reversed(made))
    assert neruba.prices.list(acme.id).items == ()


def test_the_catalogue_prices_only_its_own_metrics(neruba, acme, shared):
    """
    In currencies that there are.
    """
    neruba.metrics.declare(acme.id, key=f"only_{acme.id}")

    with pytest.raises(PriceInvalid) as unknown:
        declare(neruba, None, metric_key=f"only_{acme.id}")
    with pytest.raises(PriceInvalid) as unbilled:
        neruba.prices.declare(None, NewPrice(shared, Tariff(Unit(Decimal(1))), "XTS"))

    assert (unknown.value.path, unbilled.value.path) == ("/metricKey", "/currency")
    assert neruba.prices.list(None, shared).items == ()


def test_a_project_prices_the_catalogues_metrics_too(neruba, acme, shared):
    """
    And so makes the metric one that it follows.
    """
    assert declare(neruba, acme.id, metric_key=shared).version == 1
    assert neruba.metrics.get(acme.id, shared).shared


def test_a_catalogue_price_supersedes_from_now_on_only(neruba, shared):
    """
    It rules in projects whose periods are long invoiced; the first of its currency supersedes none.
    """
    first = declare(neruba, None, MARCH, metric_key=shared)

    with pytest.raises(PriceRetroactive) as refused:
        declare(neruba, None, NOON - timedelta(microseconds=1), metric_key=shared)

    assert refused.value.earliest == "2026-03-17T12:00:00.000000Z"
    second = declare(neruba, None, metric_key=shared)
    with pytest.raises(PriceAlreadyEffective):
        declare(neruba, None, NOON, metric_key=shared)
    assert neruba.prices.list(None, shared).items == (second, first)


def test_a_catalogue_price_leaves_what_was_invoiced_without_it(neruba, acme, shared):
    """
    The first one too: what nobody was billed for then is not billed later, but other months are.
    """
    other = neruba.projects.create(name="Other")
    for project, moment in ((acme, MARCH), (other, MARCH - timedelta(days=5))):
        neruba.usage.record(project.id, metric_key=shared, units="1", timestamp=moment, idempotency_key="one")
    with neruba._context.storage.work() as work:
        work.tenancy.note_invoiced({acme.id: MARCH + timedelta(days=4), other.id: MARCH + timedelta(days=9)})

    with pytest.raises(PriceRetroactive) as refused:
        declare(neruba, None, MARCH, metric_key=shared)

    assert refused.value.earliest == "2026-03-05T00:00:00.000000Z"
    assert neruba.prices.list(None, shared).items == ()
    assert declare(neruba, None, MARCH, metric_key=shared, currency="EUR").version == 1
    assert declare(neruba, None, MARCH + timedelta(days=4), metric_key=shared).version == 1


@pytest.mark.parametrize(("limits", "cuts"), [({"included": "5"}, True), ({"minimum_amount": "1"}, False)])
def test_a_catalogue_price_cuts_no_draws_that_had_a_share(neruba, acme, shared, limits, cuts):
    """
    Only what is included and a maximum are shared out; the draws of any other price stay what they are.
    """
    neruba.projects.update(acme.id, billing_mode="prepaid")
    declare(neruba, None, MARCH, metric_key=shared, **limits)
    neruba.wallets.credit(acme.id, amount="10", description="Launch", idempotency_key="credit")
    earlier = NOON - timedelta(hours=1)
    neruba.usage.record(acme.id, metric_key=shared, units="9", timestamp=earlier, idempotency_key="one")

    if cuts:
        with pytest.raises(PriceRetroactive) as refused:
            declare(neruba, None, metric_key=shared)
        assert refused.value.earliest == "2026-04-01T00:00:00.000000Z"
        declare(neruba, None, APRIL, metric_key=shared)
    else:
        declare(neruba, None, metric_key=shared)

    lines = neruba.billing.run(acme.id, "2026-03").invoice.lines
    usage = [line for line in lines if line.kind == "usage"]
    assert [line.amount_micros for line in usage] == [line.already_drawn_micros for line in usage]
    assert usage
