"""A year of random billing, lived by several engines at once, with crashes at random places.

One generator decides what happens; every engine does it, each over a store of its own, and must answer the
same. A crash is a storage call that fails; whoever asked then asks again, as a client or scheduler would.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import pytest
from attrs import define, evolve, field

from neruba_core import money
from neruba_core.billing.overview import InvoicesView, Overview
from neruba_core.billing.results import RunResult
from neruba_core.errors import NerubaError, StorageUnavailable
from neruba_core.idempotency.outcomes import Conflict, Rejected
from neruba_core.instants import Instant
from neruba_core.invoices.model import Invoice
from neruba_core.neruba import Neruba
from neruba_core.pricing.model import Tier
from neruba_core.storage.export import export
from neruba_core.storage.memory import MemoryStorage
from neruba_core.storage.port import Storage
from neruba_core.storage.sql import SqlStorage
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.clock import SettableClock
from neruba_core.testing.postgres import PostgresDatabases
from neruba_server.wire import invoices as wire
from neruba_server.wire.converter import written
from tests.stories.crashing import Crashing, crashing

START = datetime(2026, 1, 1, 9, tzinfo=UTC)
END = datetime(2027, 1, 1, tzinfo=UTC)
PRICED = datetime(2025, 6, 1, tzinfo=UTC)
"""When prices begin: no usage is older."""

STEPS_A_PROJECT = 40
"""How many commands a project gets in the year, on average."""

METRICS: dict[str, dict[str, Any]] = {
    "tokens": {"aggregation": "sum"},
    "calls": {"aggregation": "count"},
    "peak": {"aggregation": "max"},
    "low": {"aggregation": "min"},
    "gauge": {"aggregation": "last"},
    "mean": {"aggregation": "avg"},
    "users": {"aggregation": "unique", "unique_property": "user"},
    "trial": {"aggregation": "sum", "free": True},
}
PRICED_METRICS = [key for key, fields in METRICS.items() if not fields.get("free")]
ZONES = ["UTC", "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland"]
SETTINGS: list[tuple[str, list[Any]]] = [
    ("grace_hours", [0, 24, 72]),
    ("late_usage_policy", ["adjust_next", "credit_note"]),
    ("tax_rate", ["0", "0.19", "0.0825"]),
    ("timezone", ZONES),
    ("billing_mode", ["arrears", "prepaid"]),
    ("on_empty", ["refuse", "record"]),
    ("credit_limit", ["0", "20", "100000"]),
]

PLANS: dict[str, dict[str, Any]] = {
    "small": {"amount": "29.99", "billing": "advance"},
    "large": {"amount": "310", "billing": "arrears", "trial_days": 10, "minimum_commitment": "400"},
    "metered": {
        "amount": "5",
        "billing": "advance",
        "minimum_commitment": "60.000001",
        "prices": [
            {"metric_key": "tokens", "model": "unit", "unit_amount": "0.0333333"},
            {"metric_key": "peak", "model": "unit", "unit_amount": "0.7", "included": "10"},
        ],
    },
}

# --- what is decided by chance ----------------------------------------------------------------


def tariff(chance: Random, *, minimum: bool) -> dict[str, Any]:
    """A price as it is declared, perhaps with a *minimum*."""
    tiers = [["20", "1.00", None], ["60.5", "0.3333333", "0.25"], [None, "0.0000015", None]]
    made: dict[str, Any] = chance.choice(
        [
            {"model": "unit", "unit_amount": chance.choice(["0.0000025", "0.35", "2"])},
            {"model": "graduated", "tiers": tiers},
            {"model": "volume", "tiers": tiers},
            {"model": "package", "package_size": "7.5", "package_amount": "3.333333333333"},
            {"model": "percentage", "rate": "0.0290000005", "fixed_amount": "0.3"},
        ]
    )
    limits: dict[str, Any] = chance.choice(
        [{}, {}, {"included": "4"}, {"maximum_amount": "25"}, {"minimum_amount": "3.1"} if minimum else {}]
    )
    return {**made, **limits}


def declared(price: Mapping[str, Any]) -> dict[str, Any]:
    """A tariff in the words of ``neruba.prices.create``."""
    fields = dict(price)
    if "tiers" in fields:
        fields["tiers"] = [Tier.of(*each) for each in fields["tiers"]]
    return fields


@define
class Lived:
    """A project, and what a second calculation has to know of its year."""

    id: str
    own: dict[tuple[str, Instant], dict[str, Any]] = field(factory=dict)
    usage: list[str] = field(factory=list)
    booked: list[str] = field(factory=list)


@define(eq=False)
class Year:
    """See the module. *engines* share a clock; whatever they are asked they answer alike."""

    stores: Mapping[str, Storage]
    seed: int
    count: int
    crashes: bool = True
    clock: SettableClock = field(init=False)
    engines: dict[str, Rehearsal] = field(init=False)
    chance: Random = field(init=False)
    shared: dict[tuple[str, Instant], dict[str, Any]] = field(factory=dict)
    projects: list[Lived] = field(factory=list)
    watch: Callable[[Year, Lived, str], None] = field(default=lambda _year, _lived, _period: None)
    told: list[str] = field(factory=list)
    _stores: dict[str, Crashing] = field(init=False)
    _keys: int = 0
    crashed: int = 0

    def __attrs_post_init__(self) -> None:
        self.clock = SettableClock(PRICED)
        self._stores = {name: crashing(store) for name, store in self.stores.items()}
        self.engines = {
            name: Rehearsal(store, clock=self.clock, seed=self.seed) for name, store in self._stores.items()
        }
        self.chance = Random(self.seed)

    # --- doing --------------------------------------------------------------------------------

    def ask(self, act: Callable[[Neruba], Any]) -> Any:
        """What every engine answers, without a crash: a value, or the code and facts of a refusal."""
        return self._agreed({name: _answer(act, neruba) for name, neruba in self.engines.items()}, act)

    def do(self, act: Callable[[Neruba], Any]) -> Any:
        """Like ``ask``; sometimes it crashes, and is asked again."""
        if not self.crashes or self.chance.random() >= 0.25:
            return self.ask(act)
        # Most commands are one unit; what falls due is as many as there are projects, and some more.
        unit = self.chance.choice([1, 1, 1, 2, 3, self.chance.randint(4, 12)])
        place = unit, self.chance.choice([None, *range(1, 50, 3)])
        answers = {name: self._crashing(name, act, place) for name in self.engines}
        crashed = {isinstance(told, StorageUnavailable) for told in answers.values()}
        assert len(crashed) == 1, f"at {self.clock}: {answers} crashed at {place}"
        if crashed == {False}:
            return self._agreed(answers, act)
        self._come_back()
        return self.ask(act)

    def _crashing(self, name: str, act: Callable[[Neruba], Any], place: tuple[int, int | None]) -> Any:
        self._stores[name].crash_at(place)
        try:
            return _answer(act, self.engines[name])
        except StorageUnavailable as crash:
            return crash
        finally:
            self._stores[name].crash_at(None)

    def _come_back(self) -> None:
        """Every process starts again, a moment later, and draws other ids: how far each had come in the unit
        that was undone makes no difference."""
        self.crashed += 1
        self.clock.advance(milliseconds=1)
        for neruba in self.engines.values():
            ids = neruba._context.ids
            ids._forget()
            ids.randomness = Random(f"{self.seed} {self.crashed}").randbytes

    def _agreed(self, answers: Mapping[str, Any], act: Callable[[Neruba], Any]) -> Any:
        first, told = next(iter(answers.items()))
        for name, other in answers.items():
            assert other == told, f"at {self.clock}: {first} says {_apart(told, other)}, {name} does not"
        return told

    def key(self) -> str:
        self._keys += 1
        return f"k{self._keys}"

    # --- the year -----------------------------------------------------------------------------

    def live(self) -> None:
        """From January to the end of December, with everything that falls due on the way."""
        self._begin()
        steps = STEPS_A_PROJECT * self.count
        mean = (END - START) / steps
        while (next_step := self.clock() + mean * (2 * self.chance.random())) < END:
            self._go(next_step)
            self._step(self.chance.choice(self.projects))
        self._go(END)

    def settle(self) -> None:
        """Let everything be billed that is not: late usage, and what a voided document had billed."""
        for project in self.projects:
            self._must(partial(_set, project.id, late_usage_policy="credit_note", grace_hours=0))
        # By then January is over too, and whatever is late has had its time.
        self._go(END + timedelta(days=40))
        for project in self.projects:
            for period in sorted({each.period for each in self.invoices(project)}):
                self._must(partial(_run, project.id, period))

    def _begin(self) -> None:
        for metric, fields in METRICS.items():
            self._must(partial(_declare_shared, metric, fields))
            if metric in PRICED_METRICS:
                # The catalogue's minimum is due from a project's first usage on: hard to tell afterwards.
                self.shared[metric, PRICED] = price = tariff(self.chance, minimum=False)
                self._must(partial(_price, None, metric, PRICED, price))
        for key, plan in PLANS.items():
            self._must(partial(_publish, key, plan))
        self.clock.set(START)
        for number in range(self.count):
            self.projects.append(self._born(number))

    def _must(self, act: Callable[[Neruba], Any]) -> Any:
        told = self.ask(act)
        assert not isinstance(told, tuple), told
        return told

    def _born(self, number: int) -> Lived:
        chance = self.chance
        made = self._must(
            lambda neruba: neruba.projects.create(
                name=f"Project {number}", credit_limit=chance_of(number, ["0", "50", "100000"])
            )
        )
        project = Lived(made.id)
        for metric in METRICS:
            if chance.random() < 0.3:
                self._must(partial(_declare, project.id, metric))
            if metric in PRICED_METRICS and chance.random() < 0.4:
                self._change_price(project, metric, PRICED)
        self._set(
            project,
            billing_mode="prepaid" if number % 2 else "arrears",
            on_empty=chance.choice(["refuse", "record"]),
            timezone=chance.choice(ZONES),
            grace_hours=chance.choice([0, 24, 72]),
            tax_rate=chance.choice(["0", "0.19", "0.0825"]),
            late_usage_policy=chance.choice(["adjust_next", "credit_note"]),
        )
        self._credit(project)
        return project

    def _go(self, target: Instant) -> None:
        """Move the clock; at each moment that something falls due, bill it."""
        while True:
            due = self.ask(lambda neruba: neruba.billing.next_due())
            if due is None or due > target:
                break
            self.clock.set(due)
            self._bill(due)
        self.clock.set(max(target, self.clock()))

    def _bill(self, due: Instant) -> None:
        told = self.ask(lambda neruba: _due(neruba, due))
        for project in self.projects:
            for period in told.get(project.id, ())[:1]:
                self.watch(self, project, period)
        told = self.do(lambda neruba: [_word(each.error) for each in neruba.billing.run_due()])
        self.told += [word for word in told if word]

    def _step(self, project: Lived) -> None:
        chance = self.chance
        acts: list[tuple[int, Callable[[Lived], None]]] = [
            (40, self._use),
            (10, self._void_usage),
            (8, self._credit),
            (6, self._charge),
            (2, self._debit),
            (5, self._reverse),
            (5, self._subscribe),
            (4, self._reprice),
            (4, self._configure),
            (4, self._draft),
            (2, self._void_invoice),
        ]
        chance.choices([act for _, act in acts], [weight for weight, _ in acts])[0](project)

    # --- one thing ----------------------------------------------------------------------------

    def _use(self, project: Lived) -> None:
        events = [self._event() for _ in range(self.chance.randint(1, 8))]
        recorded = self.do(lambda neruba: neruba.usage.record_many(project.id, events))
        for outcome in recorded:
            value = getattr(outcome, "value", None)
            if value is not None:
                project.usage.append(value.id)

    def _event(self) -> dict[str, Any]:
        chance = self.chance
        hours = chance.choice([0, 1, 5, 30, 30, 24 * 12, 24 * 40, 24 * 70])
        timestamp = self.clock() - timedelta(hours=hours * chance.random())
        return {
            "metric_key": chance.choice(["tokens", "tokens", "tokens", *METRICS]),
            "units": money.text(chance.choice([0, 1, 250_000, 3_000_000, chance.randint(1, 40_000_000)])),
            "timestamp": max(timestamp, datetime(2025, 12, 1, tzinfo=UTC)),
            "idempotency_key": self.key(),
            "properties": chance.choice([None, {"user": chance.choice("abcdef")}, {"user": 7, "beta": True}]),
        }

    def _void_usage(self, project: Lived) -> None:
        if project.usage:
            usage_id = self.chance.choice(project.usage)
            self.do(lambda neruba: neruba.usage.void(project.id, usage_id, reason="wrong"))

    def _credit(self, project: Lived) -> None:
        chance = self.chance
        fields: dict[str, Any] = {
            "amount": money.text(chance.randint(1, 300_000_000)),
            "description": "credit",
            "idempotency_key": self.key(),
            "kind": chance.choice([None, "promotional", "paid", "goodwill"]),
            "priority": chance.choice([None, 0, 10]),
            "expires_at": chance.choice([None, self.clock() + timedelta(days=60 * chance.random() + 1)]),
        }
        self._note(project, self.do(lambda neruba: neruba.wallets.credit(project.id, **fields)))

    def _charge(self, project: Lived) -> None:
        fields = self._amount()
        self._note(project, self.do(lambda neruba: neruba.charges.charge(project.id, **fields)))

    def _debit(self, project: Lived) -> None:
        fields = self._amount()
        self._note(project, self.do(lambda neruba: neruba.wallets.debit(project.id, **fields)))

    def _amount(self) -> dict[str, Any]:
        return {
            "amount": money.text(self.chance.choice([1, 5_000_000, self.chance.randint(1, 90_000_000)])),
            "description": "GPU",
            "idempotency_key": self.key(),
        }

    def _note(self, project: Lived, outcome: Any) -> None:
        value = getattr(outcome, "value", None)
        if value is not None:
            project.booked.append(value.id)

    def _reverse(self, project: Lived) -> None:
        if project.booked:
            fields: dict[str, Any] = {"reason": "wrong", "idempotency_key": self.key()}
            fields["amount"] = self.chance.choice([None, None, "0.5"])
            transaction_id = self.chance.choice(project.booked[-6:])
            self.do(lambda neruba: neruba.wallets.reverse(project.id, transaction_id, **fields))

    def _subscribe(self, project: Lived) -> None:
        chance = self.chance
        whens: list[str | datetime] = ["now", "now", "period_end"]
        effective = chance.choice([*whens, self.clock() + timedelta(days=9 * chance.random())])
        if chance.random() < 0.2:
            self.do(lambda neruba: neruba.subscriptions.cancel(project.id, effective=effective))
            return
        plan, quantity = chance.choice(list(PLANS)), chance.randint(1, 3)
        self.do(
            lambda neruba: neruba.subscriptions.subscribe(
                project.id, plan_key=plan, quantity=quantity, effective=effective
            )
        )

    def _reprice(self, project: Lived) -> None:
        moment = self.clock() + timedelta(days=self.chance.choice([0, 3, 20, -3]) * self.chance.random())
        self._change_price(project, self.chance.choice(PRICED_METRICS), moment)

    def _change_price(self, project: Lived, metric: str, moment: Instant) -> None:
        if (metric, moment) not in project.own:
            self.do(partial(_declare, project.id, metric))
            project.own[metric, moment] = price = tariff(self.chance, minimum=True)
            self.do(partial(_price, project.id, metric, moment, price))

    def _configure(self, project: Lived) -> None:
        name, values = self.chance.choice(SETTINGS)
        self._set(project, **{name: self.chance.choice(values)})

    def _set(self, project: Lived, **changes: Any) -> None:
        self.do(partial(_set, project.id, **changes))

    def _draft(self, project: Lived) -> None:
        period = (self.clock() - timedelta(days=self.chance.choice([0, 0, 30]))).strftime("%Y-%m")
        finalize = self.chance.choice([None, False, True])
        self.do(partial(_draft, project.id, period, finalize))

    def _void_invoice(self, project: Lived) -> None:
        issued = [each for each in self.invoices(project) if each.number is not None and each.state != "void"]
        if issued:
            invoice = self.chance.choice(issued[-3:])
            self.do(partial(_void, project.id, invoice.id))

    # --- seeing -------------------------------------------------------------------------------

    @property
    def first(self) -> Rehearsal:
        return next(iter(self.engines.values()))

    def invoices(self, project: Lived) -> list[Invoice]:
        """All documents, the earliest period first."""
        return all_invoices(self.first, project.id)

    def exports(self, project: Lived) -> dict[str, str]:
        """The canonical export of each engine."""
        return {name: text_of(neruba, project.id) for name, neruba in self.engines.items()}


def chance_of(number: int, values: Sequence[str]) -> str:
    return values[number % len(values)]


def all_invoices(neruba: Neruba, project_id: str) -> list[Invoice]:
    """All documents of the project, the earliest period first."""
    found: list[Invoice] = []
    cursor = None
    while True:
        page = neruba.invoices.list(project_id, cursor=cursor, limit=200)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found[::-1]


def text_of(neruba: Neruba, project_id: str) -> str:
    """The canonical export."""
    with neruba._context.storage.snapshot() as work:
        return "\n".join(export(work, project_id))


@contextmanager
def fresh_storage(request: pytest.FixtureRequest, kind: str) -> Iterator[Storage]:
    """A store of that kind with nothing in it, not even a catalogue."""
    if kind == "memory":
        yield MemoryStorage()
        return
    server: PostgresDatabases | None = None
    url = "sqlite://"
    if kind == "postgresql":
        server = request.getfixturevalue("postgres_server")
        url = server.create_database()
    database = SqlStorage(url)
    database.migrate()
    try:
        yield database
    finally:
        database.close()
        if server is not None:
            server.drop_database(url)


def rendered(invoice: Invoice) -> str:
    """The invoice as the server answers it."""
    return json.dumps(written(wire.Invoice.of(invoice)), sort_keys=True)


def _answer(act: Callable[[Neruba], Any], neruba: Neruba) -> Any:
    try:
        return _unmarked(act(neruba))
    except StorageUnavailable:
        raise
    except NerubaError as error:
        return (error.code, error.facts())


def _apart(told: Any, other: Any) -> Any:
    """Where two answers differ, as far as that is easily said."""
    if isinstance(told, list) and isinstance(other, list):
        return [pair for pair in zip(told, other, strict=False) if pair[0] != pair[1]]
    return told, other


def _unmarked(told: Any) -> Any:
    """Without watermarks, which mean something in their own database only; refusals by what they say."""
    match told:
        case list():
            return [_unmarked(each) for each in told]
        case Conflict() | Rejected():
            return (told.error.code, told.error.facts())
        case Invoice():
            return evolve(told, cutoff=0)
        case RunResult():
            invoice = None if told.invoice is None else _unmarked(told.invoice)
            documents = tuple(_unmarked(each) for each in told.documents)
            return evolve(told, run=evolve(told.run, cutoff=0), invoice=invoice, documents=documents)
        case Overview(invoices=InvoicesView(last=Invoice() as last)):
            return evolve(told, invoices=evolve(told.invoices, last=_unmarked(last)))
    return told


def _run(project_id: str, period: str, neruba: Neruba) -> Any:
    return neruba.billing.run(project_id, period)


def _word(error: Exception | None) -> str | None:
    if error is not None and not isinstance(error, NerubaError):
        raise error
    return None if error is None else error.code


def _set(project_id: str, neruba: Neruba, **changes: Any) -> Any:
    return neruba.projects.update(project_id, **changes)


def _draft(project_id: str, period: str, finalize: bool | None, neruba: Neruba) -> None:
    neruba.billing.run(project_id, period, finalize=finalize)


def _void(project_id: str, invoice_id: str, neruba: Neruba) -> None:
    neruba.invoices.void(project_id, invoice_id, reason="wrong")


def _declare_shared(metric: str, fields: Mapping[str, Any], neruba: Neruba) -> Any:
    return neruba.catalogue.declare(key=metric, **fields)


def _publish(key: str, plan: Mapping[str, Any], neruba: Neruba) -> Any:
    return neruba.plans.publish(key=key, name=key, **plan)


def _declare(project_id: str, metric: str, neruba: Neruba) -> Any:
    return neruba.metrics.declare(project_id, key=metric, **METRICS[metric])


def _price(
    project_id: str | None, metric: str, moment: Instant, price: Mapping[str, Any], neruba: Neruba
) -> Any:
    fields = declared(price)
    return neruba.prices.create(project_id, metric_key=metric, effective_from=moment, **fields)


def _due(neruba: Neruba, at: Instant) -> dict[str, list[str]]:
    from neruba_core.billing.due import due_periods

    ids = [each.id for each in neruba.projects.list(limit=200).items]
    return neruba._context.read(partial(due_periods, project_ids=ids, at=at))
