"""Every block of the pages, run.

============  ==================================================================================
``python``    run; the blocks of a page share their names, and what they print is kept
``sh``        run by bash in a directory of the page's own; variables last from block to block,
              and ``neruba serve`` goes on in the background until the page ends
``sql``       run on a private PostgreSQL
``output``    must be what the block above printed
``json``      must be the JSON that the block above printed
``http``      must be the status line, some of the headers and the body that the block above printed
============  ==================================================================================

``…`` in an expectation stands for whatever differs from run to run. In ``json`` and ``http``, a name
that the page leaves out is not looked at; a list has to be complete. Blocks of the kinds ``text``,
``toml``, ``ini`` and ``nginx`` are only shown; any other kind is a mistake.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sybil import Document, Example, Region, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser
from sybil.region import Lexeme

SHOWN_ONLY = {"text", "toml", "ini", "nginx"}
# What the pages say; the server under the pages takes a free port instead.
WRITTEN = "127.0.0.1:8080"
WRITTEN_DATABASE = "db.example.com"
READY_SECONDS = 20


class Page:
    """What the blocks of one page share: the last output, a directory, shell variables, a server."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.said = ""
        self.servers: list[subprocess.Popen[bytes]] = []
        self.port = _free_port()
        self.state = directory / ".shell"
        self.database_host = WRITTEN_DATABASE

    def shell(self, source: str) -> None:
        """Run *source* as a person would type it, and stop at the first command that fails."""
        before, server = _serving(source)
        script = (
            f'[ -f "{self.state}" ] && . "{self.state}"\nset -a -e -o pipefail\n'
            f'{self.here(before)}\ndeclare -f > "{self.state}"\nexport -p >> "{self.state}"\n'
        )
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.directory,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.said = self._written(done.stdout)
        if done.returncode:
            raise AssertionError(f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
        if server:
            self.serve(server)

    def serve(self, command: str) -> None:
        """Start a server as *command* says, on a free port, and wait until it is ready."""
        with (self.directory / "serve.log").open("wb") as log:
            server = subprocess.Popen(
                ["bash", "-c", f'[ -f "{self.state}" ] && . "{self.state}"\nexec {self.here(command)}'],
                cwd=self.directory,
                env=self._environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.servers.append(server)
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and server.poll() is None:
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2).close()
                return
            time.sleep(0.05)
        raise AssertionError(f"not ready: {command}\n{(self.directory / 'serve.log').read_text()}")

    def stop(self) -> None:
        """End the servers of this page."""
        for server in self.servers:
            server.send_signal(signal.SIGTERM)
        for server in self.servers:
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()

    def _environment(self) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("NERUBA_")}
        here = str(Path(sys.executable).parent)
        return {
            **plain,
            "PATH": f"{here}{os.pathsep}{os.environ['PATH']}",
            "NERUBA_PORT": str(self.port),
            "NO_COLOR": "1",
            "COLUMNS": "100",
            "no_proxy": "127.0.0.1",
            "PYTHONWARNINGS": "",
        }

    def here(self, source: str) -> str:
        """*source* with the addresses that the pages write replaced by those at hand."""
        return source.replace(WRITTEN, f"127.0.0.1:{self.port}").replace(WRITTEN_DATABASE, self.database_host)

    def _written(self, output: str) -> str:
        return output.replace(f"127.0.0.1:{self.port}", WRITTEN).replace(self.database_host, WRITTEN_DATABASE)


def run_sh(example: Example) -> None:
    if shutil.which("bash") is None or shutil.which("curl") is None:
        pytest.skip("the shell blocks need bash and curl")
    example.namespace["page"].shell(example.parsed)


def run_sql(example: Example) -> None:
    page: Page = example.namespace["page"]
    server = example.namespace["postgresql"]()
    page.database_host = server.address
    import psycopg

    database = re.match(r"-- in the database (\w+)\n", example.parsed)
    url = f"postgresql://postgres@{server.address}/{database[1] if database else 'postgres'}"
    with psycopg.connect(url, autocommit=True) as connection:
        page.said = ""
        for statement in str(example.parsed).split(";\n"):
            if statement.strip():
                cursor = connection.execute(statement)
                if cursor.description:
                    page.said += "\n".join("|".join(map(str, row)) for row in cursor) + "\n"


def check_output(example: Example) -> None:
    said = example.namespace["page"].said.rstrip()
    expected = str(example.parsed).rstrip()
    if not _matches(expected, said):
        raise AssertionError(f"expected:\n{expected}\n\nsaid:\n{said}")


def check_json(example: Example) -> None:
    _same(json.loads(example.parsed), json.loads(example.namespace["page"].said), "$")


