"""Every refusal Neruba can give, as one tree.

A refusal is raised, never returned as a flag, and each class carries a stable dotted ``code`` that
clients may match on for ever: codes are added, never renamed or reused. The fields of a class are
the facts a caller needs to go on; ``str()`` says what happened, with which value, and what to do
next, and never contains a secret. What a code means over HTTP is decided in one other place,
``neruba_server.problems``.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar, dataclass_transform

import attrs

E = TypeVar("E", bound=Exception)


@dataclass_transform()
def refusal(cls: type[E]) -> type[E]:
    """An attrs class at a third of the price of ``define``: there are many, and most runs raise none."""
    return attrs.define(cls, slots=False, repr=False)


@refusal
class NerubaError(Exception):
    """The root of every refusal; catch it to catch them all."""

    code: ClassVar[str] = "neruba.error"

    def facts(self) -> dict[str, Any]:
        """The typed fields of this refusal by name, as a problem document may show them."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


class Retryable:
    """Mixed into refusals that the same call may survive a little later."""

    retry_after_seconds: ClassVar[int] = 1


# --- values -----------------------------------------------------------------------------------


class Invalid(NerubaError):
    """A value that no state of the world could make acceptable."""

    code: ClassVar[str] = "value.invalid"


class AmountFloat(Invalid):
    """A binary float was given where money or units are expected."""

    code: ClassVar[str] = "amount.float"

    def __str__(self) -> str:
        return 'a float, or a number in JSON, cannot carry this exactly; give a string such as "12.50"'


@refusal
class AmountInvalid(Invalid):
    """The text is not a plain decimal number."""

    code: ClassVar[str] = "amount.invalid"
    value: str

    def __str__(self) -> str:
        return (
            f'{self.value!r} is not a plain decimal number such as "12.50" (no exponent, sign, space or NaN)'
        )


@refusal
class AmountTooPrecise(Invalid):
    """More decimal places than the field keeps."""

    code: ClassVar[str] = "amount.too_precise"
    value: str
    places: int

    def __str__(self) -> str:
        return f"{self.value!r} has more than {self.places} decimal places; round it before sending"


@refusal
class AmountOverflow(Invalid):
    """An amount, or the sum it would lead to, does not fit 64 bits of micro-units."""

    code: ClassVar[str] = "amount.overflow"
    limit: str = "9000000000000.000000"

    def __str__(self) -> str:
        return f"the amount, or the total it would lead to, is beyond {self.limit}"


@refusal
class AmountNotPositive(Invalid):
    """Zero or less where an amount must move something."""

    code: ClassVar[str] = "amount.not_positive"
    value: str

    def __str__(self) -> str:
        return f"{self.value!r} must be greater than zero; corrections are voids and reversals"


@refusal
class AmountNegative(Invalid):
    """Less than zero where zero is the least."""

    code: ClassVar[str] = "amount.negative"
    value: str

    def __str__(self) -> str:
        return f"{self.value!r} must not be negative"


@refusal
class InstantInvalid(Invalid):
    """Not an RFC 3339 instant, or one outside the years 1970 to 9999."""

    code: ClassVar[str] = "instant.invalid"
    value: str

    def __str__(self) -> str:
        return f"{self.value!r} is not an RFC 3339 instant such as 2026-03-17T10:15:00.000Z"


@refusal
class InstantNaive(Invalid):
    """An instant without an offset names no moment."""

    code: ClassVar[str] = "instant.naive"
    value: str

    def __str__(self) -> str:
        return f"{self.value!r} has no UTC offset; end it with Z or an offset such as +02:00"


@refusal
class InstantTooPrecise(Invalid):
    """More than six decimals of a second."""

    code: ClassVar[str] = "instant.too_precise"
    value: str

    def __str__(self) -> str:
        return f"{self.value!r} is finer than a microsecond; send at most six decimals"


