"""The canonical export: what a project consists of, as text that is equal where the state is equal.

One JSON object a line, ``{"table": …, "row": …}``, sorted by table and key, the names in a row sorted too;
instants as text, money as whole micro-units, rates as decimal text, bytes as hexadecimal digits, enumerations
by value, what is absent as ``null``; a tariff says its model too. No adapter has a say in it, so two
databases that hold the same give the same bytes.

Left out is what tells nothing about a project's state: when a key was last used (telemetry that is written
late), watermarks of usage, which mean something in their own database only, and accounts at zero, which some
adapters keep and others do not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import cache
from operator import attrgetter
from typing import Any, Protocol

import attrs

from neruba_core import instants
from neruba_core.pricing.exact import rate_text
from neruba_core.pricing.model import Tariff

KEYS: Mapping[str, Callable[[Any], Any]] = {
    "projects": attrgetter("id"),
    "members": attrgetter("user_id"),
    "invitations": attrgetter("id"),
    "access_keys": attrgetter("id"),
    "metrics": attrgetter("key"),
    "usage_events": attrgetter("id"),
    "usage_voids": attrgetter("usage_id"),
    "quarantined": attrgetter("id"),
    "late_holds": attrgetter("usage_id", "kind"),
    "heads": attrgetter("project_id"),
    "accounts": attrgetter("name"),
    "transactions": attrgetter("version"),
    "grants": attrgetter("id"),
    "holds": attrgetter("id"),
    "prices": attrgetter("id"),
    "meters": attrgetter("metric_key", "start"),
    "decisions": attrgetter("number"),
    "invoices": attrgetter("id"),
    "pdfs": attrgetter("invoice_id"),
    "periods": attrgetter("name"),
    "runs": attrgetter("id"),
    "payment_methods": attrgetter("project_id"),
    "payments": attrgetter("id"),
    "refunds": attrgetter("id"),
    "allocations": attrgetter("transaction_id", "invoice_id", "subject_id"),
    "collections": attrgetter("invoice_id"),
    "disputes": attrgetter("id"),
    "corrections": attrgetter("id"),
    "webhook_endpoints": attrgetter("id"),
    "messages": attrgetter("id"),
    "deliveries": attrgetter("id"),
    "answers": attrgetter("operation", "idempotency_key"),
    "changes": attrgetter("id"),
}
"""The tables of an export, and the key of each within a project."""

_AS_THEY_ARE = {str, int, bool}

_LEFT_OUT = {("access_keys", "last_used_at"), ("invoices", "cutoff"), ("runs", "cutoff")}


class Exports(Protocol):
    """A unit of work, as far as it matters here."""

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]: ...


def export(work: Exports, project_id: str) -> Iterator[str]:
    """The lines of the project's canonical export, without line ends. Holds all of them in memory."""
    tables: dict[str, list[Any]] = {table: [] for table in KEYS}
    for table, row in work.export(project_id):
        if table != "accounts" or row.balance_micros:
            tables[table].append(row)
    for table in sorted(tables):
        for row in sorted(tables[table], key=KEYS[table]):
            yield _line(table, row)


def _line(table: str, row: Any) -> str:
    fields = _plain(row)
    kept = {name: value for name, value in fields.items() if (table, name) not in _LEFT_OUT}
    return json.dumps(
        {"table": table, "row": kept}, ensure_ascii=False, sort_keys=True, separators=(",", ":")
    )


def _plain(value: Any) -> Any:
    """*value* as JSON can say it."""
    if value is None or type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return rate_text(value)
    if isinstance(value, datetime):
        return instants.text(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    kind: Any = type(value)
    if attrs.has(kind):
        fields = {name: _plain(getattr(value, name)) for name in _names(kind)}
        # Two models have the same parameters.
        return fields | {"model": value.model.value} if isinstance(value, Tariff) else fields
    return value


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(attrs.fields_dict(kind))
