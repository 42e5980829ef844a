"""The verbs of `inv build.*` about images, compilers and components."""

from __future__ import annotations

import sys

from synos_tasks import console
from synos_tasks.cli import Command, verb

JSON = "one JSON object on standard output"
NO_CACHE = "use neither the store nor the compilers' caches"
OUTPUT = "folder for the .debs (default: components in the folder of ISOs)"


@verb("build.image", help={"no-cache": "run every step again", "json": JSON})
def image(command: Command, no_cache: bool = False) -> None:
    """Build the toolchain and the builder image, and show their sizes."""
    from synos_tasks.engine.client import Docker  # noqa: PLC0415
    from synos_tasks.images.building import build_images  # noqa: PLC0415
    from synos_tasks.images.catalog import BUILDER, TOOLCHAIN  # noqa: PLC0415
    from synos_tasks.images.recipe import tag_of  # noqa: PLC0415

    recipes = [TOOLCHAIN, BUILDER]
    if command.dry:
        tags = [tag_of(command.settings.project, recipe) for recipe in recipes]
        command.would(f"build {' and '.join(tags)}", images=tags)
        return
    built = build_images(command.settings, Docker(), console.say, recipes, cached=not no_cache)
    rows = [[one.tag, console.human_bytes(one.bytes), f"{one.seconds:.1f} s"] for one in built]
    console.table("images", ["image", "size", "built in"], rows)
    toolchain, builder = built
    smaller = round(100 * (1 - builder.bytes / toolchain.bytes), 1)
    console.say(f"the builder is {smaller:.0f} % smaller than the toolchain")
    command.result({"images": [one.__dict__ for one in built], "smaller_percent": smaller})


@verb(
    "build.shell",
    help={
        "command": "a command line for the shell, instead of an interactive one",
        "toolchain": "the image that compiles, as the builder user, instead of the one that makes ISOs",
        "privileged": "with every capability, for hooks that must mount; NOT isolated from the host",
    },
)
def shell(command_: Command, command: str = "", toolchain: bool = False, privileged: bool = False) -> None:
    """Open a shell in the builder: the project at /project, the output folder at /output.

    Not for editing code (inv dev.up), nor for long-running services (inv services.up): see docker/build/README.md.
    """
    from synos_tasks.build import dry_run  # noqa: PLC0415
    from synos_tasks.build import shell as shells  # noqa: PLC0415
    from synos_tasks.engine.client import Docker  # noqa: PLC0415
    from synos_tasks.errors import SettingsError  # noqa: PLC0415

    if toolchain and privileged:
        raise SettingsError("--toolchain is never privileged", hint="leave one of the two out")
    settings = command_.settings
    if command_.dry:
        spec = shells.shell_spec(settings, None, toolchain=toolchain, privileged=privileged, command=command)
        container = dry_run.permissions(spec)
        console.table("container", ["what", "allowed"], [list(item) for item in container.items()])
        return
    code = shells.open_shell(
        settings, Docker(), console.say, toolchain=toolchain, privileged=privileged, command=command
    )
    sys.exit(code)


@verb(
    "build.component",
    positional=["name"],
    help={"name": "a file in docker/build/components", "no-cache": NO_CACHE, "output": OUTPUT, "json": JSON},
)
def component(command: Command, name: str, no_cache: bool = False, output: str = "") -> None:
    """Compile one component, and lay its .debs into dist/components."""
    _compile(command, [name], no_cache=no_cache, output=output)


@verb("build.components", help={"no-cache": NO_CACHE, "output": OUTPUT, "json": JSON})
def components(command: Command, no_cache: bool = False, output: str = "") -> None:
    """Compile every component that is not in the store yet, and show all of them."""
    from synos_tasks.build.components import names_of  # noqa: PLC0415

    _compile(command, names_of(command.settings), no_cache=no_cache, output=output)


def _compile(command: Command, names: list[str], *, no_cache: bool, output: str) -> None:
    from synos_tasks.build import components as compiling  # noqa: PLC0415
    from synos_tasks.engine.client import Docker  # noqa: PLC0415

    settings = command.settings
    folder = compiling.output_folder(settings, output)
    recipes = compiling.recipes(settings, names)
    if command.dry:
        command.would(f"compile {', '.join(names) or 'nothing'}", components=names, output=str(folder))
        return
    compiled = compiling.compile_all(settings, Docker(), names, folder, console.say, cached=not no_cache)
    users = compiling.users_of(settings)
    rows = [
        [
            one.name,
            one.packages[0]["version"],
            recipe.origin,
            ", ".join(users[one.name]),
            "in store" if one.hit else f"{one.seconds:.1f} s",
            compiling.hit_rates(one),
        ]
        for one, recipe in zip(compiled, recipes, strict=True)
    ]
    console.table("components", ["name", "version", "source", "profiles", "compiled", "from caches"], rows)
    if compiled:
        console.say(f"packages: {folder}")
    found = [{**one.__dict__, "profiles": users[one.name]} for one in compiled]
    command.result({"output": str(folder), "components": found})


@verb("build.verify-caches", help={"json": JSON})
def verify_caches(command: Command) -> None:
    """Compile all components twice, and check that the compilers' caches answer the second time."""
    from synos_tasks.build import components as compiling  # noqa: PLC0415
    from synos_tasks.engine.client import Docker  # noqa: PLC0415

    if command.dry:
        command.would("compile all components twice, with an empty store")
        return
    rates = compiling.cache_hit_rates(command.settings, Docker(), console.say)
    rows = [
        [one.what, f"{one.hits} of {one.calls}", f"{one.measured} %", f"{one.required} %"] for one in rates
    ]
    console.table("caches", ["cache", "hits", "measured", "needed"], rows)
    compiling.check_hit_rates(rates)
    command.result({"claims": [{**one.__dict__, "measured": one.measured, "holds": True} for one in rates]})


@verb("build.update-base", help={"limit": "lines shown of each image; --json has all", "json": JSON})
def update_base(command: Command, limit: int = 20) -> None:
    """Take newer base images, build all images on them without cache, and show which packages changed."""
    from synos_tasks.engine.client import Docker  # noqa: PLC0415
    from synos_tasks.images import update_base as updating  # noqa: PLC0415

    command.result(
        updating.update_base(command.settings, Docker(), console.say, limit=limit, dry=command.dry)
    )


VERBS = [image, shell, component, components, verify_caches, update_base]