@refusal
class TextInvalid(Invalid):
    """A string with a control character, a surrogate, or of the wrong length."""

    code: ClassVar[str] = "text.invalid"
    reason: str

    def __str__(self) -> str:
        return self.reason


@refusal
class FormatInvalid(Invalid):
    """A string that should follow a known notation (currency, time zone, email, key) and does not."""

    code: ClassVar[str] = "format.invalid"
    expected: str
    value: str

    def __str__(self) -> str:
        return f"{self.value!r} is not {self.expected}"


@refusal
class WebhookUrlRefused(FormatInvalid):
    """A URL that messages may not be sent to."""

    code: ClassVar[str] = "webhook.url_refused"


@refusal
class PropertyInvalid(Invalid):
    """A property that is no string, boolean or integer up to 2⁵³−1, or one too many."""

    code: ClassVar[str] = "property.invalid"
    name: str
    reason: str

    def __str__(self) -> str:
        return f"property {self.name!r}: {self.reason}"


class CursorInvalid(NerubaError):
    """A page cursor that was not issued by us."""

    code: ClassVar[str] = "cursor.invalid"

    def __str__(self) -> str:
        return "the cursor cannot be read; start again without one"


class CursorMismatch(NerubaError):
    """A page cursor that belongs to another list or other filters."""

    code: ClassVar[str] = "cursor.mismatch"

    def __str__(self) -> str:
        return "the cursor was issued for other filters; repeat the original ones or start again without it"


# --- identity ---------------------------------------------------------------------------------


class InvalidCredentials(NerubaError):
    """Email and password do not belong together; unknown emails answer the same."""

    code: ClassVar[str] = "auth.invalid_credentials"

    def __str__(self) -> str:
        return "email or password is wrong"


@refusal
class LoginThrottled(NerubaError):
    """Too many failed attempts for this account or address; waits double, up to 15 minutes."""

    code: ClassVar[str] = "auth.throttled"
    wait_seconds: int

    def __str__(self) -> str:
        return f"too many failed attempts; try again in {self.wait_seconds} seconds"


class SessionEnded(NerubaError):
    """The access or refresh token belongs to no living session."""

    code: ClassVar[str] = "auth.session_ended"

    def __str__(self) -> str:
        return "the session has ended or the token is unknown; sign in again"


class RefreshReused(SessionEnded):
    """A refresh token came a second time, so its whole session was ended."""

    code: ClassVar[str] = "auth.refresh_reused"

    def __str__(self) -> str:
        return "this refresh token was used before; its session has been ended for safety: sign in again"


@refusal
class PasswordUnfit(Invalid):
    """A new password that is too short, too long, or on every attacker's list."""

    code: ClassVar[str] = "password.unfit"
    reason: str

    def __str__(self) -> str:
        return f"the password {self.reason}; choose another of 12 to 1,024 bytes"


@refusal
class EmailTaken(NerubaError):
    """A user with this email exists."""

    code: ClassVar[str] = "user.email_taken"
    email: str

    def __str__(self) -> str:
        return f"a user with email {self.email!r} exists already"


@refusal
class UserNotFound(NerubaError):
    """No such user."""

    code: ClassVar[str] = "user.not_found"
    user: str

    def __str__(self) -> str:
        return f"no user {self.user!r}"


class InvitationInvalid(NerubaError):
    """An invitation token that is unknown, used or expired."""

    code: ClassVar[str] = "invitation.invalid"

    def __str__(self) -> str:
        return "the invitation is unknown, used or expired; ask for a new one"


# --- tenancy and access -----------------------------------------------------------------------


@refusal
class ProjectNotFound(NerubaError):
    """No such project, or none that the caller may know of: the two answers are the same."""

    code: ClassVar[str] = "project.not_found"
    project_id: str

    def __str__(self) -> str:
        return f"no project {self.project_id!r}"


@refusal
class ProjectArchived(NerubaError):
    """The project is archived and takes no more writes."""

    code: ClassVar[str] = "project.archived"
    project_id: str

    def __str__(self) -> str:
        return f"project {self.project_id!r} is archived and takes no more writes"


