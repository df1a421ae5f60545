"""`neruba serve`: how it starts, how it refuses to, and how it ends."""

from __future__ import annotations

import http.server
import json
import os
import queue
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from neruba_core import Neruba
from tests.server.cli.conftest import EMAIL, PASSWORD, SECONDS, Server, command, environment, serving

linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc")


def prepared(database: str) -> tuple[str, str]:
    """A user, a project and a key in *database*; gives the project's id and the key's secret."""
    with Neruba.open(database) as engine:
        engine.users.add(EMAIL, PASSWORD)
        project = engine.projects.create(name="Acme Production")
        key = engine.access_keys.issue(project.id, name="Usage", scopes=["ingest:usage", "ingest:charge"])
        return project.id, key.secret


def test_a_first_start_makes_the_database_and_says_what_to_do_next(tmp_path):
    """
    Nobody can sign in yet, so the next step is named, with the database that is meant.
    """
    with serving(tmp_path, "sqlite:///first.db") as server:
        said = server.next_line()
        assert _status(f"{server.url}/readyz") == 200
        assert server.stop() == 0

    assert "There is no user yet: neruba users add you@example.com --database sqlite:///first.db" in said
    assert (tmp_path / "first.db").exists()


def test_a_port_in_use_is_one_line(neruba, server: Server):
    """
    A second server must not quietly share the port of the first, either.
    """
    port = str(urlsplit(server.url).port)

    result = neruba("serve", "--port", port)

    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert f"port {port} on 127.0.0.1 is in use" in result.stderr


def test_several_workers_on_sqlite_are_refused(neruba):
    """
    One file, one writer: more processes would only wait for each other.
    """
    result = neruba("serve", "--workers", "2")

    assert result.exit_code == 1
    assert "--workers 2 needs PostgreSQL" in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_address_that_is_not_ours_is_one_line(neruba):
    """
    Names that lead nowhere and addresses of other machines.
    """
    assert "nowhere.invalid" in neruba("serve", "--host", "nowhere.invalid").stderr
    assert "192.0.2.1" in neruba("serve", "--host", "192.0.2.1").stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_what_was_taken(tmp_path, number):
    """
    A request that is half-way in when the signal comes is answered, kept, and the last one.
    """
    database = f"sqlite:///{tmp_path}/billing.db"
    project_id, key = prepared(database)
    body = b'{"metricKey": "api_tokens", "units": "1", "timestamp": "2026-03-17T10:15:00Z"}'
    with serving(tmp_path, database) as server:
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port), SECONDS) as connection:
            head = (
                f"POST /ingest/usage HTTP/1.1\r\nHost: {address.netloc}\r\nx-api-key: {key}\r\n"
                "Idempotency-Key: last\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            connection.sendall(head.encode() + body[:20])
            time.sleep(1)
            server.process.send_signal(number)
            until = time.monotonic() + 5
            while open_to_others := _connects(address.hostname, address.port):
                if time.monotonic() > until:
                    break
                time.sleep(0.1)
            connection.sendall(body[20:])
            answer = connection.recv(65536)
        status = server.process.wait(SECONDS)

    assert answer.startswith(b"HTTP/1.1 201 ")
    assert not open_to_others
    assert status == 0
    with Neruba.open(database) as engine:
        assert [event.event_id for event in engine.usage.events(project_id).items] == ["last"]


def test_the_log_tells_who_did_what_and_no_secret(tmp_path):
    """
    One JSON object a request: method, template, status, time, ids; nothing that opens anything.
    """
    database = f"sqlite:///{tmp_path}/billing.db"
    project_id, key = prepared(database)
    with serving(tmp_path, database, NERUBA_LOG_FORMAT="json") as server:
        _post(f"{server.url}/auth/login", {"email": EMAIL, "password": PASSWORD})
        _post(
            f"{server.url}/ingest/usage",
            {"metricKey": "m", "units": "1", "timestamp": "2026-03-17T10:15:00Z", "eventId": "private"},
            {"x-api-key": key, "Idempotency-Key": "k1", "X-Request-Id": "mine-1"},
        )
        _status(f"{server.url}/readyz")
        _status(f"{server.url}/projects/{project_id}/wallet?secret=1")
        _status(f"{server.url}/nowhere/{project_id}")
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as line:
            line.sendall(b"NONSENSE\r\n\r\n")
            assert b" 400 " in line.recv(200)
        assert server.stop() == 0
        said = server.log.read_text()

    lines = [json.loads(line) for line in said.splitlines()]
    requests = [line for line in lines if "ms" in line]
    assert [line["status"] for line in requests] == [200, 201, 401, 404, 400]
    # What is no request is no defect of ours.
    assert [line for line in lines if line.get("level") == "error"] == []
    assert [line["event"] for line in requests[:3]] == [
        "POST /auth/login",
        "POST /ingest/usage",
        "GET /projects/{projectId}/wallet",
    ]
    assert requests[1]["request_id"] == "mine-1"
    for secret in (PASSWORD, key, "private", project_id, "secret=1"):
        assert secret not in said


@linux
@pytest.mark.postgres
def test_workers_share_a_port_and_a_dead_one_is_replaced(tmp_path, postgres_server):
    """
    Killing a worker costs its connections and nothing else; a stop ends them all.
    """
    database = postgres_server.create_database()
    prepared(database)
    with serving(tmp_path, database, "--workers", "2") as server:
        before = _workers(server)
        os.kill(before[0], signal.SIGKILL)
        after = _await(lambda: [pid for pid in _workers(server) if pid not in before])
        statuses = [_status(f"{server.url}/readyz") for _ in range(10)]
        rest = _workers(server)
        status = server.stop()
        said = server.log.read_text()

    assert len(before) == 2
    assert len(after) == 1
    assert set(statuses) == {200}
    assert status == 0
    assert not any(_alive(pid) for pid in rest)
    assert "a worker died and is replaced" in said
    postgres_server.drop_database(database)


@linux
@pytest.mark.postgres
def test_workers_do_not_outlive_their_parent(tmp_path, postgres_server):
    """
    A parent that is killed cannot tell anyone; its workers notice.
    """
    database = postgres_server.create_database()
    prepared(database)
    with serving(tmp_path, database, "--workers", "2") as server:
        workers = _workers(server)
        server.process.kill()
        server.process.wait(SECONDS)

        gone = _await(lambda: not any(_alive(pid) for pid in workers))

    assert gone
    postgres_server.drop_database(database)


def _workers(server: Server) -> list[int]:
    """The processes below the server that were started to work, by Linux' own account."""
    pid = server.process.pid
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def _alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def _await(look, seconds=SECONDS):
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _connects(host, port) -> bool:
    connection = HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        connection.getresponse().read()
    except OSError:
        return False
    else:
        return True
    finally:
        connection.close()


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code


def _post(url, body, headers=None):
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})}
    )
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return json.load(answer)


