"""The HTTP server around neruba_core: a thin aiohttp app."""