@refusal
class ExternalKeyTaken(NerubaError):
    """The creator already has a project with this external key."""

    code: ClassVar[str] = "project.external_key_taken"
    external_key: str
    project_id: str

    def __str__(self) -> str:
        return f"external key {self.external_key!r} already names project {self.project_id}"


@refusal
class MemberNotFound(NerubaError):
    """The user is no member of the project."""

    code: ClassVar[str] = "member.not_found"
    user_id: str

    def __str__(self) -> str:
        return f"user {self.user_id!r} is not a member of this project"


@refusal
class MemberExists(NerubaError):
    """The user is a member already."""

    code: ClassVar[str] = "member.exists"
    user_id: str

    def __str__(self) -> str:
        return f"user {self.user_id!r} is a member already; change the role instead"


class LastOwner(NerubaError):
    """A project keeps at least one owner."""

    code: ClassVar[str] = "member.last_owner"

    def __str__(self) -> str:
        return "the last owner cannot leave or step down; make someone else an owner first"


@refusal
class RoleMissing(NerubaError):
    """The caller's role does not include what this needs."""

    code: ClassVar[str] = "access.role_missing"
    needed: str

    def __str__(self) -> str:
        return f"this needs the role {self.needed!r}"


@refusal
class ScopeMissing(NerubaError):
    """The access key was issued without the scope this needs."""

    code: ClassVar[str] = "access.scope_missing"
    needed: str

    def __str__(self) -> str:
        return f"this access key lacks the scope {self.needed!r}; issue one that has it"


@refusal
class AccessKeyNeeded(ScopeMissing):
    """Somebody signed in where an access key is needed."""

    def __str__(self) -> str:
        return f"this is for machines: send an access key with the scope {self.needed!r} as x-api-key"


class KeyRefused(NerubaError):
    """An access key that is malformed, unknown, revoked or expired; the caller is not told which."""

    code: ClassVar[str] = "access.key_refused"

    def __str__(self) -> str:
        return "the access key is not valid"


@refusal
class AccessKeyNotFound(NerubaError):
    """The project has no access key of this id."""

    code: ClassVar[str] = "access.key_not_found"
    key_id: str

    def __str__(self) -> str:
        return f"no access key {self.key_id!r}"


@refusal
class AccessKeyEnded(NerubaError):
    """A revoked or expired key cannot be rotated."""

    code: ClassVar[str] = "access.key_ended"
    key_id: str

    def __str__(self) -> str:
        return f"access key {self.key_id!r} is revoked or expired; issue a new one"


# --- idempotency ------------------------------------------------------------------------------


class KeyMissing(NerubaError):
    """A write that ingests or moves money came without an idempotency key."""

    code: ClassVar[str] = "idempotency.key_missing"

    def __str__(self) -> str:
        return "send an Idempotency-Key: this write must be safe to retry"


class KeyInvalid(NerubaError):
    """An idempotency key that is not 1–255 visible ASCII characters in one header line."""

    code: ClassVar[str] = "idempotency.key_invalid"

    def __str__(self) -> str:
        return "the idempotency key must be 1 to 255 visible ASCII characters, given once"


@refusal
class KeyReused(NerubaError):
    """An idempotency key came back with a different request."""

    code: ClassVar[str] = "idempotency.key_reused"
    idempotency_key: str

    def __str__(self) -> str:
        return (
            f"idempotency key {self.idempotency_key!r} was first used with a different request; "
            "send the original body again or choose a new key"
        )


@refusal
class KeyInProgress(Retryable, NerubaError):
    """A request with the same key is still being decided."""

    code: ClassVar[str] = "idempotency.in_progress"
    idempotency_key: str

    def __str__(self) -> str:
        return f"a request with idempotency key {self.idempotency_key!r} is still in progress; retry shortly"


# --- metering, usage and charges --------------------------------------------------------------


