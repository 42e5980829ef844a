"""What must be true of the host before a build starts."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.engine.failures import check_versions
from synos_tasks.engine.labels import LABEL_PROJECT, ONCE, labels, owner_is_alive
from synos_tasks.errors import DiskFull, HostUnfit, OutputNotWritable
from synos_tasks.host import checks
from synos_tasks.host.devices import dev_problems
from synos_tasks.host.facts import cpu_count, memory
from synos_tasks.host.mounts import mount_table, stale_mounts

if TYPE_CHECKING:
    from synos_tasks.engine.client import Docker, SystemInfo
    from synos_tasks.settings import Settings

LEAST_OUTPUT_BYTES = 600 * 10**6
STOPPED = ("exited", "dead")


def check(settings: Settings, docker: Docker, output: Path) -> SystemInfo:
    """Check engine, host, output folder and space; remove what a killed engine left.

    Raises EngineUnavailable, EngineTooOld, HostUnfit, OutputNotWritable or DiskFull.
    """
    info = docker.info()
    check_versions(info)
    check_host(settings.root, Path(info.docker_root_dir or "/var/lib/docker"))
    check_output(output)
    remove_leftovers(settings, docker)
    return info


def check_host(project: Path, engine_root: Path) -> None:
    """Look at what doctor looks at and a build cannot do without: memory, /dev, mounts left behind."""
    found = checks.failed(
        [
            checks.check_memory(memory(), cpu_count()),
            checks.check_dev(dev_problems()),
            checks.check_mounts(stale_mounts(project, mount_table(), ignore=[engine_root])),
        ]
    )
    if found:
        raise HostUnfit(
            "this machine is not fit for a build",
            where=", ".join(check.name for check in found),
            why="; ".join(check.detail for check in found),
            hint="; ".join(check.hint for check in found),
        )


def check_output(output: Path) -> None:
    """Make the output folder and try to write in it."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise OutputNotWritable(
            "the output folder cannot be written",
            where=str(output),
            why=error.strerror or str(error),
            hint="choose another with --output, or mend its permissions",
        ) from error
    free = os.statvfs(output).f_bavail * os.statvfs(output).f_frsize
    if free < LEAST_OUTPUT_BYTES:
        raise DiskFull(
            "the output folder's disk is nearly full",
            where=str(output),
            why=f"{free // 10**6} MB free, {LEAST_OUTPUT_BYTES // 10**6} MB needed for an ISO",
            hint="free some space, or choose another folder with --output",
        )


def remove_leftovers(settings: Settings, docker: Docker) -> None:
    """Remove builders that ended without being removed, because the engine died, and volumes of killed commands."""
    for container in docker.containers(labels(settings.project_id, "build")):
        # a container that somebody starts from the image has its labels, but not such a name
        if container.name.startswith(f"{settings.project_id}-") and container.state.status in STOPPED:
            docker.remove_container(container.id)
    for volume in docker.volumes({LABEL_PROJECT: settings.project_id}):
        if ONCE in volume.name and not owner_is_alive(volume.name):
            docker.remove_volume(volume.name)
