"""The kinds of value on the wire: what each is in Python, how its text is checked, what OpenAPI calls it.

A field of a wire class is annotated with one of these. In Python it then holds the core's own form
(micro-units, an aware ``datetime``), so that a request that could be structured is a request that the
core can take.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from attrs import define, frozen
from msgspec import Meta

from neruba_core import instants, money, texts
from neruba_core.errors import AmountFloat, FormatInvalid, Invalid
from neruba_core.pricing import exact
from neruba_core.subscriptions import plans, subscribe
from neruba_core.tenancy import settings
from neruba_core.texts import shown
from neruba_core.wallets.credit import MAX_METRIC_KEYS, spendable_on

AMOUNT_PATTERN = r"^[0-9]{1,13}(\.[0-9]{1,6})?$"
RATE_PATTERN = r"^[0-9]{1,13}(\.[0-9]{1,12})?$"
SIGNED_PATTERN = r"^-?[0-9]+\.[0-9]{6}$"
METRIC_KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}$"
KEY_PATTERN = r"^[!-~]{1,255}$"
MONTH_PATTERN = r"^[0-9]{4}-(0[1-9]|1[0-2])$"
INSTANT_PATTERN = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
)


@define
class WrongType(Invalid):
    """A JSON value of another type than the field's."""

    code: ClassVar[str] = "value.wrong_type"
    expected: str
    value: str

    def __str__(self) -> str:
        return f"expected {self.expected}, not {self.value}"


@define
class AmountNotText(Invalid):
    """A JSON number, or anything else that is no string, where money or units are expected."""

    code: ClassVar[str] = "amount.not_text"
    value: str

    def __str__(self) -> str:
        return f'expected a decimal string such as "12.50", not {self.value}'


@frozen
class Kind:
    """How a value is read from JSON, written to JSON, and put in canonical form for fingerprints."""

    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


def _named(value: object) -> str:
    names: dict[type, str] = {
        type(None): "null",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), type(value).__name__)


def wrong_type(expected: str, value: object) -> WrongType:
    """The refusal of a *value* that is not even of the *expected* type."""
    return WrongType(expected, _named(value))


def as_text(value: Any) -> str:
    """A JSON string, whatever it says."""
    if type(value) is not str:
        raise wrong_type("a string", value)
    return value


def _amount_text(value: Any) -> str:
    if type(value) is float:
        raise AmountFloat
    if type(value) is not str:
        raise AmountNotText(_named(value))
    return value


def _positive(value: Any) -> int:
    return money.parse_positive(_amount_text(value))


def _non_negative(value: Any) -> int:
    return money.parse_non_negative(_amount_text(value))


def _rate(value: Any) -> Decimal:
    return exact.parse_rate(_amount_text(value))


def _instant(value: Any) -> datetime:
    return instants.parse(as_text(value))


def effective_of(text: str) -> subscribe.Effective:
    """When something takes effect: now, at the period's end, or at an instant."""
    words = {word.value: word for word in subscribe.When}
    return words.get(text) or instants.parse(text)


def _effective(value: Any) -> str:
    when = effective_of(as_text(value))
    return when.value if isinstance(when, subscribe.When) else instants.text(when)