@refusal
class MetricExists(NerubaError):
    """The project has a metric of this key."""

    code: ClassVar[str] = "metric.exists"
    metric_key: str

    def __str__(self) -> str:
        return f"metric {self.metric_key!r} exists already; change it with PATCH"


@refusal
class MetricNotFound(NerubaError):
    """The project has no metric of this key."""

    code: ClassVar[str] = "metric.not_found"
    metric_key: str

    def __str__(self) -> str:
        return f"no metric {self.metric_key!r}"


@refusal
class MetricInvalid(Invalid):
    """A metric declaration that contradicts itself."""

    code: ClassVar[str] = "metric.invalid"
    reason: str

    def __str__(self) -> str:
        return self.reason


@refusal
class MetricFixed(NerubaError):
    """The aggregation of a metric that was declared on purpose, which past quantities depend on."""

    code: ClassVar[str] = "metric.fixed"
    metric_key: str

    def __str__(self) -> str:
        return (
            f"the aggregation of metric {self.metric_key!r} is fixed; declare another metric for another one"
        )


@refusal
class TimestampInFuture(Invalid):
    """Usage more than five minutes ahead of the clock."""

    code: ClassVar[str] = "usage.timestamp_in_future"
    timestamp: str

    def __str__(self) -> str:
        return f"timestamp {self.timestamp} is more than five minutes in the future; check the sender's clock"


@refusal
class TimestampTooOld(Invalid):
    """Usage older than the project accepts."""

    code: ClassVar[str] = "usage.timestamp_too_old"
    timestamp: str
    max_backdate_days: int

    def __str__(self) -> str:
        return (
            f"timestamp {self.timestamp} is older than the {self.max_backdate_days} days this project accepts"
        )


@refusal
class UsageConflict(NerubaError):
    """An event id came back with other content."""

    code: ClassVar[str] = "usage.event_conflict"
    event_id: str

    def __str__(self) -> str:
        return (
            f"event {self.event_id!r} is recorded with other content; "
            "to correct it, void it and send a new event id"
        )


@refusal
class UsageNotFound(NerubaError):
    """The project has no usage event of this id."""

    code: ClassVar[str] = "usage.not_found"
    usage_id: str

    def __str__(self) -> str:
        return f"no usage event {self.usage_id!r}"


@refusal
class QuarantineNotFound(NerubaError):
    """The project holds no quarantined event of this id."""

    code: ClassVar[str] = "quarantine.not_found"
    quarantine_id: str

    def __str__(self) -> str:
        return f"no quarantined event {self.quarantine_id!r}"


@refusal
class QuarantineClosed(NerubaError):
    """The quarantined event was replayed, discarded or superseded before."""

    code: ClassVar[str] = "quarantine.closed"
    quarantine_id: str
    state: str

    def __str__(self) -> str:
        return f"quarantined event {self.quarantine_id!r} is {self.state} already"


@refusal
class StillQuarantined(NerubaError):
    """A replay found the same fault as before."""

    code: ClassVar[str] = "quarantine.still_failing"
    quarantine_id: str
    reason: str

    def __str__(self) -> str:
        return f"the event would be quarantined again: {self.reason}; fix the metric first"


@refusal
class ChargeConflict(NerubaError):
    """A charge's event id came back with other content."""

    code: ClassVar[str] = "charge.event_conflict"
    event_id: str

    def __str__(self) -> str:
        return (
            f"charge event {self.event_id!r} is recorded with other content; "
            "to correct it, reverse it and send a new event id"
        )


# --- pricing ----------------------------------------------------------------------------------


@refusal
class PriceInvalid(Invalid):
    """A price that contradicts itself or its project; *path* points to the field at fault, such as
    ``/tiers/1/upTo``."""

    code: ClassVar[str] = "price.invalid"
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@refusal
class PriceRetroactive(NerubaError):
    """A price that would begin in a time that has been invoiced or drawn for."""

    code: ClassVar[str] = "price.retroactive"
    effective_from: str
    earliest: str

    def __str__(self) -> str:
        return (
            f"a price from {self.effective_from} would change what was billed before; "
            f"let it begin at {self.earliest} or later"
        )


