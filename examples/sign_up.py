"""A sign-up flow: one platform key makes a customer's project, its access key and its subscription.

Run it with `python examples/sign_up.py`; PORT names another port than 8080. It serves a database that is gone
afterwards, at a clock that stands still.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from typing import Any

PORT = os.environ.get("PORT", "8080")
URL = f"http://127.0.0.1:{PORT}"
PASSWORD = "four-swans-cross-9"


def ask(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """The status and the JSON of an answer; ``x_api_key=…`` is the header ``x-api-key``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        URL + path, content, {"Content-Type": "application/json", **named}, method=method
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def sign_in(email: str) -> dict[str, str]:
    """The header of someone who is signed in."""
    _, session = ask("POST", "/auth/login", {"email": email, "password": PASSWORD})
    return {"authorization": f"Bearer {session['accessToken']}"}


def prepare() -> str:
    """What an operator does once: publish a plan, and give the sign-up backend its key."""
    operator = sign_in("ops@example.com")
    plan = {"key": "pro", "name": "Pro", "amount": "31.00", "billing": "arrears"}
    ask("POST", "/plans", plan, **operator)
    issued = {"name": "Sign-up", "scopes": ["projects:write"]}
    _, key = ask("POST", "/access-keys", issued, **operator)
    return str(key["accessKey"])


def sign_up(secret: str, customer: str, email: str) -> dict[str, Any]:
    """What the backend does for each customer. Every step can be repeated: its key makes it the same one."""
    backend = {"x_api_key": secret}
    new = {"name": customer, "externalKey": f"customer-{customer.lower()}", "ownerEmail": email}
    status, project = ask("POST", "/projects", new, idempotency_key=f"sign-up-{customer}", **backend)
    print("project:       ", status, project["name"], "for", email)
    invitation = project["owner"]["invitation"]
    print("to be sent:    ", "a token" if invitation["token"] else "nothing, it was shown before")

    path = f"/projects/{project['id']}"
    wanted = {"name": "Ingest", "scopes": ["ingest:usage"]}
    status, key = ask("POST", f"{path}/access-keys", wanted, idempotency_key="sign-up", **backend)
    print("access key:    ", status, *key["scopes"])

    status, decided = ask(
        "POST", f"{path}/subscription", {"planKey": "pro"}, idempotency_key="sign-up", **backend
    )
    for line in decided["lines"]:
        print("subscription:  ", status, line["description"], line["amount"])
    return {"token": invitation["token"], "key": key["accessKey"], "path": path}


def walk() -> None:
    """Sign a customer up, once and again, and let them in."""
    secret = prepare()
    made = sign_up(secret, "Acme", "ada@example.com")
    print("again")
    sign_up(secret, "Acme", "ada@example.com")

    status, refusal = ask("GET", f"{made['path']}/members", x_api_key=secret)
    print("its people:    ", status, refusal["code"])

    accepted = {"token": made["token"], "password": PASSWORD}
    _, session = ask("POST", "/auth/accept-invitation", accepted)
    _, me = ask("GET", "/auth/me", authorization=f"Bearer {session['accessToken']}")
    for project in me["projects"]:
        print("signed in:     ", me["email"], "is", project["role"], "of", project["name"])

    event = {"metricKey": "api_tokens", "units": "1250", "timestamp": "2026-03-11T08:00:00Z"}
    status, usage = ask("POST", "/ingest/usage", event, x_api_key=made["key"], idempotency_key="evt_1")
    print("first usage:   ", status, usage["units"], usage["metricKey"])


def wait_for_the_server() -> None:
    """Return as soon as it answers."""
    for _ in range(150):
        try:
            ask("GET", "/readyz")
        except urllib.error.URLError:
            time.sleep(0.1)
        else:
            return
    sys.exit("!!! the server does not answer")


with tempfile.TemporaryDirectory() as directory:
    database = ["--database", f"sqlite:///{directory}/billing.db"]
    add = ["neruba", "users", "add", "ops@example.com", "--operator", "--password-stdin", *database]
    subprocess.run(add, input=PASSWORD, text=True, check=True, stdout=subprocess.DEVNULL)
    serve = ["neruba", "serve", "--port", PORT, "--test-clock", "2026-03-11T12:00:00Z", *database]
    with subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for_the_server()
            walk()
        finally:
            server.terminate()
