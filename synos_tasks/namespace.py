"""The verbs, assembled here and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke.collection import Collection

from synos_tasks.build import tasks as build
from synos_tasks.cli import PROJECT_ROOT
from synos_tasks.dev import tasks as dev
from synos_tasks.maint import tasks as maint
from synos_tasks.root import tasks as root
from synos_tasks.services import tasks as services

if TYPE_CHECKING:
    from pathlib import Path

GROUPS = {
    "build": "ISOs: made, compared, booted",
    "dev": "containers to edit and test code in",
    "services": "NATS, PostgreSQL and Redis: run, asked, backed up",
    "maint": "what all of this takes on the disk, and cleaning up",
}
"""What each group of verbs is about, for `inv --list`."""


def assemble(folder: Path) -> Collection:
    """Return the collection of all verbs for the project in a folder."""
    namespace = Collection.from_module(root)
    for name, module in (("build", build), ("dev", dev), ("services", services), ("maint", maint)):
        module.namespace.__doc__ = GROUPS[name]
        namespace.add_collection(module.namespace, name)
    for verb in ("build.iso", "build.matrix", "build.image", "build.component", "build.components"):
        namespace[verb].post = [maint.clean_after_build]
    namespace.configure({PROJECT_ROOT: str(folder)})
    return namespace
