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
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from random import Random, SystemRandom
from typing import Any, TypeVar

from hypothesis import note, settings
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
    Expire,
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
from neruba_core.testing.states import State, state

T = TypeVar("T")
Stores = Mapping[str, Callable[[], Storage]]

# --- commands by chance -----------------------------------------------------------------------------
# Each is made from one number by a generator of its own: spread evenly, where Hypothesis would prefer small
# and repeated values, which seldom make a wallet of many grants.


def by_chance(make: Callable[[Random], T]) -> st.SearchStrategy[T]:
    """What *make* makes of a generator that is seeded with any number."""
    return st.integers(0, 2**48 - 1).map(lambda seed: make(Random(seed)))


def _key(chance: Random) -> str:
    # New, unless it is one of a few that meet each other again.
    return FRESH if chance.random() < 0.8 else chance.choice(["k1", "k2"])


def _event_id(chance: Random) -> str | None:
    return None if chance.random() < 0.7 else chance.choice(["k1", "e1", "e2"])


def _amount(chance: Random) -> int:
    return chance.choice([1, 400_000, 5_000_000, 30_000_000, chance.randint(1, 60_000_000)])


def _credit(chance: Random) -> Credit:
    return Credit(
        chance.choice([10_000_000, 25_000_000, chance.randint(1, 60_000_000)]),
        _key(chance),
        chance.choice([None, "promotional", "paid", "goodwill"]),
        chance.choice([None, 0, 10, 50]),
        chance.choice([None, None, 0, 1, 24, 24 * 10, 24 * 10, 24 * 40]),
    )


def _grants(chance: Random) -> list[Credit]:
    return [_credit(chance) for _ in range(chance.randint(0, 4))]


def _charge(chance: Random) -> Spend:
    return Spend("charge", _amount(chance), _key(chance), _event_id(chance))


def _spend(chance: Random) -> Spend:
    return Spend("debit", _amount(chance), _key(chance)) if chance.random() < 0.2 else _charge(chance)


def _reverse(chance: Random) -> Reverse:
    amount = None if chance.random() < 0.5 else _amount(chance)
    return Reverse(chance.randint(0, 9), _key(chance), amount)


def _event(chance: Random) -> Event:
    return Event(
        _key(chance),
        chance.randint(0, 9_000_000),
        chance.choice(["tokens", "tokens", "requests", "users", "bytes", "calls"]),
        chance.choice([0, 0, 0, -1, -30, -24 * 20, -24 * 40, -24 * 400, 36]),
        _event_id(chance),
        chance.choice([None, "a", "b"]),
    )


def _usage(chance: Random) -> Usage:
    if chance.random() < 0.5:
        return Usage((_event(chance),))
    return Usage(tuple(_event(chance) for _ in range(chance.randint(0, 6))), batch=True)


def _together(chance: Random) -> Together:
    count = chance.randint(0, 5)
    return Together(
        tuple(_credit(chance) if chance.random() < 0.5 else _charge(chance) for _ in range(count))
    )


def _change(chance: Random) -> Change | Declare:
    match chance.randint(0, 3):
        case 0:
            return Change("credit_limit", chance.choice([0, 20_000_000, 200_000_000]))
        case 1:
            return Change("metric_policy", chance.choice(["open", "strict"]))
        case 2:
            return Change("max_backdate_days", chance.choice([None, None, 0, 30]))
        case _:
            return Declare(
                chance.choice(["tokens", "requests", "users", "bytes"]),
                chance.choice(["sum", "count", "max", "min", "last", "unique", "avg"]),
            )


def _shared(chance: Random) -> list[Command]:
    makers: list[Callable[[Random], Command]] = [_credit, _charge, _usage, _change]
    return [chance.choice(makers)(chance) for _ in range(chance.randint(1, 4))]


# What to change when a command is sent again; what a command does not have is left aside.
_TWISTS: list[dict[str, Any]] = [{}, {}, {"key": FRESH}, {"key": "k1"}, {"amount": 3_000_000, "units": 7}]


class Undone(Exception):
    """Leaves a unit of work, to see it undone."""


