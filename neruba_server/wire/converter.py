"""Reading and writing wire classes: strict, exact, and with every fault named by its path.

cattrs is lax by default; here nothing is coerced, unknown members are refused, and what our own checks
raise keeps its code and message on the way out.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import attrs
from attrs import define
from cattrs import BaseValidationError, Converter
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from msgspec import UNSET, UnsetType

from neruba_core import texts
from neruba_core.choices import choice
from neruba_core.errors import NerubaError, PropertyInvalid
from neruba_server.problems import BodyInvalid, Fault
from neruba_server.wire.kinds import KINDS, as_text, boolean, kind_of, wrong_type

T = TypeVar("T")

_WORD = re.compile(r"(?=[A-Z])")


def camel(name: str) -> str:
    """``unit_name`` → ``unitName``."""
    head, *rest = name.rstrip("_").split("_")
    return head + "".join(part.title() for part in rest)


def read(cls: type[T], value: Any) -> T:
    """Structure *value* as *cls*, or raise ``BodyInvalid`` with every fault of it."""
    shape: Any = cls
    try:
        structured: T = _reader(shape)(value, shape)
    except (BaseValidationError, NerubaError) as error:
        raise BodyInvalid(tuple(_faults(error, ""))) from None
    return structured


def written(value: Any) -> Any:
    """*value*, an instance of a wire class, as plain JSON values under their wire names."""
    return _converter.unstructure(value)


def canonical(value: Any) -> dict[str, Any]:
    """The members of a request that were given, in canonical form, for its fingerprint."""
    given: dict[str, Any] = _present(_converter.unstructure(value))
    return given


def _present(value: Any) -> Any:
    """*value* without members that are null or were left out, at every level."""
    if isinstance(value, dict):
        return {
            name: _present(member)
            for name, member in value.items()
            if member is not None and member is not UNSET
        }
    return [_present(item) for item in value] if isinstance(value, list | tuple) else value


@define
class _ManyFaults(NerubaError):
    """Several faults of one value that is read by a single hook."""

    faults: tuple[Fault, ...]


@cache
def _reader(annotation: Any) -> Any:
    """How a value of this type is read. Our own choice for every type: what cattrs would do with a type
    that it knows (and it knows ``bool`` and every enum of strings) is too kind."""
    if kind_of(annotation) is not None:
        return _structure_kind(annotation)
    if _is_optional(annotation):
        return _structure_optional(annotation)
    if get_origin(annotation) is Annotated:
        return _reader(get_args(annotation)[0])
    if get_origin(annotation) is tuple:
        return _structure_tuple(annotation)
    if get_origin(annotation) is dict:
        return _structure_mapping(annotation)
    if annotation is bool:
        return lambda value, _: boolean(value)
    if annotation is str:
        return lambda value, _: as_text(value)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _structure_enum(annotation)
    assert attrs.has(annotation), f"nothing says how to read {annotation}"
    return _structure_class(annotation)


def _structure_class(cls: type[Any]) -> Any:
    hooks: dict[str, Any] = {
        field.name: override(rename=camel(field.name), struct_hook=_reader(field.type))
        for field in attrs.fields(attrs.resolve_types(cls, include_extras=True))
    }
    structure = make_dict_structure_fn(
        cls, _converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True, **hooks
    )

    def strict(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise wrong_type("an object", value)
        return structure(value, cls)

    return strict


def _unstructure_class(cls: type[Any]) -> Any:
    return make_dict_unstructure_fn(cls, _converter, **_renamed(cls))


def _renamed(cls: type[Any]) -> dict[str, Any]:
    fields = attrs.fields(attrs.resolve_types(cls))
    return {field.name: override(rename=camel(field.name)) for field in fields}


def _structure_kind(annotation: Any) -> Any:
    reader = KINDS[str(kind_of(annotation))].read
    if kind_of(annotation) == "properties":
        return lambda value, _: _properties(value)
    return lambda value, _: reader(value)


def _unstructure_kind(annotation: Any) -> Any:
    return KINDS[str(kind_of(annotation))].write


def _structure_optional(annotation: Any) -> Any:
    """A union of one type with null, with "left out", or with both."""
    arms = get_args(annotation)
    (inner,) = [arm for arm in arms if arm not in (type(None), UnsetType)]
    nullable = type(None) in arms
    hook = _reader(inner)

    def read_optional(value: Any, _: Any) -> Any:
        if value is None and nullable:
            return None
        return hook(value, inner)

    return read_optional


def _unstructure_optional(annotation: Any) -> Any:
    (inner,) = [arm for arm in get_args(annotation) if arm not in (type(None), UnsetType)]
    hook = _converter.get_unstructure_hook(inner)
    return lambda value: value if value is None or value is UNSET else hook(value)


def _is_optional(annotation: Any) -> bool:
    arms = get_args(annotation) if _is_union(annotation) else ()
    return sum(arm not in (type(None), UnsetType) for arm in arms) == 1


def _is_union(annotation: Any) -> bool:
    origin = get_origin(annotation)
    return origin is Union or getattr(origin, "__name__", "") == "UnionType"


def _structure_tuple(annotation: Any) -> Any:
    (inner, _) = get_args(annotation)
    hook = _reader(inner)

    def read_all(value: Any, _: Any) -> tuple[Any, ...]:
        if type(value) is not list:
            raise wrong_type("an array", value)
        items, faults = [], []
        for index, item in enumerate(value):
            try:
                items.append(hook(item, inner))
            except (BaseValidationError, NerubaError) as error:
                faults += _faults(error, f"/{index}")
        if faults:
            raise _ManyFaults(tuple(faults))
        return tuple(items)

    return read_all


def _structure_mapping(annotation: Any) -> Any:
    (_, inner) = get_args(annotation)
    hook = _reader(inner)

    def read_members(value: Any, _: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise wrong_type("an object", value)
        members, faults = {}, []
        for name, member in value.items():
            try:
                members[name] = hook(member, inner)
            except (BaseValidationError, NerubaError) as error:
                faults += _faults(error, f"/{_pointer(name)}")
        if faults:
            raise _ManyFaults(tuple(faults))
        return members

    return read_members


def _structure_enum(annotation: type[Enum]) -> Any:
    noun = f"a known{_WORD.sub(' ', annotation.__name__)}".lower()
    return lambda value, _: choice(annotation, as_text(value), noun)


def _properties(value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise wrong_type("an object", value)
    try:
        texts.properties(value)
    except PropertyInvalid as first:
        faults = []
        for name, member in value.items():
            try:
                texts.properties({name: member})
            except PropertyInvalid as error:
                faults.append(Fault(f"/{_pointer(name)}", error.code, error.reason))
        raise _ManyFaults(tuple(faults) or (Fault("", first.code, str(first)),)) from None
    return value


def _faults(error: BaseException, path: str) -> list[Fault]:
    """The faults that *error* stands for, each with its JSON pointer."""
    if isinstance(error, _ManyFaults):
        return [fault.under(path) for fault in error.faults]
    if isinstance(error, NerubaError):
        return [Fault(path, error.code, str(error))]
    if isinstance(error, ForbiddenExtraKeysError):
        return [
            Fault(f"{path}/{_pointer(name)}", "field.unknown", "there is no such field")
            for name in sorted(error.extra_fields)
        ]
    if isinstance(error, KeyError) and error.args:
        return [Fault(path, "field.missing", "this field is required")]
    if isinstance(error, BaseValidationError):
        found: list[Fault] = []
        for inner in error.exceptions:
            found += _faults(inner, path + _step(inner, isinstance(error, ClassValidationError)))
        return found
    raise error


def _step(error: BaseException, in_class: bool) -> str:
    for note in getattr(error, "__notes__", ()):
        if in_class and isinstance(note, AttributeValidationNote):
            return f"/{camel(note.name)}"
        if not in_class and isinstance(note, IterableValidationNote):
            return f"/{note.index}"
    return ""


def _pointer(name: str) -> str:
    """A member's name as a step of a JSON pointer (RFC 6901), short enough to quote."""
    return name[:80].replace("~", "~0").replace("/", "~1")


def _make() -> Converter:
    converter = Converter(detailed_validation=True, forbid_extra_keys=True)
    converter.register_unstructure_hook_factory(attrs.has, _unstructure_class)
    converter.register_unstructure_hook_factory(_is_optional, _unstructure_optional)
    converter.register_unstructure_hook_factory(_is_kind, _unstructure_kind)
    return converter


def _is_kind(annotation: Any) -> bool:
    return kind_of(annotation) is not None


_converter = _make()
