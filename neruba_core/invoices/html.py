"""An invoice as one HTML page: printable, self-contained, without scripts.

Its only style sheet is inside it, so it looks the same from a file, in a mail and behind the strictest
content security policy: ``style_source()`` is what such a policy allows it by.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from neruba_core.errors import RenderingUnavailable
from neruba_core.invoices.page import InvoicePage

_TEMPLATES = Path(__file__).with_name("templates")


def html(page: InvoicePage) -> str:
    """The page as a document. Raises ``RenderingUnavailable`` where jinja2 is not installed."""
    template, safe = _template()
    # Our own style sheet is the one thing that is no text to be escaped.
    text: str = template.render(page=page, style=safe(_style()))
    return text


@cache
def style_source() -> str:
    """What a content security policy allows the page's style sheet by: ``'sha256-…'``."""
    digest = hashlib.sha256(_style().encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@cache
def _style() -> str:
    return _read("invoice.css")


@cache
def _template() -> tuple[Any, Callable[[str], str]]:
    try:
        import jinja2
        from markupsafe import Markup
    except ImportError:
        raise RenderingUnavailable("HTML", "jinja2", "server") from None
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.from_string(_read("invoice.html")), Markup


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")
