"""Invoices as HTML and PDF."""

from __future__ import annotations

import base64
import hashlib
import re
import sys

import attrs
import pytest

from neruba_core.errors import RenderingUnavailable
from neruba_core.invoices import html as html_module
from neruba_core.invoices.html import html, style_source
from neruba_core.invoices.page import invoice_page
from neruba_core.invoices.pdf import pdf, pictures
from tests.core.invoices.issued import a_draft, a_line, a_month, an_invoice

HOSTILE = '<script>alert("x")</script> #eval("1") $x$ \\ @ref *bold* _u_ [link] &amp; 東京 مرحبا'


def test_the_same_invoice_gives_the_same_bytes():
    """
    Each time, whatever the clock says.
    """
    page = invoice_page(a_month())

    assert html(page) == html(page)
    assert pdf(page) == pdf(page)


def test_the_page_says_what_the_invoice_says():
    """
    Every figure of the page stands in the document.
    """
    page = invoice_page(a_month())

    text = html(page)

    for line in page.lines:
        assert all(piece in text for piece in (line.description, line.amount, *line.steps))
    for fact in (*page.facts, *page.totals, *page.proof):
        assert fact.value in text
    assert page.due in text


def test_names_are_text_and_nothing_else():
    """
    What a customer calls itself is neither markup nor a program, in either format.
    """
    invoice = attrs.evolve(a_month(), project_name=HOSTILE, lines=(a_line(description=HOSTILE),))

    text = html(invoice_page(invoice))

    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert pdf(invoice_page(invoice)).startswith(b"%PDF-")


def test_the_page_needs_nothing_from_elsewhere():
    """
    One style sheet inside it, which a policy can allow by its hash; no scripts, no addresses.
    """
    text = html(invoice_page(a_month()))

    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert style_source() == f"'sha256-{digest}'"
    assert not re.search(r"<script|https?:|\bstyle=|\bon\w+=|url\(", text)


def test_a_draft_is_marked_across():
    """
    On paper and on the screen; an issued invoice is not.
    """
    draft, issued = invoice_page(a_draft(a_line())), invoice_page(a_month())

    assert 'class="watermark"' in html(draft)
    assert 'class="watermark"' not in html(issued)
    assert pictures(draft) != pictures(issued)


def test_an_invoice_about_nothing_is_a_page_too():
    """
    A period without usage, and one with more lines than a sheet holds.
    """
    empty = invoice_page(an_invoice())
    long = invoice_page(an_invoice(*(a_line(number) for number in range(1, 90))))

    assert "Nothing was used" in html(empty)
    assert len(pictures(empty)) == 1
    assert len(pictures(long)) > 2


def test_a_pdf_is_dated_by_its_invoice():
    """
    Not by the day on which somebody looked at it.
    """
    content = pdf(invoice_page(a_month()))

    assert b"CreateDate>2026-04-01T22:00:00+00:00<" in content


@pytest.mark.parametrize(("library", "render"), [("jinja2", html), ("typst", pdf)])
def test_without_its_library_a_format_says_what_to_install(monkeypatch, library, render):
    """
    The bare library keeps invoices without either.
    """
    monkeypatch.setitem(sys.modules, library, None)
    html_module._template.cache_clear()

    with pytest.raises(RenderingUnavailable, match="pip install"):
        render(invoice_page(a_month()))
