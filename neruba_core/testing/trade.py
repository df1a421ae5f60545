"""A second state machine, for all that is sold: prices, prepaid usage, holds, plans, runs, payments.

Here no model foretells the answers. Instead every engine must give the same ones, refusals with their facts;
after each step the ledger re-derives, what is receivable is what the invoices still have open, and numbers
have no gaps; what was refused has changed nothing; and in the end the exports are the same, byte for byte.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from operator import attrgetter
from random import Random
from typing import Any, TypeAlias

from attrs import define, evolve, field
from hypothesis import note, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from neruba_core import money
from neruba_core.billing.results import RunResult
from neruba_core.errors import NerubaError
from neruba_core.instants import month_of
from neruba_core.invoices.model import Invoice, InvoiceKind
from neruba_core.neruba import Neruba
from neruba_core.payments.model import DisputeStatus, PaymentStatus
from neruba_core.payments.receivables import Receivables
from neruba_core.pricing.model import Tier
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.clock import SettableClock
from neruba_core.testing.machine import Machine, Stores, by_chance
from neruba_core.testing.provider import SOUND, RehearsedProvider
from neruba_core.testing.states import State, state

Act: TypeAlias = Callable[[Neruba], Any]

_BEGINNING = timedelta(days=400)
_METRICS = {"tokens": "sum", "calls": "count", "peak": "max"}
_TOP_UP = {"threshold": "5", "amount": "20", "monthly_cap": "50"}
_SETTINGS: list[dict[str, Any]] = [
    {"billing_mode": "prepaid"},
    {"billing_mode": "arrears"},
    {"on_empty": "record"},
    {"on_empty": "refuse"},
    {"late_usage_policy": "adjust_next"},
    {"late_usage_policy": "credit_note"},
    {"late_usage_policy": "quarantine"},
    {"tax_rate": "0.19"},
    {"grace_hours": 0},
    {"credit_limit": "20"},
    {"timezone": "Asia/Kolkata"},
    {"top_up": _TOP_UP},
    {"top_up": None},
]


@define
class Made:
    """The ids of what a project has, by kind, oldest first."""

    ids: dict[str, list[str]] = field(factory=dict)

    def add(self, kind: str, made: str) -> None:
        known = self.ids.setdefault(kind, [])
        if made not in known:
            known.append(made)

    def one(self, kind: str, chance: Random) -> str:
        """One of them, the newest most often."""
        known = self.ids.get(kind) or [f"{kind}_none"]
        return known[-1] if chance.random() < 0.5 else chance.choice(known)


def _micros(chance: Random) -> str:
    return money.text(chance.choice([1, 1_000_000, 5_000_000, chance.randint(1, 40_000_000)]))


def _cents(chance: Random) -> str:
    return f"{chance.choice([1, 500, chance.randint(1, 6000)]) / 100:.2f}"


def _tariff(chance: Random) -> dict[str, Any]:
    tiers = (Tier.of("10", "1.5"), Tier.of(None, "0.3333333", "2"))
    made: dict[str, Any] = chance.choice(
        [
            {"model": "unit", "unit_amount": "0.0000025"},
            {"model": "unit", "unit_amount": "2", "included": "3", "maximum_amount": "40"},
            {"model": "graduated", "tiers": tiers},
            {"model": "volume", "tiers": tiers, "minimum_amount": "4"},
            {"model": "package", "package_size": "7", "package_amount": "3.33"},
        ]
    )
    return made


class Trade(RuleBasedStateMachine):
    """See the module; *stores* are set by ``run_trade``. What providers tell is the deployment's and not a
    project's, so every history has new stores, which are closed at its end."""

    stores: Stores

    def __init__(self) -> None:
        super().__init__()
        self.seed = next(Machine._examples)
        self.clock = SettableClock()
        self.providers = {name: RehearsedProvider() for name in self.stores}
        self.engines = {
            name: Rehearsal(make(), clock=self.clock, seed=self.seed, providers=(self.providers[name],))
            for name, make in self.stores.items()
        }
        self.project = ""
        self.made = Made()
        self._keys = (f"k{number}" for number in itertools.count())
        self._steps = 0

    # --- what happens -------------------------------------------------------------------------

    @initialize(chance=by_chance(lambda chance: chance))
    def begin(self, chance: Random) -> None:
        """A project with prices, a plan to subscribe to, and some credit."""
        limit = chance.choice(["0", "0", "50"])
        self.project = self._agreed(lambda neruba: neruba.projects.create(name="Acme", credit_limit=limit)).id
        self.plan = f"plan-{self.seed}"
        billing = chance.choice(["advance", "arrears"])
        commitment = chance.choice([None, "60"])
        self._do(
            lambda neruba: neruba.plans.publish(
                key=self.plan, name="Team", amount="31", billing=billing, minimum_commitment=commitment
            )
        )
        for key, aggregation in _METRICS.items():
            self._do(partial(_declare, self.project, key, aggregation))
            self._do(partial(_price, self.project, key, self.clock() - _BEGINNING, _tariff(chance)))
        if chance.random() < 0.5:
            self._do(partial(_change, self.project, {"billing_mode": "prepaid"}))
        if chance.random() < 0.8:
            self._do(partial(_card, self.project))
        if chance.random() < 0.3:
            self._do(partial(_change, self.project, {"top_up": _TOP_UP}))
        self.credit(chance)

    @rule(chance=by_chance(lambda chance: chance))
    def credit(self, chance: Random) -> None:
        fields: dict[str, Any] = {"kind": chance.choice(["paid", "promotional"]), "amount": _micros(chance)}
        if chance.random() < 0.3:
            fields["expires_at"] = self.clock() + timedelta(days=chance.randint(1, 40))
        self._keyed("txn", "wallets.credit", description="credit", **fields)

    @rule(chance=by_chance(lambda chance: chance))
    def use(self, chance: Random) -> None:
        days = chance.choice([0, 0, 0, 5, 31, 62])
        self._keyed(
            "use",
            "usage.record",
            metric_key=chance.choice([*_METRICS]),
            units=_micros(chance),
            timestamp=self.clock() - timedelta(days=days),
        )

    @rule(chance=by_chance(lambda chance: chance))
    def take_back(self, chance: Random) -> None:
        """Void usage, reverse what was booked, or let support decide about late usage."""
        used, booked = self.made.one("use", chance), self.made.one("txn", chance)
        match chance.randint(0, 3):
            case 0:
                self._do(lambda neruba: neruba.usage.void(self.project, used, reason="wrong"))
            case 1:
                self._do(lambda neruba: neruba.usage.replay_quarantined(self.project, used))
            case 2:
                self._do(lambda neruba: neruba.usage.discard_quarantined(self.project, used))
            case _:
                self._keyed("txn", "wallets.reverse", booked, reason="wrong")

    @rule(chance=by_chance(lambda chance: chance))
    def spend(self, chance: Random) -> None:
        """Charge, hold, capture or release."""
        hold = self.made.one("hld", chance)
        part = chance.choice([None, _micros(chance)])
        match chance.randint(0, 4):
            case 0:
                self._keyed("txn", "charges.charge", amount=_micros(chance), description="charge")
            case 1 | 2:
                expires_at = self.clock() + timedelta(hours=chance.choice([1, 48]))
                fields: dict[str, Any] = {"amount": _micros(chance), "expires_at": expires_at}
                self._keyed("hld", "holds.reserve", description="hold", **fields)
            case 3:
                self._keyed("hld", "holds.capture", hold, amount=part)
            case _:
                self._keyed("hld", "holds.release", hold)

    @rule(chance=by_chance(lambda chance: chance))
    def agree(self, chance: Random) -> None:
        """Change a price, a setting or the subscription."""
        match chance.randint(0, 3):
            case 0:
                at = self.clock() + timedelta(days=chance.randint(-40, 20))
                self._do(partial(_price, self.project, chance.choice([*_METRICS]), at, _tariff(chance)))
            case 1:
                self._do(partial(_change, self.project, chance.choice(_SETTINGS)))
            case 2:
                effective = chance.choice(["now", "period_end"])
                self._do(lambda neruba: neruba.subscriptions.cancel(self.project, effective=effective))
            case _:
                quantity, effective = chance.randint(1, 4), chance.choice(["now", "period_end"])
                self._do(
                    lambda neruba: neruba.subscriptions.subscribe(
                        self.project, plan_key=self.plan, quantity=quantity, effective=effective
                    )
                )

    @rule(chance=by_chance(lambda chance: chance))
    def bill(self, chance: Random) -> None:
        """Run a period, twice; the second time nothing changes."""
        period = month_of(self.clock() - timedelta(days=chance.choice([0, 31, 31, 62])), "UTC")
        finalize = chance.choice([None, None, True, False])
        foretold = self._agreed(partial(_run, self.project, period, finalize, True))
        done = self._do(partial(_run, self.project, period, finalize, False))
        again = self._do(partial(_run, self.project, period, finalize, False))
        if isinstance(done, tuple):
            assert foretold == done == again
            return
        assert [each.lines for each in foretold.documents] == [each.lines for each in done.documents]
        assert again.run.unchanged
        assert again.invoice == done.invoice or done.invoice is None

    @rule(chance=by_chance(lambda chance: chance))
    def correct(self, chance: Random) -> None:
        """Void an invoice, credit it, or write it off."""
        invoice = self.made.one("inv", chance)
        match chance.randint(0, 2):
            case 0:
                self._do(lambda neruba: neruba.invoices.void(self.project, invoice, reason="wrong"))
            case 1:
                self._keyed("crn", "receivables.credit_note", invoice, amount=_cents(chance), reason="sorry")
            case _:
                amount = chance.choice([None, _cents(chance)])
                self._keyed("wof", "receivables.write_off", invoice, amount=amount, reason="gone")

    @rule(chance=by_chance(lambda chance: chance))
    def pay(self, chance: Random) -> None:
        """Pay an invoice or top up, or give money back."""
        payment = self.made.one("pay", chance)
        invoice = self.made.one("inv", chance) if chance.random() < 0.6 else None
        self._next_answer(chance)
        if chance.random() < 0.7:
            fields: dict[str, Any] = {"amount": _cents(chance), "invoice_id": invoice}
            fields["provider"] = chance.choice(["manual", "rehearsed"])
            self._keyed("pay", "payments.pay", **fields)
        else:
            self._keyed("rfd", "payments.refund", payment, amount=_cents(chance), reason="asked for")

    @rule(chance=by_chance(lambda chance: chance))
    def settle(self, chance: Random) -> None:
        """What was under way at the provider ends, well or not, and is looked up."""
        kind = chance.choice(["pay", "rfd"])
        made = self.made.one(kind, chance)
        status = chance.choice([PaymentStatus.SUCCEEDED, PaymentStatus.FAILED])
        for provider in self.providers.values():
            done = provider.charged if kind == "pay" else provider.returned
            if made in done and done[made].status is PaymentStatus.PENDING:
                provider.finish(made, status, "late" if status is PaymentStatus.FAILED else None)
        self.clock.advance(hours=chance.choice([0, 2]))
        self._next_answer(chance)
        verb = "resolve" if kind == "pay" else "resolve_refund"
        self._do(lambda neruba: getattr(neruba.payments, verb)(self.project, made))

    @rule(chance=by_chance(lambda chance: chance))
    def tell(self, chance: Random) -> None:
        """A bank takes money back, even what has gone already, or decides; somebody refunds at the provider;
        or a refund is sent back. The event comes twice."""
        payment, refund = self.made.one("pay", chance), self.made.one("rfd", chance)
        micros, number, status = (
            money.parse(_cents(chance)),
            chance.randint(1, 2),
            chance.choice([*DisputeStatus]),
        )
        fee = chance.choice([15_000_000, 15_000_000, 30_000_000])
        fee_back = 15_000_000 if status is DisputeStatus.WON and chance.random() < 0.5 else 0
        what = chance.choice(["dispute", "dispute", "refund", "sent back"])
        for provider in self.providers.values():
            charged = provider.charged.get(payment)
            if charged is None or charged.status is not PaymentStatus.SUCCEEDED:
                continue
            if what == "dispute":
                fees = {"fee_micros": fee, "fee_back_micros": fee_back}
                provider.dispute(payment, micros, status, number=number, **fees)
            elif what == "refund":
                provider.send_back(payment, micros)
            elif refund in provider.returned:
                provider.finish(refund, PaymentStatus.FAILED, "sent back")
        event = next(self._keys)
        self._do(partial(_hear, payment, event, self.providers, self.engines))
        before = self._state()
        self._do(partial(_hear, payment, event, self.providers, self.engines))
        assert self._state() == before, f"{event} was booked twice"

    @rule()
    def fall_due(self) -> None:
        """What a scheduler does: expired credit is posted, wallets are topped up; and again, for nothing."""
        self._do(lambda neruba: neruba.wallets.expire_due(project_ids=[self.project]))
        for payment in self._do(lambda neruba: [*neruba.collection.top_up_due()]):
            self.made.add("pay", payment.id)
        before = self._state()
        self._do(lambda neruba: neruba.wallets.expire_due(project_ids=[self.project]))
        assert self._do(lambda neruba: [*neruba.collection.top_up_due()]) == []
        assert self._state() == before, "what falls due was done twice"

    @rule(chance=by_chance(lambda chance: chance))
    def wait(self, chance: Random) -> None:
        """Time passes, and sometimes nobody does what falls due."""
        self.clock.advance(timedelta(days=chance.choice([0, 1, 10, 31]), hours=chance.choice([0, 1, 25])))
        self._hold()
        if chance.random() < 0.5:
            self.fall_due()

    def teardown(self) -> None:
        try:
            if self.project:
                self._agreed(lambda neruba: _overview(neruba, self.project))
                self._agreed(lambda neruba: neruba.receivables.of(self.project))
                texts = {name: state(neruba, self.project).text for name, neruba in self.engines.items()}
                first, text = next(iter(texts.items()))
                for name, other in texts.items():
                    assert other == text, f"the exports of {first} and {name} differ"
        finally:
            for neruba in self.engines.values():
                neruba.close()
            super().teardown()

    def _next_answer(self, chance: Random) -> None:
        word = chance.choice(["succeed", "succeed", "decline", "wait", "lose", "drop"])
        for provider in self.providers.values():
            provider.plan.clear()
            provider.then([word])

    # --- doing and comparing ------------------------------------------------------------------

    def _keyed(self, made: str, verb: str, /, *place: Any, **fields: Any) -> None:
        """Do what *verb* names under a key of its own, and then again: it is done once. What it makes is
        remembered as one of *made*."""
        key = next(self._keys)

        def act(neruba: Neruba) -> Any:
            return attrgetter(verb)(neruba)(self.project, *place, idempotency_key=key, **fields)

        done = self._do(act)
        if isinstance(done, tuple):
            return
        self.made.add(made, getattr(done.value, "hold", done.value).id)
        again = self._do(act)
        assert again.name.value == "replayed", f"{key} was done twice"

    def _do(self, act: Act) -> Any:
        before = self._state()
        told = self._agreed(act)
        if isinstance(told, tuple):
            assert self._state().but_answers == before.but_answers, f"{told[0]} changed something"
        self._hold()
        return told

    def _agreed(self, act: Act) -> Any:
        answers = {name: _answer(act, neruba) for name, neruba in self.engines.items()}
        first, told = next(iter(answers.items()))
        for name, other in answers.items():
            assert other == told, f"{first} says {told}, {name} says {other}"
        note(f"{self.clock}: {told[0] if isinstance(told, tuple) else type(told).__name__}")
        return told

    def _state(self) -> State:
        return state(next(iter(self.engines.values())), self.project)

    def _hold(self) -> None:
        self._steps += 1
        everyone = None if self._steps % 5 == 0 else 1
        for name, neruba in itertools.islice(self.engines.items(), everyone):
            swept = neruba.ledger.sweep(self.project)
            assert swept.faults == (), f"{name}: {swept.faults}"
        first = next(iter(self.engines.values()))
        documents = [*_documents(first, self.project)]
        for each in documents:
            self.made.add("inv", each.id)
            if each.kind is InvoiceKind.INVOICE:
                exact = each.total_micros - each.already_drawn_micros - each.credit_applied_micros
                exact += each.overdraft_billed_micros + each.credit_granted_micros
                assert each.amount_due_micros == exact + each.rounding_micros
            assert each.total_micros == sum(line.amount_micros for line in each.lines)
        numbers = sorted(each.number for each in documents if each.number is not None)
        assert numbers == [*range(1, len(numbers) + 1)], f"numbers have gaps: {numbers}"
        open_micros = sum(each.open_micros for each in documents if each.open_micros > 0)
        balances = {
            each.account: each.debit_micros - each.credit_micros
            for each in first.ledger.trial_balance(self.project).accounts
        }
        assert balances.get("receivable", 0) == open_micros, f"{open_micros} open, {balances}"


