"""Storage in memory: the executable specification of the port, and what unit tests run on.

Nothing here is durable and one unit of work runs at a time. Where a docstring of the port leaves room,
this adapter shows what is meant.
"""

from neruba_core.storage.memory.storage import MemoryStorage

__all__ = ["MemoryStorage"]