@refusal
class PriceAlreadyEffective(NerubaError):
    """The metric has a price that begins at this very instant; a price is never edited."""

    code: ClassVar[str] = "price.already_effective"
    effective_from: str
    price_id: str

    def __str__(self) -> str:
        return f"price {self.price_id} begins at {self.effective_from} already; let the new one begin later"


# --- plans and subscriptions ------------------------------------------------------------------


@refusal
class PlanNotFound(NerubaError):
    """There is no plan version of this id, or no plan of this key."""

    code: ClassVar[str] = "plan.not_found"
    plan: str

    def __str__(self) -> str:
        return f"no plan {self.plan!r}"


@refusal
class SubscriptionInvalid(Invalid):
    """What was asked for cannot be subscribed to; *path* points to the field at fault."""

    code: ClassVar[str] = "subscription.invalid"
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@refusal
class PeriodInvoiced(NerubaError):
    """Something that would take effect in a time that has been invoiced."""

    code: ClassVar[str] = "period.invoiced"
    effective_at: str
    earliest: str

    def __str__(self) -> str:
        return (
            f"{self.effective_at} lies in a period that has been invoiced; "
            f"let it take effect at {self.earliest} or later"
        )


@refusal
class SubscriptionOutOfOrder(NerubaError):
    """A decision that would take effect before the one before it does."""

    code: ClassVar[str] = "subscription.out_of_order"
    effective_at: str
    earliest: str

    def __str__(self) -> str:
        return (
            f"the last decision takes effect at {self.earliest}, after {self.effective_at}; "
            "let this one take effect then or later"
        )


@refusal
class SubscriptionNone(NerubaError):
    """There is nothing to cancel."""

    code: ClassVar[str] = "subscription.none"
    effective_at: str

    def __str__(self) -> str:
        return f"nothing is subscribed to at {self.effective_at}"


@refusal
class SubscriptionUnchanged(NerubaError):
    """What was asked for is in force already."""

    code: ClassVar[str] = "subscription.unchanged"
    decision_id: str

    def __str__(self) -> str:
        return f"decision {self.decision_id} says the same already; nothing would change"


@refusal
class SubscriptionDrawn(NerubaError):
    """A change of prices in a time that a prepaid project has paid events of."""

    code: ClassVar[str] = "subscription.drawn"
    effective_at: str
    earliest: str
    metric_key: str

    def __str__(self) -> str:
        return (
            f"events of {self.metric_key!r} have been paid from the wallet by the plan's price; "
            f"let the change take effect at {self.earliest} or later, not at {self.effective_at}"
        )


# --- ledger and wallet ------------------------------------------------------------------------


@refusal
class InsufficientCredit(NerubaError):
    """The wallet, credit limit included, does not cover the amount."""

    code: ClassVar[str] = "wallet.insufficient_credit"
    available: str

    def __str__(self) -> str:
        return (
            f"only {self.available} is available; grant credit or raise the credit limit, then use a new key"
        )


@refusal
class ExpiryPassed(Invalid):
    """Something new would have expired before it exists."""

    code: ClassVar[str] = "expiry.passed"
    expires_at: str

    def __str__(self) -> str:
        return f"{self.expires_at} has passed; give an expiry in the future or leave it out"


@refusal
class TransactionNotFound(NerubaError):
    """The project has no ledger transaction of this id."""

    code: ClassVar[str] = "transaction.not_found"
    transaction_id: str

    def __str__(self) -> str:
        return f"no transaction {self.transaction_id!r}"


@refusal
class NotReversible(NerubaError):
    """Only credits, debits and charges can be reversed."""

    code: ClassVar[str] = "transaction.not_reversible"
    transaction_id: str
    type: str

    def __str__(self) -> str:
        return (
            f"transaction {self.transaction_id} is a {self.type}; "
            "only credits, debits and charges can be reversed"
        )


