"""A state machine that drives every adapter through the same history and lets none differ.

One engine for each adapter, with the same clock and the same seeded ids, gets the same commands. Every
answer must be the same everywhere, refusals with their facts, and be the one that the model foretells.
After each step the books balance and re-add; a refused command has left everything as it was; and at the
end every read and the canonical export are the same, byte for byte.

Whoever writes an adapter runs it beside memory::

    run_machine({"memory": MemoryStorage, "mine": lambda: my_storage}, settings(...))
"""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from neruba_core import money
from neruba_core.errors import NerubaError
from neruba_core.instants import EPOCH, month_of
from neruba_core.ledger.model import TransactionType
from neruba_core.neruba import Neruba
from neruba_core.storage.export import export
from neruba_core.storage.port import Storage
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.clock import SettableClock
from neruba_core.testing.commands import (
    FRESH,
    Answer,
    Answers,
    Change,
    Command,
    Credit,
    Declare,
    Event,
    Reverse,
    Spend,
    Support,
    Together,
    Usage,
    Void,
    altered,
    named,
)
from neruba_core.testing.model import ModelProject

Stores = Mapping[str, Callable[[], Storage]]

# A key is new, unless it is one of a few that meet each other again.
keys = st.sampled_from([FRESH, FRESH, FRESH, FRESH, "k1", "k2"])
event_ids = st.sampled_from([None, None, None, None, "k1", "e1", "e2"])
amounts = st.sampled_from([1, 400_000, 5_000_000, 12_500_000, 30_000_000]) | st.integers(1, 60_000_000)
hours = st.sampled_from([0, 0, 0, -1, -1, -30, -24 * 20, -24 * 40, -24 * 400, 36])
metric_names = st.sampled_from(["tokens", "requests", "users", "seats", "bytes", "calls"])
credits = st.builds(
    Credit,
    st.sampled_from([10_000_000, 25_000_000]) | st.integers(1, 100_000_000),
    keys,
    st.sampled_from([None, "promotional", "paid", "goodwill"]),
    st.none() | st.integers(0, 60),
    st.sampled_from([None, None, None, 0, 1, 24, 24 * 10, 24 * 40]),
)
charges = st.builds(Spend, st.just("charge"), amounts, keys, event_ids)
debits = st.builds(Spend, st.just("debit"), amounts, keys)
events = st.builds(
    Event, keys, st.integers(0, 9_000_000), metric_names, hours, event_ids, st.none() | st.sampled_from("ab")
)
usage = st.builds(lambda event: Usage((event,)), events)
batches = st.builds(lambda many: Usage(tuple(many), batch=True), st.lists(events, max_size=5))
reversals = st.builds(Reverse, st.integers(0, 5), keys, st.none() | amounts)
together = st.builds(lambda many: Together(tuple(many)), st.lists(credits | charges, max_size=5))
changes = st.one_of(
    st.builds(Change, st.just("credit_limit"), st.sampled_from([0, 20_000_000, 200_000_000])),
    st.builds(Change, st.just("metric_policy"), st.sampled_from(["open", "strict"])),
    st.builds(Change, st.just("max_backdate_days"), st.sampled_from([None, None, 0, 30])),
)
declarations = st.builds(
    Declare, metric_names, st.sampled_from(["sum", "count", "max", "min", "last", "unique", "avg"])
)


# What to change when a command is sent again; what a command does not have is left aside.
twists = st.sampled_from(
    [{}, {}, {"key": FRESH}, {"key": "k1"}, {"amount": 3_000_000, "units": 7, "place": 1}]
)


class Undone(Exception):
    """Leaves a unit of work, to see it undone."""


