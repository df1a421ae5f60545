"""A stand-in for Stripe's API, for tests and for trying things out: the real library talks to it over HTTP.

It knows customers, payment intents, refunds, disputes and events in Stripe's shapes, honours idempotency
keys, and breaks where ``faults`` say so, one word for each request that acts: ``lost`` (acts, and hangs up
without an answer), ``hang_up`` (hangs up before it acts), ``409``, ``429`` and ``500`` (answer so without
acting). Cards answer by their name: ``pm_card_chargeDeclined`` is refused, ``pm_processing`` takes its time,
any other pays.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import threading
from collections import deque
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import define, field

from neruba_core.instants import Clock, now

SECRET = "whsec_of_the_stand_in"
FEE_PERCENT, FEE_FIXED, DISPUTE_FEE = 3, 30, 1500

_ERRORS = {
    409: ("invalid_request_error", "lock_timeout"),
    429: ("invalid_request_error", "rate_limit"),
    500: ("api_error", None),
}


class Refused(Exception):
    """An answer of Stripe's that is an error."""

    def __init__(self, status: int, kind: str, code: str | None, **more: Any) -> None:
        super().__init__(code)
        self.status = status
        self.error = {"type": kind, "code": code, "message": code or kind, **more}


@define(eq=False)
class StripeStandIn:
    """Use it as a context: ``with StripeStandIn() as stripe:`` serves at ``stripe.url``."""

    secret: str = SECRET
    clock: Clock = now
    faults: deque[str] = field(factory=deque)
    requests: list[tuple[str, str, str | None]] = field(factory=list)
    """Method, path and idempotency key of each request."""
    intents: dict[str, dict[str, Any]] = field(factory=dict)
    charges: dict[str, dict[str, Any]] = field(factory=dict)
    refunds: dict[str, dict[str, Any]] = field(factory=dict)
    disputes: dict[str, dict[str, Any]] = field(factory=dict)
    customers: dict[str, dict[str, Any]] = field(factory=dict)
    events: list[dict[str, Any]] = field(factory=list)
    """All that has happened, in order; a test delivers what it likes of it."""
    _keys: dict[str, tuple[dict[str, Any], int, dict[str, Any]]] = field(factory=dict)
    _lock: threading.RLock = field(factory=threading.RLock)
    _server: ThreadingHTTPServer | None = None
    _count: int = 0

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        serving = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        serving.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None, "it serves inside its context"
        return f"http://127.0.0.1:{self._server.server_port}"

    def break_with(self, *faults: str) -> None:
        """Let the next requests that act fail so."""
        self.faults.extend(faults)

    # --- what happens at Stripe without us ----------------------------------------------------

    def finish(self, intent_id: str, *, paid: bool = True) -> None:
        """A payment that took its time has ended."""
        with self._lock:
            intent = self.intents[intent_id]
            if paid:
                self._pay(intent)
            else:
                self._decline(intent, "payment_intent.payment_failed")

    def give_back(self, intent_id: str, amount: int, **metadata: str) -> dict[str, Any]:
        """A refund, such as somebody makes in Stripe's dashboard."""
        with self._lock:
            return self._refund({"payment_intent": intent_id, "amount": amount, "metadata": metadata})

    def fail_refund(self, refund_id: str) -> None:
        """The bank has sent the money back."""
        with self._lock:
            refund = self.refunds[refund_id]
            refund.update(status="failed", failure_reason="expired_or_canceled_card")
            charge = self.charges[refund["charge"]]
            charge["amount_refunded"] -= refund["amount"]
            charge["refunded"] = False
            self._tell("refund.failed", refund)

    def dispute(self, intent_id: str, amount: int | None = None) -> dict[str, Any]:
        """The payer's bank takes the money back."""
        with self._lock:
            charge = self.charges[self.intents[intent_id]["latest_charge"]]
            taken = charge["amount"] if amount is None else amount
            dispute = self._new("dp", self.disputes, "dispute") | {
                "amount": taken,
                "currency": charge["currency"],
                "charge": charge["id"],
                "payment_intent": intent_id,
                "reason": "fraudulent",
                "status": "needs_response",
                "balance_transactions": [self._balance(-taken, DISPUTE_FEE, charge["currency"])],
            }
            self.disputes[dispute["id"]] = dispute
            charge["disputed"] = True
            self._tell("charge.dispute.created", dispute)
            self._tell("charge.dispute.funds_withdrawn", dispute)
            return dispute

    def close_dispute(self, dispute_id: str, *, won: bool, fee_back: bool = False) -> None:
        """The bank has decided; what the dispute cost is given back with the money, or not."""
        with self._lock:
            dispute = self.disputes[dispute_id]
            dispute["status"] = "won" if won else "lost"
            if won:
                fee = -DISPUTE_FEE if fee_back else 0
                back = self._balance(dispute["amount"], fee, dispute["currency"])
                dispute["balance_transactions"].append(back)
            self._tell("charge.dispute.closed", dispute)
            if won:
                self._tell("charge.dispute.funds_reinstated", dispute)

    def signed(self, event: dict[str, Any], *, at: float | None = None) -> tuple[bytes, str]:
        """Body and ``Stripe-Signature`` of the delivery of *event*."""
        payload = json.dumps(event, separators=(",", ":")).encode()
        stamp = int(self.clock().timestamp() if at is None else at)
        told = hmac.new(self.secret.encode(), f"{stamp}.".encode() + payload, hashlib.sha256).hexdigest()
        return payload, f"t={stamp},v1={told}"

    # --- the API ------------------------------------------------------------------------------

    def answer(self, method: str, path: str, params: dict[str, Any], key: str | None) -> tuple[int, Any]:
        """What the request is answered with, where it acts at most once per key."""
        if method != "POST" or key is None:
            return self._answered(method, path, params)
        kept = self._keys.get(key)
        if kept is None:
            status, body = self._answered(method, path, params)
            # As at Stripe, what was refused before anything began is not kept.
            if status != 400:
                self._keys[key] = params, status, body
            return status, body
        if kept[0] != params:
            error = {"type": "idempotency_error", "message": "key used with other parameters"}
            return 400, {"error": error}
        return kept[1], kept[2]

    def _answered(self, method: str, path: str, params: dict[str, Any]) -> tuple[int, Any]:
        try:
            return 200, self._route(method, path.removeprefix("/v1/").split("/"), params)
        except Refused as refused:
            return refused.status, {"error": refused.error}

    def _route(self, method: str, parts: list[str], params: dict[str, Any]) -> Any:
        match (method, *parts):
            case ("POST", "payment_intents"):
                return self._shown(self._charge(params), params)
            case ("GET", "payment_intents", "search"):
                wanted = re.findall(r"metadata\['(\w+)'\]:'([^']*)'", params["query"])
                found = [
                    intent
                    for intent in self.intents.values()
                    if all(intent["metadata"].get(name) == value for name, value in wanted)
                ]
                return {"object": "search_result", "data": [self._shown(each, params) for each in found]}
            case ("GET", "payment_intents", intent_id):
                return self._shown(_found(self.intents, intent_id), params)
            case ("GET", "customers", customer_id):
                return _found(self.customers, customer_id)
            case ("POST", "refunds"):
                return self._refund(params)
            case ("GET", "refunds", refund_id):
                return _found(self.refunds, refund_id)
            case ("GET", "refunds" | "disputes" as kind):
                rows = self.refunds if kind == "refunds" else self.disputes
                data = [each for each in rows.values() if each["payment_intent"] == params["payment_intent"]]
                return {"object": "list", "url": f"/v1/{kind}", "has_more": False, "data": data[::-1]}
        raise Refused(404, "invalid_request_error", "url_invalid")

    def _charge(self, params: dict[str, Any]) -> dict[str, Any]:
        if params.get("customer") not in self.customers:
            raise Refused(400, "invalid_request_error", "resource_missing", param="customer")
        intent = self._new("pi", self.intents, "payment_intent") | {
            "amount": int(params["amount"]),
            "currency": params["currency"],
            "customer": params["customer"],
            "payment_method": params.get("payment_method"),
            "metadata": params.get("metadata", {}),
            "status": "processing",
            "latest_charge": None,
            "last_payment_error": None,
        }
        self.intents[intent["id"]] = intent
        self._tell("payment_intent.created", intent)
        card = intent["payment_method"] or ""
        if card == "pm_card_chargeDeclined":
            self._decline(intent, "payment_intent.payment_failed")
            raise Refused(402, **_DECLINED, payment_intent=dict(intent))
        if card == "pm_processing":
            self._tell("payment_intent.processing", intent)
        else:
            self._pay(intent)
        return intent

    def _pay(self, intent: dict[str, Any]) -> None:
        fee = intent["amount"] * FEE_PERCENT // 100 + FEE_FIXED
        charge = self._new("ch", self.charges, "charge") | {
            "amount": intent["amount"],
            "amount_refunded": 0,
            "balance_transaction": self._balance(intent["amount"], fee, intent["currency"]),
            "currency": intent["currency"],
            "disputed": False,
            "metadata": intent["metadata"],
            "payment_intent": intent["id"],
            "refunded": False,
            "status": "succeeded",
        }
        self.charges[charge["id"]] = charge
        intent.update(status="succeeded", latest_charge=charge["id"])
        self._tell("charge.succeeded", charge)
        self._tell("payment_intent.succeeded", intent)

    def _decline(self, intent: dict[str, Any], type: str) -> None:
        error = {"type": _DECLINED["kind"], "code": _DECLINED["code"], "decline_code": "generic_decline"}
        intent.update(status="requires_payment_method", last_payment_error=error)
        self._tell(type, intent)

    def _refund(self, params: dict[str, Any]) -> dict[str, Any]:
        intent = _found(self.intents, params["payment_intent"])
        charge = self.charges.get(intent["latest_charge"] or "")
        amount = int(params["amount"])
        taken = [each for each in self.disputes.values() if each["status"] != "won"]
        if charge is None or any(each["charge"] == charge["id"] for each in taken):
            raise Refused(400, "invalid_request_error", "charge_disputed")
        if charge["amount_refunded"] + amount > charge["amount"]:
            raise Refused(400, "invalid_request_error", "charge_already_refunded")
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        refund = self._new("re", self.refunds, "refund") | {
            "amount": amount,
            "charge": charge["id"],
            "currency": charge["currency"],
            "metadata": params.get("metadata") or {},
            "payment_intent": intent["id"],
            "status": "succeeded",
        }
        self.refunds[refund["id"]] = refund
        self._tell("refund.created", refund)
        self._tell("charge.refunded", charge)
        return refund

    # --- odds and ends ------------------------------------------------------------------------

    def add_customer(self, customer_id: str, usual_method: str | None = None) -> None:
        """A customer with a saved card."""
        self.customers[customer_id] = {
            "id": customer_id,
            "object": "customer",
            "invoice_settings": {"default_payment_method": usual_method},
        }

    def _shown(self, intent: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
        if not any("latest_charge" in each for each in params.get("expand", {}).values()):
            return dict(intent)
        charge = self.charges.get(intent["latest_charge"] or "")
        return {**intent, "latest_charge": None if charge is None else dict(charge)}

    def _balance(self, amount: int, fee: int, currency: str) -> dict[str, Any]:
        return self._new("txn", {}, "balance_transaction") | {
            "amount": amount,
            "fee": fee,
            "net": amount - fee,
            "currency": currency,
        }

    def _new(self, prefix: str, rows: dict[str, Any], kind: str) -> dict[str, Any]:
        self._count += 1
        return {"id": f"{prefix}_{self._count:08}", "object": kind, "created": int(self.clock().timestamp())}

    def _tell(self, type: str, subject: dict[str, Any]) -> None:
        event = self._new("evt", {}, "event") | {
            "type": type,
            "api_version": "2025-10-29.clover",
            "livemode": False,
            # As it is now, and not as it will be.
            "data": {"object": json.loads(json.dumps(subject))},
        }
        if subject["object"] == "charge":
            event["data"]["object"]["balance_transaction"] = subject["balance_transaction"]["id"]
        self.events.append(event)

    def fault(self) -> str | None:
        """What goes wrong with this request."""
        return self.faults.popleft() if self.faults else None


_DECLINED: dict[str, Any] = {"kind": "card_error", "code": "card_declined", "decline_code": "generic_decline"}


def _found(rows: dict[str, dict[str, Any]], row_id: str) -> dict[str, Any]:
    if row_id not in rows:
        raise Refused(404, "invalid_request_error", "resource_missing")
    return rows[row_id]


def _nested(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """``a[b][c]=d``, as forms say it, as nested objects; a list is an object by number."""
    params: dict[str, Any] = {}
    for name, value in pairs:
        *path, last = re.findall(r"[^\[\]]+", name)
        inner = params
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return params


def _handler(stand_in: StripeStandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # An answer in two packets would wait for the first to be acknowledged.
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            self._serve("GET", url.path, _nested(parse_qsl(url.query)))

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            self._serve("POST", self.path, _nested(parse_qsl(form)))

        def _serve(self, method: str, path: str, params: dict[str, Any]) -> None:
            key = self.headers.get("Idempotency-Key") if method == "POST" else None
            with stand_in._lock:
                stand_in.requests.append((method, unquote(path), key))
                fault = stand_in.fault() if method == "POST" else None
                if fault is not None and fault.isdigit():
                    kind, code = _ERRORS[int(fault)]
                    return self._send(int(fault), {"error": {"type": kind, "code": code, "message": fault}})
                if fault == "hang_up":
                    self.close_connection = True
                    return None
                status, body = stand_in.answer(method, path, params, key)
                if fault is not None:
                    self.close_connection = True
                    return None
            return self._send(status, body)

        def _send(self, status: int, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler
