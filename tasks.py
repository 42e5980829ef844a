"""What `inv` loads."""

from synos_tasks import collection

ns = collection()
