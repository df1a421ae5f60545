"""The commands of the state machine: each can be sent to an engine, and foretold by the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol, TypeAlias

import attrs
from attrs import frozen

from neruba_core import money
from neruba_core.audit.model import SYSTEM
from neruba_core.charges.charge import NewCharge, charge_order
from neruba_core.errors import NerubaError
from neruba_core.idempotency.outcomes import Conflict, Rejected
from neruba_core.instants import Instant
from neruba_core.ledger.model import Transaction
from neruba_core.neruba import Neruba
from neruba_core.testing.model import Booked, Content, ModelProject, Waiting
from neruba_core.wallets.credit import NewCredit
from neruba_core.wallets.orders import Order, credit_order


@frozen
class Answer:
    """What became of a command: one *word* (an outcome or the code of a refusal), and the whole of it."""

    word: str
    whole: Any


FRESH = ""
"""Stands for a key that has not been used yet."""

Answers: TypeAlias = Sequence[Answer]


def answer(outcome: Any) -> Answer:
    """The answer of an outcome, an error, or plain success."""
    if isinstance(outcome, Conflict | Rejected):
        rest = attrs.asdict(outcome, filter=lambda attribute, _: attribute.name != "error", recurse=False)
        return Answer(outcome.error.code, (outcome.error.code, outcome.error.facts(), rest))
    if isinstance(outcome, NerubaError):
        return Answer(outcome.code, outcome.facts())
    if isinstance(outcome, Exception):
        raise outcome
    return Answer(getattr(getattr(outcome, "name", None), "value", "done"), outcome)


def asked(act: Any) -> Answers:
    """Run *act* and take its refusal for an answer."""
    try:
        return [answer(act())]
    except NerubaError as error:
        return [answer(error)]


class Command(Protocol):
    def send(self, neruba: Neruba, project_id: str) -> Answers:
        """Do it; one answer for each thing that was asked."""

    def foretell(self, project: ModelProject, at: Instant, answers: Answers) -> list[str]:
        """Do it in the model, and say the words of the answers. Only the ids of what was made are taken
        from *answers*."""


def _made(project: ModelProject, booked: Booked, given: Answer) -> None:
    if given.word == "accepted":
        project.booked[given.whole.value.id] = booked


@frozen
class Credit:
    amount: int
    key: str
    kind: str | None = None
    priority: int | None = None
    expires_hours: int | None = None

    def _expires(self, at: Instant) -> Instant | None:
        return None if self.expires_hours is None else at + timedelta(hours=self.expires_hours)

    def send(self, neruba: Neruba, project_id: str) -> Answers:
        expires_at = self._expires(neruba._context.clock())
        return asked(
            lambda: neruba.wallets.credit(
                project_id,
                amount=money.decimal(self.amount),
                description="credit",
                idempotency_key=self.key,
                kind=self.kind,
                priority=self.priority,
                expires_at=expires_at,
            )
        )

    def order(self, project_id: str, at: Instant) -> Order[Transaction]:
        new = NewCredit.of(
            amount=money.decimal(self.amount),
            description="credit",
            idempotency_key=self.key,
            kind=self.kind,
            priority=self.priority,
            expires_at=self._expires(at),
        )
        return credit_order(project_id, new, SYSTEM)

    def foretell(self, project: ModelProject, at: Instant, answers: Answers) -> list[str]:
        expires = self._expires(at)
        content: Content = (self.amount, self.kind, self.priority, expires)
        met = project.met("credit", self.key, None, content)
        if met is not None:
            return [met]
        if project.archived:
            return ["project.archived"]
        if expires is not None and expires <= at:
            return ["expiry.passed"]
        priority = 50 if self.priority is None else self.priority
        booked = project.credit(self.amount, self.kind or "promotional", priority, expires, at)
        project.bind("credit", self.key, None, content, replay="replayed")
        _made(project, booked, answers[0])
        return ["accepted"]


@frozen
class Spend:
    """A charge or a debit."""

    type: str
    amount: int
    key: str
    event: str | None = None

    def send(self, neruba: Neruba, project_id: str) -> Answers:
        amount = money.text(self.amount)
        if self.type == "debit":
            return asked(
                lambda: neruba.wallets.debit(
                    project_id, amount=amount, description="spend", idempotency_key=self.key
                )
            )
        return asked(
            lambda: neruba.charges.charge(
                project_id,
                amount=amount,
                description="spend",
                idempotency_key=self.key,
                event_id=self.event,
            )
        )

    def order(self, project_id: str, at: Instant) -> Order[Transaction]:
        new = NewCharge.of(
            amount=money.text(self.amount),
            description="spend",
            idempotency_key=self.key,
            event_id=self.event,
        )
        return charge_order(project_id, new, SYSTEM)

    def foretell(self, project: ModelProject, at: Instant, answers: Answers) -> list[str]:
        met = project.met(self.type, self.key, self.event, (self.amount,))
        word = met or self._decided(project, at, answers)
        if self.type == "charge":
            # A stored refusal that is given again is a replay.
            project.count("replayed" if met == _REFUSED else word)
        return [word]

    def _decided(self, project: ModelProject, at: Instant, answers: Answers) -> str:
        if project.archived:
            return "project.archived"
        booked = project.spend(self.type, self.amount, at)
        replay = _REFUSED if booked is None else "replayed"
        project.bind(self.type, self.key, self.event, (self.amount,), replay=replay)
        if booked is None:
            return _REFUSED
        _made(project, booked, answers[0])
        return "accepted"


_REFUSED = "wallet.insufficient_credit"


@frozen
class Reverse:
    """Reverse the transaction at *place* (from the newest), in part or whole."""

    place: int
    key: str
    amount: int | None = None

    def _of(self, project_ids: Sequence[str]) -> str:
        return project_ids[-1 - self.place % len(project_ids)] if project_ids else "txn_none"

    def send(self, neruba: Neruba, project_id: str) -> Answers:
        made = neruba.ledger.transactions(project_id, limit=200).items
        transaction_id = self._of([transaction.id for transaction in reversed(made)])
        return asked(
            lambda: neruba.wallets.reverse(
                project_id,
                transaction_id,
                reason="mistake",
                amount=None if self.amount is None else money.decimal(self.amount),
                idempotency_key=self.key,
            )
        )

    def foretell(self, project: ModelProject, at: Instant, answers: Answers) -> list[str]:
        transaction_id = self._of(list(project.booked)[-200:])
        met = project.met("reverse", self.key, None, (self.amount,), transaction_id)
        if met is not None:
            return [met]
        if project.archived:
            return ["project.archived"]
        original = project.booked.get(transaction_id)
        if original is None:
            return ["transaction.not_found"]
        if original.type in {"reversal", "expiry"}:
            return ["transaction.not_reversible"]
        left = original.amount - original.reversed
        amount = left if self.amount is None else self.amount
        if amount == 0 or amount > left:
            return ["reversal.exceeds_original"]
        booked = project.reverse(original, amount, at)
        project.bind("reverse", self.key, None, (self.amount,), replay="replayed", path=transaction_id)
        _made(project, booked, answers[0])
        return ["accepted"]


@frozen
class Expire:
    """Post what has expired."""

    def send(self, neruba: Neruba, project_id: str) -> Answers:
        return asked(lambda: neruba.wallets.expire_due(project_ids=[project_id]))

    def foretell(self, project: ModelProject, at: Instant, answers: Answers) -> list[str]:
        posted = answers[0].whole
        for transaction, booked in zip(posted, project.expire(at), strict=True):
            assert transaction.amount_micros == booked.amount
            project.booked[transaction.id] = booked
        return ["done"]


@frozen
class Event:
    """A usage event, *hours* from now."""

    key: str
    units: int
    metric: str = "tokens"
    hours: int = 0
    event: str | None = None
    user: str | None = None

    def arguments(self, at: Instant) -> dict[str, Any]:
        return {
            "metric_key": self.metric,
            "units": money.text(self.units),
            "timestamp": self.timestamp(at),
            "idempotency_key": self.key,
            "event_id": self.event,
            "properties": None if self.user is None else {"user": self.user},
        }

    def timestamp(self, at: Instant) -> Instant:
        # By the day, so that a resend a minute later is the same request.
        day = at.replace(hour=0, minute=0, second=0, microsecond=0)
        return day + timedelta(hours=self.hours)

    def foretell(self, project: ModelProject, at: Instant, given: Answer) -> str:
        timestamp = self.timestamp(at)
        content = (self.units, self.metric, timestamp, self.user)
        return record(project, self.key, self.event, content, at, given)


def record(
    project: ModelProject, key: str, event: str | None, content: Content, at: Instant, given: Answer
) -> str:
    """Record an event in the model; without the counting."""
    units, metric, timestamp = content[:3]
    assert isinstance(units, int)
    assert isinstance(metric, str)
    assert isinstance(timestamp, Instant)
    word = project.met("usage", key, event, content) or project.unfit(metric, timestamp, at)
    if word is None:
        project.metrics.add(metric)
        project.bind("usage", key, event, content, replay="replayed")
        if given.word == "accepted":
            project.usage[given.whole.value.id] = (metric, units)
        return "accepted"
    if word == "quarantined" and given.word == "quarantined":
        project.quarantine.setdefault(given.whole.value.id, Waiting(key, event, content))
    return word


def _supersede(project: ModelProject, key: str) -> None:
    if project.strict:
        for waiting in project.quarantine.values():
            if waiting.key == key and waiting.state == "waiting":
                waiting.state = "superseded"


@frozen
class Usage:
    """One event, or a batch of them."""

    events: tuple[Event, ...]
    batch: bool = False

    def send(self, neruba: Neruba, project_id: str) -> Answers:
        at = neruba._context.clock()
        if not self.batch:
            return asked(lambda: neruba.usage.record(project_id, **self.events[0].arguments(at)))
        sent = [event.arguments(at) for event in self.events]
        return [answer(outcome) for outcome in neruba.usage.record_many(project_id, sent)]

    def foretell(self, project: ModelProject, at: Instant, answers: Answers) -> list[str]:
        words = []
        for event, given in zip(self.events, answers, strict=False):
            word = event.foretell(project, at, given)
            project.count(word)
            words.append(word)
        for event, word in zip(self.events, words, strict=True):
            if word == "accepted":
                _supersede(project, event.key)
        return words


@frozen
class Void:
    """Void the event at *place*."""

    place: int

    def _of(self, usage_ids: Sequence[str]) -> str:
        return usage_ids[self.place % len(usage_ids)] if usage_ids else "use_none"

    def send(self, neruba: Neruba, project_id: str) -> Answers:
        made = neruba.usage.events(project_id, limit=200).items
        usage_id = self._of([event.id for event in reversed(made)])
        return asked(lambda: neruba.usage.void(project_id, usage_id, reason="wrong"))

    def foretell(self, project: ModelProject, at: Instant, answers: Answers) -> list[str]:
        usage_id = self._of(sorted(project.usage)[-200:])
        if usage_id not in project.usage:
            return ["usage.not_found"]
        if usage_id in project.voided:
            project.count("replayed")
            return ["done"]
        if project.archived:
            return ["project.archived"]
        project.voided.add(usage_id)
        project.count("accepted")
        return ["done"]


@frozen
class Support:
    """Replay or discard the quarantined event at *place*."""

    place: int
    replay: bool

    def _of(self, project: ModelProject) -> str:
        ids = sorted(project.quarantine)
        return ids[self.place % len(ids)] if ids else "qua_none"

    def send(self, neruba: Neruba, project_id: str) -> Answers:
        raise NotImplementedError("the machine names the row")

    def send_to(self, neruba: Neruba, project_id: str, project: ModelProject) -> Answers:
        act = neruba.usage.replay_quarantined if self.replay else neruba.usage.discard_quarantined
        return asked(lambda: act(project_id, self._of(project)))

    def foretell(self, project: ModelProject, at: Instant, answers: Answers) -> list[str]:
        waiting = project.quarantine.get(self._of(project))
        if project.archived and not self.replay:
            return ["project.archived"]
        if waiting is None:
            return ["quarantine.not_found"]
        if waiting.state != "waiting":
            return ["quarantine.closed"]
        if not self.replay:
            waiting.state = "discarded"
            return ["done"]
        word = record(project, waiting.key, waiting.event, waiting.content, at, answers[0])
        if word == "quarantined":
            return ["quarantine.still_failing"]
        project.count(word)
        if word in {"accepted", "replayed", "deduped"}:
            waiting.state = "replayed" if word == "accepted" else "superseded"
        return [word]


@frozen
class Change:
    """Change a setting; a limit in micro-units, a policy, a bound on old usage, or archive."""

    field: str
    value: int | str | None

    def send(self, neruba: Neruba, project_id: str) -> Answers:
        if self.field == "archive":
            return asked(lambda: neruba.projects.archive(project_id))
        value: Any = self.value
        if self.field == "credit_limit":
            value = money.decimal(value)
        return asked(lambda: neruba.projects.update(project_id, **{self.field: value}))

    def foretell(self, project: ModelProject, at: Instant, answers: Answers) -> list[str]:
        if self.field == "archive":
            project.archived = True
            return ["done"]
        if project.archived:
            return ["project.archived"]
        if self.field == "credit_limit":
            assert isinstance(self.value, int)
            project.limit = self.value
        elif self.field == "metric_policy":
            project.strict = self.value == "strict"
        else:
            assert self.value is None or isinstance(self.value, int)
            project.backdate_days = self.value
        return ["done"]


@frozen
class Declare:
    """Declare a metric."""

    metric: str
    aggregation: str = "sum"

    def send(self, neruba: Neruba, project_id: str) -> Answers:
        unique = "user" if self.aggregation == "unique" else None
        return asked(
            lambda: neruba.metrics.declare(
                project_id, key=self.metric, aggregation=self.aggregation, unique_property=unique
            )
        )

    def foretell(self, project: ModelProject, at: Instant, answers: Answers) -> list[str]:
        if project.archived:
            return ["project.archived"]
        if self.metric in project.metrics:
            return ["metric.exists"]
        project.metrics.add(self.metric)
        return ["done"]


@frozen
class Together:
    """Credits and charges in one unit of work, each with its own verdict."""

    parts: tuple[Credit | Spend, ...]

    def send(self, neruba: Neruba, project_id: str) -> Answers:
        at = neruba._context.clock()
        return [answer(verdict) for verdict in neruba.execute([p.order(project_id, at) for p in self.parts])]

    def foretell(self, project: ModelProject, at: Instant, answers: Answers) -> list[str]:
        return [
            word
            for part, given in zip(self.parts, answers, strict=True)
            for word in part.foretell(project, at, [given])
        ]


def named(command: Any, fresh: Iterator[str]) -> Any:
    """*command* with a key of its own wherever it asks for one."""
    if isinstance(command, Usage):
        return attrs.evolve(command, events=tuple(named(event, fresh) for event in command.events))
    if isinstance(command, Together):
        return attrs.evolve(command, parts=tuple(named(part, fresh) for part in command.parts))
    return attrs.evolve(command, key=next(fresh)) if getattr(command, "key", None) == FRESH else command


def altered(command: Any, changes: Mapping[str, Any]) -> Any:
    """*command* with those of the *changes* that it has a field for, and so for the first of its parts."""
    if isinstance(command, Usage) and command.events:
        first, *others = command.events
        return attrs.evolve(command, events=(altered(first, changes), *others))
    if isinstance(command, Together) and command.parts:
        first_part, *other_parts = command.parts
        return attrs.evolve(command, parts=(altered(first_part, changes), *other_parts))
    fields = attrs.fields_dict(type(command))
    return attrs.evolve(command, **{name: value for name, value in changes.items() if name in fields})
