"""What Neruba should do, told a second time and as plainly as possible.

The state machine holds every adapter against this model. It shares no code with the engine: lists are
searched, nothing is cached, and there are no accounts, only what is left of each grant and what is owed. It
answers each command with one word: an outcome, or the code of a refusal.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from attrs import define, field

from neruba_core.instants import Instant

_NEVER = datetime.max.replace(tzinfo=UTC)
_AHEAD = timedelta(minutes=5)

Content = tuple[object, ...]


@define(eq=False)
class Lot:
    """What is left of a grant; of that, *expired* is posted as such."""

    kind: str
    priority: int
    effective: Instant
    expires: Instant | None
    left: int
    expired: int = 0

    def alive(self, at: Instant) -> bool:
        return self.expires is None or at < self.expires


@define(eq=False)
class Booked:
    """A transaction: what it drew, and how much of it has been reversed."""

    type: str
    amount: int
    at: Instant
    draws: list[tuple[Lot | None, int]] = field(factory=list)
    credited: Lot | None = None
    reversed: int = 0
    returned: Counter[int] = field(factory=Counter)


@define(eq=False)
class Waiting:
    """An event in quarantine."""

    key: str
    event: str | None
    content: Content
    state: str = "waiting"


@define(eq=False)
class ModelProject:
    """One project. *lots* are in the order in which they were opened."""

    limit: int
    archived: bool = False
    strict: bool = False
    backdate_days: int | None = None
    overdraft: int = 0
    lots: list[Lot] = field(factory=list)
    booked: dict[str, Booked] = field(factory=dict)
    keys: dict[tuple[str, str], tuple[Content, str]] = field(factory=dict)
    events: dict[tuple[str, str], Content] = field(factory=dict)
    metrics: set[str] = field(factory=set)
    usage: dict[str, tuple[str, int]] = field(factory=dict)
    voided: set[str] = field(factory=set)
    quarantine: dict[str, Waiting] = field(factory=dict)
    outcomes: Counter[str] = field(factory=Counter)

    # --- money --------------------------------------------------------------------------------

    def balance(self, at: Instant) -> int:
        return sum(lot.left for lot in self.lots if lot.alive(at)) - self.overdraft

    def grants(self, at: Instant) -> list[tuple[str, int, Instant | None, int]]:
        """What can still be spent, in spending order."""
        return [
            (lot.kind, lot.priority, lot.expires, lot.left)
            for lot in self._in_order()
            if lot.left and lot.alive(at)
        ]

    def credit(self, amount: int, kind: str, priority: int, expires: Instant | None, at: Instant) -> Booked:
        lot = Lot(kind, priority, at, expires, amount)
        self.lots.append(lot)
        repaid = min(amount, self.overdraft)
        lot.left -= repaid
        self.overdraft -= repaid
        return Booked("credit", amount, at, credited=lot)

    def spend(self, type: str, amount: int, at: Instant) -> Booked | None:
        """The charge or debit, or None where it is not covered."""
        if amount > self.balance(at) + self.limit:
            return None
        booked = Booked(type, amount, at)
        self._take(booked, [lot for lot in self._in_order() if lot.alive(at)])
        return booked

    def reverse(self, original: Booked, amount: int, at: Instant) -> Booked:
        original.reversed += amount
        booked = Booked("reversal", amount, at)
        if original.type == "credit":
            others = [lot for lot in self._in_order() if lot.alive(at) and lot is not original.credited]
            self._take(booked, [lot for lot in (original.credited,) if lot] + others)
        else:
            self._give_back(original, amount, at)
        return booked

    def expire(self, at: Instant) -> list[Booked]:
        """Post what is over of each grant, the first to end first; nothing that counts changes."""
        ended = [lot for lot in self.lots if lot.left > lot.expired and not lot.alive(at)]
        posted = []
        for lot in sorted(ended, key=lambda lot: lot.expires or _NEVER):
            posted.append(Booked("expiry", lot.left - lot.expired, at))
            lot.expired = lot.left
        return posted

    def _take(self, booked: Booked, lots: list[Lot]) -> None:
        missing = booked.amount
        for lot in lots:
            share = min(lot.left, missing)
            lot.left -= share
            lot.expired = min(lot.expired, lot.left)
            missing -= share
            booked.draws.append((lot, share))
        self.overdraft += missing

    def _give_back(self, original: Booked, amount: int, at: Instant) -> None:
        repaid = min(amount, self.overdraft)
        self.overdraft -= repaid
        left = amount - repaid
        for place, (lot, drawn) in reversed(list(enumerate(original.draws))):
            assert lot is not None
            share = min(drawn - original.returned[place], left)
            original.returned[place] += share
            left -= share
            if lot.alive(at):
                lot.left += share
            elif share:
                assert lot.expires is not None
                self.lots.append(Lot(lot.kind, lot.priority, at, at + (lot.expires - original.at), share))
        if left:
            self.lots.append(Lot("goodwill", 50, at, None, left))

    def _in_order(self) -> list[Lot]:
        # Sorting is stable, so equals stay in the order in which they were opened.
        return sorted(
            self.lots,
            key=lambda lot: (lot.priority, lot.expires or _NEVER, lot.kind == "paid", lot.effective),
        )

    # --- identity -----------------------------------------------------------------------------

    def met(
        self, operation: str, key: str, event: str | None, content: Content, path: str = ""
    ) -> str | None:
        """What a write is that came before, by its key or else by its event."""
        earlier = self.keys.get((operation, key))
        if earlier is not None:
            return earlier[1] if earlier[0] == (path, event, *content) else "idempotency.key_reused"
        recorded = self.events.get((operation, event or key))
        if recorded is None:
            return None
        return "deduped" if recorded == content else f"{operation}.event_conflict"

    def bind(
        self, operation: str, key: str, event: str | None, content: Content, *, replay: str, path: str = ""
    ) -> None:
        """Remember the key, and (but for a stored refusal) the event."""
        self.keys[operation, key] = ((path, event, *content), replay)
        if replay == "replayed" and operation in {"charge", "usage"}:
            self.events[operation, event or key] = content

    # --- usage --------------------------------------------------------------------------------

    def unfit(self, metric: str, timestamp: Instant, at: Instant) -> str | None:
        """Why a new event cannot be recorded."""
        if self.archived:
            return "project.archived"
        if timestamp > at + _AHEAD:
            return "usage.timestamp_in_future"
        if self.backdate_days is not None and timestamp < at - timedelta(days=self.backdate_days):
            return "usage.timestamp_too_old"
        return "quarantined" if self.strict and metric not in self.metrics else None

    def totals(self) -> Counter[str]:
        """Units that count, by metric."""
        totals: Counter[str] = Counter()
        for usage_id, (metric, units) in self.usage.items():
            if usage_id not in self.voided:
                totals[metric] += units
        return totals

    def count(self, word: str) -> None:
        """Count an ingest attempt that ended as *word*."""
        if word in {"accepted", "replayed", "deduped", "quarantined"}:
            self.outcomes[word] += 1
        elif word.endswith(("_conflict", "key_reused")):
            self.outcomes["conflict"] += 1
        else:
            self.outcomes["rejected"] += 1