@refusal
class ReversalExceedsOriginal(NerubaError):
    """Reversals together may not exceed what they reverse."""

    code: ClassVar[str] = "reversal.exceeds_original"
    transaction_id: str
    left: str

    def __str__(self) -> str:
        return f"only {self.left} of transaction {self.transaction_id} is left to reverse"


# --- holds --------------------------------------------------------------------------------------


@refusal
class HoldNotFound(NerubaError):
    """The project has no hold of this id."""

    code: ClassVar[str] = "hold.not_found"
    hold_id: str

    def __str__(self) -> str:
        return f"no hold {self.hold_id!r}"


@refusal
class HoldClosed(NerubaError):
    """A hold is captured or released once, and not after its expiry."""

    code: ClassVar[str] = "hold.closed"
    hold_id: str
    state: str

    def __str__(self) -> str:
        return f"hold {self.hold_id} is {self.state}; reserve a new one, or charge"


@refusal
class HoldExceeded(NerubaError):
    """A capture takes what is held at most."""

    code: ClassVar[str] = "hold.exceeded"
    hold_id: str
    held: str

    def __str__(self) -> str:
        return f"hold {self.hold_id} holds {self.held}; capture that at most, and charge the rest"


@refusal
class HoldConflict(NerubaError):
    """A hold's event id came back with other content."""

    code: ClassVar[str] = "hold.event_conflict"
    event_id: str

    def __str__(self) -> str:
        return (
            f"hold event {self.event_id!r} is recorded with other content; "
            "to correct it, release it and send a new event id"
        )


# --- billing periods, runs and invoices -------------------------------------------------------


@refusal
class PeriodOpen(NerubaError):
    """A period is finalized only once it is over."""

    code: ClassVar[str] = "period.open"
    period: str
    end: str

    def __str__(self) -> str:
        return f"period {self.period} is open until {self.end}; run it as a draft until then"


@refusal
class PeriodNotBegun(NerubaError):
    """There is nothing to bill for a period that lies in the future."""

    code: ClassVar[str] = "period.not_begun"
    period: str
    start: str

    def __str__(self) -> str:
        return f"period {self.period} begins at {self.start}; it can be run from then on"


@refusal
class PeriodEarlierOpen(NerubaError):
    """Periods are finalized in their order."""

    code: ClassVar[str] = "period.earlier_open"
    period: str
    earlier: str

    def __str__(self) -> str:
        return f"period {self.earlier} has something to bill before {self.period} can be; finalize it first"


@refusal
class RunNotFound(NerubaError):
    """The project has no billing run of this id."""

    code: ClassVar[str] = "run.not_found"
    run_id: str

    def __str__(self) -> str:
        return f"no billing run {self.run_id!r}"


@refusal
class InvoiceNotFound(NerubaError):
    """The project has no invoice of this id."""

    code: ClassVar[str] = "invoice.not_found"
    invoice_id: str

    def __str__(self) -> str:
        return f"no invoice {self.invoice_id!r}"


@refusal
class InvoiceBlocked(NerubaError):
    """A draft that cannot be finalized as it is."""

    code: ClassVar[str] = "invoice.blocked"
    invoice_id: str
    blockers: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"invoice {self.invoice_id} is kept in draft by {', '.join(self.blockers)}; price the usage, "
            "make its metric free, or run the period ignoring what is unpriced"
        )


@refusal
class InvoiceNotVoidable(NerubaError):
    """An invoice that was never issued, was paid in part, or is a credit note."""

    code: ClassVar[str] = "invoice.not_voidable"
    invoice_id: str
    reason: str

    def __str__(self) -> str:
        return f"invoice {self.invoice_id} cannot be voided: {self.reason}"


# --- payments -----------------------------------------------------------------------------------


@refusal
class AmountNotPayable(Invalid):
    """Money is paid in whole minor units of its currency."""

    code: ClassVar[str] = "amount.not_payable"
    currency: str
    places: int

    def __str__(self) -> str:
        return f"{self.currency} is paid with at most {self.places} decimals"