class Machine(RuleBasedStateMachine):
    """See the module; *stores* and *thorough* are set by ``run_machine``."""

    stores: Stores
    thorough: bool
    _examples = itertools.count(SystemRandom().getrandbits(60))

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
        self.history: list[tuple[str, Command]] = []
        self._steps = self._looked = 0
        self._fresh = (f"n{number}" for number in itertools.count())

    # --- what happens -------------------------------------------------------------------------

    @initialize(target=projects, grants=by_chance(_grants))
    def begin(self, grants: list[Credit]) -> str:
        project = self._create(0)
        for grant in grants:
            self._do(project, grant)
        return project

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

    @rule(project=projects, command=by_chance(_credit))
    def grant(self, project: str, command: Command) -> None:
        self._do(project, command)

    @rule(project=projects, command=by_chance(_spend))
    def spend(self, project: str, command: Command) -> None:
        self._do(project, command)

    @rule(project=projects, command=by_chance(_together))
    def settle(self, project: str, command: Command) -> None:
        self._do(project, command)

    @precondition(lambda self: self.history)
    @rule(place=by_chance(Random.random), changes=st.sampled_from(_TWISTS))
    def repeat(self, place: float, changes: Mapping[str, Any]) -> None:
        """Send an earlier command again: as it was, under another key, or with other content."""
        project, command = self.history[int(place * len(self.history))]
        self._do(project, altered(command, changes))

    @precondition(lambda self: any(model.booked for model in self.model.values()))
    @rule(project=projects, command=by_chance(_reverse))
    def reverse(self, project: str, command: Command) -> None:
        self._do(project, command)

    @precondition(lambda self: any(lot.expires for model in self.model.values() for lot in model.lots))
    @rule(project=projects)
    def expire(self, project: str) -> None:
        self._do(project, Expire())

    @rule(project=projects, command=by_chance(_usage))
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

    @rule(project=projects, command=by_chance(_change))
    def configure(self, project: str, command: Command) -> None:
        self._do(project, command)

    @precondition(lambda self: len(self.history) > 30)
    @rule(project=projects)
    def archive(self, project: str) -> None:
        self._do(project, Change("archive", None))

    @rule(
        project=projects,
        commands=by_chance(_shared),
        fails=st.booleans(),
    )
    def share_a_unit(self, project: str, commands: list[Command], fails: bool) -> None:
        """Several commands in one unit of work, which the host commits or abandons."""
        commands = [named(command, self._fresh) for command in commands]
        note(f"{self.clock} {project}: {commands} in one unit")
        before = self._state(project)
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
            assert self._state(project) == before, "what was undone left something behind"
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

    @precondition(lambda self: self._steps > self._looked + 15)
    @rule(project=projects, days=st.integers(0, 40))
    def look(self, project: str, days: int) -> None:
        self._looked = self._steps
        self._look(project, days)

    def teardown(self) -> None:
        try:
            for project in self.model:
                self._look(project, 1)
                texts = {name: state(neruba, project).text for name, neruba in self.engines.items()}
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
        self.history.append((project, command))
        note(f"{self.clock} {project}: {command}")
        before = self._state(project)
        answers: Answers = self._everywhere(partial(self._send, project=project, command=command))
        foretold = command.foretell(model, self.clock(), answers)
        self._same_words(command, answers, foretold)
        if foretold and all("." in word for word in foretold):
            kept, was = self._state(project).but_answers, before.but_answers
            assert kept == was, f"{command} was refused and yet changed something"
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
        if isinstance(command, Usage):
            return len(command.events)
        return len(command.parts) if isinstance(command, Together) else 1

    def _same_words(self, command: Command, answers: Answers, foretold: list[str]) -> None:
        words = [given.word for given in answers]
        assert words == foretold, f"{command}: foretold {foretold}, came {words}"

    def _state(self, project: str) -> State:
        """Of the first engine, for speed; at the end the exports of the others must equal its own."""
        return state(next(iter(self.engines.values())), project)

    # --- what always holds --------------------------------------------------------------------

    def _hold(self, project: str) -> None:
        model = self.model[project]
        self._steps += 1
        for name, neruba in self._held():
            with neruba.work() as unit:
                swept = unit.ledger.sweep(project)
                wallet = unit.wallets.get(project)
                tally = unit.audit.totals(project)
            assert swept.faults == (), f"{name}: {swept.faults}"
            assert swept.transactions == len(model.booked), f"{name}: versions have gaps"
            assert wallet.balance_micros == model.balance(self.clock()), name
            grants = [(g.kind.value, g.priority, g.expires_at, g.remaining_micros) for g in wallet.grants]
            assert grants == model.grants(self.clock()), f"{name}: {grants}"
            assert wallet.available_micros == wallet.balance_micros + model.limit, name
            counted = {word: getattr(tally, word) for word in _OUTCOMES if getattr(tally, word)}
            assert counted == dict(model.outcomes), f"{name}: {counted} of {model.outcomes}"

    def _held(self) -> Iterator[tuple[str, Rehearsal]]:
        """The first engine after each step; the others too if thorough, else after every fifth."""
        everyone = self.thorough or self._steps % 5 == 0
        return itertools.islice(iter(self.engines.items()), None if everyone else 1)

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


def run_machine(stores: Stores, of: settings, *, thorough: bool = False) -> None:
    """Run the machine over *stores*, each made by a call for each example; the first is the yardstick.

    The sweep runs after each step on the yardstick, and on the others if *thorough*, else on every fifth.
    """
    machine = type("BillingMachine", (Machine,), {"stores": stores, "thorough": thorough})
    run_state_machine_as_test(machine, settings=of)
