"""What a refusal looks like over HTTP: RFC 9457 problem documents, and the status of each code.

``STATUS`` is the only place where a code meets a status; a code that is missing in it is a defect that
the tests find. The refusals that only HTTP knows (a body that is no JSON, a missing header) are declared
here, in the same tree as those of the core.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any, ClassVar

import orjson
from aiohttp import web
from attrs import define, frozen

from neruba_core.errors import (
    Invalid,
    LoginThrottled,
    NerubaError,
    PriceInvalid,
    Retryable,
    StorageError,
    SubscriptionInvalid,
    refusal,
)
from neruba_server.reply import Reply

log = logging.getLogger("neruba.server")

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:neruba:problem:"


@frozen
class Fault:
    """One thing wrong with a request: *path* is a JSON pointer into the body, or ``?name`` of the query."""

    path: str
    code: str
    message: str

    def under(self, prefix: str) -> Fault:
        """The same fault, of a value that lies at *prefix*."""
        return Fault(prefix + self.path, self.code, self.message)


# --- refusals that only HTTP knows -------------------------------------------------------------


@define
class BodyMalformed(NerubaError):
    """Bytes that are not JSON in UTF-8, or an object that names a member twice."""

    code: ClassVar[str] = "body.malformed"
    reason: str

    def __str__(self) -> str:
        return f"the body cannot be read: {self.reason}"


@define
class BodyTooDeep(NerubaError):
    """JSON nested deeper than anything we ask for."""

    code: ClassVar[str] = "body.too_deep"
    most_levels: int

    def __str__(self) -> str:
        return f"the body is nested deeper than {self.most_levels} levels"


@define
class BodyTooLarge(NerubaError):
    """More bytes than the route takes."""

    code: ClassVar[str] = "body.too_large"
    most_bytes: int

    def __str__(self) -> str:
        return f"the body is larger than {self.most_bytes} bytes; send it in parts"


@define
class BodyTypeUnsupported(NerubaError):
    """A content type that the route does not read."""

    code: ClassVar[str] = "body.unsupported_type"
    expected: str

    def __str__(self) -> str:
        return f"send the body as {self.expected} in UTF-8"


@define
class _Faulty(Invalid):
    faults: tuple[Fault, ...]

    def facts(self) -> dict[str, Any]:
        return {}

    def __str__(self) -> str:
        return "; ".join(f"{fault.path or 'body'}: {fault.message}" for fault in self.faults)


@define
class BodyInvalid(_Faulty):
    """JSON that does not fit the route; every fault is named."""

    code: ClassVar[str] = "body.invalid"


@define
class QueryInvalid(_Faulty):
    """Query parameters that do not fit the route; every fault is named."""

    code: ClassVar[str] = "query.invalid"


@define
class CredentialsMissing(NerubaError):
    """Neither an access token nor an access key."""

    code: ClassVar[str] = "auth.credentials_missing"
    wanted: str

    def __str__(self) -> str:
        return f"send {self.wanted}"


@define
class CredentialsBoth(NerubaError):
    """An access token and an access key at once, so that it is unclear who asks."""

    code: ClassVar[str] = "auth.credentials_both"

    def __str__(self) -> str:
        return "send either Authorization or x-api-key, once, not both"


@define
class RouteNotFound(NerubaError):
    """No route has this path."""

    code: ClassVar[str] = "route.not_found"

    def __str__(self) -> str:
        return "there is nothing at this path"


@define
class MethodNotAllowed(NerubaError):
    """The path is there, but not for this method."""

    code: ClassVar[str] = "route.method_not_allowed"
    allowed: tuple[str, ...]

    def __str__(self) -> str:
        return f"this path takes {', '.join(self.allowed)}"


@refusal
class NotAcceptable(NerubaError):
    """``Accept`` asks for formats that the route does not have."""

    code: ClassVar[str] = "response.not_acceptable"
    available: tuple[str, ...]

    def __str__(self) -> str:
        return f"this is available as {', '.join(self.available)}; Accept names none of them"


@refusal
class ClockBackwards(NerubaError):
    """The test clock was to be set to before what it shows."""

    code: ClassVar[str] = "clock.backwards"
    now: str

    def __str__(self) -> str:
        return f"the test clock stands at {self.now} and only moves forward"


@define
class RequestRefused(NerubaError):
    """Something about the request that HTTP itself forbids."""

    code: ClassVar[str] = "request.refused"
    reason: str

    def __str__(self) -> str:
        return self.reason


@define
class ExpectationFailed(NerubaError):
    """An ``Expect`` header other than ``100-continue``."""

    code: ClassVar[str] = "request.expectation_failed"

    def __str__(self) -> str:
        return "the only expectation that is met is 100-continue"


@define
class ShuttingDown(Retryable, NerubaError):
    """The server is stopping and takes nothing new."""

    code: ClassVar[str] = "server.shutting_down"

    def __str__(self) -> str:
        return "the server is stopping and takes nothing new"


@define
class Internal(NerubaError):
    """A defect of ours. It says nothing but the request id; the log says the rest."""

    code: ClassVar[str] = "server.error"

    def __str__(self) -> str:
        return "something went wrong here, not with your request; quote the request id to support"


# --- code → status -----------------------------------------------------------------------------

STATUS: dict[str, int] = {
    "payment.signature_invalid": 400,
    "body.malformed": 400,
    "body.too_deep": 400,
    "auth.credentials_both": 400,
    "cursor.invalid": 400,
    "cursor.mismatch": 400,
    "idempotency.key_invalid": 400,
    "idempotency.key_missing": 400,
    "request.refused": 400,
    "access.key_refused": 401,
    "auth.credentials_missing": 401,
    "auth.invalid_credentials": 401,
    "auth.refresh_reused": 401,
    "auth.session_ended": 401,
    "wallet.insufficient_credit": 402,
    "access.role_missing": 403,
    "access.scope_missing": 403,
    "access.key_not_found": 404,
    "webhook.delivery_not_found": 404,
    "webhook.endpoint_not_found": 404,
    "invitation.invalid": 404,
    "hold.not_found": 404,
    "invoice.not_found": 404,
    "invoice.line_not_found": 404,
    "member.not_found": 404,
    "metric.not_found": 404,
    "payment.method_not_found": 404,
    "payment.not_found": 404,
    "payment.event_not_found": 404,
    "plan.not_found": 404,
    "project.not_found": 404,
    "quarantine.not_found": 404,
    "refund.not_found": 404,
    "route.not_found": 404,
    "run.not_found": 404,
    "transaction.not_found": 404,
    "usage.not_found": 404,
    "user.not_found": 404,
    "route.method_not_allowed": 405,
    "response.not_acceptable": 406,
    "access.key_ended": 409,
    "charge.event_conflict": 409,
    "clock.backwards": 409,
    "hold.closed": 409,
    "hold.event_conflict": 409,
    "invoice.credit_exceeded": 409,
    "idempotency.in_progress": 409,
    "invoice.blocked": 409,
    "invoice.not_issued": 409,
    "invoice.not_voidable": 409,
    "invoice.settled": 409,
    "member.exists": 409,
    "member.last_owner": 409,
    "metric.exists": 409,
    "metric.fixed": 409,
    "payment.inside_unit": 409,
    "payment.method_missing": 409,
    "payment.not_succeeded": 409,
    "period.earlier_open": 409,
    "period.invoiced": 409,
    "period.not_begun": 409,
    "period.open": 409,
    "price.already_effective": 409,
    "price.retroactive": 409,
    "project.archived": 409,
    "project.external_key_taken": 409,
    "quarantine.closed": 409,
    "quarantine.still_failing": 409,
    "refund.exceeds_payment": 409,
    "reversal.exceeds_original": 409,
    "subscription.drawn": 409,
    "subscription.none": 409,
    "subscription.out_of_order": 409,
    "subscription.unchanged": 409,
    "transaction.not_reversible": 409,
    "usage.event_conflict": 409,
    "invoice.write_off_exceeded": 409,
    "user.email_taken": 409,
    "webhook.endpoint_limit": 409,
    "body.too_large": 413,
    "body.unsupported_type": 415,
    "request.expectation_failed": 417,
    "amount.float": 422,
    "amount.invalid": 422,
    "amount.negative": 422,
    "amount.not_positive": 422,
    "amount.not_payable": 422,
    "amount.not_text": 422,
    "amount.overflow": 422,
    "amount.too_precise": 422,
    "body.invalid": 422,
    "expiry.passed": 422,
    "format.invalid": 422,
    "hold.exceeded": 422,
    "idempotency.key_reused": 422,
    "instant.invalid": 422,
    "instant.naive": 422,
    "instant.too_precise": 422,
    "metric.invalid": 422,
    "password.unfit": 422,
    "payment.provider_unknown": 422,
    "price.invalid": 422,
    "property.invalid": 422,
    "query.invalid": 422,
    "subscription.invalid": 422,
    "text.invalid": 422,
    "webhook.url_refused": 422,
    "usage.timestamp_in_future": 422,
    "usage.timestamp_too_old": 422,
    "value.invalid": 422,
    "value.wrong_type": 422,
    "auth.throttled": 429,
    "neruba.error": 500,
    "server.error": 500,
    "storage.not_joinable": 500,
    "rendering.unavailable": 501,
    "payment.provider_unavailable": 503,
    "payment.webhook_secret_unset": 503,
    "server.shutting_down": 503,
    "storage.busy": 503,
    "storage.schema_outdated": 503,
    "storage.unavailable": 503,
}

TITLES = {
    400: "Bad request",
    401: "Not signed in",
    402: "Not enough credit",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    406: "No such format",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported content type",
    417: "Expectation failed",
    422: "Not acceptable as it is",
    429: "Too many attempts",
    500: "Internal error",
    501: "Not available here",
    503: "Not available right now",
}

_FIELD_AT_FAULT = {
    "usage.timestamp_in_future": "/timestamp",
    "usage.timestamp_too_old": "/timestamp",
    "expiry.passed": "/expiresAt",
    "metric.invalid": "/uniqueProperty",
    "amount.not_payable": "/amount",
    "payment.provider_unknown": "/provider",
    "webhook.url_refused": "/url",
    "price.already_effective": "/effectiveFrom",
    "price.retroactive": "/effectiveFrom",
    "period.invoiced": "/effective",
    "subscription.drawn": "/effective",
    "subscription.out_of_order": "/effective",
}
"""Where a refusal that only the state of the project explains points into the body."""

# RFC 9457 has given these names a meaning.
_RESERVED = {"type", "title", "status", "detail", "instance", "code", "errors", "requestId", "retryAfter"}


def status_of(error: NerubaError) -> int:
    """The HTTP status of a refusal."""
    return STATUS.get(error.code, 500)


def problem(error: NerubaError, request_id: str | None) -> bytes:
    """The problem document of *error*; equal refusals with equal request ids give equal bytes."""
    status = status_of(error)
    document: dict[str, Any] = {
        "type": TYPE_PREFIX + error.code,
        "title": TITLES[status],
        "status": status,
        "detail": _detail(error, status),
        "code": error.code,
        "requestId": request_id,
    }
    if status < 500 or status == 501:
        document.update(_facts(error))
    faults = tuple(_faults(error))
    if faults:
        document["errors"] = [
            {"path": fault.path, "code": fault.code, "message": fault.message} for fault in faults
        ]
    seconds = retry_after_seconds(error)
    if seconds is not None:
        document["retryAfter"] = seconds
    return dumps(document)


def retry_after_seconds(error: NerubaError) -> int | None:
    """After how many seconds the same request may succeed, if that can be said."""
    if isinstance(error, LoginThrottled):
        return error.wait_seconds
    if isinstance(error, Retryable):
        return error.retry_after_seconds
    return 5 if isinstance(error, StorageError) else None


def refused(
    error: NerubaError,
    request_id: str,
    *,
    first_request_id: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> web.Response:
    """The response of a refusal; a replayed one keeps the *first_request_id* in its body."""
    response = Reply(
        status=status_of(error),
        body=problem(error, first_request_id or request_id),
        headers=[("Content-Type", CONTENT_TYPE), *headers],
    )
    seconds = retry_after_seconds(error)
    if seconds is not None:
        response.headers["Retry-After"] = str(seconds)
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(error.allowed)
    return response


def of_http(error: web.HTTPException) -> NerubaError:
    """What aiohttp refuses by itself, in our words."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        return MethodNotAllowed(tuple(sorted(error.allowed_methods)))
    match error.status:
        case 404:
            return RouteNotFound()
        case 413:
            return BodyTooLarge(getattr(error, "max_size", 0) or 0)
        case 415:
            return BodyTypeUnsupported("application/json")
        case 417:
            return ExpectationFailed()
        case status if status < 500:
            return RequestRefused(error.reason or "the request cannot be understood")
        case _:
            return Internal()