@refusal
class ProviderUnknown(Invalid):
    """A payment provider that is not set up here."""

    code: ClassVar[str] = "payment.provider_unknown"
    provider: str

    def __str__(self) -> str:
        return f"no payment provider {self.provider!r} is set up here"


@refusal
class PaymentMethodMissing(NerubaError):
    """A provider is to be asked, and nobody has named the project's customer there."""

    code: ClassVar[str] = "payment.method_missing"
    project_id: str

    def __str__(self) -> str:
        return f"project {self.project_id} has no payment method at this provider; name one first"


@refusal
class PaymentMethodNotFound(NerubaError):
    """The project has no payment method."""

    code: ClassVar[str] = "payment.method_not_found"
    project_id: str

    def __str__(self) -> str:
        return f"project {self.project_id} has no payment method"


@refusal
class PaymentInsideUnit(NerubaError):
    """A provider is asked only while no unit of work is open: nothing may be locked meanwhile, and what was
    asked for must be committed before."""

    code: ClassVar[str] = "payment.inside_unit"

    def __str__(self) -> str:
        return (
            "payments are resolved outside of work() and join(), after they were committed; "
            "call it on the free façade"
        )


@refusal
class ProviderUnavailable(Retryable, NerubaError):
    """Nobody knows what the provider has done; the payment stays pending until it says."""

    code: ClassVar[str] = "payment.provider_unavailable"
    provider: str
    reason: str

    def __str__(self) -> str:
        return f"payment provider {self.provider!r} gave no answer that counts: {self.reason}"


@refusal
class SignatureInvalid(NerubaError):
    """What was sent is not proved to be the provider's."""

    code: ClassVar[str] = "payment.signature_invalid"
    provider: str

    def __str__(self) -> str:
        return f"the signature is not one of {self.provider!r} for this body, or it is too old"


@refusal
class WebhookSecretUnset(NerubaError):
    """Nothing that a provider sends can be believed without its secret."""

    code: ClassVar[str] = "payment.webhook_secret_unset"
    provider: str

    def __str__(self) -> str:
        return f"events of {self.provider!r} are taken only once its webhook secret is set"


@refusal
class ProviderEventNotFound(NerubaError):
    """There is no event of a provider of this id."""

    code: ClassVar[str] = "payment.event_not_found"
    event_id: str

    def __str__(self) -> str:
        return f"no event {self.event_id!r} of a payment provider"


@refusal
class PaymentNotFound(NerubaError):
    """The project has no payment of this id."""

    code: ClassVar[str] = "payment.not_found"
    payment_id: str

    def __str__(self) -> str:
        return f"no payment {self.payment_id!r}"


@refusal
class PaymentNotSucceeded(NerubaError):
    """Only money that has come can go back."""

    code: ClassVar[str] = "payment.not_succeeded"
    payment_id: str
    payment_status: str

    def __str__(self) -> str:
        return f"payment {self.payment_id} is {self.payment_status}; only one that succeeded can be refunded"


@refusal
class RefundNotFound(NerubaError):
    """The project has no refund of this id."""

    code: ClassVar[str] = "refund.not_found"
    refund_id: str

    def __str__(self) -> str:
        return f"no refund {self.refund_id!r}"


@refusal
class RefundExceedsPayment(NerubaError):
    """Refunds together may not exceed their payment."""

    code: ClassVar[str] = "refund.exceeds_payment"
    payment_id: str
    left: str

    def __str__(self) -> str:
        return f"only {self.left} of payment {self.payment_id} is left to refund"


@refusal
class InvoiceNotIssued(NerubaError):
    """A draft, a void invoice or a credit note: nobody has to pay it."""

    code: ClassVar[str] = "invoice.not_issued"
    invoice_id: str
    invoice_state: str

    def __str__(self) -> str:
        return (
            f"invoice {self.invoice_id} is a {self.invoice_state}; "
            "only issued invoices are paid, credited or written off"
        )


