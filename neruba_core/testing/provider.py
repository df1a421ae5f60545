"""A payment provider in memory, for tests: it keeps its word about ids of ours, and breaks where told to.

What it does next comes from ``plan``, one word a request: ``succeed``, ``decline``, ``wait`` (still
under way), ``lose`` (acts, but the answer is lost), ``drop`` (never hears of it), ``break`` (the adapter has
a defect). Without a plan it succeeds. What payers and their banks do afterwards is told with ``dispute`` and
``send_back``, and heard of by an ``event``.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from datetime import timedelta

from attrs import define, evolve, field

from neruba_core.errors import ProviderUnavailable, SignatureInvalid
from neruba_core.payments.model import DisputeStatus, PaymentStatus
from neruba_core.payments.provider import (
    Answer,
    Ask,
    DisputeTold,
    EventTold,
    RefundAsk,
    RefundTold,
    Report,
)

SOUND = "sound"
"""The signature of all its events."""


@define(eq=False)
class RehearsedProvider:
    """``PaymentProvider`` and ``Telling``; *charged* is what has been taken, by the id of our payment."""

    name: str = "rehearsed"
    immediate: bool = False
    key_lasts: timedelta = timedelta(hours=23)
    plan: deque[str] = field(factory=deque)
    charged: dict[str, Answer] = field(factory=dict)
    asked: list[Ask] = field(factory=list)
    """Every request to charge, repeated ones too."""
    returned: dict[str, Answer] = field(factory=dict)
    """What has been given back, by the id of our refund."""
    refunds: list[RefundAsk] = field(factory=list)
    """Every request to refund, repeated ones too."""
    disputes: dict[str, dict[str, DisputeTold]] = field(factory=dict)
    """The disputes of a payment by their ids, by the id of our payment."""
    sent_back: dict[str, list[RefundTold]] = field(factory=dict)
    """What was refunded at the provider itself, by the id of our payment."""

    def then(self, words: Iterable[str]) -> None:
        """Do as *words* say with the next requests."""
        self.plan.extend(words)

    def charge(self, ask: Ask) -> Answer:
        """Take the money, once per payment."""
        self.asked.append(ask)
        return self._act(self.charged, ask)

    def look_up(self, ask: Ask) -> Answer | None:
        """How it stands."""
        return self.charged.get(ask.payment_id)

    def refund(self, ask: RefundAsk) -> Answer:
        """Give the money back, once per refund."""
        self.refunds.append(ask)
        return self._act(self.returned, ask)

    def look_up_refund(self, ask: RefundAsk) -> Answer | None:
        """How it stands."""
        return self.returned.get(ask.refund_id)

    def finish(self, payment_id: str, status: PaymentStatus, failure: str | None = None) -> None:
        """What was under way has ended."""
        done = self.charged if payment_id in self.charged else self.returned
        done[payment_id] = evolve(done[payment_id], status=status, failure=failure)

    # --- what happens there -------------------------------------------------------------------

    def dispute(
        self,
        payment_id: str,
        amount_micros: int,
        status: DisputeStatus,
        fee_micros: int = 0,
        *,
        fee_back_micros: int = 0,
        number: int = 1,
    ) -> None:
        """The payer's bank takes money back, or has decided about what it took as dispute *number* of the
        payment."""
        told = DisputeTold(f"dp_{payment_id}_{number}", amount_micros, fee_micros, "fraudulent", status)
        known = self.disputes.setdefault(payment_id, {})
        before = known.get(told.provider_id, told)
        fee = fee_micros or before.fee_micros
        known[told.provider_id] = evolve(
            before, status=status, fee_micros=fee, fee_back_micros=fee_back_micros
        )

    def send_back(self, payment_id: str, amount_micros: int) -> None:
        """Somebody refunds at the provider itself."""
        told = self.sent_back.setdefault(payment_id, [])
        answer = Answer(PaymentStatus.SUCCEEDED, f"rb_{payment_id}_{len(told)}")
        told.append(RefundTold(amount_micros, answer))

    def cash_micros(self, payment_id: str) -> int:
        """What the project has there of a payment that has succeeded, or owes there below zero."""
        charged = self.charged[payment_id]
        taken = self.disputes.get(payment_id, {}).values()
        gone = [*self._given_back(str(charged.provider_id)), *self.sent_back.get(payment_id, ())]
        cash: int = next(ask.amount_micros for ask in self.asked if ask.payment_id == payment_id)
        cash -= charged.fee_micros
        cash -= sum(each.amount_micros for each in gone if each.answer.status is PaymentStatus.SUCCEEDED)
        cash -= sum(each.amount_micros for each in taken if each.status is not DisputeStatus.WON)
        return cash - sum(each.fee_micros - each.fee_back_micros for each in taken)

    def event(self, payment_id: str, event_id: str) -> bytes:
        """That something about the payment has changed."""
        about = self.charged[payment_id].provider_id if payment_id in self.charged else f"re_{payment_id}"
        return json.dumps({"id": event_id, "about": about}).encode()

    def read_event(self, payload: bytes, signature: str | None) -> EventTold:
        """The event that was sent."""
        if signature != SOUND:
            raise SignatureInvalid(self.name)
        told = json.loads(payload)
        return EventTold(told["id"], "payment.changed", told["about"])

    def report(self, subject_id: str) -> Report | None:
        """How the payment stands now."""
        for ask in self.asked:
            answer = self.charged.get(ask.payment_id)
            if answer is not None and answer.provider_id == subject_id:
                return Report(
                    ask.project_id,
                    ask.payment_id,
                    answer,
                    (*self._given_back(subject_id), *self.sent_back.get(ask.payment_id, ())),
                    tuple(self.disputes.get(ask.payment_id, {}).values()),
                )
        return None

    def _given_back(self, subject_id: str) -> list[RefundTold]:
        asked = {ask.refund_id: ask for ask in self.refunds if ask.charge_id == subject_id}
        return [
            RefundTold(ask.amount_micros, self.returned[refund_id], refund_id)
            for refund_id, ask in asked.items()
            if refund_id in self.returned
        ]

    def _act(self, done: dict[str, Answer], ask: Ask | RefundAsk) -> Answer:
        our_id = ask.our_id
        word = self.plan.popleft() if self.plan else "succeed"
        if word == "drop":
            raise ProviderUnavailable(self.name, "the connection was refused")
        if word == "break":
            raise ZeroDivisionError("a defect in the adapter")
        answer = self._answer(word, our_id)
        done.setdefault(our_id, evolve(answer, amount_micros=ask.amount_micros, currency=ask.currency))
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
