"""An invoice as a PDF, typeset by typst from the same page as its HTML.

The bytes follow from the page alone: the fonts come with typst, and the document is dated by the invoice.
Only a letter that those fonts lack is taken from a font of the machine. Another release of typst may set
other bytes, which is why those of a finalized invoice are kept.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import attrs

from neruba_core import instants
from neruba_core.errors import RenderingUnavailable
from neruba_core.invoices.page import InvoicePage

_TEMPLATES = Path(__file__).with_name("templates")


def pdf(page: InvoicePage) -> bytes:
    """The page as a document. Raises ``RenderingUnavailable`` where typst is not installed."""
    document: bytes = _typst().compile(_template(), format="pdf", **_given(page))
    return document


def pictures(page: InvoicePage, *, dots_per_inch: int = 120) -> list[bytes]:
    """The same document as PNG, a picture a sheet. Raises as ``pdf`` does."""
    made = _typst().compile(_template(), format="png", ppi=dots_per_inch, **_given(page))
    return made if isinstance(made, list) else [made]


def _given(page: InvoicePage) -> dict[str, Any]:
    shown = attrs.asdict(page, filter=lambda field, _: field.name != "issued_at")
    dated = instants.to_micros(page.issued_at) // 1_000_000
    return {"timestamp": dated, "sys_inputs": {"page": json.dumps(shown)}}


def _typst() -> Any:
    try:
        import typst
    except ImportError:
        raise RenderingUnavailable("PDF", "typst", "pdf") from None
    return typst


@cache
def _template() -> bytes:
    return (_TEMPLATES / "invoice.typ").read_bytes()
