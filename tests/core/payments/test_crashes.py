"""A crash at every call of the store, and before and after every request to the provider.

Whoever crashes starts anew, what was sent is sent again, and the scheduler goes on. Then the books are those
of a life without any crash: each payment, refund, dispute and fee is booked once, and whoever listens is told
of each at least once, always under the same id.
"""

from __future__ import annotations

import copy
import itertools
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from neruba_core.errors import StorageUnavailable
from neruba_core.outbox.model import DeliveryAttempt, DeliveryState
from neruba_core.outbox.rounds import Sent
from neruba_core.payments.model import DisputeStatus, Payment, PaymentStatus
from neruba_core.storage.memory import MemoryStorage
from neruba_core.storage.port import Storage
from neruba_core.storage.sql import SqlStorage
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.clock import SettableClock
from neruba_core.testing.failing import failing
from neruba_core.testing.postgres import PostgresDatabases
from neruba_core.testing.provider import SOUND, RehearsedProvider
from tests.core.payments.stage import Till

LEASE = timedelta(minutes=1)
UNIT = 1_000_000


class Dying:
    """A provider whose caller dies before or after the request number *at*; with ``None``, never."""

    def __init__(self, provider: RehearsedProvider, at: int | None = None, after: bool = False) -> None:
        self.provider, self.at, self.after = provider, at, after
        self.name, self.immediate, self.key_lasts = provider.name, False, provider.key_lasts
        self.requests = 0

    def charge(self, ask: Any) -> Any:
        return self._asked(self.provider.charge, ask)

    def look_up(self, ask: Any) -> Any:
        return self._asked(self.provider.look_up, ask)

    def refund(self, ask: Any) -> Any:
        return self._asked(self.provider.refund, ask)

    def look_up_refund(self, ask: Any) -> Any:
        return self._asked(self.provider.look_up_refund, ask)

    def report(self, subject_id: str) -> Any:
        return self._asked(self.provider.report, subject_id)

    def read_event(self, payload: bytes, signature: str | None) -> Any:
        return self.provider.read_event(payload, signature)

    def _asked(self, method: Callable[[Any], Any], about: Any) -> Any:
        self.requests += 1
        if self.requests == self.at and not self.after:
            raise KeyboardInterrupt
        answer = method(about)
        if self.requests == self.at:
            raise KeyboardInterrupt
        return answer


@define
class World:
    """A project that owes 12 and listens, its store and its provider, before anything crashes."""

    till: Till
    provider: RehearsedProvider
    received: list[str] = field(factory=list)

    @property
    def storage(self) -> Storage:
        return self.till.billing._context.storage

    @property
    def payment(self) -> Payment:
        (paid,) = self.till.billing.payments.list(self.till.id).items
        return paid

    def engine(self, storage: Storage, provider: Any) -> Rehearsal:
        return Rehearsal(storage, clock=self.till.billing.clock, seed=7, providers=(provider,))

    def later(self, **spans: float) -> None:
        self.till.at(self.till.billing.clock() + timedelta(**spans))


# --- what may be interrupted ------------------------------------------------------------------


def pay(world: World, neruba: Rehearsal) -> None:
    invoice = neruba.invoices.list(world.till.id).items[0]
    neruba.payments.pay(
        world.till.id, amount="20", invoice_id=invoice.id, provider="rehearsed", idempotency_key="card"
    )


def refund(world: World, neruba: Rehearsal) -> None:
    neruba.payments.refund(
        world.till.id, world.payment.id, amount="15", reason="asked for", idempotency_key="back"
    )


def settle(world: World, neruba: Rehearsal) -> None:
    neruba.payments.settle_pending()


def hear(world: World, neruba: Rehearsal, event_id: str = "evt_last") -> None:
    event = world.provider.event(world.payment.id, event_id)
    neruba.provider_events.receive("rehearsed", event, SOUND)
    neruba.provider_events.process()


# --- what had happened before -----------------------------------------------------------------


def owing(world: World) -> None:
    """Nothing is paid."""


def paid(world: World) -> None:
    pay(world, world.till.billing)


