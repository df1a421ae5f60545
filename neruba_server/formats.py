"""Which format an answer comes in: what ``Accept`` asks for, among what there is (RFC 9110, 12.5.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from attrs import frozen

from neruba_core.invoices.html import style_source
from neruba_server.limits import JSON
from neruba_server.problems import NotAcceptable

HTML = "text/html"
PDF = "application/pdf"
TEXT = "text/plain"

_POLICY = "Content-Security-Policy"
_PAGE_POLICY = (
    "default-src 'none'; style-src {style}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@frozen
class _Range:
    """One range of ``Accept``: ``text/*``, and how much it is wanted."""

    type: str
    subtype: str
    quality: float

    def covers(self, format: str) -> int:
        """How exactly it names *format*: 0 not at all, 3 by its full name."""
        type_, _, subtype = format.partition("/")
        if (self.type, self.subtype) == ("*", "*"):
            return 1
        if self.type != type_ or self.subtype not in ("*", subtype):
            return 0
        return 2 if self.subtype == "*" else 3


def chosen(request: web.Request, available: Sequence[str]) -> str:
    """The format of *available* that the request wants most; the first where it is all the same.

    Raises ``NotAcceptable``.
    """
    lines = request.headers.getall(hdrs.ACCEPT, ())
    ranges = [each for line in lines for each in _ranges(line)]
    if not ranges:
        return available[0]
    wanted = {format: _quality(ranges, format) for format in available}
    best = max(wanted.values())
    if best <= 0:
        raise NotAcceptable(tuple(available))
    return next(format for format in available if wanted[format] == best)


def page(text: str) -> web.Response:
    """An HTML page whose own style sheet is all that it may use."""
    return _Page(text=text, content_type=HTML, charset="utf-8")


class _Page(web.Response):
    """It has a policy of its own, in place of the one that every other answer has."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        self.headers[_POLICY] = _PAGE_POLICY.format(style=style_source())
        return await super().prepare(request)


def _quality(ranges: Sequence[_Range], format: str) -> float:
    """What the range says that names *format* most exactly."""
    covering = [each for each in ranges if each.covers(format)]
    return max(covering, key=lambda each: each.covers(format)).quality if covering else 0.0


def _ranges(line: str) -> Iterator[_Range]:
    for part in line.split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        type_, slash, subtype = name.lower().partition("/")
        if slash:
            yield _Range(type_, subtype, _weight(parameters))


def _weight(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0


__all__ = ["HTML", "JSON", "PDF", "TEXT", "chosen", "page"]
