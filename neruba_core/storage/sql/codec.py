"""How values are kept in columns that hold more than they show: instants, JSON, names of enum values.

Bulk statements go to the driver without passing SQLAlchemy's types, so the conversions are plain
functions, called by the row mappings on the way in and on the way out alike. JSON is compact UTF-8; keys
stay in the order in which they were given.

Nouns that belong to one row alone (a price's tariff, an invoice's lines) are kept in one column, as JSON made
by cattrs: attributes by name, instants as microseconds, decimals as text, enumerations by value, and the
terms of a tariff with the name of their model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, TypeVar

from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.strategies import configure_tagged_union

from neruba_core.instants import EPOCH, Instant, to_micros
from neruba_core.invoices.model import Line
from neruba_core.pricing.exact import rate_text
from neruba_core.pricing.model import MODELS, Tariff, Terms
from neruba_core.texts import Properties

E = TypeVar("E", bound=Enum)
N = TypeVar("N")

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


micros = to_micros
"""A moment as it is kept."""


def micros_or_none(moment: Instant | None) -> int | None:
    """``micros``, of a moment that may be missing."""
    return None if moment is None else micros(moment)


def instant(kept: int) -> Instant:
    """The inverse of ``micros``."""
    return EPOCH + timedelta(microseconds=kept)


def instant_or_none(kept: int | None) -> Instant | None:
    """The inverse of ``micros_or_none``."""
    return None if kept is None else EPOCH + timedelta(microseconds=kept)


def row_of(noun: object, columns: Iterable[str]) -> tuple[Any, ...]:
    """What *noun* is kept as in *columns* that are named as its attributes are."""
    return tuple(_kept(getattr(noun, column)) for column in columns)


def _kept(value: Any) -> Any:
    match value:
        case Enum():
            return value.value
        case datetime():
            return micros(value)
    return value


def dump_properties(properties: Properties | None) -> str | None:
    """Properties as JSON text; absent ones as NULL."""
    return None if properties is None else _ENCODER.encode(dict(properties))


def load_properties(kept: str | None) -> Properties | None:
    """The inverse of ``dump_properties``."""
    if kept is None:
        return None
    properties: dict[str, Any] = json.loads(kept)
    return properties


def dump(value: Any) -> str:
    """Any JSON value as text."""
    return _ENCODER.encode(value)


def dump_texts(texts: Sequence[str]) -> str:
    """Texts as a JSON array; mostly there are none."""
    return f"[{','.join(map(encode_basestring, texts))}]" if texts else "[]"


def load_texts(kept: str) -> tuple[str, ...]:
    """A tuple of texts, kept as a JSON array."""
    return tuple(json.loads(kept))


def dump_enums(values: Iterable[Enum]) -> str:
    """Enum values as a JSON array of what they are called."""
    return _ENCODER.encode([value.value for value in values])


def load_enums(kind: type[E], kept: str) -> tuple[E, ...]:
    """The inverse of ``dump_enums``."""
    return tuple(kind(value) for value in json.loads(kept))


def dump_counts(counts: dict[str, int]) -> str:
    """Numbers by name as a JSON object; they may exceed 64 bits."""
    return _ENCODER.encode(counts)


def load_counts(kept: str) -> dict[str, int]:
    """The inverse of ``dump_counts``."""
    counts: dict[str, int] = json.loads(kept)
    return counts


# --- nouns in one column ----------------------------------------------------------------------


def _as_it_is(value: Any, *_: Any) -> Any:
    return value


def _converter() -> Converter:
    made = Converter(detailed_validation=False)
    made.register_unstructure_hook(datetime, micros)
    made.register_structure_hook(datetime, lambda kept, _: instant(kept))
    made.register_unstructure_hook(Decimal, rate_text)
    made.register_structure_hook(Decimal, lambda kept, _: Decimal(kept))
    configure_tagged_union(Terms, made, tag_name="model", tag_generator=lambda kind: MODELS[kind].value)
    # They are plain JSON values already.
    workings = override(struct_hook=_as_it_is, unstruct_hook=_as_it_is)
    made.register_unstructure_hook(Line, make_dict_unstructure_fn(Line, made, workings=workings))
    made.register_structure_hook(
        Line, make_dict_structure_fn(Line, made, _cattrs_detailed_validation=False, workings=workings)
    )
    return made


_NOUNS = _converter()


def dump_tariff(tariff: Tariff) -> str:
    """A tariff as a JSON object."""
    return _ENCODER.encode(_NOUNS.unstructure(tariff))


@lru_cache(maxsize=4_096)
def load_tariff(kept: str) -> Tariff:
    """The inverse of ``dump_tariff``. Prepaid usage reads the same few again and again."""
    return _NOUNS.structure(json.loads(kept), Tariff)


def dump_nouns(nouns: Sequence[Any]) -> str:
    """Nouns of one kind as a JSON array."""
    return _ENCODER.encode(_NOUNS.unstructure(nouns)) if nouns else "[]"


def load_nouns(kind: type[N], kept: str) -> tuple[N, ...]:
    """The inverse of ``dump_nouns``."""
    return () if kept == "[]" else tuple(_NOUNS.structure(noun, kind) for noun in json.loads(kept))
