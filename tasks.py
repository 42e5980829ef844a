"""What `inv` loads: the library's verbs, and those that test and lint this repository."""

from scripts.repository import tasks as repository
from synos_tasks import collection

ns = collection()
for verb in (repository.test, repository.lint, repository.docs):
    ns.add_task(verb)
