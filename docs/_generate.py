"""The parts of the reference that are written from the code when the pages are built.

A page holds a line ``<!-- generated: errors -->``; it is replaced by Markdown made here, so headings and
links work as if they had been typed. A code or a setting that explains nothing is a warning, and with
``-W`` the end of the build.
"""

from __future__ import annotations

import ast
import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from itertools import pairwise
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

log = logging.getLogger(__name__)

_MARKER = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)

STATUS_ADVICE = {
    400: "The request cannot be understood. Mend it; the key is still free.",
    401: "Nobody is signed in. Sign in again, or use a living access key.",
    402: "The wallet does not cover it. The answer is kept for its key: after a top-up, use a new key.",
    403: "Signed in, but not allowed. Ask for the role, or issue a key with the scope.",
    404: "Not there, or not yours to know of.",
    405: "The path is there, the method is not. `Allow` names those that are.",
    406: "There is no such format of it. `available` names those that there are.",
    409: "It contradicts what is recorded. Read the present state, then decide anew.",
    413: "Too large. Send it in parts.",
    415: "Not JSON. Send `Content-Type: application/json`.",
    417: "Drop the `Expect` header.",
    422: "Understood, but not acceptable. `errors` names each value at fault; the key is still free.",
    429: "Wait as long as `Retry-After` says.",
    500: "A defect of the server. Quote the request id to whoever runs it.",
    501: "Left out of this installation. The detail says what whoever runs it can install.",
    503: "Not now. Send the same request under the same key after `Retry-After`.",
}

# The roots of the tree, which are never given themselves.
ROOTS = ("neruba.error", "value.invalid")


class Slot(str):
    """A field's name in place of its value, so that a message can be shown as a pattern."""

    def __repr__(self) -> str:
        return str(self)


# --- error codes ------------------------------------------------------------------------------


def errors() -> Iterator[str]:
    """Every code by HTTP status: what it means, what it says, what it carries."""
    from neruba_server.problems import STATUS

    by_code = _classes_by_code()
    for code in sorted(set(by_code) - set(STATUS)):
        log.warning("error code %s has no HTTP status", code)
    for status in sorted(set(STATUS.values())):
        yield f"## {status} {HTTPStatus(status).phrase}\n\n{STATUS_ADVICE[status]}\n"
        for code in sorted(code for code, its in STATUS.items() if its == status):
            yield from _error(code, by_code.get(code, []))


def _error(code: str, classes: list[type]) -> Iterator[str]:
    if not classes:
        if code not in ROOTS:
            log.warning("error code %s is explained nowhere", code)
        return
    shown = classes[-1]
    in_core = shown.__module__ == "neruba_core.errors"
    yield f"### {code}\n\n{_prose(inspect.getdoc(shown) or '')}\n"
    yield f"> {_message(shown)}\n"
    names = list(inspect.signature(shown).parameters) if in_core else []
    fields = ", ".join(f"`{_camel(name)}`" for name in names)
    facts = [f"Fields: {fields}." if fields else ""]
    facts.append(f"Python: `{shown.__name__}`." if in_core else "HTTP only.")
    facts.append("Retryable." if any(hasattr(cls, "retry_after_seconds") for cls in classes) else "")
    yield f"{' '.join(fact for fact in facts if fact)}\n"


def _classes_by_code() -> dict[str, list[type]]:
    """The classes of each code; the last is the one to show."""
    import neruba_server.app  # noqa: F401, imports every module that declares one
    from neruba_core.errors import Invalid, NerubaError, StorageConflict

    found: dict[str, list[type]] = {}
    waiting = [NerubaError]
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        ours = cls.__module__ == "neruba_core.errors" or cls.__module__.startswith("neruba_server")
        if ours and cls not in (NerubaError, Invalid, StorageConflict) and not cls.__name__.startswith("_"):
            found.setdefault(cls.code, []).append(cls)
    for classes in found.values():
        # Of several, the one that declares the code; attrs' slots leave a class behind, so by name.
        classes.sort(key=lambda cls: ("code" in vars(cls), cls.__name__))
        # The one that is given, not the family it belongs to.
        classes.sort(key=lambda cls: not cls.__subclasses__() or len(classes) == 1)
    return found


def _message(cls: type) -> str:
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for name in inspect.signature(cls).parameters:
        slot = Slot(f"‹{_camel(name)}›")
        values[name] = (slot,) if typing.get_origin(hints.get(name)) is tuple else slot
    try:
        return str(cls(**values))
    except AttributeError:
        return "each fault, with its path"


# --- settings ---------------------------------------------------------------------------------


