"""A `neruba` to call and a `neruba serve` to talk to, away from the settings of whoever runs the tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define
from click.testing import CliRunner, Result

from neruba_core import Neruba
from neruba_server.cli import main

EMAIL = "owner@example.com"
PASSWORD = "strong-password"
SECONDS = 30


@define
class Server:
    """A server in a process of its own."""

    url: str
    database: str
    process: subprocess.Popen[str]
    log: Path

    def next_line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it and give its exit status."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)


def environment(**more: str) -> dict[str, str]:
    """Our own surroundings without any setting of Neruba's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NERUBA_")}
    return {**kept, "PYTHONUNBUFFERED": "1", **more}


def command(*arguments: str) -> list[str]:
    """`neruba` with *arguments*, as a process is given it."""
    return [sys.executable, "-m", "neruba_server", *arguments]


@contextlib.contextmanager
def serving(directory: Path, database: str, *arguments: str, **settings: str) -> Iterator[Server]:
    """A server on a free port; killed at the end if it is still there."""
    log = directory / "server.log"
    with log.open("w") as written:
        process = subprocess.Popen(
            command("serve", "--port", "0", "--database", database, *arguments),
            cwd=directory,
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=written,
            text=True,
        )
    with process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            urls = [word for word in line.split() if word.startswith("http://")]
            assert urls, f"no address in {line!r}: {log.read_text()}"
            yield Server(urls[0], database, process, log)
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture
def neruba(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """
    `neruba` called in this process, in an empty directory and without settings.
    """
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("NERUBA_"):
            monkeypatch.delenv(name)

    def call(*arguments: str, input: str | None = None) -> Result:
        return CliRunner().invoke(main, list(arguments), input=input, prog_name="neruba")

    return call


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """
    A server on SQLite that knows one user, shared by the tests that only ask.
    """
    directory = tmp_path_factory.mktemp("serve")
    database = f"sqlite:///{directory}/billing.db"
    with Neruba.open(database) as engine:
        engine.users.add(EMAIL, PASSWORD)
    with serving(directory, database) as running:
        yield running
        assert running.stop() == 0
