"""The pytest plugin that ships with Neruba."""