def settings() -> Iterator[str]:
    """Every setting: its variable, its default and what it is for, from the class and its docstrings."""
    from neruba_server import settings as module

    tree = ast.parse(inspect.getsource(module.Settings))
    body = typing.cast(ast.ClassDef, tree.body[0]).body
    yield "| variable | default | meaning |\n|---|---|---|"
    for statement, following in pairwise(body):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        name = statement.target.id
        doc = following.value if isinstance(following, ast.Expr) else None
        if not isinstance(doc, ast.Constant):
            log.warning("setting %s is explained nowhere", name)
            continue
        default = _default(getattr(module.Settings.__attrs_attrs__, name).default)
        yield f"| `{module.PREFIX}{name.upper()}` | {default} | {_prose(str(doc.value))} |"


def _default(value: Any) -> str:
    if value is None or value in ("", ()):
        return "—"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


# --- command line -----------------------------------------------------------------------------


def cli() -> Iterator[str]:
    """Every command as its ``--help`` describes it."""
    import click

    from neruba_server.cli import main

    def section(command: click.Command, path: str, parent: click.Context | None) -> Iterator[str]:
        context = click.Context(command, info_name=path.rsplit(" ", 1)[-1], parent=parent)
        usage = " ".join(piece for piece in command.collect_usage_pieces(context) if piece)
        yield f"## {path}\n\n```text\n{path} {usage}\n```\n"
        yield _help(command.help or "") + "\n"
        examples = re.findall(r"^\$ (.*)$", command.epilog or "", re.MULTILINE)
        records = [parameter.get_help_record(context) for parameter in command.params]
        rows = [record for record in records if record and record[1]]
        if rows:
            yield "| option | |\n|---|---|"
            for option, meaning in rows:
                yield f"| `{option.replace('|', chr(92) + '|')}` | {_cell(meaning)} |"
            yield ""
        if examples:
            yield "```text\n" + "\n".join(f"$ {example}" for example in examples) + "\n```\n"
        for name in command.list_commands(context) if isinstance(command, click.Group) else ():
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                yield from section(inner, f"{path} {name}", context)

    yield from section(main, "neruba", None)


def _help(text: str) -> str:
    """A command's help: its paragraphs, and its ``\\b`` blocks as they are laid out."""
    out = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text).replace("\f", "")):
        if paragraph.lstrip().startswith("\b"):
            laid_out = inspect.cleandoc(paragraph.replace("\b", "", 1).strip("\n"))
            out.append(f"```text\n{laid_out}\n```")
        else:
            out.append(_prose(paragraph))
    return "\n\n".join(out)


# --- routes -----------------------------------------------------------------------------------

_VERBS = ("get", "post", "patch", "put", "delete")


def api() -> Iterator[str]:
    """Every route of the OpenAPI document: who may use it, what goes in, what comes out."""
    from neruba_server import openapi

    document = openapi.document()
    by_tag: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, verbs in document["paths"].items():
        for verb in _VERBS:
            if verb in verbs:
                tag = (verbs[verb].get("tags") or ["Other"])[0]
                by_tag.setdefault(tag, []).append((verb.upper(), path, verbs[verb]))
    for tag, routes in by_tag.items():
        yield f"## {tag}\n"
        for verb, path, route in routes:
            yield from _route(document, verb, path, route)


def _route(document: Mapping[str, Any], verb: str, path: str, route: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {verb} {path}\n"
    for text in dict.fromkeys((route.get("summary"), route.get("description"))):
        if text:
            yield f"{_sentence(_prose(text))}\n"
    parameters = [_resolved(document, parameter) for parameter in route.get("parameters", ())]
    # The path shows its own, and the request id is said once, at the head of the page.
    told = [one for one in parameters if one["in"] != "path" and one["name"] != "X-Request-Id"]
    if told:
        yield "| parameter | type | |\n|---|---|---|"
        for parameter in told:
            notes = ["**required**"] if parameter.get("required") else []
            notes += [parameter["in"]] if parameter["in"] == "header" else []
            notes += [_cell(parameter["description"])] if parameter.get("description") else []
            name = f"{'?' if parameter['in'] == 'query' else ''}{parameter['name']}"
            yield f"| `{name}` | {_kind(document, parameter.get('schema', {}))} | {'; '.join(notes)} |"
        yield ""
    body = _resolved(document, route.get("requestBody", {}))
    for content_type, media in body.get("content", {}).items():
        yield f"Request, `{content_type}`:\n"
        yield from _fields(document, media.get("schema", {}), asked=True)
    yield from _answers(document, route)


# What any route may refuse is said once, at the head of the page.
ANYWHERE = re.compile(
    r"body\.|request\.|server\.|storage\.|auth\.credentials|auth\.session|access\.key_refused|idempotency\.key_(missing|invalid)"
)


def _answers(document: Mapping[str, Any], route: Mapping[str, Any]) -> Iterator[str]:
    refusals = []
    shown: set[str] = set()
    for status, answer in sorted(route["responses"].items()):
        answer = _resolved(document, answer)
        if not status.startswith(("2", "3")):
            codes = re.findall(r"`([a-z]+\.[a-z_]+)`", answer.get("description", ""))
            links = [f"[`{code}`](errors.md#{_anchor(code)})" for code in codes if not ANYWHERE.match(code)]
            refusals += [f"{status} {', '.join(links)}"] if links else []
            continue
        media = next(iter(answer.get("content", {}).values()), {})
        schema = media.get("schema", {})
        same = str(schema.get("$ref", schema)) in shown
        shown.add(str(schema.get("$ref", schema)))
        about = _prose(answer.get("description", ""))
        yield f"Answer **{status}**: {about}{' The fields are the same.' if same else ''}\n"
        if not same:
            yield from _fields(document, schema)
    if refusals:
        yield f"Refusals: {'; '.join(refusals)}.\n"


def _anchor(heading: str) -> str:
    """The anchor that MyST gives a heading."""
    return re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))