def dumps(document: Any) -> bytes:
    """JSON; what UTF-8 cannot carry (a lone surrogate that is quoted back) is escaped."""
    try:
        return orjson.dumps(document)
    except (TypeError, ValueError):
        return json.dumps(document, separators=(",", ":")).encode("ascii")


def _detail(error: NerubaError, status: int) -> str:
    if isinstance(error, _Faulty):
        count = len(error.faults)
        return f"{count} fault{'s' if count > 1 else ''} in the request; see errors"
    if status == 503:
        # The reason names our innards; it is in the log.
        return "nothing was changed; try again shortly"
    return str(Internal()) if status == 500 else str(error)


def _facts(error: NerubaError) -> dict[str, Any]:
    shown = {}
    for name, value in error.facts().items():
        head, *rest = name.split("_")
        camel = head + "".join(part.title() for part in rest)
        if camel in _RESERVED:
            # The type of a transaction is its own, not the problem's: ``transactionType``.
            camel = error.code.partition(".")[0] + camel.title()
        shown[camel] = value
    return shown


def _faults(error: NerubaError) -> Iterable[Fault]:
    if isinstance(error, _Faulty):
        yield from error.faults
    elif isinstance(error, PriceInvalid | SubscriptionInvalid):
        yield Fault(error.path, error.code, error.reason)
    elif error.code in _FIELD_AT_FAULT:
        yield Fault(_FIELD_AT_FAULT[error.code], error.code, str(error))
