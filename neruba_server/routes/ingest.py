"""What machines send: usage, alone or in batches, charges and holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from aiohttp import web

from neruba_core import Neruba
from neruba_core.audit.model import Origin
from neruba_core.audit.outcomes import Unreadable
from neruba_core.batch import Command
from neruba_core.charges.charge import OPERATION as CHARGE
from neruba_core.charges.charge import charge_order
from neruba_core.errors import NerubaError, StorageError, UsageNotFound
from neruba_core.ledger.model import Transaction
from neruba_core.usage.fingerprint import OPERATION as USAGE
from neruba_core.usage.record import Sent
from neruba_core.usage.void import OPERATION as VOID
from neruba_core.wallets.holds import HoldAnswer, NewRelease
from neruba_core.wallets.orders import CAPTURE, HOLD, RELEASE, Order, capture_order, hold_order, release_order
from neruba_server import present
from neruba_server.limits import (
    JSON,
    MOST_BODY_BYTES,
    MOST_LINE_BYTES,
    MOST_LINES,
    MOST_NDJSON_BYTES,
    NDJSON,
    body_of,
    content_type,
    parsed,
)
from neruba_server.problems import BodyInvalid, BodyTooLarge, Fault
from neruba_server.routes.call import Answer, Call
from neruba_server.wire import converter
from neruba_server.wire import ingest as wire

MOST_EVENTS = 1000

Reader: TypeAlias = Callable[[str, str, Any, Origin], Command]
"""Reads a single write: of a project, under an idempotency key, the JSON that was sent, from whom."""


def usage_command(project_id: str, key: str, sent: Any, origin: Origin) -> Sent:
    """The event that the JSON *sent* asks for. Raises ``BodyInvalid``, as its siblings do."""
    return Sent(project_id, wire.usage_under(key, sent), origin)


def charge_command(project_id: str, key: str, sent: Any, origin: Origin) -> Order[Transaction]:
    """The charge that the JSON *sent* asks for."""
    return charge_order(project_id, converter.read(wire.NewCharge, sent).under(key), origin)


def hold_command(project_id: str, key: str, sent: Any, origin: Origin) -> Order[HoldAnswer]:
    """The hold that the JSON *sent* asks for."""
    return hold_order(project_id, converter.read(wire.NewHold, sent).under(key), origin)


async def usage(call: Call) -> web.Response:
    return await _single(call, USAGE, usage_command)


async def charge(call: Call) -> web.Response:
    return await _single(call, CHARGE, charge_command)


async def hold(call: Call) -> web.Response:
    return await _single(call, HOLD, hold_command)


async def _single(call: Call, operation: str, command: Reader) -> web.Response:
    try:
        made = command(call.project, call.key(), await call.json(), call.origin)
    except NerubaError as error:
        raise await call.counted(operation, error) from None
    return await call.submit(made)


async def get_hold(call: Call) -> web.Response:
    found = await call.run(lambda neruba: neruba.holds.get(call.project, call.path("holdId")))
    return present.body(found.body.encode())


async def capture(call: Call) -> web.Response:
    try:
        key = call.key()
        sent = await call.read(wire.NewCapture, optional=True)
    except NerubaError as error:
        raise await call.counted(CAPTURE, error) from None
    new = sent.under(key, call.path("holdId"))
    return await call.submit(capture_order(call.project, new, call.origin))


async def release(call: Call) -> web.Response:
    try:
        key = call.key()
        await call.read(wire.NewRelease, optional=True)
    except NerubaError as error:
        raise await call.counted(RELEASE, error) from None
    new = NewRelease(call.path("holdId"), key)
    return await call.submit(release_order(call.project, new, call.origin))


async def usage_batch(call: Call) -> web.Response:
    project_id, origin = call.project, call.origin
    try:
        if content_type(call.request, JSON, NDJSON) == NDJSON:
            body = await body_of(call.request, MOST_NDJSON_BYTES)
            # On a thread: ten thousand lines would keep the loop from everyone else.
            commands = await call.house.run(lambda: _lines(body, project_id, origin))
        else:
            body = await body_of(call.request, MOST_BODY_BYTES)
            commands = await call.house.run(lambda: _events(body, project_id, origin))
    except NerubaError as error:
        raise await call.counted(USAGE, error) from None
    verdicts = await call.submit_many(commands)
    return present.body(await call.house.run(lambda: present.batch(verdicts)))


async def void(call: Call) -> web.Response:
    usage_id = call.path("usageId")

    def act(bound: Neruba) -> Answer:
        voided = bound.usage.void(call.project, usage_id, reason=sent.reason, origin=call.origin)
        return Answer(wire.Void.of(voided), 201 if voided.first else 200, subject_id=usage_id)

    try:
        sent = await call.read(wire.Reason)
        return await call.once(sent, act, counts=True)
    except (UsageNotFound, StorageError):
        raise
    except NerubaError as error:
        raise await call.counted(VOID, error) from None


def _events(body: bytes, project_id: str, origin: Origin) -> Sequence[Sent | Unreadable]:
    """The events of a JSON batch; one that is not well-formed is refused at its own place."""
    value = parsed(body)
    events = value.get("events") if type(value) is dict else None
    if type(events) is not list or len(value) > 1 or not 1 <= len(events) <= MOST_EVENTS:
        raise BodyInvalid(tuple(_batch_faults(value)))
    return [_command(event, project_id, origin) for event in events]


def _batch_faults(value: Any) -> list[Fault]:
    if type(value) is not dict:
        return [Fault("", "value.wrong_type", "expected an object with the member events")]
    faults = [
        Fault(f"/{name[:80]}", "field.unknown", "there is no such field")
        for name in value
        if name != "events"
    ]
    if "events" not in value:
        faults.append(Fault("/events", "field.missing", "this field is required"))
    elif type(value["events"]) is not list:
        faults.append(Fault("/events", "value.wrong_type", "expected an array"))
    elif not 1 <= len(value["events"]) <= MOST_EVENTS:
        faults.append(Fault("/events", "format.invalid", f"send 1 to {MOST_EVENTS} events at a time"))
    return faults


def _lines(body: bytes, project_id: str, origin: Origin) -> Sequence[Sent | Unreadable]:
    """The events of an NDJSON batch, a line each; a bad line is refused at its own place."""
    lines = body.split(b"\n")
    if not lines[-1].strip():
        lines.pop()
    if not 1 <= len(lines) <= MOST_LINES:
        raise BodyInvalid((Fault("", "format.invalid", f"send 1 to {MOST_LINES} lines at a time"),))
    return [_line(line, project_id, origin) for line in lines]


def _line(line: bytes, project_id: str, origin: Origin) -> Sent | Unreadable:
    try:
        if len(line) > MOST_LINE_BYTES:
            raise BodyTooLarge(MOST_LINE_BYTES)
        return _command(parsed(line), project_id, origin)
    except NerubaError as error:
        return Unreadable(project_id, USAGE, error, origin)


def _command(event: Any, project_id: str, origin: Origin) -> Sent | Unreadable:
    try:
        return Sent(project_id, converter.read(wire.KeyedUsage, event).keyed(), origin)
    except NerubaError as error:
        key = event.get("idempotencyKey") if type(event) is dict else None
        kept = key if type(key) is str and key.isascii() and key.isprintable() and len(key) <= 255 else None
        return Unreadable(project_id, USAGE, error, origin, kept)
