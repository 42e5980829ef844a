"""hooks: a profile's scripts, run in the root; each is a stage of its own."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import HookFailed, ProfileError
from synos_tasks.iso import deb
from synos_tasks.iso.inputs import copy, walk
from synos_tasks.iso.key import Key, Said, adds, mistake
from synos_tasks.iso.root import clean, make_devices, no_services, within, write
from synos_tasks.iso.schema import RELATIVE, choice, list_of, mapping, relative, text
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.stagespec import Part, StageSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from synos_tasks.iso.layers import StageInputs
    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.tools import BuildContext

RESOLVER = "etc/resolv.conf"
ORDERS = {"after-packages": 25, "customise": 50, "before-squash": 55}
"""Places of the layers: users and all else of `system` are 30, overlays 40, the identity is 60."""
AFTER_PACKAGES, CUSTOMISE = list(ORDERS)[:2]


@dataclass(frozen=True)
class Hook:
    """One of `hooks`."""

    script: str
    stage: str = CUSTOMISE
    inputs: Sequence[str] | None = None
    """What it reads of docker/build; None: it may read all that is below it."""

    @property
    def name(self) -> str:
        """Name of its stage."""
        return f"hook-{Path(self.script).name}"

    @property
    def apart(self) -> bool:
        """Tell whether its layer stays when overlays change that are no input."""
        return self.inputs is not None and self.stage != AFTER_PACKAGES

    def reads(self, path: str) -> bool:
        """Tell whether a path of docker/build is, or is in, one of its inputs."""
        inputs = [normpath(one) for one in self.inputs or ()]
        return any(f"{normpath(path)}/".startswith(f"{one}/") for one in inputs)


def _hook(item: str | dict[str, Any]) -> Hook:
    return Hook(**item) if isinstance(item, dict) else Hook(item)


def hooks_of(profile: Profile) -> dict[str, Hook]:
    """Return the hooks of a profile by the names of their stages."""
    return {hook.name: hook for hook in map(_hook, profile.values.get("hooks", []))}


def _contradictions(said: Said) -> Iterator[ProfileError]:
    seen: dict[str, str] = {}
    for item in said.value("hooks").items:
        place, hook = item.entries.get("script", item), _hook(item.plain)
        first = seen.get(hook.name)
        if first and normpath(first) == normpath(hook.script):
            yield mistake(place, f"hook {hook.script} appears twice", "leave one of them out")
        elif first:
            what = f"{first} and {hook.script} have one name"
            yield mistake(place, what, "rename one of them: the name is that of the layer")
        seen.setdefault(hook.name, hook.script)


KEY = Key(
    kind=list_of(
        mapping(
            {
                "script": text(
                    rf"{RELATIVE.removesuffix('[A-Za-z0-9._/+-]+')}([A-Za-z0-9._/+-]*/)?[A-Za-z0-9._+-]{{1,60}}",
                    "a script relative to docker/build", "The script.",
                    allowed="a path inside docker/build of letters, digits, . _ + - and /",
                ),
                "stage": choice(
                    *ORDERS, doc="After the packages and before the users; after the overlays (default); or last."
                ),
                "inputs": list_of(
                    relative("a path relative to docker/build"), "Files and folders of docker/build that it reads, such as `overlays/kiosk/etc/foo.conf`. With this list, even "
                    "an empty one, a change of other files in overlays does not run the hook again.",
                ),
            },
            required=("script",),
            short="script",
        ),
        "Scripts that run as root in the new system, in this order.",
    ),
    merge=adds,
    check=_contradictions,
    aliases=(
            "hook", "scripts", "script", "run", "shell", "chroot", "post", "postinst_scripts", "post_installation_scripts",
            "finalize_scripts", "prepare_scripts", "build_scripts", "hooks_chroot", "customize_hooks", "actions", "steps",
    ),
    example="[hooks/kiosk, {script: hooks/fonts, stage: after-packages, inputs: []}]",
)  # fmt: skip


def _parts(profile: Profile) -> list[Part]:
    return [
        Part(
            name=hook.name,
            order=ORDERS[hook.stage],
            value=hook,
            paths=[hook.script, *(hook.inputs or ())],
            apart=hook.apart,
        )
        for hook in hooks_of(profile).values()
    ]


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
    order=ORDERS[CUSTOMISE],
    files=lambda profile: [hook.script for hook in hooks_of(profile).values()],
    paths=lambda profile: [path for hook in hooks_of(profile).values() for path in hook.inputs or ()],
    keys={"hooks": KEY},
    parts=_parts,
    check_file=refuse_unrunnable,
)


def make(inputs: StageInputs, root: Path) -> dict[str, Any]:
    """Run a hook as root of the container, which is less than root of the host.

    Return the packages that it installed, and the names of those that it removed.
    """
    context, stage = inputs.context, inputs.stage.name
    hook = hooks_of(context.profile)[stage]
    make_devices(root)
    # a profile's own files are wanted, whatever they are
    above = hook.stage != AFTER_PACKAGES
    overlays = [context.find(name, folder=True) for name in context.profile.values["overlays"] if above]
    wanted = {str(path.relative_to(folder)) for folder in overlays for path in walk(folder)}
    wanted |= {one["path"].lstrip("/") for one in context.profile.values.get("files", []) if above}
    if RESOLVER not in wanted:
        with suppress(FileNotFoundError):  # there is none without a network
            write(root, RESOLVER, Path(f"/{RESOLVER}").read_text())
    before = _packages(root, stage)
    with no_services(root):
        _run(context, root, hook.script, stage)
    after = _packages(root, stage)
    clean(root, keep=wanted)
    installed = [package for name, package in after.items() if package != before.get(name)]
    return {"hooks_installed": installed, "hooks_removed": sorted(before.keys() - after.keys())}


def _packages(root: Path, stage: str) -> dict[str, dict[str, Any]]:
    """Return what dpkg has installed, by name, as the manifest describes it."""
    status = within(root, "var/lib/dpkg/status", follow=True)
    stanzas = status.read_text(errors="replace").split("\n\n") if status.is_file() else []
    found = {}
    for stanza in (deb.fields(one) for one in stanzas):
        if stanza.get("Status", "").endswith(" installed"):
            size = int(stanza.get("Installed-Size", "0")) * 1024
            found[stanza["Package"]] = {
                "name": stanza["Package"], "version": stanza["Version"], "architecture": stanza["Architecture"],
                "sha256": "", "layer": stage, "bytes": 0, "installed_bytes": size,
            }  # fmt: skip
    return found


def refuse_overlaid(profile: Profile, name: str, touched: Sequence[str], laid: Mapping[str, str]) -> None:
    """Raise ProfileError where the layer of a hook hides something of an overlay that is none of its inputs.

    ``touched`` has the paths that the layer changes and removes, ``laid`` those of the overlays with their sources; folders end in /.
    """
    hook = hooks_of(profile)[name]
    others = {path.rstrip("/") for path in touched}
    hides = {path for path in touched if not path.endswith("/")}
    above = {str(parent) for path in others for parent in Path(path).parents}
    for path, source in laid.items():
        one = path.rstrip("/")
        hidden = (
            one in others
            or not hides.isdisjoint(map(str, Path(one).parents))
            or (one == path and one in above)
        )
        if hidden and source and not hook.reads(source):
            raise ProfileError(
                f"hook {hook.script} changes /{one}, which is none of its inputs",
                where=profile.origins.get(hook.script, hook.script),
                why=f"{source} lays it down",
                hint=f"add {source} to its `inputs`",
            )


def _run(context: BuildContext, root: Path, hook: str, stage: str) -> None:
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

    context.run_inside(stage, root, [f"/{inside}"], network=True, on_failure=failed)
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
