"""Prices: what a quantity of a metric comes to."""
