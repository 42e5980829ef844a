"""The old name of locks.exclusive(), until its last user has moved."""

from synos_tasks.locks import exclusive as held

__all__ = ["held"]
