"""Each example, run as a program of its own and compared with the transcript beside it.

``pytest examples`` checks them all. What differs from run to run (ids, times, ports) is replaced in both
before they are compared; ``NERUBA_WRITE_TRANSCRIPTS=1`` writes the transcripts anew. A new example
starts with an empty one.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SECONDS = 60

_VARYING = (
    (re.compile(r"\b(prj|usr|key|use|txn|ent|grt|req)_[0-9a-f]{32}\b"), r"\1_…"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"), "…Z"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:…"),
    (re.compile(r"\bin \d+\.\d\ds\b"), "in …s"),
    (re.compile(r" +\[ *\d+%\]"), ""),
    (re.compile(r"=+( .* )=+"), r"=\1="),
    (re.compile(r"^.*/(?=test_\w+\.py::)", re.MULTILINE), ""),
)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Every transcript."""
    return Transcript.from_parent(parent, path=file_path) if file_path.suffix == ".out" else None


class Transcript(pytest.File):
    """What a program is to print."""

    def collect(self) -> Iterator[pytest.Item]:
        yield Run.from_parent(self, name="transcript")
        if self.path.name == "host_transaction.out":
            yield OnPostgres.from_parent(self, name="transcript-on-postgresql")


class Run(pytest.Item):
    """One run of the program, in an empty directory."""

    def runtest(self) -> None:
        said = normalised(self._run())
        if os.environ.get("NERUBA_WRITE_TRANSCRIPTS"):
            self.path.write_text(said)
        assert said == self.path.read_text()

    @property
    def program(self) -> Path:
        """The program beside the transcript."""
        return next(file for file in HERE.glob(f"{self.path.stem}.*") if file.suffix in {".py", ".sh"})

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, f"{self.path.name}: {self.name}"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        if excinfo.errisinstance(AssertionError):
            return f"{self.program.name} does not print its transcript any more\n{excinfo.value}"
        return str(super().repr_failure(excinfo))

    def _run(self, *arguments: str) -> str:
        programs = Path(sys.executable).parent
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("NERUBA_", "PYTEST_"))
        }
        environment = {
            **kept,
            "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
            "PORT": str(_free_port()),
            "NO_COLOR": "1",
        }
        directory = self.config._tmp_path_factory.mktemp("example")  # type: ignore[attr-defined]
        done = subprocess.run(
            [*self._command(), *arguments],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"it ended with status {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _command(self) -> list[str]:
        if self.program.suffix == ".sh":
            if shutil.which("curl") is None:
                pytest.fail("!!! curl is missing, so the curls cannot be checked: install it", pytrace=False)
            return ["bash", str(self.program)]
        if self.program.name.startswith("test_"):
            # As in a project of the reader's: without this file, and without our settings.
            bare = ["--noconftest", "-c", os.devnull, "--rootdir", str(HERE), "-p", "no:cacheprovider"]
            return [sys.executable, "-m", "pytest", "-v", "--no-header", *bare, str(self.program)]
        return [sys.executable, str(self.program)]


class OnPostgres(Run):
    """The same program on PostgreSQL, with the same transcript."""

    def _run(self, *arguments: str) -> str:
        from neruba_core.testing.postgres import PostgresDatabases, PostgresServer, PostgresUnavailable

        named = os.environ.get("NERUBA_TEST_DATABASE_URL")
        try:
            # A server that was named is somebody else's to stop.
            given = PostgresServer() if named is None else nullcontext(PostgresDatabases(named))
            with given as server:
                database = server.create_database()
                try:
                    return super()._run(database)
                finally:
                    server.drop_database(database)
        except PostgresUnavailable as problem:
            pytest.fail(f"!!! {problem}", pytrace=False)


def normalised(said: str) -> str:
    """What is the same in every run."""
    for pattern, replacement in _VARYING:
        said = pattern.sub(replacement, said)
    return said


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
