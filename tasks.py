"""What `inv` loads: the verbs, assembled in synos_tasks.namespace."""

from synos_tasks.namespace import namespace

__all__ = ["namespace"]
