"""The request flows that people copy, run by bash and curl as they are written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest

from neruba_core import Neruba
from neruba_server.known_good import sequence
from neruba_server.known_good.show import curl
from neruba_server.known_good.walk import Walk
from tests.server.cli.conftest import EMAIL, PASSWORD, Server, environment, serving

README = Path(__file__).parents[3] / "README.md"

LOGIN = """\
curl -X POST https://billing.example.com/auth/login \\
-H "Content-Type: application/json" \\
-d '{
"email": "owner@example.com",
"password": "strong-password"
}'"""
PROJECT = """\
curl -X POST https://billing.example.com/projects \\
-H "Authorization: Bearer <access-token>" \\
-H "Content-Type: application/json" \\
-d '{
"name": "Acme Production",
"externalKey": "acme-prod"
}'"""
ACCESS_KEY = """\
curl -X POST https://billing.example.com/projects/<projectId>/access-keys \\
-H "Authorization: Bearer <access-token>" \\
-H "Content-Type: application/json" \\
-d '{
"name": "Usage ingest",
"scopes": ["ingest:usage", "ingest:charge"]
}'"""
USAGE = """\
curl -X POST https://billing.example.com/ingest/usage \\
-H "x-api-key: <project-api-key>" \\
-H "Idempotency-Key: evt_2026_03_17_001" \\
-H "Content-Type: application/json" \\
-d '{
"metricKey": "api_tokens",
"units": "1250.000000",
"timestamp": "2026-03-17T10:15:00.000Z"
}'"""
CREDIT = """\
curl -X POST https://billing.example.com/projects/<projectId>/transactions/credit \\
-H "Authorization: Bearer <access-token>" \\
-H "Idempotency-Key: credit_2026_03_17_001" \\
-H "Content-Type: application/json" \\
-d '{
"amount": "100.000000",
"description": "Launch credit"
}'"""
OVERVIEW = """\
curl https://billing.example.com/projects/<projectId>/billing/overview \\
-H "Authorization: Bearer <access-token>\""""


@pytest.fixture(scope="module", autouse=True)
def _curl():
    if shutil.which("curl") is None:
        pytest.fail("curl is missing, so the request flows cannot be checked: install it", pytrace=False)


def bash(script: str, **variables: str) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_request_flows_work_word_for_word(tmp_path):
    """
    Only the host and what is in angle brackets is filled in.
    """
    database = f"sqlite:///{tmp_path}/billing.db"
    with Neruba.open(database) as engine:
        engine.users.add(EMAIL, PASSWORD)
    known: dict[str, str] = {}

    with serving(tmp_path, database) as server:

        def run(written: str):
            filled = re.sub(r"<([\w-]+)>", lambda name: known[name[1]], written)
            return json.loads(bash(filled.replace("https://billing.example.com", server.url)))

        known["access-token"] = run(LOGIN)["accessToken"]
        known["projectId"] = run(PROJECT)["id"]
        known["project-api-key"] = run(ACCESS_KEY)["accessKey"]
        first, again = run(USAGE), run(USAGE)
        credit = run(CREDIT)
        overview = run(OVERVIEW)

    assert first == again
    assert first["units"] == "1250.000000"
    assert credit["balanceAfter"] == "100.000000"
    assert overview["wallet"]["balance"] == "100.000000"
    assert [(line["metricKey"], line["units"]) for line in overview["usage"]] == [
        ("api_tokens", "1250.000000")
    ]


def test_the_curls_of_the_demo_can_be_copied(server: Server):
    """
    What is printed is what was sent: bash and curl say so.
    """
    plan = sequence.verify_plan(EMAIL, PASSWORD, run=os.urandom(4).hex(), at=datetime.now(UTC))
    # Nothing is taken back here, so not in the project that verify uses.
    plan = attrs.evolve(plan, external_key="curls")
    walk = Walk(server.url, proxies=False)

    steps = {walked.step.name: walked for walked in walk.along(sequence.sequence(plan))}

    for name in ("usage", "charge", "credit"):
        walked = steps[name]
        assert walked.held
        assert walked.request is not None
        assert walked.answer is not None
        assert bash(f"{curl(walked.request)} -s").encode() == walked.answer.content


def test_the_readme_works_word_for_word(tmp_path):
    """
    Both its Python and its curls; only the port is another one.
    """
    text = README.read_text()
    (python,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (serve,) = re.findall(r"<!-- serve -->\n```sh\n(.*?)```", text, re.DOTALL)
    (loop,) = re.findall(r"<!-- loop -->\n```sh\n(.*?)```", text, re.DOTALL)
    said = subprocess.run([sys.executable, "-c", python], capture_output=True, text=True, check=True).stdout
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    (add,) = re.findall(r"^echo .*$", serve, re.MULTILINE)

    bash(f"cd {tmp_path}\n{add}", PATH=path)
    with serving(tmp_path, "sqlite:///neruba.db") as server:
        assert server.next_line().startswith("Ctrl-C")
        shown = bash(loop.replace("http://127.0.0.1:8080", server.url), PATH=path)

    assert said == "87.500000\n"
    assert serve.splitlines()[-1] == "neruba serve"
    assert "Neruba-Outcome: accepted" in shown
    assert '"balance": "100.000000"' in shown
    assert '"units": "1250.000000"' in shown
