"""The digest of a run's inputs: equal digests mean equal lines.

It covers the slices with their quantities, counts, prices and draws, the policy, the tax rate, the ids of
charges and decisions, and what has changed of closed periods, less what was given back of it by hand. It
never covers the watermark or the wallet, which move without changing a line, nor what was looked at and found
unchanged: that depends on the watermark.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from neruba_core.billing.inputs import Inputs
from neruba_core.billing.late import Change
from neruba_core.billing.priced import SliceUsage
from neruba_core.idempotency.fingerprint import Json, canonical_of_ascii_names
from neruba_core.instants import Period, text
from neruba_core.pricing.exact import rate_text

VERSION = 1


def digest(
    inputs: Inputs, late: Iterable[Change], note_taxes: Mapping[str, int], *, ignore_unpriced: bool
) -> str:
    """The digest, as 64 hexadecimal digits. *note_taxes* are those of the periods whose notes give back less
    than has changed."""
    project = inputs.project
    document: dict[str, Json] = {
        "version": VERSION,
        "project": project.id,
        "currency": project.currency,
        "period": [inputs.period.name, *_span(inputs.period.span)],
        "part": inputs.part,
        "taxRate": rate_text(project.tax_rate),
        "lateUsage": project.late_usage_policy.value,
        "ignoreUnpriced": ignore_unpriced,
        "usage": [_slice(usage) for usage in inputs.usage],
        "charges": [charged.id for charged in inputs.charged],
        "decisions": [decision.id for decision in inputs.prices.decisions],
        "late": [_change(change) for change in late],
    }
    if inputs.last:
        document["last"] = True
    if note_taxes:
        document["noteTaxes"] = {period: str(micros) for period, micros in note_taxes.items()}
    return hashlib.sha256(canonical_of_ascii_names(document).encode()).hexdigest()


def _slice(usage: SliceUsage) -> list[Json]:
    price = usage.slice.price
    return [
        usage.metric.key,
        usage.metric.aggregation.value,
        usage.metric.free,
        *_span(usage.slice.span),
        # As text, for what a sum comes to may be beyond what a JSON number carries.
        str(usage.quantity_micros),
        usage.events,
        str(usage.drawn_micros),
        None if price is None else [price.project_id, price.id, price.version],
    ]


def _change(change: Change) -> list[Json]:
    return [
        change.late.period.name,
        change.metric_key,
        [_slice(each.usage) for each in change.slices],
        str(change.was_micros),
        str(change.was_drawn_micros),
        str(change.is_micros),
        str(change.is_drawn_micros),
        *([str(change.given_micros)] if change.given_micros else []),
    ]


def _span(span: Period) -> list[Json]:
    return [text(span.start), text(span.end)]