def _integer(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int:
            raise wrong_type("a whole number", value)
        if not least <= value <= most:
            raise FormatInvalid(f"a whole number from {least} to {most}", str(value)[:40])
        return value

    return read


def _metric_keys(value: Any) -> tuple[str, ...]:
    if type(value) is not list:
        raise wrong_type("an array", value)
    return spendable_on([as_text(key) for key in value])


def _text(most_bytes: int) -> Callable[[Any], str]:
    return lambda value: texts.clean(as_text(value), most_bytes=most_bytes)


def _pattern(pattern: str, expected: str) -> Callable[[Any], str]:
    compiled = re.compile(pattern, re.ASCII)

    def read(value: Any) -> str:
        if compiled.fullmatch(as_text(value)) is None:
            raise FormatInvalid(expected, shown(value, most=80))
        return str(value)

    return read


def boolean(value: Any) -> bool:
    """A JSON boolean and nothing that only looks like one."""
    if type(value) is not bool:
        raise wrong_type("true or false", value)
    return value


def _same(value: Any) -> Any:
    return value


def _schema(**fields: Any) -> Meta:
    return Meta(extra_json_schema=fields)


Amount = Annotated[
    int,
    _schema(
        pattern=AMOUNT_PATTERN,
        examples=["12.500000"],
        description="A decimal above zero with up to six places, as a string.",
    ),
    "amount",
]
"""Micro-units above zero."""

Units = Annotated[
    int,
    _schema(
        pattern=AMOUNT_PATTERN,
        examples=["1250.000000"],
        description="A decimal of zero or more with up to six places, as a string.",
    ),
    "units",
]
"""Micro-units of zero or more."""

Rate = Annotated[
    Decimal,
    _schema(
        pattern=RATE_PATTERN,
        examples=["0.000002"],
        description="A decimal of zero or more with up to twelve places, as a string.",
    ),
    "rate",
]
"""An exact amount per unit, or a fraction; in answers without zeros that say nothing."""

TaxRate = Annotated[
    Decimal,
    _schema(
        pattern=RATE_PATTERN,
        examples=["0.19"],
        description="A fraction from 0 to 1 with up to twelve places, as a string.",
    ),
    "tax",
]
"""An exact fraction of one."""

Money = Annotated[
    int,
    _schema(
        pattern=SIGNED_PATTERN,
        examples=["87.500000"],
        description="A decimal with exactly six places, as a string.",
    ),
    "money",
]
"""Micro-units in an answer."""

Moment = Annotated[
    datetime,
    _schema(
        format="date-time",
        pattern=INSTANT_PATTERN,
        examples=["2026-03-17T10:15:00.000000Z"],
    ),
    "moment",
]
"""RFC 3339 with an offset, up to six decimals; in answers UTC with exactly six."""

Name = Annotated[str, Meta(min_length=1, max_length=1024, extra_json_schema={"examples": ["Acme"]}), "name"]
Key255 = Annotated[str, Meta(min_length=1, max_length=255), "key255"]
MetricKey = Annotated[
    str, Meta(pattern=METRIC_KEY_PATTERN, extra_json_schema={"examples": ["api_tokens"]}), "metric"
]
MetricKeys = Annotated[
    tuple[MetricKey, ...],
    Meta(
        min_length=1,
        max_length=MAX_METRIC_KEYS,
        description="Each at most once; their order says nothing.",
        extra_json_schema={"uniqueItems": True},
    ),
    "metrics",
]
PlanKey = Annotated[str, Meta(pattern=METRIC_KEY_PATTERN, extra_json_schema={"examples": ["pro"]}), "plan"]
Seats = Annotated[int, Meta(ge=1, le=subscribe.MOST_SEATS), "seats"]
TrialDays = Annotated[int, Meta(ge=0, le=plans.MOST_TRIAL_DAYS), "trial"]
Effective = Annotated[
    str,
    Meta(
        pattern=rf"^(now|period_end|{INSTANT_PATTERN.strip('^$')})$",
        description="`now`, `period_end`, or an instant.",
        extra_json_schema={"examples": ["period_end"]},
    ),
    "effective",
]
IdempotencyKey = Annotated[str, Meta(pattern=KEY_PATTERN), "key"]
Email = Annotated[
    str, Meta(min_length=3, max_length=254, extra_json_schema={"examples": ["owner@example.com"]}), "email"
]
Password = Annotated[str, Meta(min_length=1, max_length=1024), "password"]
NewPassword = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1024,
        description="12 to 1,024 bytes, and not a common one.",
        extra_json_schema={"examples": ["correct horse battery staple"]},
    ),
    "password",
]
Token = Annotated[str, Meta(min_length=1, max_length=512), "token"]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$", description="ISO 4217."), "currency"]
Zone = Annotated[str, Meta(min_length=1, max_length=64, description="IANA, such as Europe/Berlin."), "zone"]
Days = Annotated[int, Meta(ge=0, le=36_500), "days"]
Minutes = Annotated[int, Meta(ge=1, le=settings.MOST_COOL_DOWN_MINUTES), "minutes"]
GraceHours = Annotated[int, Meta(ge=0, le=settings.MOST_GRACE_HOURS), "grace"]
Priority = Annotated[int, Meta(ge=0, le=1000), "priority"]
Hours = Annotated[int, Meta(ge=0, le=168), "hours"]
UnitName = Annotated[str, Meta(min_length=1, max_length=64), "unit"]
PropertyName = Annotated[str, Meta(min_length=1, max_length=128), "property"]
Month = Annotated[str, Meta(pattern=MONTH_PATTERN), "month"]
Properties = Annotated[
    Mapping[str, str | bool | int],
    Meta(
        max_length=texts.MAX_PROPERTIES,
        description="Strings, booleans and integers up to 2⁵³−1; at most 50 of them and 8 KiB.",
    ),
    "properties",
]

KINDS: dict[str, Kind] = {
    "amount": Kind(_positive, money.text),
    "units": Kind(_non_negative, money.text),
    "rate": Kind(_rate, exact.rate_text),
    "tax": Kind(lambda value: settings.tax_rate(_rate(value)), exact.rate_text),
    "money": Kind(_non_negative, money.text),
    "moment": Kind(_instant, instants.text),
    "name": Kind(_text(texts.MAX_TEXT_BYTES), _same),
    "key255": Kind(_text(255), _same),
    "metric": Kind(lambda value: texts.metric_key(as_text(value)), _same),
    "metrics": Kind(_metric_keys, list),
    "plan": Kind(lambda value: texts.plan_key(as_text(value)), _same),
    "seats": Kind(_integer(1, subscribe.MOST_SEATS), _same),
    "trial": Kind(_integer(0, plans.MOST_TRIAL_DAYS), _same),
    "effective": Kind(_effective, _same),
    "key": Kind(lambda value: texts.idempotency_key(as_text(value)), _same),
    "email": Kind(lambda value: texts.email(as_text(value)), _same),
    "password": Kind(_text(1024), _same),
    "token": Kind(_text(512), _same),
    "currency": Kind(_pattern(r"[A-Z]{3}", "an ISO 4217 code such as EUR"), _same),
    "zone": Kind(lambda value: settings.timezone(as_text(value)), _same),
    "days": Kind(_integer(0, 36_500), _same),
    "priority": Kind(_integer(0, 1000), _same),
    "hours": Kind(_integer(0, 168), _same),
    "minutes": Kind(_integer(1, settings.MOST_COOL_DOWN_MINUTES), _same),
    "grace": Kind(_integer(0, settings.MOST_GRACE_HOURS), _same),
    "unit": Kind(_text(64), _same),
    "property": Kind(_text(128), _same),
    "month": Kind(_pattern(MONTH_PATTERN, 'a month such as "2026-03"'), _same),
    "properties": Kind(_same, dict),
}
"""By the last word of the annotation. ``properties`` is read by a hook of its own, a fault at a time."""


def kind_of(annotation: Any) -> str | None:
    """The name of the kind that *annotation* is of, if it is one of ours."""
    metadata = getattr(annotation, "__metadata__", ())
    return metadata[-1] if metadata and isinstance(metadata[-1], str) else None