def _declare(project: str, key: str, aggregation: str, neruba: Neruba) -> Any:
    return neruba.metrics.declare(project, key=key, aggregation=aggregation)


def _card(project: str, neruba: Neruba) -> Any:
    return neruba.payments.set_method(project, provider="rehearsed", customer="cus_acme")


def _hear(
    payment: str,
    event: str,
    providers: dict[str, RehearsedProvider],
    engines: dict[str, Rehearsal],
    neruba: Neruba,
) -> int:
    """Have the engine told by its own provider that the payment has changed; how many events it processed."""
    provider = next(providers[name] for name, engine in engines.items() if engine is neruba)
    neruba.provider_events.receive(provider.name, provider.event(payment, event), SOUND)
    return neruba.provider_events.process()


def _price(project: str, key: str, effective_from: Any, tariff: dict[str, Any], neruba: Neruba) -> Any:
    return neruba.prices.create(project, metric_key=key, effective_from=effective_from, **tariff)


def _change(project: str, changes: dict[str, Any], neruba: Neruba) -> Any:
    return neruba.projects.update(project, **changes)


def _run(project: str, period: str, finalize: bool | None, dry_run: bool, neruba: Neruba) -> Any:
    return neruba.billing.run(project, period, finalize=finalize, dry_run=dry_run)


