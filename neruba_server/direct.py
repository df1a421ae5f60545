"""Single writes of machines, taken and answered in two steps of the event loop and no task.

A usage event costs the core less than aiohttp's way of handling its request: a task, a request, a response
and some thirty awaited calls. Nearly all single writes are alike: a whole small request of a key that is
remembered, faultless JSON, an idempotency key. Those are taken here at once, and answered by the writer
itself. Whatever is not plain (a credential to look up, a fault, an expectation, a body still coming) is left
alone, and then goes the ordinary way with all its checks: nothing is refused here. The bytes of an answer
are the same either way, which a test compares.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader
from attrs import frozen

from neruba_core.audit.model import Origin
from neruba_core.batch import Verdict
from neruba_core.errors import NerubaError
from neruba_core.idempotency.outcomes import Accepted, Deduplicated, Replayed
from neruba_server import present, problems
from neruba_server.auth import Machine, Machines
from neruba_server.headers import ALWAYS, REQUEST_ID, finished, request_id_of
from neruba_server.limits import JSON, parsed
from neruba_server.routes.call import House, key_of
from neruba_server.routes.route import Route
from neruba_server.writer import Answer, Submission, Verdicts

log = logging.getLogger("neruba.server")

MOST_BYTES = 64 * 1024
"""The longest body that is taken here; a longer one is worth a task."""


@frozen
class Direct:
    """The way of the single writes of *routes*, which are given by path."""

    house: House
    routes: Mapping[str, Route]

    def take(self, message: RawRequestMessage, payload: StreamReader, answer: Answer) -> bool:
        """Hand the write that *message* asks for to the writer, which will *answer*; False if it is none."""
        route = self.routes.get(message.path)
        if route is None or message.method != route.method or not _whole(message, payload):
            return False
        headers = message.headers
        if headers.get(hdrs.CONTENT_TYPE) != JSON or hdrs.EXPECT in headers:
            return False
        assert isinstance(route.who, Machines), "a command is read from what machines send"
        machine = self.house.door.machine(headers, route.who)
        if machine is None:
            return False
        return self._submit(route, machine, message, payload, answer)

    def _submit(
        self,
        route: Route,
        machine: Machine,
        message: RawRequestMessage,
        payload: StreamReader,
        answer: Answer,
    ) -> bool:
        headers = message.headers
        assert route.command is not None, "a route without one has no place here"
        try:
            key = key_of(headers)
            if key is None:
                return False
            sent = parsed(b"".join(payload._buffer))
            request_id = request_id_of(headers, self.house.ids)
            origin = Origin(machine.actor, request_id)
            command = route.command(machine.key.project_id, key, sent, origin)
            self.house.writer.submit(
                (command,),
                request_id=request_id,
                method=message.method,
                path=message.path,
                principal=machine.actor,
                answer=answer,
            )
        except Exception:
            # The ordinary way meets it again, counts it, and says what is wrong.
            return False
        return True


def _whole(message: RawRequestMessage, payload: StreamReader) -> bool:
    """Whether all of a plain request is there."""
    return (
        message.version == HttpVersion11
        and not message.should_close
        and not message.upgrade
        and not message.chunked
        and message.compression is None
        and payload.is_eof()
        and payload.exception() is None
        and 0 < payload.total_bytes <= MOST_BYTES
    )


def answered(submission: Submission, verdicts: Verdicts) -> tuple[int, bytes]:
    """The status of a single write, and all bytes of its answer."""
    (verdict,) = verdicts
    try:
        if isinstance(verdict, _MADE) and not submission.voided_at:
            status, start = _HEADS[type(verdict)]
            body = present.text(verdict.value).encode()
            return status, f"{start}{submission.request_id}{_REST}{_ending(body)}".encode() + body
        return _written(submission, verdict)
    except Exception as defect:
        return _written(submission, defect)


def _written(submission: Submission, verdict: Verdict | Exception) -> tuple[int, bytes]:
    response = finished(_response(submission, verdict), submission.request_id)
    body = response.body
    assert type(body) is bytes, "single writes are answered with JSON"
    lines = "".join([f"{name}: {value}\r\n" for name, value in response.headers.items()])
    return response.status, f"{_start(response.status)}{lines}{_LENGTH}{_ending(body)}".encode() + body


def _response(submission: Submission, verdict: Verdict | Exception) -> web.Response:
    request_id = submission.request_id
    if not isinstance(verdict, Exception):
        return present.verdict(verdict, request_id=request_id, voided_at=submission.voided_at)
    if not isinstance(verdict, NerubaError):
        log.error("request %s failed", request_id, exc_info=verdict)
        return problems.refused(problems.Internal(), request_id)
    if problems.status_of(verdict) >= 500:
        log.warning("request %s: %s", request_id, verdict)
    return problems.refused(verdict, request_id)


def _start(status: int) -> str:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"


def _ending(body: bytes) -> str:
    return f"{len(body)}\r\nDate: {rfc822_formatted_time()}\r\n\r\n"


_MADE = (Accepted, Replayed, Deduplicated)
_LENGTH = "Content-Length: "
_REST = "\r\n" + "".join(f"{name}: {value}\r\n" for name, value in ALWAYS) + _LENGTH
_HEADS: Mapping[type, tuple[int, str]] = {
    kind: (
        status,
        f"{_start(status)}Content-Type: {JSON}\r\n{present.OUTCOME}: {kind.name.value}\r\n"
        + (f"{present.REPLAYED}: true\r\n" if kind is Replayed else "")
        + f"{REQUEST_ID}: ",
    )
    for kind, status in ((Accepted, 201), (Replayed, 201), (Deduplicated, 200))
}
"""Status and beginning of the usual answers, up to the id of the request."""

DIRECT: web.AppKey[Direct] = web.AppKey("direct", Direct)
