"""The page that shows the OpenAPI document; served only where it is exposed."""
