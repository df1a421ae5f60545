#!/usr/bin/env bash
# The whole loop as curls against `neruba serve`, on a database that is gone afterwards.
# Run it with `bash examples/http_loop.sh`; PORT names another port than 8080.
set -euo pipefail

for program in curl neruba python3; do
    command -v "$program" >/dev/null || { echo "!!! $program is missing: install it and try again" >&2; exit 1; }
done

# Print the member of a JSON answer that a dotted path leads to, such as wallet.balance or usage.0.units.
member() {
    python3 -c '
import functools, json, sys
step = lambda value, name: value[int(name)] if isinstance(value, list) else value[name]
print(functools.reduce(step, sys.argv[1].split("."), json.load(sys.stdin)))' "$1"
}

directory=$(mktemp -d)
database=sqlite:///$directory/billing.db
url=http://127.0.0.1:${PORT:-8080}
server=
trap '[ -z "$server" ] || { kill "$server"; wait "$server" || true; }; rm -rf "$directory"' EXIT

echo strong-password | neruba users add owner@example.com --password-stdin --database "$database" >/dev/null
neruba serve --port "${PORT:-8080}" --database "$database" >/dev/null 2>"$directory/log" &
server=$!
for _ in $(seq 150); do
    curl -sf "$url/readyz" >/dev/null && break
    kill -0 "$server" 2>/dev/null || { cat "$directory/log" >&2; server=; exit 1; }
    sleep 0.1
done

echo "# sign in"
token=$(curl -sS -X POST "$url/auth/login" \
    -H "Content-Type: application/json" \
    -d '{"email": "owner@example.com", "password": "strong-password"}' | member accessToken)

echo "# create a project and its access key"
project=$(curl -sS -X POST "$url/projects" \
    -H "Authorization: Bearer $token" \
    -H "Content-Type: application/json" \
    -d '{"name": "Acme Production", "externalKey": "acme-prod"}' | member id)
key=$(curl -sS -X POST "$url/projects/$project/access-keys" \
    -H "Authorization: Bearer $token" \
    -H "Content-Type: application/json" \
    -d '{"name": "Usage ingest", "scopes": ["ingest:usage", "ingest:charge"]}' | member accessKey)

send_usage() {
    curl -sS -X POST "$url/ingest/usage" \
        -o "$directory/$1" -w '%{http_code} %header{neruba-outcome}\n' \
        -H "x-api-key: $key" \
        -H "Idempotency-Key: evt_2026_03_17_001" \
        -H "Content-Type: application/json" \
        -d "{\"metricKey\": \"api_tokens\", \"units\": \"$2\", \"timestamp\": \"2026-03-17T10:15:00.000Z\"}"
}
echo "# send usage, send it again, then use its key for something else"
send_usage first 1250.000000
send_usage again 1250.000000
cmp "$directory/first" "$directory/again" && echo "the same answer, byte for byte"
send_usage other 9999.000000
member detail <"$directory/other"

echo "# grant credit, then charge"
curl -sS -X POST "$url/projects/$project/transactions/credit" \
    -H "Authorization: Bearer $token" \
    -H "Idempotency-Key: credit_2026_03_17_001" \
    -H "Content-Type: application/json" \
    -d '{"amount": "100.000000", "description": "Launch credit"}' | member balanceAfter
curl -sS -X POST "$url/ingest/charge" \
    -H "x-api-key: $key" \
    -H "Idempotency-Key: chg_2026_03_17_001" \
    -H "Content-Type: application/json" \
    -d '{"amount": "12.500000", "description": "GPU hour"}' | member balanceAfter

echo "# read the billing state"
curl -sS "$url/projects/$project/billing/overview" -H "Authorization: Bearer $token" >"$directory/overview"
for path in usage.0.metricKey usage.0.units wallet.balance ingest.replayed ingest.conflict ledger.balanced; do
    echo "$path: $(member "$path" <"$directory/overview")"
done
