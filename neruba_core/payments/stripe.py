"""Stripe as a payment provider: payment intents of saved cards, refunds, and what its events are about.

Every request to act carries the id of our payment or refund as Stripe's ``Idempotency-Key`` and in its
metadata. A refused card is an answer; a conflict, a full queue, a broken connection or a server in trouble is
none, and the same question is asked again later. What is looked up is found by Stripe's own id, or by our id
in the metadata, and its amount and currency are told as Stripe says them.

The library is imported when the first request is made, and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import define, field

from neruba_core.currencies import currency_of
from neruba_core.errors import ProviderUnavailable, SignatureInvalid, WebhookSecretUnset
from neruba_core.money import PLACES
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

if TYPE_CHECKING:
    from stripe import StripeClient

T = TypeVar("T")

API_BASE = "https://api.stripe.com"
SECONDS = 20.0
"""How long an answer may take."""

PAYMENT, REFUND, PROJECT = "neruba_payment", "neruba_refund", "neruba_project"
"""Our ids in Stripe's metadata."""

# Where Stripe counts otherwise than ISO 4217 does: https://docs.stripe.com/currencies
_EXPONENTS = {"ISK": 2, "UGX": 2, "MGA": 0}
_CHARGE = "latest_charge.balance_transaction"
_GONE = {"requires_action", "requires_confirmation", "requires_payment_method", "canceled"}


def minor_units(amount_micros: int, currency: str) -> int | None:
    """*amount_micros* as Stripe counts them; ``None`` where Stripe has no such amount.

    Currencies of three decimals are charged in steps of ten of their smallest unit.
    """
    exponent = _EXPONENTS.get(currency, currency_of(currency).exponent)
    step = 10 ** (PLACES - exponent) * (10 if exponent == 3 else 1)
    return None if amount_micros % step else amount_micros // 10 ** (PLACES - exponent)


def micros_of(minor: int, currency: str) -> int:
    """What Stripe counts as *minor*, in micro-units."""
    exponent = _EXPONENTS.get(currency, currency_of(currency).exponent)
    scale: int = 10 ** (PLACES - exponent)
    return minor * scale


