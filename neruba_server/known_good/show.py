"""Steps as a person reads them: a curl that can be copied, its answer, and what it shows.

In colour on a terminal and plain when piped, and never wrapped, so that what is copied is what was sent.
"""

from __future__ import annotations

import re
import shlex

from rich.console import Console
from rich.text import Text

from neruba_server.known_good.answers import Answer
from neruba_server.known_good.layout import pretty
from neruba_server.known_good.sequence import OUTCOME, REPLAYED, REQUEST_ID
from neruba_server.known_good.walk import Request, Verdict, Walked

_TELLING = (REQUEST_ID, OUTCOME, REPLAYED, "Retry-After", "Location", "WWW-Authenticate")
# What double quotes in a shell leave alone.
_PLAIN = re.compile(r'[^"$`\\!]*')
_TOKENS = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*")(?=:)|(?P<string>"(?:[^"\\]|\\.)*")|(?P<other>true|false|null|-?\d[\d.]*)'
)
_MOST_TEXT = 4000
_STYLES = {"key": "cyan", "string": "green", "other": "yellow"}


def curl(request: Request) -> str:
    """*request* as a command for a shell."""
    words = ["curl"]
    if request.method != "GET":
        words += ["-X", request.method]
    lines = [" ".join([*words, _quoted(request.url)])]
    lines += [f"-H {_double_quoted(f'{name}: {value}')}" for name, value in request.headers.items()]
    if request.body is not None:
        lines.append(f"-d {shlex.quote(request.body)}")
    return " \\\n  ".join(lines)


def _quoted(url: str) -> str:
    return shlex.quote(url)


def _double_quoted(text: str) -> str:
    return f'"{text}"' if _PLAIN.fullmatch(text) else shlex.quote(text)


class Page:
    """Where steps are printed."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, markup=False)
        encoding = self._console.encoding or "ascii"
        self._tick, self._cross = ("✓", "✗") if _can_write("✓✗−", encoding) else ("ok", "NOT")
        self._number = 0

    def line(self, text: str | Text = "", style: str = "") -> None:
        """Print a line that is never wrapped."""
        self._console.print(Text(text, style) if isinstance(text, str) else text, soft_wrap=True)

    def mark(self, verdict: Verdict) -> tuple[str, str]:
        """The sign for whether a check held, and its style."""
        return (self._tick, "green") if verdict.held else (self._cross, "bold red")

    def step(self, walked: Walked) -> None:
        """Print a step with its request, its answer and what it shows."""
        self._number += 1
        self.line()
        self.line(Text.assemble((f"{self._number:>2}  ", "dim"), (walked.step.title, "bold")))
        self.line(f"    {walked.step.why}", "dim")
        self.line()
        if walked.request is not None:
            self._curl(walked.request)
        if walked.answer is not None:
            self._answer(walked.answer)
        for verdict in walked.verdicts:
            self.verdict(verdict)

    def verdict(self, verdict: Verdict) -> None:
        """Print whether a check held, and if not, what was found instead."""
        mark, style = self.mark(verdict)
        line = Text.assemble((f"    {mark} ", style), verdict.claim)
        if not verdict.held:
            line.append(f": {difference(verdict)}", "red")
        self.line(line)

    def _curl(self, request: Request) -> None:
        first, *rest = curl(request).split("\n")
        self.line(Text.assemble(("$ ", "dim"), (first, "bold")))
        for line in rest:
            self.line(line)
        self.line()

    def _answer(self, answer: Answer) -> None:
        style = "green" if answer.status < 400 else "yellow"
        self.line(f"HTTP/1.1 {answer.status} {answer.reason}", style)
        for name in _TELLING:
            value = answer.header(name)
            if value is not None:
                self.line(Text.assemble((f"{name}: ", "cyan"), value))
        if answer.json is not None:
            self.line(coloured(pretty(answer.json)))
        elif answer.content:
            self.line(answer.content[:_MOST_TEXT].decode("utf-8", "replace").rstrip())


def difference(verdict: Verdict) -> str:
    """What was expected and what was found, in a line."""
    if verdict.expected is None and verdict.found is None:
        return "the answer does not say"
    return f"expected {_short(verdict.expected)}, found {_short(verdict.found)}"


def coloured(text: str) -> Text:
    """JSON with its keys, strings and other values told apart."""
    shown = Text(text)
    for match in _TOKENS.finditer(text):
        shown.stylize(_STYLES[str(match.lastgroup)], *match.span())
    return shown


def _short(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= 160 else f"{text[:160]}…"


def _can_write(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