def paid_but_unanswered(world: World) -> None:
    world.provider.then(["lose"])
    paid(world)
    world.later(hours=1)


def refund_unanswered(world: World) -> None:
    paid(world)
    world.provider.then(["lose"])
    refund(world, world.till.billing)
    world.later(hours=1)


def disputed(world: World) -> None:
    """While a refund is under way."""
    paid(world)
    world.provider.then(["drop"])
    refund(world, world.till.billing)
    world.provider.dispute(world.payment.id, 20 * UNIT, DisputeStatus.OPEN, 15 * UNIT)


def dispute_won(world: World) -> None:
    """And the fee given back."""
    disputed(world)
    hear(world, world.till.billing, "evt_first")
    world.provider.dispute(world.payment.id, 20 * UNIT, DisputeStatus.WON, fee_back_micros=15 * UNIT)


def refund_sent_back(world: World) -> None:
    """After the bank has taken everything."""
    paid(world)
    refund(world, world.till.billing)
    world.provider.dispute(world.payment.id, 20 * UNIT, DisputeStatus.OPEN, 15 * UNIT)
    hear(world, world.till.billing, "evt_first")
    (given,) = world.provider.returned
    world.provider.finish(given, PaymentStatus.FAILED, "account closed")


Act = Callable[[World, Rehearsal], None]

STORIES: dict[str, tuple[Callable[[World], None], Act, str]] = {
    "a charge": (owing, pay, "20.000000"),
    "a look-up": (paid_but_unanswered, settle, "20.000000"),
    "a refund": (paid, refund, "5.000000"),
    "a look-up of a refund": (refund_unanswered, settle, "5.000000"),
    "a dispute": (disputed, hear, "-30.000000"),
    "a dispute that was won": (dispute_won, hear, "5.000000"),
    "a refund that was sent back": (refund_sent_back, hear, "-15.000000"),
}
"""What has happened, what is interrupted, and what is in the till at the end."""


# --- crashing and starting anew ---------------------------------------------------------------


def life(world: World, act: Act, neruba: Rehearsal) -> None:
    act(world, neruba)
    deliver(world, neruba)


def deliver(world: World, neruba: Rehearsal) -> None:
    """A round of the loop, with an endpoint that takes everything."""
    tasks = neruba.webhooks.take(lambda endpoint: 50, lease=LEASE)
    world.received.extend(task.message.id for task in tasks)
    neruba.webhooks.record([Sent(task, DeliveryAttempt(neruba.now(), 5, 200)) for task in tasks])


def go_on(world: World, act: Act) -> None:
    """The process starts anew, whoever was not answered asks again, and the scheduler does its work."""
    neruba = world.engine(world.storage, world.provider)
    world.later(minutes=2)
    life(world, act, neruba)
    for _ in range(2):
        world.later(hours=2)
        neruba.payments.settle_pending()
        neruba.provider_events.process()
        deliver(world, neruba)


def outcome(world: World) -> Any:
    """What it all has come to; proves that it is right by itself."""
    till = world.till
    assert till.proved()
    with world.storage.snapshot() as work:
        rows = list(work.export(till.id))
    messages = [row for table, row in rows if table == "messages"]
    assert set(world.received) == {message.id for message in messages}
    assert {row.state for table, row in rows if table == "deliveries"} == {DeliveryState.DELIVERED}
    assert {event.state.value for event in till.billing.provider_events.list().items} <= {"processed"}
    assert len({key for done in (world.provider.charged, world.provider.returned) for key in done}) == len(
        [row for table, row in rows if table in ("payments", "refunds")]
    )
    return (
        till.accounts,
        Counter(row.type for table, row in rows if table == "transactions"),
        Counter(message.type for message in messages),
        Counter(row.status for table, row in rows if table in ("payments", "refunds", "disputes")),
        sorted(row.micros for table, row in rows if table == "allocations"),
    )


FULL = os.environ.get("NERUBA_TORTURE") == "full"
BY_KIND = {
    "memory": STORIES,
    "sqlite": STORIES,
    # Making a database takes it a second.
    "postgresql": STORIES if FULL else ["a refund", "a dispute that was won"],
}


