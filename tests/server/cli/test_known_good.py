"""The known-good sequence: as a curl, as a demo, as a verification, and that its checks can fail."""

from __future__ import annotations

import contextlib
import http.server
import json
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_core import Neruba
from neruba_server.known_good import verify as deployed
from neruba_server.known_good.layout import pretty
from neruba_server.known_good.sequence import OUTCOME, REPLAYED
from neruba_server.known_good.show import curl
from neruba_server.known_good.walk import Request, Walk
from tests.server.cli.conftest import EMAIL, PASSWORD, SECONDS, Server, command, environment

_text = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | _text,
    lambda inner: st.lists(inner) | st.dictionaries(_text, inner),
)


@given(_text, _text, _text)
def test_a_curl_says_what_was_sent_whatever_it_holds(path, header, body):
    """
    Quotes, dollars and backslashes survive the shell.
    """
    request = Request("POST", f"http://127.0.0.1/{path}", {"x-api-key": header}, body)

    words = shlex.split(curl(request).replace("\\\n", " ")) if "\\\n" not in body else None

    if words is not None:
        assert words == ["curl", "-X", "POST", request.url, "-H", f"x-api-key: {header}", "-d", body]


@given(_json)
def test_json_is_laid_out_without_being_changed(value):
    """
    What is easier to read is still what was sent.
    """
    assert json.loads(pretty(value)) == value


