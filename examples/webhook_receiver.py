"""A receiver of webhooks: it verifies each message, and does what it is about once, however often it comes.

Run it with `python examples/webhook_receiver.py`; PORT names another port than 8080. It serves a database
that is gone afterwards, receives on a free port, fails once on purpose, and is sent the same message again.
"""

import http.server
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

PORT = os.environ.get("PORT", "8080")
URL = f"http://127.0.0.1:{PORT}"
PASSWORD = "four-swans-cross-9"


SECRET: list[str] = []
DONE: set[str] = set()
FAILURES = [503]
TOLD: "queue.Queue[str]" = queue.Queue()


class Receiver(http.server.BaseHTTPRequestHandler):
    """What you write is `do_POST`; the rest is for the show."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            message = Webhook(SECRET[0]).verify(body, dict(self.headers))
        except WebhookVerificationError as problem:
            return self.answer(400, f"refused: {problem}")
        if FAILURES:
            return self.answer(FAILURES.pop(), f"{message['type']}, but we are busy")
        if self.headers["webhook-id"] in DONE:
            return self.answer(204, f"{message['type']} again: done before")
        # In a database of your own: this and what the message makes you do, in one transaction.
        DONE.add(self.headers["webhook-id"])
        amount = message["data"].get("amount", "")
        return self.answer(204, f"{message['type']} {amount}".rstrip())

    def answer(self, status: int, said: str) -> None:
        self.send_response(status)
        self.end_headers()
        TOLD.put(f"{status} {said}")

    def log_message(self, *_: object) -> None:
        """Not on the terminal."""


def ask(method: str, path: str, body: Any = None, **headers: str) -> Any:
    """The JSON of an answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        URL + path, content, {"Content-Type": "application/json", **named}, method=method
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def heard() -> str:
    """What the receiver made of the next request."""
    return TOLD.get(timeout=30)


def walk(receiver_url: str) -> None:
    """Listen, have something happen, and be told of it."""
    session = ask("POST", "/auth/login", {"email": "ops@example.com", "password": PASSWORD})
    me = {"authorization": f"Bearer {session['accessToken']}"}
    project = f"/projects/{ask('POST', '/projects', {'name': 'Acme'}, **me)['id']}"

    endpoint = ask("POST", f"{project}/webhook-endpoints", {"url": receiver_url}, **me)
    SECRET.append(endpoint["secret"])
    print("listening:     ", endpoint["secret"][:6] + "…")

    credit = {"amount": "100", "description": "Launch credit"}
    ask("POST", f"{project}/transactions/credit", credit, idempotency_key="credit_1", **me)
    print("credit granted:", heard())
    print("5 s later:     ", heard())

    path = f"{project}/webhook-endpoints/{endpoint['id']}"
    (delivery,) = delivered(path, me)
    print("its attempts:  ", *(attempt["status"] for attempt in delivery["attempts"]))

    ask("POST", f"{path}/deliveries/{delivery['id']}/redeliver", {}, **me)
    print("by hand:       ", heard())

    forged = urllib.request.Request(
        receiver_url,
        b'{"type": "credit.granted"}',
        {"webhook-id": "msg_1", "webhook-timestamp": str(int(time.time())), "webhook-signature": "v1,AAAA"},
    )
    try:
        urllib.request.urlopen(forged)
    except urllib.error.HTTPError:
        print("forged:        ", heard())


def delivered(path: str, me: dict[str, str]) -> Any:
    """The deliveries, once the last attempt is on record."""
    while True:
        items = ask("GET", f"{path}/deliveries", **me)["items"]
        if all(item["state"] == "delivered" for item in items):
            return items
        time.sleep(0.1)


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
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    database = ["--database", f"sqlite:///{directory}/billing.db"]
    add = ["neruba", "users", "add", "ops@example.com", "--operator", "--password-stdin", *database]
    subprocess.run(add, input=PASSWORD, text=True, check=True, stdout=subprocess.DEVNULL)
    serve = ["neruba", "serve", "--port", PORT, *database]
    with subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for_the_server()
            walk(f"http://127.0.0.1:{receiver.server_port}/neruba")
        finally:
            server.terminate()
            receiver.shutdown()
