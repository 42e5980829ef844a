"""Recipes: docker/build/components/NAME.yaml, read into a frozen Component."""

from __future__ import annotations

import dataclasses
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from synos_tasks.errors import ComponentError, ProfileError, guess
from synos_tasks.iso import digests, inputs, schema
from synos_tasks.iso.digests import digest, of_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

CODE = "synos_tasks.iso.components.build"
NAME = r"[a-z0-9][a-z0-9+.-]+"
"""Of a Debian package, and so of a component: Debian policy 5.6.1."""
LEFT_BY_BUILDS = ("target", "build", ".git", "__pycache__")
"""Names at the top of a source folder that are not its source."""
_HINTS = {
    "`suite:": "a recipe has `description`, `build`, `version` and `source`",
    "`inherits:": "write it out at each place",
}
"""Hints for recipes, in place of those that fit profiles only."""


def _packages(doc: str) -> schema.Kind:
    return schema.list_of(schema.text(NAME, "a Debian package name"), doc)


RECIPE = schema.mapping(
    {
        "description": schema.text(r"[^\x00-\x1f]{1,80}", "one line of text, 80 characters at most", "One line."),
        "license": schema.text(r"[A-Za-z0-9.+ ()-]{1,60}", "an SPDX licence", "SPDX licence of the source."),
        "build": schema.choice(
            "cargo", "cmake", "meson", "make", "debian", doc="Build system; debian: the source package's own."
        ),
        "version": schema.text(
            r"[0-9][A-Za-z0-9.+~]{0,40}", "a version in quotes, as '1.0'", "Upstream version; a Debian source has its own."
        ),
        "source": schema.mapping(
            {
                "folder": schema.text(
                    schema.RELATIVE, "a folder relative to docker/build/components", "A folder of the project."
                ),
                "git": schema.url("Address of a git repository."),
                "commit": schema.text(r"[0-9a-f]{40}", "40 hex digits", "The commit of the git repository."),
                "package": schema.text(NAME, "a source package", "A Debian source package."),
                "version": schema.text(r"[0-9][A-Za-z0-9.+:~-]*", "a version in quotes", "Its exact version."),
            },
            "Where the source is: a folder, a git commit, or a Debian source package.",
        ),
        "patches": schema.list_of(
            schema.text(schema.RELATIVE, "a file relative to docker/build/components"),
            "Patches, applied with `patch -p1` in this order.",
        ),
        "options": schema.list_of(
            schema.text(r"[^\s'\"\\$`\x00-\x1f]+", "one argument without spaces and quotes"),
            "Arguments of cmake's or meson's configuration, variables of make, options of `cargo build` and `cargo test`.",
        ),
        "build_depends": _packages("Debian packages needed to compile, besides those of the toolchain image."),
        "depends": _packages("Debian packages needed to run, besides the libraries that it links to."),
        "packages": _packages("Which of the binary packages go into the ISO; without it the one of its own name."),
        "tests": schema.choice("run", "skip", doc="Whether the source's own tests run, as they do without this."),
    },
    "A SynOS component: something that is compiled into the ISO.",
    required=("description", "build", "source"),
)  # fmt: skip
_SOURCES = {"folder": {"folder"}, "git": {"git", "commit"}, "package": {"package", "version"}}
"""The keys that go together, by kind of source."""


@dataclass(frozen=True, kw_only=True)
class Component:
    """What to compile, and how. Paths are relative to docker/build/components."""

    name: str
    description: str
    build: str
    source: tuple[str, str, str]
    """(folder, path, ''), (git, address, commit) or (package, source package, its version)."""
    version: str = "0"
    license: str = ""
    patches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    build_depends: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    tests: str = "run"

    @property
    def stage(self) -> str:
        """Name of the stage that makes it."""
        return f"component-{self.name}"

    @property
    def file(self) -> str:
        """Its recipe, as a path of the project."""
        return f"docker/build/components/{self.name}.yaml"

    @property
    def origin(self) -> str:
        """Where its source is, for people."""
        kind, where, which = self.source
        return where if kind == "folder" else f"{where} {which}"


@dataclass(frozen=True, kw_only=True)
class Compilation:
    """A component, its key in the store, and the digest of its source."""

    component: Component
    key: str
    source: str


def folder_of(docker_build: Path) -> Path:
    """Where recipes and the folders of components are."""
    return docker_build / "components"


def names(folder: Path) -> list[str]:
    """Names of the components of a project, sorted; ``folder`` is docker/build/components."""
    return sorted(path.stem for path in folder.glob("*.yaml") if not path.name.startswith("."))


