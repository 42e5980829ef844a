"""The verbs of `inv build.*`."""

from __future__ import annotations

import shlex
from pathlib import Path

from invoke.collection import Collection

from synos_tasks import console
from synos_tasks.cli import Command, verb


@verb(
    "build.iso",
    help={
        "profile": "name of a file in docker/build/profiles (default: synos.build.profile of invoke.yaml)",
        "output": "folder for the ISO (default: dist)",
        "boot": "boot the ISO in QEMU afterwards, on BIOS",
        "no-cache": "use nothing that an earlier build left, but the builder image",
        "json": "one JSON object on standard output",
    },
)
def iso(
    command: Command,
    profile: str = "",
    output: str = "",
    boot: bool = False,
    no_cache: bool = False,  # noqa: ARG001
    json: bool = False,  # noqa: ARG001
) -> None:
    """Build a bootable SynOS ISO in the unprivileged builder container.

    Not for services (inv services.*) and not for editing code (inv dev.*).
    """
    from synos_tasks.build import iso_build  # noqa: PLC0415  (verbs load what they need, --list stays quick)
    from synos_tasks.engine.gateway import DockerEngine  # noqa: PLC0415

    name = profile or command.settings.build.profile
    folder = Path(output).resolve() if output else command.settings.output_dir
    if command.dry:
        _show_plan(command, name, folder)
        return
    result = iso_build.build_iso(command.settings, DockerEngine(), name, folder, console.say)
    size = console.human_bytes(result.iso.stat().st_size)
    console.say(f"{result.iso}  {size}  in {result.seconds:.1f} s")
    if boot:
        _boot(command, result.iso, "bios", "cdrom", 0)
    command.result(result.to_json())


@verb(
    "build.boot",
    help={
        "iso": "the ISO (default: the newest in dist)",
        "firmware": "bios, uefi or secure-boot",
        "media": "cdrom or usb: how the ISO is put in",
        "timeout": "seconds until the guest must have reported (default: synos.boot.timeout of invoke.yaml)",
        "json": "one JSON object on standard output",
    },
)
def boot(
    command: Command,
    iso: str = "",  # (the parameter's name is the option's)
    firmware: str = "bios",
    media: str = "cdrom",
    timeout: int = 0,
    json: bool = False,  # noqa: ARG001
) -> None:
    """Boot an ISO in QEMU and exit by what the guest itself reports."""
    from synos_tasks.build.boot import newest_iso  # noqa: PLC0415

    path = Path(iso).resolve() if iso else newest_iso(command.settings)
    fields = _boot(command, path, firmware, media, timeout)
    command.result(fields)


def _boot(command: Command, path: Path, firmware: str, media: str, timeout: int) -> dict[str, object]:
    from synos_tasks.build.boot import boot_iso  # noqa: PLC0415
    from synos_tasks.engine.gateway import DockerEngine  # noqa: PLC0415

    limit = timeout or command.settings.boot.timeout
    result = boot_iso(
        command.settings,
        DockerEngine(),
        iso=path,
        firmware=firmware,
        media=media,
        timeout=limit,
        on_line=console.say,
    )
    console.say(
        f"{path.name} booted on {firmware} in {result.seconds:.0f} s; screenshot: {result.screenshot}"
    )
    return {
        **result.__dict__,
        "iso": str(path),
        "firmware": firmware,
        "screenshot": str(result.screenshot or ""),
    }


def _show_plan(command: Command, name: str, folder: Path) -> None:
    from synos_tasks.build import iso_build  # noqa: PLC0415
    from synos_tasks.build.image import tag_of  # noqa: PLC0415
    from synos_tasks.engine.spec import run_argv  # noqa: PLC0415

    plan = iso_build.plan_build(command.settings, name)
    spec = iso_build.builder_spec(command.settings, None, tag_of(command.settings, "builder"), folder)
    argv = run_argv(spec)
    if command.json:
        command.result({"profile": name, "plan": plan.to_json(), "command": argv})
        return
    console.table("plan", ["stage", "key"], [[stage.name, stage.key[:16]] for stage in plan.stages])
    console.say(f"packages: {' '.join(plan.profile.packages)}")
    console.say("the plan goes as one line of JSON (--json shows it) into:")
    console.say(shlex.join(argv))


namespace = Collection("build", iso, boot)