@refusal
class InvoiceSettled(NerubaError):
    """Nothing of the invoice is open."""

    code: ClassVar[str] = "invoice.settled"
    invoice_id: str

    def __str__(self) -> str:
        return f"nothing of invoice {self.invoice_id} is open; leave the invoice out to top up the wallet"


@refusal
class CreditNoteExceedsInvoice(NerubaError):
    """Credit notes together may not exceed their invoice."""

    code: ClassVar[str] = "invoice.credit_exceeded"
    invoice_id: str
    left: str

    def __str__(self) -> str:
        return f"only {self.left} of invoice {self.invoice_id} is left to credit"


@refusal
class WriteOffExceedsOpen(NerubaError):
    """Only what is open can be written off."""

    code: ClassVar[str] = "invoice.write_off_exceeded"
    invoice_id: str
    open: str

    def __str__(self) -> str:
        return f"only {self.open} of invoice {self.invoice_id} is open"


# --- invoices as documents --------------------------------------------------------------------


@refusal
class LineNotFound(NerubaError):
    """The invoice has no line of this id."""

    code: ClassVar[str] = "invoice.line_not_found"
    line_id: str

    def __str__(self) -> str:
        return f"the invoice has no line {self.line_id!r}"


@refusal
class RenderingUnavailable(NerubaError):
    """A format whose library is not installed here."""

    code: ClassVar[str] = "rendering.unavailable"
    format: str
    library: str
    extra: str

    def __str__(self) -> str:
        return (
            f"invoices as {self.format} need {self.library}; whoever runs this installs it with "
            f"`pip install 'neruba[{self.extra}]'`"
        )


# --- webhooks ---------------------------------------------------------------------------------


@refusal
class WebhookEndpointNotFound(NerubaError):
    """The project has no endpoint of this id, or none any more."""

    code: ClassVar[str] = "webhook.endpoint_not_found"
    endpoint_id: str

    def __str__(self) -> str:
        return f"no webhook endpoint {self.endpoint_id!r}"


@refusal
class WebhookDeliveryNotFound(NerubaError):
    """The project has no delivery of this id."""

    code: ClassVar[str] = "webhook.delivery_not_found"
    delivery_id: str

    def __str__(self) -> str:
        return f"no delivery {self.delivery_id!r}"


@refusal
class WebhookEndpointLimit(NerubaError):
    """The project has as many endpoints as it may."""

    code: ClassVar[str] = "webhook.endpoint_limit"
    most: int

    def __str__(self) -> str:
        return f"a project has at most {self.most} webhook endpoints; delete one first"


# --- storage ----------------------------------------------------------------------------------


@refusal
class StorageError(NerubaError):
    """The store could not do its part; nothing was changed."""

    code: ClassVar[str] = "storage.unavailable"
    reason: str

    def __str__(self) -> str:
        return f"the database is not available: {self.reason}; nothing was changed"


class StorageUnavailable(Retryable, StorageError):
    """The database is gone, read-only, full or shutting down."""


class StorageBusy(Retryable, StorageError):
    """A lock was not had in time, or a conflict outlived its retries."""

    code: ClassVar[str] = "storage.busy"

    def __str__(self) -> str:
        return f"the database is busy: {self.reason}; nothing was changed, try again"


class StorageConflict(StorageBusy):
    """A serialization failure or deadlock, or an event that was presumed to be new and is not: the very same
    unit may be run again at once."""


class SchemaOutdated(StorageError):
    """The database's schema is not the one this release works with."""

    code: ClassVar[str] = "storage.schema_outdated"

    def __str__(self) -> str:
        return f"{self.reason}; run `neruba migrate`"


class NotJoinable(StorageError):
    """The host's transaction cannot carry ours safely."""

    code: ClassVar[str] = "storage.not_joinable"

    def __str__(self) -> str:
        return f"cannot join this transaction: {self.reason}"