@define(eq=False)
class StripeProvider:
    """``PaymentProvider`` over the Stripe account of *api_key*; *webhook_secret* proves that its events are
    Stripe's."""

    _api_key: str = field(repr=False)
    _webhook_secret: str | None = field(default=None, repr=False, kw_only=True)
    _api_base: str = field(default=API_BASE, kw_only=True)
    _seconds: float = field(default=SECONDS, kw_only=True)
    _made: StripeClient | None = field(default=None, init=False, repr=False)

    name = "stripe"
    immediate = False
    # Stripe forgets keys after 24 hours at the earliest.
    key_lasts = timedelta(hours=23)

    # --- money in -----------------------------------------------------------------------------

    def charge(self, ask: Ask) -> Answer:
        """Charge the saved card or account, without the customer being there."""
        amount = minor_units(ask.amount_micros, ask.currency)
        if amount is None:
            return Answer(PaymentStatus.FAILED, failure=f"Stripe has no such amount of {ask.currency}")

        def create() -> Answer:
            params: dict[str, Any] = {
                "amount": amount,
                "currency": ask.currency.lower(),
                "customer": ask.customer,
                "payment_method": ask.method or self._usual_method(ask.customer),
                "confirm": True,
                "off_session": True,
                # Nobody is there to be sent to another page.
                "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                "metadata": {PAYMENT: ask.payment_id, PROJECT: ask.project_id},
                "expand": [_CHARGE],
            }
            return _of_intent(self._create("payment_intents", params, ask.payment_id))

        return self._asked(create)

    def look_up(self, ask: Ask) -> Answer | None:
        """The payment intent, by its id or by ours. Stripe's search is up to a minute behind."""

        def find() -> Answer | None:
            if ask.provider_id is not None:
                return _of_intent(self._retrieve("payment_intents", ask.provider_id, expand=[_CHARGE]))
            query = f"metadata['{PAYMENT}']:'{ask.payment_id}'"
            found = self._search({"query": query, "expand": [f"data.{_CHARGE}"]})
            return _of_intent(found[0]) if found else None

        return self._looked(find)

    # --- money back ---------------------------------------------------------------------------

    def refund(self, ask: RefundAsk) -> Answer:
        """Give money of a payment intent back."""
        amount = minor_units(ask.amount_micros, ask.currency)
        if amount is None:
            return Answer(PaymentStatus.FAILED, failure=f"Stripe has no such amount of {ask.currency}")

        def create() -> Answer:
            params: dict[str, Any] = {
                "payment_intent": ask.charge_id,
                "amount": amount,
                "metadata": {REFUND: ask.refund_id, PROJECT: ask.project_id},
            }
            return _of_refund(self._create("refunds", params, ask.refund_id))

        return self._asked(create)

    def look_up_refund(self, ask: RefundAsk) -> Answer | None:
        """The refund, by its id, or by ours among those of the payment intent."""

        def find() -> Answer | None:
            if ask.provider_id is not None:
                return _of_refund(self._retrieve("refunds", ask.provider_id))
            for each in self._list("refunds", ask.charge_id):
                if each["metadata"].get(REFUND) == ask.refund_id:
                    return _of_refund(each)
            return None

        return self._looked(find)

    # --- what Stripe tells --------------------------------------------------------------------

    def read_event(self, payload: bytes, signature: str | None) -> EventTold:
        """The event in *payload*, if Stripe has signed these very bytes within the last five minutes."""
        if self._webhook_secret is None:
            raise WebhookSecretUnset(self.name)
        import stripe

        try:
            text = payload.decode()
            stripe.WebhookSignature.verify_header(
                text, signature or "", self._webhook_secret, stripe.Webhook.DEFAULT_TOLERANCE
            )
            event = json.loads(text)
            subject = event["data"]["object"]
            told = EventTold(str(event["id"]), str(event["type"]), _intent_of(subject))
        except (stripe.SignatureVerificationError, ValueError, TypeError, KeyError, AttributeError):
            # What is signed but no event is as little Stripe's as what is not.
            raise SignatureInvalid(self.name) from None
        return told

    def report(self, subject_id: str) -> Report | None:
        """The payment intent with its refunds and disputes, if our ids are in its metadata. Raises
        ``LookupError`` where Stripe has none of that id for our key."""

        def find() -> Report | None:
            intent = self._there(subject_id)
            project_id, payment_id = (intent["metadata"].get(name) for name in (PROJECT, PAYMENT))
            if project_id is None or payment_id is None:
                return None
            answer = _of_intent(intent)
            if answer.status is not PaymentStatus.SUCCEEDED:
                return Report(project_id, payment_id, answer)
            return Report(
                project_id,
                payment_id,
                answer,
                # Stripe lists the newest first.
                tuple(_refund_told(each) for each in reversed(self._list("refunds", subject_id))),
                tuple(
                    _dispute_told(each)
                    for each in reversed(self._list("disputes", subject_id))
                    if _withdrawals(each)
                ),
            )

        return self._looked(find)

    # --- talking ------------------------------------------------------------------------------

    @property
    def _client(self) -> StripeClient:
        if self._made is None:
            import stripe

            # No repetitions of its own: the payment falls due again, and by then more is known.
            self._made = stripe.StripeClient(
                self._api_key,
                base_addresses={"api": self._api_base.rstrip("/")},
                max_network_retries=0,
                http_client=stripe.RequestsClient(timeout=self._seconds),
            )
        return self._made

    def _usual_method(self, customer: str | None) -> str | None:
        if customer is None:
            return None
        found = self._retrieve("customers", customer)
        usual: str | None = (found.get("invoice_settings") or {}).get("default_payment_method")
        return usual

    def _create(self, kind: str, params: dict[str, Any], key: str) -> dict[str, Any]:
        return _plain(self._service(kind).create(params, {"idempotency_key": key}))

    def _retrieve(self, kind: str, row_id: str, **params: Any) -> dict[str, Any]:
        return _plain(self._service(kind).retrieve(row_id, params))

    def _there(self, intent_id: str) -> dict[str, Any]:
        import stripe

        try:
            return self._retrieve("payment_intents", intent_id, expand=[_CHARGE])
        except stripe.InvalidRequestError as refused:
            if refused.http_status != 404:
                raise
            # An answer, and no other will come: the key may be that of another account or mode.
            raise LookupError(f"Stripe has no {intent_id} for this key") from None

    def _list(self, kind: str, intent_id: str | None) -> list[dict[str, Any]]:
        listed = self._service(kind).list({"payment_intent": intent_id, "limit": 100})
        return [_plain(each) for each in listed.auto_paging_iter()]

    def _search(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = _plain(self._service("payment_intents").search(params))["data"]
        return found

    def _service(self, kind: str) -> Any:
        return getattr(self._client.v1, kind)

    def _asked(self, act: Callable[[], Answer]) -> Answer:
        """What *act* answers, where a refusal is an answer too. Raises ``ProviderUnavailable``."""
        import stripe

        try:
            return act()
        except stripe.CardError as refused:
            intent = (_told(refused).get("payment_intent") or {}).get("id")
            return Answer(PaymentStatus.FAILED, intent, _reason(refused))
        except stripe.InvalidRequestError as refused:
            return Answer(PaymentStatus.FAILED, failure=_reason(refused))
        except stripe.StripeError as trouble:
            raise self._unavailable(trouble) from trouble

    def _looked(self, act: Callable[[], T]) -> T:
        import stripe

        try:
            return act()
        except stripe.StripeError as trouble:
            raise self._unavailable(trouble) from trouble

    def _unavailable(self, trouble: Any) -> ProviderUnavailable:
        status = "no answer" if trouble.http_status is None else f"status {trouble.http_status}"
        return ProviderUnavailable(self.name, f"{type(trouble).__name__}, {status}")


def _plain(answer: Any) -> dict[str, Any]:
    """An object of the library as the JSON that it was made of."""
    plain: dict[str, Any] = json.loads(str(answer))
    return plain


def _told(error: Any) -> Mapping[str, Any]:
    body = error.json_body if isinstance(error.json_body, dict) else {}
    told: Mapping[str, Any] = body.get("error") or {}
    return told


def _reason(error: Any) -> str:
    told = _told(error)
    codes = [told[name] for name in ("code", "decline_code") if told.get(name)]
    return ": ".join(codes) or "refused"


def _of_intent(intent: Mapping[str, Any]) -> Answer:
    if intent["status"] in _GONE:
        error = intent.get("last_payment_error") or {}
        codes = [error[name] for name in ("code", "decline_code") if error.get(name)]
        return Answer(PaymentStatus.FAILED, intent["id"], ": ".join(codes) or intent["status"])
    if intent["status"] == "succeeded":
        currency = intent["currency"].upper()
        return Answer(
            PaymentStatus.SUCCEEDED,
            intent["id"],
            fee_micros=_fee(intent),
            amount_micros=micros_of(intent.get("amount_received", intent["amount"]), currency),
            currency=currency,
        )
    return Answer(PaymentStatus.PENDING, intent["id"])


def _fee(intent: Mapping[str, Any]) -> int:
    """What Stripe kept, once it says so; 0 where it settles in another currency than it charged."""
    charge = intent.get("latest_charge")
    settled = charge.get("balance_transaction") if isinstance(charge, dict) else None
    if not isinstance(settled, dict) or settled["currency"] != intent["currency"]:
        return 0
    return micros_of(settled["fee"], intent["currency"].upper())


def _intent_of(subject: Mapping[str, Any]) -> str | None:
    """The payment intent that an event's object is, or belongs to."""
    if subject.get("object") == "payment_intent":
        return str(subject["id"])
    intent = subject.get("payment_intent")
    return intent if isinstance(intent, str) else None


def _refund_told(refund: Mapping[str, Any]) -> RefundTold:
    currency = refund["currency"].upper()
    amount = micros_of(refund["amount"], currency)
    return RefundTold(amount, _of_refund(refund), refund["metadata"].get(REFUND), currency)


def _withdrawals(dispute: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What left the balance; a bank that only inquires takes nothing."""
    return [each for each in dispute["balance_transactions"] if each["amount"] < 0]


def _dispute_told(dispute: Mapping[str, Any]) -> DisputeTold:
    currency = dispute["currency"]
    # What is given back, when money is reinstated, is a fee below zero.
    fees = [each["fee"] for each in dispute["balance_transactions"] if each["currency"] == currency]
    statuses = {"won": DisputeStatus.WON, "lost": DisputeStatus.LOST}
    return DisputeTold(
        provider_id=dispute["id"],
        amount_micros=micros_of(dispute["amount"], currency.upper()),
        fee_micros=micros_of(sum(fee for fee in fees if fee > 0), currency.upper()),
        reason=dispute.get("reason") or "disputed",
        status=statuses.get(dispute["status"], DisputeStatus.OPEN),
        currency=currency.upper(),
        fee_back_micros=micros_of(-sum(fee for fee in fees if fee < 0), currency.upper()),
    )


def _of_refund(refund: Mapping[str, Any]) -> Answer:
    if refund["status"] in ("failed", "canceled"):
        return Answer(PaymentStatus.FAILED, refund["id"], refund.get("failure_reason") or refund["status"])
    if refund["status"] == "succeeded":
        currency = refund["currency"].upper()
        amount = micros_of(refund["amount"], currency)
        return Answer(PaymentStatus.SUCCEEDED, refund["id"], amount_micros=amount, currency=currency)
    return Answer(PaymentStatus.PENDING, refund["id"])
