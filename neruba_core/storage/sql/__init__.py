"""Storage in SQLite and PostgreSQL, through SQLAlchemy Core.

``SqlStorage`` is all that others need. Each slice has a module with its tables, queries and row mapping;
``migrations`` makes and upgrades the tables.
"""

from neruba_core.storage.sql.engine import Limits
from neruba_core.storage.sql.storage import SqlStorage

__all__ = ["Limits", "SqlStorage"]