class Machine(RuleBasedStateMachine):
    """See the module; *stores* is set by ``run_machine``."""

    stores: Stores
    _examples = itertools.count(random.SystemRandom().getrandbits(60))

    projects = Bundle("projects")

    def __init__(self) -> None:
        super().__init__()
        seed = next(self._examples)
        self.clock = SettableClock()
        # Databases are used again, but ids of another seed never meet those that are there.
        self.engines = {
            name: Rehearsal(make(), clock=self.clock, seed=seed) for name, make in self.stores.items()
        }
        self.model: dict[str, ModelProject] = {}
        self.history: list[Command] = []
        self._fresh = (f"n{number}" for number in itertools.count())

    # --- what happens -------------------------------------------------------------------------

    @initialize(target=projects)
    def begin(self) -> str:
        return self._create(0)

    @precondition(lambda self: len(self.model) < 3)
    @rule(target=projects, limit=st.sampled_from([0, 20_000_000, 1_000_000_000]), strict=st.booleans())
    def create(self, limit: int, strict: bool) -> str:
        project = self._create(limit)
        if strict:
            self._do(project, Declare("tokens"))
            self._do(project, Change("metric_policy", "strict"))
        return project

    def _create(self, limit: int) -> str:
        project = self._everywhere(
            lambda neruba: neruba.projects.create(name="Acme", credit_limit=money.decimal(limit))
        )
        self.model[project.id] = ModelProject(limit)
        return str(project.id)

    @rule(project=projects, command=credits)
    def grant(self, project: str, command: Command) -> None:
        self._do(project, command)

    @rule(project=projects, command=charges | charges | debits)
    def spend(self, project: str, command: Command) -> None:
        self._do(project, command)

    @rule(project=projects, command=together)
    def settle(self, project: str, command: Command) -> None:
        self._do(project, command)

    @precondition(lambda self: self.history)
    @rule(project=projects, place=st.integers(0, 40), changes=twists)
    def repeat(self, project: str, place: int, changes: Mapping[str, Any]) -> None:
        """Send an earlier command again: as it was, under another key, or with other content."""
        self._do(project, altered(self.history[place % len(self.history)], changes))

    @precondition(lambda self: any(model.booked for model in self.model.values()))
    @rule(project=projects, command=reversals)
    def reverse(self, project: str, command: Command) -> None:
        self._do(project, command)

    @rule(project=projects, command=usage | batches)
    def record(self, project: str, command: Command) -> None:
        self._do(project, command)

    @precondition(lambda self: any(model.usage for model in self.model.values()))
    @rule(project=projects, command=st.builds(Void, st.integers(0, 9)))
    def void(self, project: str, command: Command) -> None:
        self._do(project, command)

    @precondition(lambda self: any(model.quarantine for model in self.model.values()))
    @rule(project=projects, command=st.builds(Support, st.integers(0, 3), st.booleans()))
    def support(self, project: str, command: Command) -> None:
        self._do(project, command)

    @rule(project=projects, command=changes | declarations)
    def configure(self, project: str, command: Command) -> None:
        self._do(project, command)

    @precondition(lambda self: len(self.history) > 30)
    @rule(project=projects)
    def archive(self, project: str) -> None:
        self._do(project, Change("archive", None))

    @rule(
        project=projects,
        commands=st.lists(credits | charges | usage | changes, min_size=1, max_size=4),
        fails=st.booleans(),
    )
    def share_a_unit(self, project: str, commands: list[Command], fails: bool) -> None:
        """Several commands in one unit of work, which the host commits or abandons."""
        commands = [named(command, self._fresh) for command in commands]
        before = self._exports(project)
        foretold = copy.deepcopy(self.model[project])
        given = {
            name: self._in_one_unit(neruba, project, commands, fails) for name, neruba in self.engines.items()
        }
        answers = self._agreed(given)
        position = 0
        for command in commands:
            part = answers[position : position + self._length(command)]
            self._same_words(command, part, command.foretell(foretold, self.clock(), part))
            position += len(part)
        if fails:
            assert self._exports(project) == before, "what was undone left something behind"
        else:
            self.model[project] = foretold
        self._hold(project)

    @rule(
        span=st.sampled_from(
            [timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=20)]
        )
    )
    def wait(self, span: timedelta) -> None:
        self.clock.advance(span)
        for project in self.model:
            self._hold(project)

    @rule(project=projects, days=st.integers(0, 40))
    def look(self, project: str, days: int) -> None:
        self._look(project, days)

    def teardown(self) -> None:
        try:
            for project in self.model:
                self._look(project, 1)
                texts = {name: self._export(neruba, project) for name, neruba in self.engines.items()}
                first, text = next(iter(texts.items()))
                for name, other in texts.items():
                    assert other == text, f"the exports of {first} and {name} differ"
        finally:
            super().teardown()

    # --- doing and comparing ------------------------------------------------------------------

    def _everywhere(self, act: Callable[[Neruba], Any]) -> Any:
        return self._agreed({name: act(neruba) for name, neruba in self.engines.items()})

    def _agreed(self, given: Mapping[str, Any]) -> Any:
        first, told = next(iter(given.items()))
        for name, other in given.items():
            assert other == told, f"{first} says {told}, {name} says {other}"
        return told

    def _do(self, project: str, command: Command) -> None:
        model = self.model[project]
        command = named(command, self._fresh)
        self.history.append(command)
        before = self._exports(project)
        answers: Answers = self._everywhere(partial(self._send, project=project, command=command))
        foretold = command.foretell(model, self.clock(), answers)
        self._same_words(command, answers, foretold)
        if foretold and all("." in word and word != "wallet.insufficient_credit" for word in foretold):
            assert self._exports(project) == before, f"{command} was refused and yet changed something"
        self._hold(project)

    def _send(self, neruba: Neruba, project: str, command: Command) -> Answers:
        if isinstance(command, Support):
            return command.send_to(neruba, project, self.model[project])
        return command.send(neruba, project)

    def _in_one_unit(
        self, neruba: Neruba, project: str, commands: list[Command], fails: bool
    ) -> list[Answer]:
        answers: list[Answer] = []
        try:
            with neruba.work() as unit:
                for command in commands:
                    answers.extend(command.send(unit, project))
                if fails:
                    raise Undone
        except Undone:
            pass
        return answers

    def _length(self, command: Command) -> int:
        return len(command.parts) if isinstance(command, Together) else 1

    def _same_words(self, command: Command, answers: Answers, foretold: list[str]) -> None:
        words = [given.word for given in answers]
        assert words == foretold, f"{command}: foretold {foretold}, came {words}"

    def _export(self, neruba: Rehearsal, project: str) -> str:
        with neruba._context.storage.snapshot() as work:
            return "\n".join(export(work, project))

    def _exports(self, project: str) -> str:
        """Of the first engine, for speed; at the end those of the others must equal it."""
        return self._export(next(iter(self.engines.values())), project)

    # --- what always holds --------------------------------------------------------------------

    def _hold(self, project: str) -> None:
        model = self.model[project]
        for name, neruba in self.engines.items():
            with neruba.work() as unit:
                swept = unit.ledger.sweep(project)
                wallet = unit.wallets.get(project)
                tally = unit.audit.totals(project)
            assert swept.faults == (), f"{name}: {swept.faults}"
            assert swept.transactions == len(model.booked), f"{name}: versions have gaps"
            assert wallet.balance_micros == model.balance(self.clock()), name
            assert wallet.available_micros == wallet.balance_micros + model.limit, name
            counted = {word: getattr(tally, word) for word in _OUTCOMES if getattr(tally, word)}
            assert counted == dict(model.outcomes), f"{name}: {counted} of {model.outcomes}"

    def _look(self, project: str, days: int) -> None:
        model = self.model[project]
        self._everywhere(lambda neruba: self._all_reads(neruba, project, days))
        overview = next(iter(self.engines.values())).billing.overview(project)
        assert overview.ledger.balanced
        units = {
            line.quantity.metric.key: 0
            for line in overview.usage
            if line.quantity.metric.aggregation == "sum"
        }
        for line in overview.usage:
            if line.quantity.metric.key in units:
                units[line.quantity.metric.key] += line.quantity.units_micros
        assert units == {metric: total for metric, total in model.totals().items() if metric in units}

    def _all_reads(self, neruba: Neruba, project: str, days: int) -> list[Any]:
        # One unit for all of them takes half the time of a snapshot for each.
        with neruba.work() as unit:
            return [_read(read) for read in self._reads(unit, project, days)]

    def _reads(self, neruba: Neruba, project: str, days: int) -> Iterator[Callable[[], Any]]:
        """Every read there is, as far as it is about one project."""
        now = self.clock()
        then = max(now - timedelta(days=days), EPOCH)
        ledger, wallets, usage, audit = neruba.ledger, neruba.wallets, neruba.usage, neruba.audit
        yield lambda: neruba.projects.get(project)
        yield lambda: wallets.get(project)
        yield lambda: wallets.get(project, as_of=then)
        yield lambda: wallets.get(project, known_at=then)
        yield lambda: ledger.trial_balance(project)
        yield lambda: ledger.trial_balance(project, as_of=then)
        yield lambda: ledger.sweep(project)
        yield lambda: _pages(partial(ledger.transactions, project))
        yield lambda: ledger.transactions(project, type=TransactionType.CHARGE, start=then)
        yield lambda: _pages(partial(ledger.entries, project))
        yield lambda: ledger.entries(project, account="overdraft")
        yield lambda: ledger.transaction(project, "txn_none")
        yield lambda: _pages(partial(usage.events, project))
        yield lambda: usage.events(project, metric_key="tokens", start=then, end=now)
        yield lambda: usage.voids(project, self.model[project].usage)
        yield lambda: usage.quantities(project, start=then - timedelta(days=1), end=now, group_by="day")
        yield lambda: usage.quantities(project, start=then - timedelta(days=1), end=now, metric_key="users")
        yield lambda: neruba.billing.overview(project)
        yield lambda: neruba.billing.overview(project, period=month_of(then, "UTC"))
        yield lambda: neruba.metrics.list(project)
        yield lambda: _pages(partial(audit.attempts, project))
        yield lambda: audit.attempts(project, outcome="conflict", metric_key="tokens")
        yield lambda: _pages(partial(audit.changes, project))
        yield lambda: audit.totals(project)


_OUTCOMES = ("accepted", "replayed", "deduped", "conflict", "quarantined", "rejected")


def _read(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except NerubaError as error:
        return (error.code, error.facts())


def _pages(read: Callable[..., Any]) -> list[Any]:
    """All items, a few at a time."""
    items: list[Any] = []
    cursor: str | None = None
    while True:
        page = read(limit=20, cursor=cursor)
        items.extend(page.items)
        cursor = page.next_cursor
        if cursor is None:
            return items


def run_machine(stores: Stores, of: settings) -> None:
    """Run the machine over *stores*, each made by a call for each example; the first is the yardstick."""
    machine = type("BillingMachine", (Machine,), {"stores": stores})
    run_state_machine_as_test(machine, settings=of)