def test_demo_shows_the_loop_and_ends_with_the_reconciled_state(tmp_path):
    """
    With an empty home, in surroundings that are somebody else's production, and plain because it is piped.
    """
    surroundings = environment(
        HOME=str(tmp_path),
        NERUBA_ENVIRONMENT="production",
        NERUBA_DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing",
        http_proxy="http://127.0.0.1:1",
    )
    began = time.monotonic()

    done = subprocess.run(
        command("demo"),
        cwd=tmp_path,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert time.monotonic() - began < 15
    last = "\n".join(done.stdout.splitlines()[-7:])
    assert "1250.000000 of api_tokens in 1 event, although it was sent twice" in last
    assert "number 1, finalized: 11.250000 − 11.250000 from credit = 0.000000 due" in last
    assert "100.000000 − 12.500000 − 11.250000 = 76.250000 USD" in last
    assert "it re-adds: 1000.000000 × 0.01 + 250.000000 × 0.005 = 11.250000" in done.stdout
    assert "10 + 1.25 = 11.25" in done.stdout
    assert "checks" in last
    assert "held" in last
    assert '-H "Idempotency-Key: evt_2026_03_17_001" \\\n' in done.stdout
    assert "HTTP/1.1 201 Created" in done.stdout
    assert "Idempotent-Replayed: true" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_verify_holds_again_and_again_and_leaves_everything_as_it_was(neruba, server: Server, monkeypatch):
    """
    Each run writes anew in the same project, and takes it back.
    """
    monkeypatch.setenv("NERUBA_VERIFY_PASSWORD", PASSWORD)
    first = neruba("verify", "--url", server.url, "--email", EMAIL, "--json")
    second = neruba("verify", "--url", f"{server.url}/", "--email", EMAIL, "--json")
    by_stdin = neruba(
        "verify", "--url", server.url, "--email", EMAIL, "--password-stdin", input=f"{PASSWORD}\n"
    )

    assert (first.exit_code, second.exit_code, by_stdin.exit_code) == (0, 0, 0), first.output + second.output
    reports = [json.loads(result.stdout) for result in (first, second)]
    assert reports[0]["projectId"] == reports[1]["projectId"]
    assert reports[0]["runId"] != reports[1]["runId"]
    assert all(report["held"] and report["checks"] > 50 for report in reports)
    assert PASSWORD not in first.output
    assert "nrb_" not in first.output
    assert f"{reports[0]['checks']} of {reports[0]['checks']} checks held" in by_stdin.stdout
    with Neruba.open(server.database) as engine:
        project = engine.projects.get(reports[0]["projectId"])
        overview = engine.billing.overview(project.id)
        keys = engine.access_keys.list(project.id).items
    assert project.external_key == "neruba-verify"
    assert overview.wallet.balance == 0
    assert overview.wallet.grants == ()
    assert all(line.quantity.units_micros == 0 for line in overview.usage)
    assert all(key.revoked_at is not None for key in keys)


@pytest.mark.parametrize(
    ("step", "change"),
    [
        ("usage-again", lambda answer: _without(answer, REPLAYED)),
        ("usage-again", lambda answer: attrs.evolve(answer, content=answer.content + b" ")),
        ("usage", lambda answer: _without(answer, OUTCOME)),
        ("usage-reused", lambda answer: attrs.evolve(answer, status=201)),
        ("scope", lambda answer: attrs.evolve(answer, status=200)),
        ("wallet", lambda answer: _with(answer, "87.500000", "75.000000")),
        ("overview", lambda answer: _with(answer, '"balanced":true', '"balanced":false')),
        ("overview", lambda answer: _with(answer, "1250.000000", "2500.000000")),
        ("overview", lambda answer: attrs.evolve(answer, content=b"<html>")),
        ("events", lambda answer: attrs.evolve(answer, content=b'{"items":[]}')),
        ("accounts", lambda answer: _with(answer, "12.500000", "12.500001")),
        ("overview", lambda answer: _with(answer, '"amount":"11.250000"', '"amount":"12.500000"')),
        ("dry-run", lambda answer: _with(answer, '"amount":"11.250000"', '"amount":"11.250001"')),
        ("dry-run", lambda answer: _with(answer, '"quantity":"1250.000000"', '"quantity":"1.000000"')),
        ("transactions", lambda answer: attrs.evolve(answer, content=b'{"items":[]}')),
        ("logout", lambda answer: _without(answer, "X-Request-Id")),
    ],
)
def test_what_is_wrong_is_noticed(server: Server, monkeypatch, step, change):
    """
    A check that cannot fail checks nothing; the step at fault is the one that is named.
    """
    honest = Walk._judge

    def lying(self, each, answer):
        return honest(self, each, change(answer) if each.name == step else answer)

    monkeypatch.setattr(Walk, "_judge", lying)

    report = deployed.verify(server.url, EMAIL, PASSWORD)

    assert not report.held
    assert step in {walked.step.name for walked in report.steps if not walked.held}


def test_another_status_is_told_with_its_problem(server: Server, monkeypatch):
    """
    What the server says of it, in the report for machines too.
    """
    honest = Walk._judge
    problem = b'{"code": "usage.timestamp_in_future", "detail": "the clock is ahead"}'

    def lying(self, each, answer):
        refused = each.name == "usage"
        return honest(self, each, attrs.evolve(answer, status=422, content=problem) if refused else answer)

    monkeypatch.setattr(Walk, "_judge", lying)

    report = deployed.verify(server.url, EMAIL, PASSWORD)

    (step,) = [step for step in report.as_json()["steps"] if step["name"] == "usage"]
    said = "expected 201, found 422 usage.timestamp_in_future: the clock is ahead"
    assert step["checks"][0]["difference"] == said


def test_verify_says_what_stands_in_its_way(neruba, server: Server, monkeypatch):
    """
    One line each: nobody there, a wrong password, something else there, something that redirects.
    """

    def line(url: str, password: str = PASSWORD) -> str:
        monkeypatch.setenv("NERUBA_VERIFY_PASSWORD", password)
        result = neruba("verify", "--url", url, "--email", "verifier@example.com")
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
        return str(result.stderr)

    assert "cannot be reached" in line("http://127.0.0.1:1")
    assert "did not let verifier@example.com sign in" in line(server.url, "wrong-password")
    assert "is no address" in line("billing.example.com")
    with _somebody_else(200) as url:
        assert "is not Neruba" in line(url)
    with _somebody_else(301) as url:
        assert "redirects to https://elsewhere.example.com/" in line(url)


@contextlib.contextmanager
def _somebody_else(status: int) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            if status == 301:
                self.send_header("Location", "https://elsewhere.example.com/")
            self.end_headers()
            self.wfile.write(b'{"status": "fine"}')

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{other.server_port}"
        finally:
            other.shutdown()
            thread.join(SECONDS)


def _without(answer, name):
    return attrs.evolve(
        answer, headers=tuple(pair for pair in answer.headers if pair[0].lower() != name.lower())
    )


def _with(answer, old, new):
    content = answer.content.decode()
    assert old in content
    return attrs.evolve(answer, content=content.replace(old, new).encode())
