"""The OpenAPI 3.1 document, made of the route table and the wire classes.

Nothing in it is written by hand twice: schemas come from the classes that read and write the bodies,
statuses and codes from the tables that answer with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cache
from typing import Any

import attrs
import msgspec

from neruba_core.access.model import PlatformScope
from neruba_server.auth import (
    Anyone,
    Machines,
    Operators,
    People,
    PeopleOrMachines,
    takes_keys,
    takes_tokens,
)
from neruba_server.formats import HTML, PDF, TEXT
from neruba_server.problems import CONTENT_TYPE, STATUS, dumps
from neruba_server.routes.route import NOT_FOUND, Idempotency, Route
from neruba_server.routes.table import ROUTES
from neruba_server.wire.converter import camel
from neruba_server.wire.kinds import KEY_PATTERN
from neruba_server.wire.problem import Problem

_OTHER: Mapping[str, dict[str, str]] = {
    HTML: {"type": "string"},
    TEXT: {"type": "string"},
    PDF: {"type": "string", "contentMediaType": PDF},
}
"""What is said of formats that are no JSON."""

_REFERENCE = "#/components/schemas/{name}"

_ABOUT = {
    200: "Done.",
    201: "Made.",
    202: "Kept, but not counted: quarantined.",
    204: "Done; there is nothing to say.",
    400: "The request cannot be understood.",
    401: "The credentials are missing or not valid.",
    402: "The wallet does not cover the amount.",
    403: "The role or scope is missing.",
    404: "There is none, or none that the caller may know of.",
    406: "There is no such format of it.",
    409: "It conflicts with what is recorded.",
    413: "The body is too large.",
    415: "The body is of another content type.",
    422: "The request is well-formed but not acceptable; `errors` names each fault.",
    429: "Too many failed attempts; wait.",
    500: "A defect of ours.",
    501: "Left out of this installation.",
    503: "Not available right now; nothing was changed.",
}


@cache
def text() -> bytes:
    """The document as it is served."""
    return dumps(document())


def document() -> dict[str, Any]:
    """The document, a new one at each call."""
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Neruba",
            "version": "1",
            "summary": "A billing engine: exact money, idempotent usage, a double-entry ledger.",
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in ROUTES)],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "person": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The `accessToken` of `POST /auth/login`.",
                },
                "machine": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "x-api-key",
                    "description": "The `accessKey` of a project, or of the platform.",
                },
            },
            "headers": _HEADERS,
            "parameters": {
                "RequestId": {
                    "name": "X-Request-Id",
                    "in": "header",
                    "description": (
                        "Kept if it is 1 to 128 of A-Z a-z 0-9 . _ : -, else one is made; every response "
                        "carries it."
                    ),
                    "schema": {"type": "string"},
                }
            },
        },
    }


_DESCRIPTION = """\
Money and units are decimal strings with up to six places; JSON numbers are refused. Instants are RFC 3339
with an offset. Writes that ingest or move money need an `Idempotency-Key`: the same key and request is
answered with the same bytes, for ever. Errors are problem documents (RFC 9457) whose `code` is stable.
"""

_HEADERS: dict[str, Any] = {
    "X-Request-Id": {
        "description": "Names this request in the trail and in the log.",
        "schema": {"type": "string"},
    },
    "Neruba-Outcome": {
        "description": "What became of the write.",
        "schema": {
            "type": "string",
            "enum": ["accepted", "replayed", "deduped", "conflict", "quarantined", "rejected"],
        },
    },
    "Idempotent-Replayed": {
        "description": "The answer is that of an earlier request with the same key.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Neruba-Voided-At": {
        "description": "When the event was voided, if it was.",
        "schema": {"type": "string", "format": "date-time"},
    },
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 0}},
    "WWW-Authenticate": {"description": "What is asked for.", "schema": {"type": "string"}},
}

_PATH_SCHEMA: dict[str, Any] = {"type": "string", "pattern": r"^[A-Za-z0-9._:-]{1,255}$"}


# --- operations --------------------------------------------------------------------------------


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "description": _who(route),
        "tags": [route.tag],
        "security": _security(route),
        "parameters": _parameters(route),
        "responses": _responses(route),
    }
    if route.request is not None:
        operation["requestBody"] = _request_body(route)
    return operation


def _who(route: Route) -> str:
    match route.who:
        case Anyone():
            return "For anyone."
        case Operators():
            return "For operators of the deployment."
        case Machines(scope):
            return f"For access keys with the scope `{scope.value}`."
        case People(roles, platform):
            wanted = " or ".join(role.value for role in roles)
            people = f"people with the role {wanted}" if wanted else "people who are signed in"
            return f"For {people}{_and_platform(platform)}."
        case PeopleOrMachines(role, scope, platform):
            return (
                f"For people with the role {role.value}, and access keys with the scope `{scope.value}`"
                f"{_and_platform(platform)}."
            )


def _and_platform(scope: PlatformScope | None) -> str:
    return "" if scope is None else f", and platform keys with the scope `{scope.value}`"


def _security(route: Route) -> list[dict[str, list[str]]]:
    if isinstance(route.who, Anyone):
        return []
    asked: list[dict[str, list[str]]] = [{"person": []}] * takes_tokens(route.who)
    return asked + [{"machine": []}] * takes_keys(route.who)


def _parameters(route: Route) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [{"$ref": "#/components/parameters/RequestId"}]
    parameters += [
        {"name": name, "in": "path", "required": True, "schema": _PATH_SCHEMA} for name in route.parameters
    ]
    for parameter in route.query:
        shown: dict[str, Any] = {"name": parameter.name, "in": "query", "schema": dict(parameter.schema)}
        if parameter.about:
            shown["description"] = parameter.about
        parameters.append(shown)
    if route.idempotency is not Idempotency.NONE:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": route.idempotency is Idempotency.REQUIRED,
                "description": "Names this write for ever: 1 to 255 visible ASCII characters.",
                "schema": {"type": "string", "pattern": KEY_PATTERN},
            }
        )
    return parameters


def _request_body(route: Route) -> dict[str, Any]:
    assert route.request is not None, "asked for"
    content: dict[str, Any] = {"application/json": {"schema": _reference(route.request)}}
    if route.ndjson:
        content["application/x-ndjson"] = {
            "schema": {
                "type": "string",
                "description": "A `KeyedUsage` a line: up to 10,000 lines, 64 KiB each, 16 MiB in all.",
            }
        }
    return {"required": not route.body_optional, "content": content}


def _responses(route: Route) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, shape in route.responses.items():
        response: dict[str, Any] = {"description": _ABOUT[status], "headers": _headers(route, status)}
        if shape is not None:
            schema = {"type": "object"} if shape is dict else _reference(shape)
            response["content"] = {"application/json": {"schema": schema}}
            if status == 200:
                response["content"].update((format, {"schema": _OTHER[format]}) for format in route.formats)
        responses[str(status)] = response
    for status, codes in sorted(_problems(route).items()):
        if str(status) in responses:
            continue
        responses[str(status)] = {
            "description": f"{_ABOUT[status]} Codes: {', '.join(f'`{code}`' for code in sorted(codes))}.",
            "headers": _headers(route, status),
            "content": {CONTENT_TYPE: {"schema": {"$ref": _REFERENCE.format(name="Problem")}}},
        }
    return dict(sorted(responses.items()))


def _headers(route: Route, status: int) -> dict[str, Any]:
    names = ["X-Request-Id"]
    if route.idempotency is not Idempotency.NONE and status in (200, 201, 202, 402, 409, 422):
        names.append("Neruba-Outcome")
    if route.idempotency is not Idempotency.NONE and status in (200, 201, 402):
        names.append("Idempotent-Replayed")
    if route.operation == "recordUsage" and status in (200, 201):
        names.append("Neruba-Voided-At")
    if status in (409, 429, 503):
        names.append("Retry-After")
    if status == 401:
        names.append("WWW-Authenticate")
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _problems(route: Route) -> dict[int, set[str]]:
    """The codes that the route may refuse with, by status."""
    codes = {*_always(route), *_OWN_CODES.get(route.operation, ())}
    by_status: dict[int, set[str]] = {}
    for code in codes:
        by_status.setdefault(STATUS[code], set()).add(code)
    return by_status


def _always(route: Route) -> Iterable[str]:
    """The codes that follow from how the route is declared."""
    yield from ("server.error", "request.refused")
    if route.tag != "Operation":
        yield from ("storage.busy", "storage.unavailable", "storage.schema_outdated", "server.shutting_down")
    if not isinstance(route.who, Anyone):
        yield from ("auth.credentials_both", "auth.credentials_missing", "auth.session_ended")
        yield "access.key_refused"
        yield from _forbidden(route)
    for name in route.parameters:
        yield NOT_FOUND[name]("").code
    if route.request is not None:
        yield from ("body.malformed", "body.too_deep", "body.too_large", "body.unsupported_type")
        yield "body.invalid"
    if route.query:
        yield "query.invalid"
    if "cursor" in {parameter.name for parameter in route.query}:
        yield from ("cursor.invalid", "cursor.mismatch")
    if route.formats:
        yield "response.not_acceptable"
    if HTML in route.formats or PDF in route.formats:
        yield "rendering.unavailable"
    if route.idempotency is not Idempotency.NONE:
        yield from ("idempotency.key_invalid", "idempotency.key_reused", "idempotency.in_progress")
    if route.idempotency is Idempotency.REQUIRED:
        yield "idempotency.key_missing"
    if route.writes and ("projectId" in route.parameters or isinstance(route.who, Machines)):
        yield "project.archived"


def _forbidden(route: Route) -> Iterable[str]:
    match route.who:
        case People(platform=None) | Operators():
            yield "access.role_missing"
        case Machines():
            yield "access.scope_missing"
        case _:
            yield from ("access.role_missing", "access.scope_missing")


_OWN_CODES: Mapping[str, tuple[str, ...]] = {
    "login": ("auth.invalid_credentials", "auth.throttled"),
    "refresh": ("auth.session_ended", "auth.refresh_reused"),
    "changePassword": ("auth.invalid_credentials", "auth.throttled", "password.unfit"),
    "acceptInvitation": (
        "invitation.invalid",
        "auth.invalid_credentials",
        "auth.throttled",
        "password.unfit",
        "project.archived",
    ),
    "createProject": ("project.external_key_taken", "format.invalid"),
    "changeProject": ("amount.not_payable", "format.invalid"),
    "addMember": ("member.exists",),
    "changeRole": ("member.last_owner",),
    "removeMember": ("member.last_owner",),
    "issueAccessKey": ("format.invalid",),
    "rotateAccessKey": ("access.key_ended",),
    "issuePlatformKey": ("format.invalid",),
    "rotatePlatformKey": ("access.key_ended",),
    "declareMetric": ("metric.exists", "metric.fixed", "metric.invalid"),
    "changeMetric": ("metric.fixed", "metric.invalid"),
    "declareSharedMetric": ("metric.exists", "metric.invalid"),
    "changeSharedMetric": ("metric.fixed", "metric.invalid"),
    "declareSharedPrice": ("price.already_effective", "price.invalid", "price.retroactive"),
    "declarePrice": ("price.already_effective", "price.invalid", "price.retroactive"),
    "publishPlan": ("format.invalid", "price.invalid"),
    "decideSubscription": (
        "plan.not_found",
        "period.invoiced",
        "subscription.drawn",
        "subscription.invalid",
        "subscription.none",
        "subscription.out_of_order",
        "subscription.unchanged",
        "amount.overflow",
    ),
    "recordUsage": ("usage.event_conflict", "usage.timestamp_in_future", "usage.timestamp_too_old"),
    "charge": ("charge.event_conflict", "wallet.insufficient_credit", "amount.overflow"),
    "hold": (
        "hold.event_conflict",
        "wallet.insufficient_credit",
        "expiry.passed",
        "amount.overflow",
    ),
    "captureHold": ("hold.closed", "hold.exceeded", "amount.overflow"),
    "releaseHold": ("hold.closed",),
    "grantCredit": ("expiry.passed", "amount.overflow"),
    "debit": ("wallet.insufficient_credit", "amount.overflow"),
    "reverseTransaction": ("transaction.not_reversible", "reversal.exceeds_original", "amount.overflow"),
    "getUsage": ("format.invalid",),
    "runBilling": ("period.open", "period.earlier_open", "amount.overflow"),
    "explainInvoice": ("invoice.line_not_found",),
    "finalizeInvoice": ("period.open", "period.earlier_open", "invoice.blocked"),
    "recordPayment": (
        "amount.not_payable",
        "amount.overflow",
        "invoice.not_found",
        "invoice.not_issued",
        "invoice.settled",
        "payment.method_missing",
        "payment.provider_unknown",
    ),
    "receiveStripeEvent": (
        "body.too_large",
        "payment.provider_unknown",
        "payment.signature_invalid",
        "payment.webhook_secret_unset",
    ),
    "setPaymentMethod": ("payment.provider_unknown",),
    "getPaymentMethod": ("payment.method_not_found",),
    "refundPayment": (
        "amount.not_payable",
        "amount.overflow",
        "payment.not_succeeded",
        "refund.exceeds_payment",
    ),
    "issueCreditNote": (
        "amount.not_payable",
        "amount.overflow",
        "invoice.credit_exceeded",
        "invoice.not_issued",
    ),
    "writeOffInvoice": (
        "amount.not_payable",
        "amount.overflow",
        "invoice.not_issued",
        "invoice.settled",
        "invoice.write_off_exceeded",
    ),
    "createWebhookEndpoint": ("format.invalid", "webhook.endpoint_limit", "webhook.url_refused"),
    "voidInvoice": ("invoice.not_voidable",),
    "replayQuarantined": (
        "quarantine.closed",
        "quarantine.still_failing",
        "idempotency.key_reused",
        "usage.event_conflict",
        "usage.timestamp_in_future",
        "usage.timestamp_too_old",
    ),
    "discardQuarantined": ("quarantine.closed",),
}
"""What else a route may refuse with; a test compares it with what is really answered."""


# --- schemas -----------------------------------------------------------------------------------


def _reference(shape: type) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(name=shape.__name__)}


def _schemas() -> dict[str, Any]:
    shapes: list[type] = [Problem]
    for route in ROUTES:
        shapes += [shape for shape in route.responses.values() if shape is not None and shape is not dict]
        if route.request is not None:
            shapes.append(route.request)
    unique = list(dict.fromkeys(shapes))
    _, components = msgspec.json.schema_components(unique, ref_template=_REFERENCE)
    requests = _reachable({route.request.__name__ for route in ROUTES if route.request}, components)
    classes = _classes(unique)
    schemas = {}
    for name, schema in sorted(components.items()):
        shape = classes.get(name)
        if shape is not None:
            schema = _renamed(shape, schema)
            if name in requests:
                schema["additionalProperties"] = False
        schemas[name] = _as_text(schema)
    return schemas


def _as_text(schema: Any) -> Any:
    """*schema* with whatever follows a pattern called a string: amounts are integers only inside."""
    if isinstance(schema, list):
        return [_as_text(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _as_text(value) for name, value in schema.items()}
    return {**inner, "type": "string"} if isinstance(schema.get("pattern"), str) else inner


def _renamed(shape: type, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an attrs class under its wire names; msgspec knows nothing of our renaming."""
    renamed = dict(schema)
    renamed["properties"] = {camel(name): member for name, member in schema["properties"].items()}
    renamed["required"] = [camel(name) for name in schema.get("required", ())]
    return renamed


def _classes(shapes: Iterable[type]) -> dict[str, type]:
    """All attrs classes that *shapes* are made of, by name."""
    found: dict[str, type] = {}
    waiting: list[Any] = list(shapes)
    while waiting:
        shape = waiting.pop()
        if isinstance(shape, type) and attrs.has(shape) and shape.__name__ not in found:
            found[shape.__name__] = shape
            waiting += [field.type for field in attrs.fields(attrs.resolve_types(shape))]
        elif not isinstance(shape, type) or not issubclass(shape, Enum):
            waiting += getattr(shape, "__args__", ())
    return found


def _reachable(names: set[str], components: Mapping[str, Any]) -> set[str]:
    """The components that *names* refer to, themselves included."""
    reached: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += re.findall(r"#/components/schemas/(\w+)", repr(components[name]))
    return reached