def test_a_ticker_of_its_own_ends_when_it_is_told_to(tmp_path):
    """
    With the piece of work in hand done, and status 0; what it did is on record.
    """
    database = f"sqlite:///{tmp_path}/billing.db"
    prepared(database)
    process = subprocess.Popen(
        command("ticker", "--database", database),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        said = process.stdout.readline()
        with Neruba.open(database) as engine:
            done: set[str] = set()
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                done = {job.name for job in engine.schedule.status() if job.record is not None}
                if {"prune_trail", "tell_of_expiring_keys"} <= done:
                    break
                time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0

    assert "does what falls due in sqlite:///" in said
    assert {"prune_trail", "tell_of_expiring_keys"} <= done


def test_a_ticker_of_its_own_sends_messages(tmp_path):
    """
    Where the servers are told to send none.
    """
    received: queue.Queue[str] = queue.Queue()

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.put(str(self.headers["webhook-id"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    database = f"sqlite:///{tmp_path}/billing.db"
    prepared(database)
    with (
        http.server.HTTPServer(("127.0.0.1", 0), Receiver) as receiver,
        Neruba.open(database) as engine,
        subprocess.Popen(
            command("ticker", "--database", database),
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        project = engine.projects.create(name="Told")
        made = engine.webhooks.create(project.id, url=f"http://127.0.0.1:{receiver.server_port}/")
        tested = engine.webhooks.test(project.id, made.endpoint.id)
        message_id = received.get(timeout=20)
        process.send_signal(signal.SIGTERM)
        ended = process.wait(20)
        receiver.shutdown()
        (delivery,) = engine.webhooks.deliveries(project.id).items

    assert (message_id, ended) == (tested.message_id, 0)
    assert delivery.state.value == "delivered"
