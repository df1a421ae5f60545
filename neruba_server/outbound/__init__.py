"""Sending messages to webhook endpoints."""
