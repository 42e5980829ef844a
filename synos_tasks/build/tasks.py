"""The verbs of `inv build.*`. Each parses its options, calls one function, and prints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.collection import Collection

from synos_tasks import console
from synos_tasks.build.tasks_boot import NEWEST, boot, boot_and_say, run
from synos_tasks.build.tasks_boot import context_of as _context
from synos_tasks.build.tasks_matrix import matrix
from synos_tasks.build.tasks_matrix import suite as _suite
from synos_tasks.build.tasks_new import import_live_build, new
from synos_tasks.build.tasks_store import store
from synos_tasks.cli import Command, verb

if TYPE_CHECKING:
    from synos_tasks.build.iso_build import Options

PROFILE = "name of a file in docker/build/profiles, or NAME@SUITE for another suite (default: synos.build.profile of invoke.yaml)"
OUTPUT = "folder for the ISO (default: synos.build.output of invoke.yaml, which is dist)"
NO_CACHE = "use neither the store nor the compilers' caches"
DEBS = "folder for the .debs (default: components in the folder of ISOs)"
SUITE = "suite to compile for (default: that of the profiles that have the component, else trixie)"
PRIVILEGED = "with every capability, for hooks that must mount; NOT isolated from the host"


def _show_container(command: Command, container: dict[str, str]) -> None:
    command.table("container", ["what", "allowed"], list(container.items()))


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
        "privileged": PRIVILEGED,
    },
    example="--profile standard --boot",
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
    from synos_tasks.build import planning
    from synos_tasks.build.boot import next_steps
    from synos_tasks.build.iso_build import build_iso
    from synos_tasks.iso import codec

    flags = {"release": release, "locked": locked, "offline": offline, "privileged": privileged}
    options = _options(command, profile, output, cached=not no_cache, **flags)
    if command.dry:
        _show_plan(command, options)
        return
    read = planning.read_profile(command.settings, options.profile)
    result = build_iso(_context(command), options, read)
    size = console.human_bytes(result.iso.stat().st_size)
    console.say(f"{result.iso}  {size}  in {result.seconds:.1f} s")
    if boot:
        boot_and_say(command, result.iso)
    console.say(next_steps(read, result.iso, booted=boot))
    command.result(codec.to_data(result))


def _options(command: Command, profile: str, output: str, **more: bool) -> Options:
    from synos_tasks.build.iso_build import Options

    folder = Path(output).resolve() if output else command.settings.output_dir
    return Options(profile=profile or command.settings.build.profile, output=folder, **more)


def _show_plan(command: Command, options: Options) -> None:
    from synos_tasks.build.containers import permissions
    from synos_tasks.build.iso_build import container_of
    from synos_tasks.build.view import plan_of
    from synos_tasks.iso import codec
    from synos_tasks.iso.publish import STAGING_PREFIX

    context, output = _context(command), options.output / f"{STAGING_PREFIX}*"
    plan, _ = plan_of(context, options)
    store = "" if options.cached else None
    container = permissions(container_of(context, options, plan, output=output, store=store))
    command.result({"profile": plan.profile.name, "plan": codec.to_data(plan), "container": container})
    if not command.json:
        command.table("plan", ["stage", "key"], [[stage.name, stage.key[:16]] for stage in plan.stages])
        command.show(f"packages: {' '.join(plan.profile.packages)}")
        _show_container(command, container)


@verb(
    "build.lock",
    help={
        "profile": PROFILE,
        "update": "take the newest versions; otherwise they stay where the mirrors still have them",
    },
)
def lock(command: Command, profile: str = "", update: bool = False) -> None:
    """Write the exact packages of a profile to docker/build/profiles/NAME.lock.yaml."""
    from synos_tasks.build import planning
    from synos_tasks.project import launcher

    settings = command.settings
    text = profile or settings.build.profile
    asked = planning.read_profile(settings, text)
    name, path = asked.name, planning.lock_path(settings, asked.name)
    command.would(f"ask the mirrors of profile {name} and write {path}", profile=name, lock=str(path))
    found, changed = planning.renew_lock(_context(command), asked, update=update)
    console.say(f"next: {launcher()} build.iso --profile {text}")
    changes = [change.__dict__ for change in changed]
    command.result({"profile": name, "lock": str(path), "packages": len(found.packages), "changes": changes})


@verb(
    "build.plan",
    help={"profile": PROFILE, "output": OUTPUT, "release": "the plan of build.iso --release"},
)
def plan(command: Command, profile: str = "", output: str = "", release: bool = False) -> None:
    """Show which stages of a build are there already, why others are not, and how long they take."""
    from synos_tasks.build import planning, view

    options = _options(command, profile, output, release=release)
    name = planning.read_profile(command.settings, options.profile).name
    stages, state = view.view(_context(command), options)
    rows = [
        [
            row.name,
            row.where,
            row.why,
            "" if row.bytes is None else console.human_bytes(row.bytes),
            f"{row.seconds:.1f} s" if row.seconds is not None else "minutes" if row.is_component else "",
        ]
        for row in stages
    ]
    command.table(f"plan of {name}", ["stage", "", "why", "size", "expected"], rows)
    known = [row.seconds for row in stages if row.seconds is not None]
    total = round(sum(known), 1) if len(known) == len(stages) else None
    command.show(view.estimate(stages))
    fields = {
        "lock": state,
        "seconds": total,
        "stages": [{**vars(row), "hit": row.hit} for row in stages],
    }
    size = sum(row.download_bytes for row in stages)
    command.result({"profile": name, **fields, "download_bytes": size})


@verb(
    "build.diff",
    positional=["one", "two"],
    help={
        "one": "an ISO, a lock, or a profile that has a lock",
        "two": "another",
        "limit": "lines shown of each kind of change; --json has all",
    },
    example="standard minimal",
)
def diff(command: Command, one: str, two: str, limit: int = 20) -> None:
    """Show what changed between two ISOs or two locks: packages, files, sizes."""
    from synos_tasks.build import compare

    command.would(f"compare {one} and {two}", one=one, two=two)
    found = compare.diff(_context(command), one, two)
    sections = compare.sections(found)
    for title, lines in sections:
        command.show(f"{title}: {len(lines)}")
        command.show("\n".join(lines[:limit] + (["  …"] if len(lines) > limit else [])))
    if not sections:
        where, lines = (found.files or {}).get("first") or ("no difference", [])
        command.show(", ".join([where, *lines[:1]]))
    changes = None if found.packages is None else [change.__dict__ for change in found.packages]
    command.result({"packages": changes, **(found.files or {})})


@verb(
    "build.verify-reproducible",
    help={
        "profile": PROFILE,
        "release": "verify build.iso --release",
        "rounds": "each round builds three times",
    },
)
def verify_reproducible(command: Command, profile: str = "", release: bool = False, rounds: int = 1) -> None:
    """Build with another host name, clock, folder and more each time, and compare the bytes."""
    from synos_tasks.build import planning, reproduce

    settings, rounds = command.settings, max(1, rounds)
    asked = planning.read_profile(settings, profile or settings.build.profile)
    command.would(f"build profile {asked.name} {3 * rounds} times and compare", profile=asked.name)
    sha256 = reproduce.verify(_context(command), asked, release=release, rounds=rounds)
    console.say(f"{asked.name}: {3 * rounds} builds, the same bytes")
    command.result({"sha256": sha256, "builds": 3 * rounds, "profile": asked.name, "release": release})


@verb("build.report", help={"iso": NEWEST, "to": "the file to write (default: next to the ISO)"})
def report(command: Command, iso: str = "", to: str = "") -> None:
    """Write one HTML file about a build: stages, sizes, packages."""
    from synos_tasks.build import report as reports
    from synos_tasks.build.boot import chosen_iso

    path = chosen_iso(command.settings, iso).resolve()
    target = Path(to).resolve() if to else Path(f"{path}.report.html")
    command.would(f"write {target}", iso=str(path), report=str(target))
    reports.write(path, target)
    command.show(str(target))
    command.result({"iso": str(path), "report": str(target)})


@verb("build.image", help={"no-cache": "run every step again"})
def image(command: Command, no_cache: bool = False) -> None:
    """Build the toolchain and the builder image, and show their sizes."""
    from synos_tasks.images.building import build_images
    from synos_tasks.images.catalog import BUILDER, TOOLCHAIN

    recipes = [TOOLCHAIN, BUILDER]
    tags = [recipe.tag(command.settings.project) for recipe in recipes]
    command.would(f"build {' and '.join(tags)}", images=tags)
    built = build_images(_context(command), recipes, cached=not no_cache)
    rows = [[one.tag, console.human_bytes(one.bytes), f"{one.seconds:.1f} s"] for one in built]
    command.table("images", ["image", "size", "built in"], rows)
    toolchain, builder = built
    smaller = round(100 * (1 - builder.bytes / toolchain.bytes), 1)
    command.show(f"the builder is {smaller:.0f} % smaller than the toolchain")
    command.result({"images": [one.__dict__ for one in built], "smaller_percent": smaller})


@verb(
    "build.shell",
    json=False,
    pipe=True,
    help={
        "command": "a command line for the shell, instead of an interactive one",
        "in": "a profile: the shell is in the system that its ISO holds, and what it changes is thrown away",
        "toolchain": "the image that compiles, as the builder user, instead of the one that makes ISOs",
        "suite": "with --toolchain: the suite that it compiles for (default: trixie)",
        "privileged": PRIVILEGED,
    },
    types={"suite": _suite},
    example="--in standard --command 'dpkg -l'",
)
def shell(
    command_: Command,
    command: str = "",
    in_: str = "",
    toolchain: bool = False,
    suite: str = "",
    privileged: bool = False,
) -> None:
    """Open a shell in the builder, the project at /project, the output folder at /output; or in a built system.

    Not for editing code (inv dev.up), nor for long-running services (inv services.up): see docker/build/README.md.
    """
    from synos_tasks.build import containers, entering, view
    from synos_tasks.errors import WrongUse
    from synos_tasks.iso.suites import DEFAULT

    if toolchain + privileged + bool(in_) > 1:
        what = "--in, --toolchain and --privileged exclude each other"
        raise WrongUse(what, hint="leave all but one out")
    if suite and not toolchain:
        raise WrongUse("--suite is only valid with --toolchain", hint="add --toolchain")
    context = _context(command_)
    if in_:
        options = _options(command_, in_, "")
        if not command_.dry:
            sys.exit(entering.enter(context, options, command))
        spec = entering.spec_of(context, view.plan_of(context, options)[0], "")
    else:
        spec = containers.shell_spec(
            context, toolchain=(suite or DEFAULT) if toolchain else "", privileged=privileged, command=command
        )
    if command_.dry:
        _show_container(command_, containers.permissions(spec))
        return
    sys.exit(containers.open_shell(context, spec))


@verb(
    "build.component",
    positional=["name"],
    types={"suite": _suite},
    example="synos-agent",
    help={
        "name": "a file in docker/build/components",
        "suite": SUITE,
        "no-cache": NO_CACHE,
        "output": DEBS,
    },
)
def component(command: Command, name: str, suite: str = "", no_cache: bool = False, output: str = "") -> None:
    """Compile one component into dist/components."""
    _compile(command, [name], suite, no_cache=no_cache, output=output)


@verb(
    "build.components",
    help={"suite": SUITE, "no-cache": NO_CACHE, "output": DEBS},
    types={"suite": _suite},
)
def components(command: Command, suite: str = "", no_cache: bool = False, output: str = "") -> None:
    """Compile every component that is not in the store yet, and show all of them."""
    from synos_tasks.build.components import names_of

    _compile(command, names_of(command.settings), suite, no_cache=no_cache, output=output)


def _compile(command: Command, names: list[str], suite: str, *, no_cache: bool, output: str) -> None:
    from synos_tasks.build import components as compiling

    settings = command.settings
    folder = Path(output).resolve() if output else settings.output_dir / "components"
    recipes = compiling.recipes(settings, names)
    command.would(f"compile {', '.join(names) or 'nothing'}", components=names, output=str(folder))
    users = compiling.users_of(settings, console.warn)
    suites = {name: suite or compiling.suite_for(users[name]) for name in names}
    compiled = compiling.compile_all(_context(command), suites, folder, cached=not no_cache)
    rows, found = [], []
    for one, recipe in zip(compiled, recipes, strict=True):
        packages, profiles = one.facts.packages, [profile.name for profile in users[recipe.name]]
        took = "in store" if one.hit else f"{one.seconds:.1f} s"
        rates = ", ".join(f"{r.what} {r.hits} of {r.calls}" for r in compiling.hit_rates([one]) if r.calls)
        version = ", ".join(sorted({package.version for package in packages}))
        suite = suites[recipe.name]
        rows.append([recipe.name, version, suite, recipe.origin, ", ".join(profiles), took, rates])
        fields = {"name": recipe.name, "suite": suite, "key": one.key, "hit": one.hit, "seconds": one.seconds}
        caches = compiling.caches_of(one)
        found.append(
            {**fields, "packages": list(map(vars, packages)), "caches": caches, "profiles": profiles}
        )
    command.table(
        "components", ["name", "version", "suite", "source", "profiles", "compiled", "from caches"], rows
    )
    if compiled:
        console.say(f"packages: {folder}")
        console.say("into an ISO: `components: [NAME]` in a profile, then inv build.iso")
    command.result({"output": str(folder), "components": found})


@verb("build.verify-caches")
def verify_caches(command: Command) -> None:
    """Compile all components twice, and check that the compilers' caches answer the second time."""
    from synos_tasks.build import components as compiling

    command.would("compile all components twice, with an empty store")
    rates = compiling.cache_hit_rates(_context(command))
    rows = [
        [one.what, f"{one.hits} of {one.calls}", f"{one.measured} %", f"{one.required} %"] for one in rates
    ]
    command.table("caches", ["cache", "hits", "measured", "needed"], rows)
    compiling.check_hit_rates(rates)
    command.result({"claims": [{**one.__dict__, "measured": one.measured, "holds": True} for one in rates]})


@verb("build.update-base")
def update_base(command: Command) -> None:
    """Take newer base images, build all images on them without cache, and show which packages changed."""
    from synos_tasks.images import building

    command.result(building.update_base(_context(command), dry=command.dry))


namespace = Collection(
    "build",
    *(iso, matrix, boot, run, lock, plan, diff, verify_reproducible, report),
    *(store, new, import_live_build, image, shell, component, components, verify_caches, update_base),
)
