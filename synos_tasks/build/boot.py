"""Boot an ISO in QEMU, in a container without capabilities, and check what the guest reports."""

from __future__ import annotations

import dataclasses
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks import builder
from synos_tasks.engine.labels import labels
from synos_tasks.engine.spec import Bind, ContainerSpec
from synos_tasks.errors import BootFailed, IsoNotFound
from synos_tasks.images.catalog import BOOT
from synos_tasks.iso import protocol
from synos_tasks.iso.keys import users
from synos_tasks.iso.scratch import entries
from synos_tasks.project import launcher

if TYPE_CHECKING:
    from synos_tasks.build.planning import Context
    from synos_tasks.iso.profile import Profile
    from synos_tasks.settings import Settings

KVM = Path("/dev/kvm")
# besides the guest's own memory: QEMU with 256 MB of translated code, firmware, Python, /tmp
OVERHEAD_MB = 1024
# past the guest's timeout, for the probe of KVM, the picture and the start of the container
GRACE_SECONDS = 120
SECTOR = 2048


def boot_iso(
    context: Context, iso: Path, *, firmware: str, media: str, timeout: int
) -> tuple[protocol.Booted, Path]:
    """Boot ``iso`` and wait for its report; at most ``timeout`` seconds, for 0 those of the settings.

    Return it with the path of the serial log, which lands in .synos/boot/ with a picture of the screen. Raises
    IsoNotFound, OutputNotWritable, ImageBuildFailed, ContainerLost and BootFailed.
    """
    iso, settings = checked_iso(iso), context.settings
    folder = builder.state_folder(settings, "boot")
    log = folder / f"{iso.stem}-{firmware}-{media}.log"
    request = protocol.Boot(
        iso=Path("/iso") / iso.name,
        firmware=firmware,
        media=media,
        timeout=timeout or settings.boot.timeout,
        memory_mb=settings.boot.memory_mb,
        kvm=KVM.exists(),
        screenshot=Path("/out") / log.with_suffix(".png").name,
    )
    out = Bind(source=folder, target="/out", writable=True)
    spec = boot_spec(context, request, iso.parent, more=(out,))
    found = _run(context, spec, request, log)
    if not found.ok:
        screen = f"the screen: {found.screenshot}" if found.screenshot else ""
        raise BootFailed(
            f"{iso.name} did not boot as it should ({firmware}, {media}, {found.seconds:.0f} s)",
            where=str(log),
            why=found.why,
            hint="\n".join(filter(None, [found.hint, screen])),
        )
    return found, log


def checked_iso(iso: Path) -> Path:
    """Return the ISO's real path; raises IsoNotFound."""
    iso = iso.resolve()
    if not iso.is_file():
        raise IsoNotFound(f"there is no ISO {iso.name}", where=str(iso), hint="`inv build.iso` makes one")
    return iso


def _run(context: Context, spec: ContainerSpec, request: protocol.Boot, log: Path) -> protocol.Booted:
    with log.open("w", encoding="utf-8") as serial:

        def note(event: protocol.Event) -> None:
            if isinstance(event, protocol.Log):
                print(event.line, file=serial, flush=True)
                context.say(event.line)

        limit = request.timeout + GRACE_SECONDS
        found = builder.ask(context, spec, request, protocol.Booted, note, seconds=limit, logged=False)
    return dataclasses.replace(found, screenshot=found.screenshot and log.parent / found.screenshot.name)


def firmware_of(iso: Path) -> str:
    """Return the first firmware that an ISO boots on: uefi where it has nothing for a BIOS.

    See El Torito 1.0, figures 2 to 5, and UEFI 2.10, 13.3.2.1: the first entry of the boot catalogue says its platform.
    """
    with iso.open("rb") as stream:
        stream.seek(17 * SECTOR)
        record = stream.read(SECTOR)
        stream.seek(int.from_bytes(record[71:75], "little") * SECTOR)
        if b"EL TORITO" in record[:39] and stream.read(2) == b"\x01\xef":
            return "uefi"
    return "bios"


def next_steps(profile: Profile, iso: Path, *, booted: bool) -> str:
    """Return what a person can do with an ISO that was just built: log in, boot it, write it to a USB stick."""
    run, path = launcher(), shlex.quote(str(iso))
    ways = users.ways_in(profile)
    lines = [f"log in: {'; '.join(ways)}"] if ways else []
    lines.append(f"use it: {run} build.run" + ("" if booted else f"; check that it boots: {run} build.boot"))
    lines.append(
        f"USB stick X, which is erased (lsblk shows it): sudo dd if={path} of=/dev/sdX bs=4M conv=fsync"
    )
    return "\n".join(lines)


def chosen_iso(settings: Settings, path: str) -> Path:
    """Return the ISO at a path; for '' the one built last in the output folder, or raise IsoNotFound."""
    if path:
        return Path(path).resolve()
    found = [path for path in entries(settings.output_dir, "*.iso") if path.is_file()]
    if not found:
        raise IsoNotFound(
            "there is no ISO to boot", where=str(settings.output_dir), hint="`inv build.iso` makes one"
        )
    return max(found, key=lambda path: (path.stat().st_mtime, path.name))


def boot_spec(
    context: Context,
    request: protocol.Boot | protocol.Run,
    iso_folder: Path,
    *,
    more: tuple[Bind, ...],
    ports: tuple[int, ...] = (),
) -> ContainerSpec:
    """Return the container: no capability, the invoking user, only ``more`` writable, a network only with ``ports``."""
    # in a container they are in one group only: in that of /dev/kvm where it is one of theirs
    group = KVM.stat().st_gid if request.kvm else os.getgid()
    if group not in os.getgroups():
        group = os.getgid()
    project = context.settings.project
    return ContainerSpec(
        name=builder.container_name(project.id, "boot"),
        image=context.image(BOOT),
        command=("python3", "-m", "synos_tasks.iso.boot"),
        labels=labels(project.id, "build"),
        binds=(Bind(source=iso_folder, target="/iso"), *more, builder.CODE),
        tmpfs={"/tmp": "rw,nosuid,nodev,noexec,mode=1777,size=128m"},  # noqa: S108  (in the container)
        devices=(str(KVM),) if request.kvm else (),
        environment={"PYTHONPATH": "/project", "PYTHONDONTWRITEBYTECODE": "1"},
        cpus=min(2, os.cpu_count() or 1),
        memory_mb=request.memory_mb + OVERHEAD_MB,
        pids=256,
        network=None if ports else "none",
        ports=ports,
        user=f"{os.getuid()}:{group}",
    )
