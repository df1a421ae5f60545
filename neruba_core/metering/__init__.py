"""Metrics: what is counted, and what its events must carry."""