def _sentence(text: str) -> str:
    return text if text.endswith((".", ":")) else f"{text}."


def _fields(document: Mapping[str, Any], schema: Mapping[str, Any], *, asked: bool = False) -> Iterator[str]:
    """A table of an object's fields; of what is *asked* for, with those that may not be left out."""
    schema = _resolved(document, schema)
    if not schema.get("properties"):
        about = schema.get("description") or _kind(document, schema)
        if about:
            yield f"{_prose(about)}\n"
        return
    rows = list(_rows(document, schema, "", asked))
    if any(notes for *_, notes in rows):
        yield "| field | type | |\n|---|---|---|"
        yield from (f"| `{name}` | {kind} | {'; '.join(notes)} |" for name, kind, notes in rows)
    else:
        yield "| field | type |\n|---|---|"
        yield from (f"| `{name}` | {kind} |" for name, kind, _ in rows)
    yield ""


def _rows(
    document: Mapping[str, Any], schema: Mapping[str, Any], prefix: str, asked: bool
) -> Iterator[tuple[str, str, list[str]]]:
    required = set(schema.get("required", ()))
    for name, inner in schema.get("properties", {}).items():
        target, many = _target(document, inner)
        notes = ["**required**"] if asked and name in required else []
        if inner.get("default") is not None:
            notes.append(f"default `{inner['default']}`")
        description = _resolved(document, inner).get("description") if "$ref" not in inner else ""
        if description:
            notes.append(_cell(description))
        yield f"{prefix}{name}", _kind(document, inner), notes
        if prefix.count(".") < 2 and target.get("properties"):
            yield from _rows(document, target, f"{prefix}{name}{'[]' if many else ''}.", asked)


def _target(document: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """The object behind a field, and whether there are many of it."""
    schema = _resolved(document, schema)
    if schema.get("type") == "array":
        return _target(document, schema.get("items", {}))[0], True
    for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        found = _resolved(document, option)
        if found.get("properties"):
            return found, False
    return schema, False


def _kind(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    name = str(schema.get("$ref", "")).rsplit("/", 1)[-1]
    resolved = _resolved(document, schema)
    options = [*resolved.get("anyOf", ()), *resolved.get("oneOf", ())]
    if options:
        return " or ".join(dict.fromkeys(_kind(document, option) for option in options))
    if "enum" in resolved:
        return " · ".join(f"`{value}`" for value in resolved["enum"])
    if "const" in resolved:
        return f"`{resolved['const']}`"
    kind = resolved.get("type", "")
    if isinstance(kind, list):
        return " or ".join(kind)
    if kind == "array":
        return f"list of {_kind(document, resolved.get('items', {}))}"
    if kind == "object" and name:
        return "object"
    return f"{kind} ({resolved['format']})" if "format" in resolved else str(kind)


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        target: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = {**target, **{name: value for name, value in schema.items() if name != "$ref"}}
    return schema


# --- shared -----------------------------------------------------------------------------------


def _prose(text: str) -> str:
    """A docstring as Markdown: its reStructuredText literals in single backticks."""
    return re.sub(r"\s+", " ", text.replace("``", "`")).strip()


def _cell(text: str) -> str:
    return _prose(text).replace("|", "\\|").replace("<", "&lt;")


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


WRITERS: dict[str, Callable[[], Iterator[str]]] = {
    "errors": errors,
    "settings": settings,
    "cli": cli,
    "api": api,
}


def _fill_in(app: Sphinx, name: str, source: list[str]) -> None:
    def written(match: re.Match[str]) -> str:
        try:
            return "\n".join(WRITERS[match[1]]())
        except ImportError as error:
            log.warning("%s cannot be generated: %s", match[1], error)
            return ""

    source[0] = _MARKER.sub(written, source[0])


def _always(app: Sphinx, *_: object) -> list[str]:
    """What is written from code is as old as the code, which Sphinx does not see."""
    return [name for name in app.env.found_docs if name.startswith("reference/")]


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", _fill_in)
    app.connect("env-get-outdated", _always)
    return {"parallel_read_safe": True}
