"""A store in plain Python objects: nothing outlives the process."""

from awaken.store.memory.store import MemoryStore

__all__ = ["MemoryStore"]