def load(folder: Path, name: str, where: str = "") -> Component:
    """Read a recipe; ``where`` is the place that names it. Raises ComponentError with file, line, column and a hint."""
    if name not in names(folder):
        what, hint = f"there is no component {name[:80]!r}", guess(name, names(folder))
        raise ComponentError(what, where=where or str(folder), hint=hint)
    if not re.fullmatch(NAME, name):
        raise ComponentError(
            f"{name[:80]!r} is no name for a component",
            where=str(folder / f"{name}.yaml"),
            why="it is the name of a Debian package too",
            hint="small letters, digits and + - . in it, two characters or more",
        )
    with _own_errors():
        source = schema.load(folder / f"{name}.yaml")
        return _component(name, schema.check(source, RECIPE), source)


@contextmanager
def _own_errors(prefix: str = "") -> Iterator[None]:
    try:
        yield
    except ProfileError as error:
        hint = next((ours for theirs, ours in _HINTS.items() if theirs in error.hint), error.hint)
        raise ComponentError(f"{prefix}{error.what}", where=error.where, why=error.why, hint=hint) from error


def _component(name: str, data: dict[str, Any], source: schema.Value) -> Component:
    kind = _check_source(data, source)
    given = data.pop("source")
    which = given.get("commit") or given.get("version") or ""
    if kind == "package":
        data["version"] = which
    fields: dict[str, Any] = {"packages": (name,)}
    fields |= {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Component(**fields, name=name, source=(kind, given[kind], which))


def _check_source(data: dict[str, Any], source: schema.Value) -> str:
    """Return the kind of source; raise ProfileError where keys are right alone, and wrong together."""
    given = data["source"]

    def refuse(what: str, key: str, hint: str) -> NoReturn:
        place = source.entries[key].key if key in source.entries else source.where
        raise ProfileError(what, where=place, hint=hint)

    kind = next((kind for kind, keys in _SOURCES.items() if keys == given.keys()), "")
    if not kind:
        what = f"source has {' and '.join(given) or 'nothing'}"
        refuse(what, "source", "`folder` alone, or `git` with `commit`, or `package` with `version`")
    if (kind == "package") != (data["build"] == "debian"):
        hint = "`build: debian` is for Debian source packages, and they have no other"
        refuse(f"build is {data['build']!r}, and the source is a {kind}", "build", hint)
    if kind == "package":
        for key in ("options", "build_depends", "license", "version"):
            if key in data:
                hint = "remove it; a patch of debian/ changes what the package says"
                refuse(f"{key} stands at the top, and the source package has its own", key, hint)
    elif "version" not in data:
        refuse("there is no version", "", "add `version: '1.0'`")
    return kind


def inputs_of(component: Component, folder: Path, tools: str) -> dict[str, str]:
    """Digests of all that a component's .deb depends on, by name; ``tools`` is that of the toolchain image.

    Build dependencies that the image lacks come from the mirrors as they are, and do not count. Raises
    ComponentError where a folder or patch is missing.
    """
    words = dataclasses.asdict(component)
    del words["source"], words["patches"]
    tree, patches = files_of(component, folder)
    return {
        "recipe": digest(words),
        "source": source_digest(component, tree, patches),
        "code": digests.of_module(CODE),
        "tools": tools,
    }


def source_digest(component: Component, tree: Path | None, patches: Sequence[Path]) -> str:
    """Digest of a component's source: where it is, the files of a folder, and what its patches say.

    What a build leaves in the folder does not count.
    """
    with _own_errors(f"component {component.name}: "):
        said = [inputs.sha256(path) for path in patches]
        files = of_folder(tree, LEFT_BY_BUILDS) if tree else ""
    return digest([component.source, files, component.patches, said])


def compilation_of(component: Component, folder: Path, tools: str) -> Compilation:
    """Return what is to be compiled with the tools of an image; raises as inputs_of() does."""
    found = inputs_of(component, folder, tools)
    return Compilation(component=component, key=key_of(found), source=found["source"])


def key_of(digests_of: Mapping[str, str]) -> str:
    """Return the key of a component in the store."""
    return digest(["component", dict(digests_of)])


def files_of(component: Component, folder: Path) -> tuple[Path | None, list[Path]]:
    """Return a component's source folder, if it has one, and its patches; raise ComponentError.

    ``folder`` is docker/build/components.
    """
    kind, place, _which = component.source
    where = str(folder / f"{component.name}.yaml")

    def find(path: str, *, is_folder: bool) -> Path:
        return inputs.find(folder.parent, f"{folder.name}/{path}", where, folder=is_folder)

    with _own_errors(f"component {component.name}: "):
        tree = find(place, is_folder=True) if kind == "folder" else None
        return tree, [find(patch, is_folder=False) for patch in component.patches]
