"""Usage events, from ingest to totals."""