def _overview(neruba: Neruba, project: str) -> Any:
    return neruba.billing.overview(project).usage, neruba.wallets.get(project)


def _documents(neruba: Neruba, project: str) -> Iterator[Any]:
    cursor = None
    while True:
        page = neruba.invoices.list(project, limit=200, cursor=cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def _answer(act: Act, neruba: Neruba) -> Any:
    try:
        return _unmarked(act(neruba))
    except NerubaError as error:
        return error.code, error.facts()


def _unmarked(answer: Any) -> Any:
    """*answer* without watermarks of usage, which each store counts in its own way."""
    match answer:
        case Invoice():
            return evolve(answer, cutoff=0)
        case RunResult():
            documents = tuple(_unmarked(each) for each in answer.documents)
            return RunResult(evolve(answer.run, cutoff=0), _unmarked(answer.invoice), documents)
        case Receivables():
            left = (evolve(each, invoice=_unmarked(each.invoice)) for each in answer.invoices)
            return evolve(answer, invoices=tuple(left))
    return answer


def run_trade(stores: Stores, of: settings) -> None:
    """Run the machine over *stores*; each call makes a new one for an example, and the first is the
    yardstick."""
    run_state_machine_as_test(type("TradeMachine", (Trade,), {"stores": stores}), settings=of)
