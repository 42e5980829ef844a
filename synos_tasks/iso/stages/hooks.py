"""hooks: a profile's scripts, run in the root."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import HookFailed, ProfileError
from synos_tasks.iso import deb
from synos_tasks.iso.inputs import copy, walk
from synos_tasks.iso.root import clean, make_devices, no_services, within, write
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.stagespec import StageSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synos_tasks.iso.layers import StageInputs
    from synos_tasks.iso.tools import BuildContext

NAME = "hooks"
RESOLVER = "etc/resolv.conf"


def refuse_unrunnable(path: Path, name: str, where: str) -> None:
    """Raise ProfileError for a hook that no system can start."""
    with path.open("rb") as stream:
        first = stream.readline(256)
    if first.startswith(b"\x7fELF"):
        return
    why, hint = "", ""
    if not first[2:].split() or not first.startswith(b"#!"):
        why, hint = "its first line does not name a program to run it", "begin it with `#!/bin/sh`"
    elif first.endswith(b"\r\n"):
        why, hint = "its lines end as on Windows (CRLF)", f"sed -i 's/\\r$//' docker/build/{name}"
    if why:
        raise ProfileError(f"hook {name} cannot be run", where=where or str(path), why=why, hint=hint)


STAGE = StageSpec(
    order=50,
    files=lambda profile: profile.hooks,
    check_file=refuse_unrunnable,
    is_wanted=lambda profile: bool(profile.hooks),
)


def make(inputs: StageInputs, root: Path) -> dict[str, Any]:
    """Run the profile's hooks in order, as root of the container, which is less than root of the host.

    Return the packages that they installed, and the names of those that they removed.
    """
    context = inputs.context
    make_devices(root)
    # a profile's own files are wanted, whatever they are
    overlays = [context.find(name, folder=True) for name in context.profile.overlays]
    wanted = {str(path.relative_to(folder)) for folder in overlays for path in walk(folder)}
    if RESOLVER not in wanted:
        with suppress(FileNotFoundError):  # there is none without a network
            write(root, RESOLVER, Path(f"/{RESOLVER}").read_text())
    before = _packages(root)
    with no_services(root):
        for hook in context.profile.hooks:
            _run(context, root, hook)
    after = _packages(root)
    clean(root, keep=wanted)
    installed = [package for name, package in after.items() if package != before.get(name)]
    return {"hooks_installed": installed, "hooks_removed": sorted(before.keys() - after.keys())}


def _packages(root: Path) -> dict[str, dict[str, Any]]:
    """Return what dpkg has installed, by name, as the manifest describes it."""
    status = within(root, "var/lib/dpkg/status", follow=True)
    stanzas = status.read_text(errors="replace").split("\n\n") if status.is_file() else []
    found = {}
    for stanza in (deb.fields(one) for one in stanzas):
        if stanza.get("Status", "").endswith(" installed"):
            size = int(stanza.get("Installed-Size", "0")) * 1024
            found[stanza["Package"]] = {
                "name": stanza["Package"], "version": stanza["Version"], "architecture": stanza["Architecture"],
                "sha256": "", "layer": NAME, "bytes": 0, "installed_bytes": size,
            }  # fmt: skip
    return found


def _run(context: BuildContext, root: Path, hook: str) -> None:
    inside = f"tmp/synos-hook-{Path(hook).name}"
    target = within(root, inside)
    target.parent.mkdir(exist_ok=True)
    remove(target)
    copy(context.find(hook), target)
    target.chmod(0o755)
    _refuse_without_interpreter(context, root, hook, target)

    def failed(code: int, lines: Sequence[str]) -> Exception:
        return HookFailed(
            f"hook {hook} ended with {code}",
            where=context.profile.origins.get(hook, hook),
            why="\n".join(lines[-10:]),
            hint="the full log has all it printed",
        )

    context.run_inside(NAME, root, [f"/{inside}"], network=True, on_failure=failed)
    remove(within(root, inside))


def _refuse_without_interpreter(context: BuildContext, root: Path, hook: str, script: Path) -> None:
    with script.open("rb") as stream:
        words = stream.readline(256).decode(errors="replace").removeprefix("#!").split()
    program = words[0] if words and words[0].startswith("/") else ""
    if program and not within(root, program.lstrip("/"), follow=True).is_file():
        raise HookFailed(
            f"hook {hook} needs {program}, which the system does not have",
            where=context.profile.origins.get(hook, hook),
            hint="add the package that has it to `packages:`",
        )
