"""Query parameters: declared in the route table, checked here, every fault named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from aiohttp import web
from attrs import frozen

from neruba_core import instants, texts
from neruba_core.choices import choice
from neruba_core.errors import FormatInvalid, Invalid
from neruba_core.instants import Instant
from neruba_core.pages import DEFAULT_LIMIT, MAX_LIMIT
from neruba_core.texts import shown
from neruba_server.problems import Fault, QueryInvalid
from neruba_server.wire.kinds import INSTANT_PATTERN, METRIC_KEY_PATTERN, MONTH_PATTERN


@frozen
class Parameter:
    """A query parameter: its *name*, how its text is read, and what OpenAPI says of it."""

    name: str
    read: Callable[[str], Any]
    schema: Mapping[str, Any]
    about: str = ""


def read_query(request: web.Request, parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """The parameters that were sent, by name. Raises ``QueryInvalid``."""
    query = request.query
    if not query:
        return {}
    known = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Any] = {}
    faults = []
    for name in dict.fromkeys(query):
        parameter = known.get(name)
        try:
            if parameter is None:
                faults.append(Fault(f"?{name[:80]}", "query.unknown", "there is no such parameter"))
            elif len(query.getall(name)) > 1:
                faults.append(Fault(f"?{name}", "query.repeated", "give this parameter once"))
            else:
                values[name] = parameter.read(query[name])
        except Invalid as error:
            faults.append(Fault(f"?{name}", error.code, str(error)))
    if faults:
        raise QueryInvalid(tuple(faults))
    return values


def _property(text: str) -> str:
    return texts.clean(text, most_bytes=128)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 3 and 1 <= int(text) <= MAX_LIMIT):
        raise FormatInvalid(f"a limit from 1 to {MAX_LIMIT}", shown(text))
    return int(text)


def _instant(text: str) -> Instant:
    # "+" in a query is a space; an offset such as +02:00 is meant all the same.
    return instants.parse(text.replace(" ", "+"))


def _word(kind: type[Enum]) -> Callable[[str], Enum]:
    return lambda text: choice(kind, text, "a known word")


def _name(text: str) -> str:
    return texts.clean(text, most_bytes=255)


def _month(text: str) -> str:
    instants.month(text, "UTC")
    return text


def _cursor(text: str) -> str:
    return text


MOMENT = {"type": "string", "format": "date-time", "pattern": INSTANT_PATTERN}

LIMIT = Parameter(
    "limit", _limit, {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
)
CURSOR = Parameter(
    "cursor",
    _cursor,
    {"type": "string", "pattern": "^[A-Za-z0-9_=-]{1,512}$"},
    "nextCursor of the page before.",
)
FROM = Parameter("from", _instant, MOMENT, "Included.")
TO = Parameter("to", _instant, MOMENT, "Not included.")
AS_OF = Parameter("asOf", _instant, MOMENT, "As it was effective then.")
KNOWN_AT = Parameter("knownAt", _instant, MOMENT, "As it was recorded by then.")
METRIC = Parameter("metricKey", texts.metric_key, {"type": "string", "pattern": METRIC_KEY_PATTERN})
PERIOD = Parameter("period", _month, {"type": "string", "pattern": MONTH_PATTERN}, "A month such as 2026-03.")
ACCOUNT = Parameter("account", _name, {"type": "string", "minLength": 1, "maxLength": 255})
ACCESS_KEY = Parameter("accessKeyId", _name, {"type": "string", "minLength": 1, "maxLength": 255})
GROUP_BY = Parameter(
    "groupBy",
    _property,
    {"type": "string", "minLength": 1, "maxLength": 128},
    "`hour`, `day` or `month` of the project's time zone, or the name of a property.",
)


LINE = Parameter("line", _name, {"type": "string", "minLength": 1, "maxLength": 255}, "Only this line.")


def word(name: str, kind: type[Enum]) -> Parameter:
    """A parameter that is one of the words of *kind*."""
    return Parameter(name, _word(kind), {"type": "string", "enum": [member.value for member in kind]})


PAGE = (LIMIT, CURSOR)


def page_of(query: Mapping[str, Any]) -> dict[str, Any]:
    """*limit* and *cursor* as the façade takes them."""
    return {name: query[name] for name in ("limit", "cursor") if name in query}
