"""Walking steps over HTTP, one after the other, judging each answer as it comes.

A step that needs something of an answer that never came is not sent, and its checks do not hold; the steps
after it are still tried, so that one failure does not hide another.
"""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from http.client import HTTPException, HTTPMessage
from typing import IO, Any

from attrs import Factory, define, field, frozen

from neruba_server.known_good.answers import Answer, Told
from neruba_server.known_good.layout import pretty
from neruba_server.known_good.sequence import REQUEST_ID, Check, Step

TIMEOUT_SECONDS = 20

_NEEDED = re.compile(r"<([A-Za-z-]+)>")


class Unreachable(Exception):
    """No answer came; the message says from where and why."""


@frozen
class Request:
    """A request as it is sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str | None


@frozen
class Verdict:
    """Whether a check held."""

    claim: str
    held: bool
    expected: object
    found: object


@frozen
class Walked:
    """A step with what was sent and what came back; neither where the step was not reached."""

    step: Step
    request: Request | None
    answer: Answer | None
    verdicts: tuple[Verdict, ...]

    @property
    def held(self) -> bool:
        """Whether every check of the step held."""
        return all(verdict.held for verdict in self.verdicts)


@define
class Walk:
    """One walk against the server at *base_url*. *proxies* of the environment are used unless it is local."""

    base_url: str
    proxies: bool = True
    told: dict[str, Answer] = Factory(dict)
    _kept: dict[str, str] = field(factory=dict, repr=False)

    def along(self, steps: Iterable[Step]) -> Iterator[Walked]:
        """Walk *steps*, yielding each when it has been judged. Raises ``Unreachable``."""
        for step in steps:
            yield self._walked(step)

    def send(self, request: Request) -> Answer:
        """Send *request* and give its answer, whatever its status. Raises ``Unreachable``."""
        handlers = [_NoRedirects()] if self.proxies else [_NoRedirects(), urllib.request.ProxyHandler({})]
        opener = urllib.request.build_opener(*handlers)
        outgoing = urllib.request.Request(
            request.url,
            None if request.body is None else request.body.encode(),
            dict(request.headers),
            method=request.method,
        )
        began = time.monotonic()
        try:
            with opener.open(outgoing, timeout=TIMEOUT_SECONDS) as response:
                return _answer(response, response.status, response.reason, began)
        except urllib.error.HTTPError as refusal:
            with refusal:
                return _answer(refusal, refusal.code, str(refusal.reason), began)
        except urllib.error.URLError as error:
            raise Unreachable(f"{self.base_url} cannot be reached: {_reason(error.reason)}") from None
        except (OSError, HTTPException) as error:
            raise Unreachable(f"{self.base_url} broke off the connection: {_reason(error)}") from None

    def _walked(self, step: Step) -> Walked:
        try:
            request = self._request(step)
        except KeyError as missing:
            claim = f"an earlier answer held {missing.args[0]}"
            return Walked(step, None, None, (Verdict(claim, False, True, False),))
        answer = self.send(request)
        return Walked(step, request, answer, self._judge(step, answer))

    def _judge(self, step: Step, answer: Answer) -> tuple[Verdict, ...]:
        self.told[step.name] = answer
        if answer.status in step.expects:
            for name, look in step.keeps.items():
                with suppress(KeyError):
                    self._kept[name] = str(look(answer))
        return tuple(_verdicts(step, answer, self.told))

    def _request(self, step: Step) -> Request:
        headers = {name: self._filled(value) for name, value in step.headers.items()}
        if step.body is not None:
            headers["Content-Type"] = "application/json"
        body = None if step.body is None else pretty(dict(step.body))
        return Request(step.method, self.base_url + self._filled(step.path), headers, body)

    def _filled(self, text: str) -> str:
        return _NEEDED.sub(lambda match: self._kept[match[1]], text)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would be repeated as a GET, and prove nothing."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        return None


def _answer(response: Any, status: int, reason: str, began: float) -> Answer:
    content = response.read()
    return Answer(status, reason, tuple(response.headers.items()), content, time.monotonic() - began)


def _verdicts(step: Step, answer: Answer, told: Told) -> Iterator[Verdict]:
    wanted = " or ".join(map(str, step.expects))
    expected = answer.status in step.expects
    named = answer.header(REQUEST_ID) is not None
    yield Verdict(
        f"answers {answer.status if expected else wanted} with a request id",
        expected and named,
        wanted,
        _status(answer, expected) if named else f"{answer.status} without a request id",
    )
    for check in step.checks:
        yield _judged(check, told)


def _status(answer: Answer, expected: bool) -> object:
    """The status, and where it is not the one expected, the problem that the answer names."""
    if expected or not isinstance(answer.json, dict) or "code" not in answer.json:
        return answer.status
    return f"{answer.status} {answer.json['code']}: {answer.json.get('detail', answer.reason)}"


def _judged(check: Check, told: Told) -> Verdict:
    claim = "it can be told"
    try:
        claim = check.claim if isinstance(check.claim, str) else check.claim(told)
        expected, found = check.expected(told), check.found(told)
    except (LookupError, TypeError, ArithmeticError, ValueError):
        # The answer is not of the shape that the check looks at, which is as wrong as another value.
        return Verdict(claim, False, None, None)
    return Verdict(claim, expected == found, expected, found)


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS} s"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
