"""Boot an ISO in QEMU, in a container without any capability, and judge what it reports of itself."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.engine.labels import labels
from synos_tasks.engine.spec import Bind, ContainerSpec
from synos_tasks.errors import BootFailed, IsoNotFound, OutputNotWritable
from synos_tasks.images.catalog import BOOT
from synos_tasks.iso import protocol
from synos_tasks.iso.boot.request import FIRMWARES, MEDIA, Boot, check_choice
from synos_tasks.project import PACKAGE

if TYPE_CHECKING:
    from synos_tasks.build.planning import Context
    from synos_tasks.settings import Settings

KVM = Path("/dev/kvm")
# besides the guest's own memory: QEMU with 256 MB of translated code, firmware, Python, /tmp
OVERHEAD_MB = 1024
# past the guest's timeout, for the probe of KVM, the picture and the start of the container
GRACE_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class BootResult:
    """How a boot went. Seconds from QEMU's start to the report."""

    ok: bool
    seconds: float
    accelerator: str
    why: str
    screenshot: Path | None
    log: str
    """Path of the serial log; text, so that the fields but ``screenshot`` are JSON-ready."""
    report: dict[str, Any] = field(default_factory=dict)


def boot_iso(
    context: Context, iso: Path, *, firmware: str, media: str = "cdrom", timeout: int = 0, kvm: bool = True
) -> BootResult:
    """Boot ``iso`` and wait for its report; at most ``timeout`` seconds, for 0 those of the settings.

    The serial log and a picture of the screen land in .synos/boot/.

    Raises SettingsError, IsoNotFound, OutputNotWritable, ImageBuildFailed, ContainerLost and BootFailed.
    """
    check_choice("firmware", firmware, FIRMWARES)
    check_choice("media", media, MEDIA)
    iso = iso.resolve()
    if not iso.is_file():
        raise IsoNotFound(f"there is no ISO {iso.name}", where=str(iso), hint="`inv build.iso` makes one")
    settings, kvm = context.settings, kvm and KVM.exists()
    folder = _output_folder(settings)
    request = Boot(
        iso=Path("/iso") / iso.name,
        firmware=firmware,
        media=media,
        timeout=timeout or settings.boot.timeout,
        memory_mb=settings.boot.memory_mb,
        kvm=kvm,
        out=Path("/out"),
    )
    spec = boot_spec(settings, context.image(BOOT), iso_folder=iso.parent, out=folder, kvm=kvm)
    result = _run(context, spec, request, folder / f"{iso.stem}-{firmware}-{media}.log")
    if not result.ok:
        raise BootFailed(
            f"{iso.name} did not boot as it should ({firmware}, {media}, {result.seconds:.0f} s)",
            where=result.log,
            why=result.why,
            hint=f"the screen: {result.screenshot}" if result.screenshot else "the serial log tells more",
        )
    return result


def _run(context: Context, spec: ContainerSpec, request: Boot, log: Path) -> BootResult:
    with log.open("w", encoding="utf-8") as serial:

        def note(event: protocol.Event) -> None:
            if isinstance(event, protocol.Log):
                print(event.line, file=serial, flush=True)
                context.say(event.line)

        limit = request.timeout + GRACE_SECONDS
        found = context.ask(spec, request, protocol.Booted, note, seconds=limit, logged=False)
    return BootResult(
        ok=found.ok,
        seconds=found.seconds,
        accelerator=found.accelerator,
        why=found.why,
        screenshot=log.parent / found.screenshot.name if found.screenshot else None,
        log=str(log),
        report=dict(found.report),
    )


def newest_iso(settings: Settings) -> Path:
    """Return the ISO built last in the output folder; raises IsoNotFound."""
    found = [path for path in settings.output_dir.glob("*.iso") if path.is_file()]
    if not found:
        raise IsoNotFound(
            "there is no ISO to boot", where=str(settings.output_dir), hint="`inv build.iso` makes one"
        )
    return max(found, key=lambda path: (path.stat().st_mtime, path.name))


def boot_spec(settings: Settings, image: str, *, iso_folder: Path, out: Path, kvm: bool) -> ContainerSpec:
    """Return the container: no capability, no network, the invoking user, only ``out`` writable."""
    return ContainerSpec(
        name=f"{settings.project.id}-boot-{secrets.token_hex(4)}",
        image=image,
        command=("python3", "-m", "synos_tasks.iso.boot"),
        labels=labels(settings.project.id, "build"),
        binds=(
            Bind(source=iso_folder, target="/iso"),
            Bind(source=out, target="/out", writable=True),
            # the code alone: what else the project holds is none of the container's business
            Bind(source=PACKAGE, target="/project/synos_tasks"),
        ),
        tmpfs={"/tmp": "rw,nosuid,nodev,noexec,mode=1777,size=128m"},  # noqa: S108  (in the container)
        devices=(str(KVM),) if kvm else (),
        environment={"PYTHONPATH": "/project", "PYTHONDONTWRITEBYTECODE": "1"},
        cpus=min(2, os.cpu_count() or 1),
        memory_mb=settings.boot.memory_mb + OVERHEAD_MB,
        pids=256,
        network="none",
        user=_user(kvm=kvm),
    )


def _user(*, kvm: bool) -> str:
    """Return the invoking user as uid:gid, with the group of /dev/kvm where that is one of theirs.

    In a container they are in that one group only.
    """
    group = os.getgid()
    if kvm and KVM.stat().st_gid in os.getgroups():
        group = KVM.stat().st_gid
    return f"{os.getuid()}:{group}"


def _output_folder(settings: Settings) -> Path:
    folder = settings.project.state_dir.resolve() / "boot"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputNotWritable(
            "the folder for logs cannot be made", where=str(folder), why=str(error)
        ) from error
    return folder
