"""The whole loop inside your own process: no server, no database.

Run it with `python examples/in_process_loop.py`.
"""

from datetime import UTC, datetime

from neruba_core import Neruba, NerubaError
from neruba_core.money import text

# Neruba.open("sqlite:///billing.db") or "postgresql://…" keeps what this forgets.
neruba = Neruba.in_memory()
acme = neruba.projects.create(name="Acme Production", external_key="acme-prod")


def send(units: str) -> str:
    """Send the day's tokens as a queue would that may deliver twice."""
    outcome = neruba.usage.record(
        acme.id,
        metric_key="api_tokens",
        units=units,
        timestamp=datetime(2026, 3, 17, 10, 15, tzinfo=UTC),
        idempotency_key="evt_2026_03_17_001",
    )
    return type(outcome).__name__


print("usage:       ", send("1250.000000"))
print("sent again:  ", send("1250.000000"))
try:
    send("9999")
except NerubaError as refusal:
    print("other body:  ", refusal.code)

neruba.wallets.credit(acme.id, amount="100", description="Launch credit", idempotency_key="credit_1")
neruba.charges.charge(acme.id, amount="12.50", description="GPU hour", idempotency_key="chg_1")
neruba.charges.charge(acme.id, amount="12.50", description="GPU hour", idempotency_key="chg_1")

try:
    neruba.charges.charge(acme.id, amount="500", description="Training run", idempotency_key="chg_2")
except NerubaError as refusal:
    print("too much:    ", refusal)

overview = neruba.billing.overview(acme.id)
for line in overview.usage:
    print("counted:     ", text(line.quantity.units_micros), line.quantity.metric.key, "in", line.period)
print("balance:     ", overview.wallet.balance, overview.wallet.currency)

print("transactions:")
for transaction in neruba.ledger.transactions(acme.id).items:
    print(f"  {transaction.type.value:<7} {text(transaction.amount_micros):>11}  {transaction.description}")

books = neruba.ledger.trial_balance(acme.id)
print("balanced:    ", books.balanced, "over", len(books.accounts), "accounts")
