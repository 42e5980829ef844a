"""`inv build.shell`: the container that builds, with a shell in it."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

from synos_tasks.builder import PRIVILEGED, builder_spec, toolchain_spec
from synos_tasks.engine.labels import labels
from synos_tasks.images.catalog import BUILDER, TOOLCHAIN

if TYPE_CHECKING:
    from synos_tasks.build.planning import Context
    from synos_tasks.engine.client import SystemInfo
    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.settings import Settings


def shell_spec(
    settings: Settings,
    info: SystemInfo | None,
    *,
    toolchain: bool = False,
    privileged: bool = False,
    command: str = "",
) -> ContainerSpec:
    """Return the container: of a build, or of a component's compilation; the output folder is writable in both.

    ``command`` is for a shell, which is interactive without one.
    """
    words = ("bash", "-c", command) if command else ("bash",)
    output = settings.output_dir
    if toolchain:
        image = TOOLCHAIN.tag(settings.project)
        spec = toolchain_spec(settings, info, image, output=output, store="", network=True)
        spec = dataclasses.replace(spec, user=None)
    else:
        image = BUILDER.tag(settings.project)
        spec = builder_spec(settings, info, image, output=output, privileged=privileged)
    name = spec.name.replace("-build-", "-shell-").replace("-compile-", "-shell-")
    return dataclasses.replace(spec, name=name, command=words, terminal=not command and sys.stdin.isatty())


def open_shell(context: Context, *, toolchain: bool, privileged: bool, command: str) -> int:
    """Open a shell, or run a command in one; return its exit code. Raises EngineUnavailable or EngineTooOld."""
    settings = context.settings
    spec = shell_spec(settings, context.info, toolchain=toolchain, privileged=privileged, command=command)
    context.image(TOOLCHAIN if toolchain else BUILDER)
    settings.output_dir.mkdir(parents=True, exist_ok=True)
    for volume in spec.volumes:
        context.docker.create_volume(volume, labels(settings.project.id, "cache"))
    if privileged:
        context.say(f"warning: {PRIVILEGED}")
    return context.docker.interact(spec)
