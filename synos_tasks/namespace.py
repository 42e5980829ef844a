"""The verbs, put together: here and nowhere else."""

from invoke.collection import Collection

from synos_tasks import cli
from synos_tasks.build import tasks as build
from synos_tasks.dev import tasks as dev
from synos_tasks.maint import tasks as maint
from synos_tasks.project import tasks as project
from synos_tasks.services import tasks as services

namespace = Collection.from_module(project)
namespace.add_collection(build.namespace, "build")
namespace.add_collection(dev.namespace, "dev")
namespace.add_collection(services.namespace, "services")
namespace.add_collection(maint.namespace, "maint")

for verb in ("build.iso", "build.image", "build.component", "build.components"):
    cli.follow(verb, maint.keep_within_limits)
