"""Doing things once, and answering again."""