@pytest.mark.torture
@pytest.mark.parametrize(
    ("kind", "story"),
    [
        pytest.param(kind, story, marks=[pytest.mark.postgres] if kind == "postgresql" else [])
        for kind, stories in BY_KIND.items()
        for story in stories
    ],
)
def test_a_crash_anywhere_ends_in_one_booking_and_is_told_of(
    kind: str, story: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """
    Every call of every unit, the loss of each commit's news, and each request to the provider.
    """
    prepare, act, cash = STORIES[story]
    # The databases show that the memory's way of undoing is no accident; a sample is enough for that.
    step = {"memory": 1 if FULL else 2, "sqlite": 1 if FULL else 23, "postgresql": 7 if FULL else 53}
    with worlds(kind, prepare, request, tmp_path) as fresh:
        world = fresh()
        counted, asked = failing(world.storage, at=None), Dying(world.provider)
        life(world, act, world.engine(counted, asked))
        go_on(world, act)
        expected = outcome(world)
        assert world.till.accounts["cash:rehearsed"] == cash

        for at in range(1, counted.calls + 1, step[kind]):
            world = fresh()
            with pytest.raises(StorageUnavailable):
                life(world, act, world.engine(failing(world.storage, at=at), world.provider))
            go_on(world, act)
            assert outcome(world) == expected, f"after a crash at call {at}: {counted.trace[at - 1]}"
            world.storage.close()
        requests = asked.requests if FULL or kind != "postgresql" else 0
        for at, after in itertools.product(range(1, requests + 1), (False, True)):
            world = fresh()
            with pytest.raises(KeyboardInterrupt):
                life(world, act, world.engine(world.storage, Dying(world.provider, at, after)))
            go_on(world, act)
            assert outcome(world) == expected, f"after a crash at request {at}"
            world.storage.close()


@contextmanager
def worlds(
    kind: str, prepare: Callable[[World], None], request: pytest.FixtureRequest, folder: Path
) -> Iterator[Callable[[], World]]:
    """A world after *prepare*, as often as one is asked for."""
    if kind == "memory":
        yield lambda: prepared(MemoryStorage(), prepare)
        return
    with ExitStack() as stack:
        make = files(folder) if kind == "sqlite" else databases(request, stack)
        url = make(None)
        first = SqlStorage(url)
        first.migrate()
        world = prepared(first, prepare)
        first.close()

        def fresh() -> World:
            till, provider = copy.copy(world.till), copy.deepcopy(world.provider)
            clock = SettableClock(world.till.billing.clock())
            storage = SqlStorage(make(url), pool_size=2)
            stack.callback(storage.close)
            till.billing = Rehearsal(storage, clock=clock, seed=5, providers=(provider,))
            return World(till, provider, list(world.received))

        yield fresh


def prepared(storage: Storage, prepare: Callable[[World], None]) -> World:
    provider = RehearsedProvider()
    till = Till(Rehearsal(storage, providers=(provider,)))
    till.billing.payments.set_method(till.id, provider="rehearsed", customer="cus_1", method="pm_1")
    till.owe("12")
    till.billing.webhooks.create(till.id, url="https://hooks.example.com/neruba")
    world = World(till, provider)
    prepare(world)
    deliver(world, till.billing)
    return world


def files(folder: Path) -> Callable[[str | None], str]:
    """Database files, empty or copied from another."""
    numbers = itertools.count()

    def make(template: str | None) -> str:
        file = folder / f"{next(numbers)}.db"
        if template is not None:
            shutil.copy(template.removeprefix("sqlite:///"), file)
        return f"sqlite:///{file}"

    return make


def databases(request: pytest.FixtureRequest, stack: ExitStack) -> Callable[[str | None], str]:
    """Databases of the server, empty or copied from another."""
    server: PostgresDatabases = request.getfixturevalue("postgres_server")

    def make(template: str | None) -> str:
        url = server.create_database(template)
        stack.callback(server.drop_database, url)
        return url

    return make
