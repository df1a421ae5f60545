"""A payment provider in memory, for tests: it keeps its word about ids of ours, and breaks where told to.

What it does next comes from ``plan``, one word a request: ``succeed``, ``decline``, ``wait`` (still
under way), ``lose`` (acts, but the answer is lost), ``drop`` (never hears of it), ``break`` (the adapter has
a defect). Without a plan it succeeds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import timedelta

from attrs import define, evolve, field

from neruba_core.errors import ProviderUnavailable
from neruba_core.payments.model import PaymentStatus
from neruba_core.payments.provider import Answer, Ask, RefundAsk


@define(eq=False)
class RehearsedProvider:
    """``PaymentProvider``; *charged* is what has been taken, by the id of our payment."""

    name: str = "rehearsed"
    immediate: bool = False
    key_lasts: timedelta = timedelta(hours=23)
    plan: deque[str] = field(factory=deque)
    charged: dict[str, Answer] = field(factory=dict)
    asked: list[Ask] = field(factory=list)
    """Every request to charge, repeated ones too."""
    returned: dict[str, Answer] = field(factory=dict)
    """What has been given back, by the id of our refund."""

    def then(self, words: Iterable[str]) -> None:
        """Do as *words* say with the next requests."""
        self.plan.extend(words)

    def charge(self, ask: Ask) -> Answer:
        """Take the money, once per payment."""
        self.asked.append(ask)
        return self._act(self.charged, ask.payment_id)

    def look_up(self, ask: Ask) -> Answer | None:
        """How it stands."""
        return self.charged.get(ask.payment_id)

    def refund(self, ask: RefundAsk) -> Answer:
        """Give the money back, once per refund."""
        return self._act(self.returned, ask.refund_id)

    def look_up_refund(self, ask: RefundAsk) -> Answer | None:
        """How it stands."""
        return self.returned.get(ask.refund_id)

    def finish(self, payment_id: str, status: PaymentStatus, failure: str | None = None) -> None:
        """What was under way has ended."""
        done = self.charged if payment_id in self.charged else self.returned
        done[payment_id] = evolve(done[payment_id], status=status, failure=failure)

    def _act(self, done: dict[str, Answer], our_id: str) -> Answer:
        word = self.plan.popleft() if self.plan else "succeed"
        if word == "drop":
            raise ProviderUnavailable(self.name, "the connection was refused")
        if word == "break":
            raise ZeroDivisionError("a defect in the adapter")
        done.setdefault(our_id, self._answer(word, our_id))
        if word == "lose":
            raise ProviderUnavailable(self.name, "the connection broke")
        return done[our_id]

    def _answer(self, word: str, our_id: str) -> Answer:
        provider_id = f"re_{our_id.partition('_')[2]}"
        if word == "decline":
            return Answer(PaymentStatus.FAILED, provider_id, "card_declined")
        if word == "wait":
            return Answer(PaymentStatus.PENDING, provider_id)
        return Answer(PaymentStatus.SUCCEEDED, provider_id)
