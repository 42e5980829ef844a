"""Refuses to run where the host could be harmed."""

from __future__ import annotations

from pathlib import Path

from synos_tasks.errors import OutsideContainer

MARKER = Path("/etc/synos-builder")
HINT = "run `inv build.iso`: it starts the builder container"


def refuse_outside_container(marker: Path = MARKER, mountinfo: Path = Path("/proc/self/mountinfo")) -> None:
    """Raise OutsideContainer unless this is the builder image and /dev is not the host's.

    The kernel has one devtmpfs: wherever it is mounted, `rm` in it deletes the host's device nodes.
    """
    if not marker.is_file():
        raise OutsideContainer(
            "the ISO engine runs in its builder container only",
            where=str(marker),
            why="it makes device nodes and runs package scripts as root; an interrupted build on a host "
            "once left five entries in its /dev",
            hint=HINT,
        )
    for line in mountinfo.read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.split(" ")[0] == "devtmpfs":
            raise OutsideContainer(
                "the host's devtmpfs is mounted in this container",
                where=fields.split(" ")[4],
                why="what is deleted in it is deleted on the host",
                hint=HINT,
            )