def check_http(example: Example) -> None:
    head, _, body = str(example.parsed).strip().partition("\n\n")
    said_head, _, said_body = example.namespace["page"].said.replace("\r\n", "\n").partition("\n\n")
    said_lines = said_head.splitlines()
    for line in head.splitlines():
        if not any(_matches(line.lower(), said.lower()) for said in said_lines):
            raise AssertionError(f"no {line!r} in:\n{said_head}\n\n{said_body}")
    if body:
        _same(json.loads(body), json.loads(said_body), "$")


def refuse(example: Example) -> None:
    raise AssertionError(f"a block of a kind that nobody runs: {example.parsed!r}")


def _matches(expected: str, said: str) -> bool:
    pattern = ".*?".join(re.escape(part) for part in expected.split("…"))
    return re.fullmatch(pattern, said, re.DOTALL) is not None


def _same(expected: Any, said: Any, path: str) -> None:
    if isinstance(expected, dict) and isinstance(said, dict):
        for name, value in expected.items():
            assert name in said, f"{path} has no {name!r}: {said}"
            _same(value, said[name], f"{path}.{name}")
    elif isinstance(expected, list) and isinstance(said, list):
        assert len(expected) == len(said), f"{path} has {len(said)} items, not {len(expected)}: {said}"
        for index, (one, other) in enumerate(zip(expected, said, strict=True)):
            _same(one, other, f"{path}[{index}]")
    elif isinstance(expected, str) and isinstance(said, str):
        assert _matches(expected, said), f"{path} is {said!r}, not {expected!r}"
    else:
        assert expected == said, f"{path} is {said!r}, not {expected!r}"


class Capturing:
    """Python blocks whose output is kept for the block that follows."""

    def __call__(self, document: Document) -> Iterable[Region]:
        for region in PythonCodeBlockParser()(document):
            region.evaluator = self._capturing(region.evaluator)
            yield region

    @staticmethod
    def _capturing(evaluate: Any) -> Callable[[Example], str | None]:
        def run(example: Example) -> str | None:
            said = io.StringIO()
            typed = example.parsed
            here = example.namespace["page"].here(str(typed))
            example.parsed = Lexeme(here, typed.offset, typed.line_offset)
            try:
                with contextlib.redirect_stdout(said):
                    result: str | None = evaluate(example)
            finally:
                example.namespace["page"].said = said.getvalue()
            return result

        return run


class UnknownKinds:
    """Blocks that nobody runs and nobody said not to run."""

    _FENCE = re.compile(r"^(?P<fence>```+)(?P<kind>[^\n`]*)\n.*?^(?P=fence)[ ]*$", re.MULTILINE | re.DOTALL)
    _KNOWN = frozenset({"python", "sh", "sql", "output", "json", "http", *SHOWN_ONLY})

    def __call__(self, document: Document) -> Iterable[Region]:
        for match in self._FENCE.finditer(document.text):
            kind = match["kind"].strip()
            if kind in self._KNOWN or kind.startswith("{"):
                continue
            yield Region(match.start(), match.end(), kind, refuse)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The shared state of one page; its Python blocks run in the page's directory, too."""
    made = Page(tmp_path_factory.mktemp("page"))
    before = Path.cwd()
    os.chdir(made.directory)
    yield made
    os.chdir(before)
    made.stop()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Callable[[], Any]]:
    """Gives a private PostgreSQL, started when a page first asks."""
    with contextlib.ExitStack() as stack:
        servers: list[Any] = []

        def server() -> Any:
            if not servers:
                from neruba_core.testing.postgres import PostgresServer

                servers.append(stack.enter_context(PostgresServer()))
                servers[0].address = f"127.0.0.1:{servers[0].port}"
            return servers[0]

        yield server


def _serving(source: str) -> tuple[str, str | None]:
    """What comes before a ``neruba serve`` at the end of *source*, and that command."""
    *before, last = source.strip().splitlines()
    if not last.startswith("neruba serve"):
        return source, None
    return "\n".join(before), last.removesuffix("&").strip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _dedented(language: str, evaluator: Callable[[Example], None]) -> CodeBlockParser:
    def evaluate(example: Example) -> None:
        example.parsed = textwrap.dedent(str(example.parsed))
        evaluator(example)

    return CodeBlockParser(language=language, evaluator=evaluate)


pytest_collect_file = Sybil(
    parsers=[
        Capturing(),
        _dedented("sh", run_sh),
        _dedented("sql", run_sql),
        _dedented("output", check_output),
        _dedented("json", check_json),
        _dedented("http", check_http),
        UnknownKinds(),
    ],
    pattern="*.md",
    fixtures=["page", "postgresql"],
).pytest()
