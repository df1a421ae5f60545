"""A billing engine that Python backends import."""
