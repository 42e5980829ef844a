"""The verbs of `inv build.*` about ISOs. Each parses its options, calls one function, and prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from invoke.collection import Collection

from synos_tasks import console
from synos_tasks.build import image_tasks
from synos_tasks.cli import Command, verb

if TYPE_CHECKING:
    from synos_tasks.build.iso_build import Options

PROFILE = "name of a file in docker/build/profiles (default: synos.build.profile of invoke.yaml)"
OUTPUT = "folder for the ISO (default: synos.build.output of invoke.yaml, which is dist)"
NEWEST = "the ISO (default: the newest in dist)"
JSON = "one JSON object on standard output"


@verb(
    "build.iso",
    help={
        "profile": PROFILE,
        "output": OUTPUT,
        "boot": "boot the ISO in QEMU afterwards, on BIOS",
        "release": "one squashfs, made small, instead of layers that are made fast",
        "locked": "fail where the lock would have to change",
        "offline": "use the lock and the pool alone, with no network",
        "no-cache": "use nothing that an earlier build left, except the builder image",
        "privileged": "with every capability, for hooks that must mount; NOT isolated from the host",
        "json": JSON,
    },
)
def iso(
    command: Command,
    profile: str = "",
    output: str = "",
    boot: bool = False,
    release: bool = False,
    locked: bool = False,
    offline: bool = False,
    no_cache: bool = False,
    privileged: bool = False,
) -> None:
    """Build a bootable SynOS ISO in the unprivileged builder container.

    Not for long-running services (inv services.up), nor for editing code (inv dev.up): see docker/build/README.md.
    """
    from synos_tasks.build import iso_build  # noqa: PLC0415  (verbs load what they need, --list stays quick)
    from synos_tasks.engine.client import Docker  # noqa: PLC0415

    options = _options(
        command,
        profile,
        output,
        release=release,
        locked=locked,
        offline=offline,
        cached=not no_cache,
        privileged=privileged,
    )
    if command.dry:
        _show_plan(command, options)
        return
    result = iso_build.build_iso(command.settings, Docker(), options, console.say)
    size = console.human_bytes(result.iso.stat().st_size)
    console.say(f"{result.iso}  {size}  in {result.seconds:.1f} s")
    if boot:
        _boot(command, result.iso, "bios", "cdrom", 0)
    command.result(result.to_json())


def _options(command: Command, profile: str, output: str, **more: bool) -> Options:
    from synos_tasks.build.iso_build import Options  # noqa: PLC0415

    folder = Path(output).resolve() if output else command.settings.output_dir
    return Options(profile=profile or command.settings.build.profile, output=folder, **more)


def _show_plan(command: Command, options: Options) -> None:
    from synos_tasks.build import dry_run  # noqa: PLC0415
    from synos_tasks.engine.client import Docker  # noqa: PLC0415

    plan, spec = dry_run.dry_run(command.settings, Docker(), options)
    container = dry_run.permissions(spec)
    command.result({"profile": options.profile, "plan": plan.to_json(), "container": container})
    if not command.json:
        console.table("plan", ["stage", "key"], [[stage.name, stage.key[:16]] for stage in plan.stages])
        console.say(f"packages: {' '.join(plan.profile.packages)}")
        console.table("container", ["what", "allowed"], [list(item) for item in container.items()])


@verb(
    "build.boot",
    help={
        "iso": NEWEST,
        "firmware": "bios, uefi or secure-boot",
        "media": "cdrom or usb: how the ISO is put in",
        "timeout": "seconds until the guest must have reported (default: synos.boot.timeout of invoke.yaml)",
        "json": JSON,
    },
)
def boot(
    command: Command, iso: str = "", firmware: str = "bios", media: str = "cdrom", timeout: int = 0
) -> None:
    """Boot an ISO in QEMU and exit by what the guest itself reports."""
    from synos_tasks.build.boot import newest_iso  # noqa: PLC0415

    path = Path(iso).resolve() if iso else newest_iso(command.settings)
    if command.dry:
        command.would(f"boot {path} on {firmware}", iso=str(path), firmware=firmware)
        return
    command.result(_boot(command, path, firmware, media, timeout))


def _boot(command: Command, path: Path, firmware: str, media: str, timeout: int) -> dict[str, object]:
    from synos_tasks.build.boot import boot_iso  # noqa: PLC0415
    from synos_tasks.engine.client import Docker  # noqa: PLC0415

    result = boot_iso(
        command.settings,
        Docker(),
        iso=path,
        firmware=firmware,
        media=media,
        timeout=timeout or command.settings.boot.timeout,
        on_line=console.say,
    )
    console.say(
        f"{path.name} booted on {firmware} in {result.seconds:.0f} s; screenshot: {result.screenshot}"
    )
    screenshot = str(result.screenshot or "")
    return {**result.__dict__, "iso": str(path), "firmware": firmware, "screenshot": screenshot}


@verb(
    "build.lock",
    help={
        "profile": PROFILE,
        "update": "take the newest versions; otherwise they stay where the mirrors still have them",
        "json": JSON,
    },
)
def lock(command: Command, profile: str = "", update: bool = False) -> None:
    """Write the exact packages of a profile to docker/build/profiles/NAME.lock.yaml."""
    from synos_tasks.build import locking, planning  # noqa: PLC0415
    from synos_tasks.engine.client import Docker  # noqa: PLC0415

    settings, name = command.settings, profile or command.settings.build.profile
    path = locking.lock_path(settings, name)
    if command.dry:
        planning.read_profile(settings, name)
        command.would(f"ask the mirrors of profile {name} and write {path}", profile=name, lock=str(path))
        return
    found, changed = locking.lock_profile(settings, Docker(), name, update=update, say=console.say)
    if len(changed) < len(found.packages):
        console.say("\n".join(change.line for change in changed) or "nothing changed")
    security = sum(change.security for change in changed)
    console.say(f"{path}: {len(found.packages)} packages, {len(changed)} changed, {security} for security")
    changes = [change.__dict__ for change in changed]
    command.result({"profile": name, "lock": str(path), "packages": len(found.packages), "changes": changes})


@verb(
    "build.plan",
    help={"profile": PROFILE, "output": OUTPUT, "release": "the plan of build.iso --release", "json": JSON},
)
def plan(command: Command, profile: str = "", output: str = "", release: bool = False) -> None:
    """Show which stages of a build are there already, why others are not, and how long they take."""
    from synos_tasks.build import plan_view  # noqa: PLC0415
    from synos_tasks.engine.client import Docker  # noqa: PLC0415

    options = _options(command, profile, output, release=release)
    seen = plan_view.view(command.settings, Docker(), options, console.say, dry=command.dry)
    if seen.lock != "fits":
        console.say(f"the lock is {seen.lock}: a build asks the mirrors first, which may add packages")
    rows = [
        [
            row.name,
            "hit" if row.hit else "miss",
            row.why,
            console.human_bytes(row.bytes) if row.bytes else "",
            "" if row.seconds is None else f"{row.seconds:.1f} s",
        ]
        for row in seen.rows
    ]
    console.table(f"plan of {options.profile}", ["stage", "", "why", "size", "expected"], rows)
    total = sum(row.seconds or 0 for row in seen.rows)
    unknown = sum(row.seconds is None for row in seen.rows)
    console.say(f"about {total:.0f} s of work" + (f", and {unknown} stages never timed" if unknown else ""))
    stages = [row.__dict__ for row in seen.rows]
    fields = {"lock": seen.lock, "seconds": round(total, 1), "stages": stages}
    command.result({"profile": options.profile, **fields})


@verb(
    "build.diff",
    positional=["one", "two"],
    help={
        "one": "an ISO, a lock, or a profile that has a lock",
        "two": "another",
        "limit": "lines shown of each kind of change; --json has all",
        "json": JSON,
    },
)
def diff(command: Command, one: str, two: str, limit: int = 20) -> None:
    """Show what changed between two ISOs or two locks: packages, files, sizes."""
    from synos_tasks.build import compare  # noqa: PLC0415
    from synos_tasks.engine.client import Docker  # noqa: PLC0415

    if command.dry:
        command.would(f"compare {one} and {two}", one=one, two=two)
        return
    found = compare.diff(command.settings, Docker(), one, two, console.say)
    for title, lines in compare.sections(found):
        console.say(f"{title}: {len(lines)}")
        console.say("\n".join(lines[:limit] + (["  …"] if len(lines) > limit else [])))
    if found.is_empty:
        console.say("no file differs" if found.files else "no difference")
    changes = [change.__dict__ for change in found.packages]
    command.result({"packages": changes, **(found.files or {})})


@verb(
    "build.verify-reproducible",
    help={
        "profile": PROFILE,
        "release": "verify build.iso --release",
        "rounds": "each round builds three times",
        "json": JSON,
    },
)
def verify_reproducible(command: Command, profile: str = "", release: bool = False, rounds: int = 1) -> None:
    """Build with another host name, user, clock, folder and more each time, and compare the bytes."""
    from synos_tasks.build import planning, reproduce  # noqa: PLC0415
    from synos_tasks.engine.client import Docker  # noqa: PLC0415

    settings, name = command.settings, profile or command.settings.build.profile
    rounds = max(1, rounds)
    if command.dry:
        planning.read_profile(settings, name)
        command.would(f"build profile {name} {3 * rounds} times and compare", profile=name)
        return
    verdict = reproduce.verify(settings, Docker(), name, release=release, rounds=rounds, say=console.say)
    console.say(f"{name}: {verdict.builds} builds, the same bytes")
    command.result(verdict.__dict__)


@verb(
    "build.report", help={"iso": NEWEST, "to": "the file to write (default: next to the ISO)", "json": JSON}
)
def report(command: Command, iso: str = "", to: str = "") -> None:
    """Write one HTML file about a build: stages, sizes, packages."""
    from synos_tasks.build import report as reports  # noqa: PLC0415
    from synos_tasks.build.boot import newest_iso  # noqa: PLC0415

    path = Path(iso).resolve() if iso else newest_iso(command.settings).resolve()
    target = Path(to).resolve() if to else Path(f"{path}.report.html")
    if command.dry:
        command.would(f"write {target}", iso=str(path), report=str(target))
        return
    reports.write(path, target)
    console.say(str(target))
    command.result({"iso": str(path), "report": str(target)})


namespace = Collection("build", iso, boot, lock, plan, diff, verify_reproducible, report, *image_tasks.VERBS)
