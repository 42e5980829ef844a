"""Damage of what services store: which file, why, and a copy of it before anything is changed.

`check` and `repair` in a service's folder of docker/services know its files. They run in the running service, or in a
container of its own that has the service's volumes.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.errors import ServiceFailed
from synos_tasks.services import health

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synos_tasks.engine.client import Container
    from synos_tasks.services.stack import Service, StackContext

KEPT = "damaged-"
"""Prefix of the folders, at the top of a volume, with the data from before a repair."""
# $1: the service's user, then where its volumes are
OWNERS = f"""
user=$1; shift
find "$@" -xdev -name '{KEPT}*' -prune -o \\( ! -user "${{user%:*}}" -o -type d ! -perm -700 -o ! -type d ! -perm -600 \\) \\
    -printf '%p\\tbelongs to uid %U with mode %m\\n' | head -n 3
"""
CHECK = ("sh", "-c", '[ ! -e /etc/synos/check ] || sh /etc/synos/check "$1"', "sh")
BOX = ("run", "--rm", "--no-TTY", "--no-deps")
CHECKS: dict[str, tuple[str, ...]] = {"nats": (*BOX, "--volume=nats:/data:ro", "nats-box", "check")}
"""Of services that are examined by their client while they run."""
REPAIRS: dict[str, tuple[str, ...]] = {
    "nats": (
        *BOX,
        "--volume=nats:/data",
        "--entrypoint=python3",
        "nats-box",
        "-Es",
        "/opt/nats-box/nats_check.py",
    )
}
# $1: name of the folder, $2: mv or cp, then as above. Afterwards the service can use its files, whatever owner and mode they had.
KEEP = f"""
set -eu
kept=$1 how=$2 user=$3; shift 3
for volume in "$@"; do
    trap 'rm -rf "$volume/$kept"' EXIT
    mkdir "$volume/$kept"
    for one in "$volume"/*; do
        case ${{one##*/}} in
            {KEPT}*|lock) ;;
            *) if [ "$how" = mv ]; then mv "$one" "$volume/$kept/"; else cp -a "$one" "$volume/$kept/"; fi ;;
        esac
    done
    trap - EXIT
    find "$volume" -xdev -name '{KEPT}*' -prune -o \\( -exec chown -h "$user" {{}} + -exec chmod u+rwX,go-rwx {{}} + \\)
done
"""


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One damaged file of a service."""

    service: str
    file: str
    why: str

    def __str__(self) -> str:
        """Return it as a line for a person."""
        return f"{self.service}: {self.file} {self.why}"


def find(context: StackContext, services: Sequence[Service]) -> list[Damage]:
    """Return what is damaged of the data of services, running or not, as far as it can be found.

    Services that keep no data, or were never started, are left alone. Raises ServiceFailed where one cannot be examined, EngineUnavailable.
    """
    containers = context.compose.containers()
    return [
        found
        for one in services
        if one.volumes and (one.name in containers or any(map(context.docker.volume, one.volumes.values())))
        for found in _find(context, one, containers.get(one.name))
    ]


def _find(context: StackContext, service: Service, container: Container | None) -> list[Damage]:
    said = None
    try:
        if container is not None and container.state.status == "running":
            said = context.compose.run(
                *CHECKS.get(service.name, ("exec", "--no-TTY", service.name, *CHECK, "running"))
            )
    except ServiceFailed:
        if health.step_of(container) in health.READY:
            raise
    if said is None:
        said = _run_stopped(context, service, f"{OWNERS}\n{CHECK[-2]}", ["DAC_OVERRIDE"])
    found = (line.partition("\t") for line in said.splitlines())
    return [Damage(service=service.name, file=file, why=why) for file, tab, why in found if tab]


def keep(context: StackContext, service: Service, *, move: bool) -> str:
    """Move or copy all that a stopped service stores into a new folder of its volume; return where that is."""
    kept = f"{KEPT}{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}"
    words = [kept, "mv" if move else "cp"]
    _run_stopped(context, service, KEEP, ["CHOWN", "DAC_OVERRIDE", "FOWNER"], words)
    return ", ".join(f"folder {kept} of volume {volume}" for volume in service.volumes.values())


def repair(context: StackContext, service: Service, found: Sequence[Damage], *, running: bool) -> list[str]:
    """Repair a service's data, in the running service or while it is stopped; return what was lost, a line each.

    Raises ServiceFailed where it cannot be repaired.
    """
    words = REPAIRS.get(service.name, (*BOX, "--entrypoint=sh", service.name, "/etc/synos/repair"))
    if running:
        words = ("exec", "--no-TTY", service.name, "sh", "/etc/synos/repair", "running")
    lines = "".join(f"{one.file}\t{one.why}\n" for one in found)
    return context.compose.pipe(words, stdin=lines.encode()).decode(errors="replace").splitlines()


def hint(found: Sequence[Damage]) -> str:
    """Return the commands that lead out of a damage."""
    heal, names = "inv services.heal --only", services_of(found)
    restores = (
        f"{heal} {name} --from-backup latest restores the newest backup of it alone;" for name in names
    )
    repairs = f"{heal} {','.join(names)} --repair keeps what is readable. Both keep a copy of what is there"
    return " ".join([*restores, repairs])


def services_of(found: Sequence[Damage]) -> list[str]:
    """Return the names of the damaged services."""
    return list(dict.fromkeys(one.service for one in found))


def _run_stopped(
    context: StackContext,
    service: Service,
    script: str,
    capabilities: Sequence[str],
    words: Sequence[str] = (),
) -> str:
    """Run a script as root, with these capabilities and no others, in a container with the service's volumes."""
    options = ["--rm", "--no-TTY", "--no-deps", "--user=0:0", "--entrypoint=sh"]
    options += [f"--cap-add={one}" for one in capabilities]
    arguments = [*words, service.user, *service.volumes]
    return context.compose.run("run", *options, service.name, "-c", script, "sh", *arguments)
