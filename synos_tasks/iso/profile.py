"""Profiles: docker/build/profiles/NAME.yaml, read into a frozen Profile."""

from __future__ import annotations

import dataclasses
import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import ProfileError, ProfileNotFound, guess, raise_all
from synos_tasks.iso import codec, repositories, schema, stagespec, wanted
from synos_tasks.iso.components import recipe
from synos_tasks.iso.key import Key, Said, adds, mistake, updates
from synos_tasks.iso.keys.repositories import BACKPORTS, DEBIAN
from synos_tasks.iso.repositories import Repository  # noqa: TC001  (codec.py reads the types of fields)
from synos_tasks.iso.schema import Value, boolean, choice, integer, list_of, mapping, text, url
from synos_tasks.iso.suites import DEFAULT, REFUSED_ARCHITECTURES, REFUSED_SUITES, SUITES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MAXIMUM_ANCESTORS = 8
NAME = r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?"
PACKAGE = r"-?[a-z0-9][a-z0-9+.-]+"
SELECTED = r"(?P<name>[a-z0-9][a-z0-9+.-]+)(?P<selector>=[0-9A-Za-z.+:~*?-]+|/[A-Za-z][A-Za-z0-9-]*)?"
_MIRRORS = mapping(
    {
        "main": url("The Debian archive."),
        "security": url("Security updates."),
        "suites": list_of(
            choice("release", "updates", "security"),
            "Which of the suite, its -updates and its -security are used; all by default.",
        ),
        "components": list_of(
            choice("main", "contrib", "non-free", "non-free-firmware"), "Archive components."
        ),
    },
    "Where packages come from.",
)
_COMPRESSION = mapping(
    {
        "algorithm": choice("zstd", "xz", doc="zstd is fast, xz is small."),
        "level": integer(1, 22, "zstd only."),
    },
    "How the root file system is compressed.",
)


def _check_archives(said: Said) -> Iterator[ProfileError]:
    archives, suite = said.value("mirrors", "suites"), said["suite"]
    if archives.data is not None and "release" not in archives.plain:
        yield mistake(archives, "mirrors.suites lacks release", "add `release`")
    for one in archives.items:
        if one.data not in SUITES[suite].archives:
            hint = "remove it; without `suites` it is all that the suite has"
            yield mistake(one, f"{suite} has no {suite}-{one.data}", hint)


def _without_removed(old: Value, new: Value) -> Value:
    """Add components to the inherited ones; -name takes one of those out."""
    removed = {one.data for one in new.items}
    kept = {one.data: one for one in old.items if f"-{one.data}" not in removed}
    for one in new.items:
        if not str(one.data).startswith("-"):
            kept.setdefault(one.data, one)
    return Value([*kept.values()], new.where, new.key)


_NAME = "lower-case letters, digits, + - and ."
CORE: Mapping[str, Key] = {
    "description": Key(
        kind=text(r"[^\x00-\x1f]{1,200}", "one line of text", "What it is for."),
        aliases=("summary", "comment", "specification"),
        example="Boots into a browser",
    ),
    "inherits": Key(
        kind=text(
            NAME, "the name of a profile", "Another profile to start from.",
            allowed="the name of a file in docker/build/profiles, without .yaml",
        ),
        aliases=("inherit", "extends", "parent", "base", "from", "include", "recipe", "variant", "template"),
        example="standard",
    ),
    "suite": Key(
        kind=choice(*SUITES, doc="Debian suite: forky is testing, sid is unstable.", refused=REFUSED_SUITES),
        default=DEFAULT,
        aliases=("distribution_suite", "release", "codename", "dist"),
        example="bookworm",
    ),
    "architecture": Key(
        kind=choice("amd64", doc="Debian architecture.", refused=REFUSED_ARCHITECTURES),
        aliases=("arch", "architectures"),
        example="amd64",
    ),
    "bootstrapper": Key(
        kind=choice("mmdebstrap", "debootstrap", doc="The program that installs the base system."),
        aliases=("bootstrap", "debootstrap_options"),
        example="mmdebstrap",
    ),
    "mirrors": Key(
        kind=_MIRRORS,
        merge=updates,
        check=_check_archives,
        aliases=(
            "mirror", "archive", "mirror_bootstrap", "parent_mirror_bootstrap", "parent_mirror_chroot", "archive_areas",
            "areas", "security", "updates", "non_free",
        ),
        example="{components: [main, contrib, non-free-firmware]}",
    ),
    "packages": Key(
        kind=list_of(
            text(
                f"{PACKAGE}|{SELECTED}", "a Debian package name, or -name to remove an inherited one",
                allowed=f"{_NAME}, without spaces; optionally =VERSION (* stands for any text), /SUITE or /REPOSITORY",
            ),
            "Exact names; -name removes an inherited one. `name=1.2*` selects a version, `name/backports` a suite or repository.",
        ),
        merge=adds,
        aliases=(
            "package", "apt", "pkgs", "package_lists", "package_config", "install", "remove_packages",
            "linux_packages", "linux_flavours", "kernel", "debootstrap", "include_packages",
        ),
        example="[nano, openssh-server]",
    ),
    "recommends": Key(
        kind=boolean("Install recommended packages too."),
        aliases=("install_recommends", "apt_recommends"),
        example="true",
    ),
    "debs": repositories.DEBS,
    "components": Key(
        kind=list_of(
            text(PACKAGE, "a component, or -name to remove an inherited one", allowed=_NAME),
            "Components of docker/build/components, compiled when needed; -name removes an inherited one.",
        ),
        merge=_without_removed,
        example="[synos-welcome]",
    ),
    "compression": Key(
        kind=_COMPRESSION,
        merge=updates,
        aliases=("compress", "compress_output", "chroot_squashfs_compression_type", "squashfs", "chroot_filesystem"),
        example="{algorithm: zstd, level: 19}",
    ),
}  # fmt: skip


@functools.cache
def keys() -> Mapping[str, Key]:
    """Return all that a profile may say."""
    return {**CORE, **stagespec.keys()}


@functools.cache
def kind() -> schema.Kind:
    """Return the shape of a profile."""
    fields = {name: key.kind for name, key in keys().items()}
    return dataclasses.replace(
        mapping(fields, "A SynOS profile: what goes into an ISO."),
        aliases={
            schema.bare(word): f"{name}: {key.example}"
            for name, key in keys().items()
            for word in (name, *key.aliases)
        },
        listed="docs/profile.md lists all keys; a profile that `inv build.new` writes has an example of each",
    )


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What goes into an ISO. Paths are relative to docker/build."""

    name: str
    description: str = ""
    suite: str = DEFAULT
    architecture: str = "amd64"
    bootstrapper: str = "mmdebstrap"
    mirror: str = DEBIAN
    security_mirror: str = "http://deb.debian.org/debian-security"
    suites: tuple[str, ...] = ("release", "updates", "security")
    areas: tuple[str, ...] = ("main",)
    """Archive areas, `mirrors.components` in YAML."""
    layers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Packages by the layer that adds them, lowest first: ``base`` with all that boots, then one for each
    profile of the ancestry. So a profile that adds a package leaves its ancestors' layers as they are."""
    recommends: bool = False
    """Install what packages recommend, too."""
    components: tuple[str, ...] = ()
    """What SynOS compiles itself, installed above all packages."""
    third_parties: tuple[Repository, ...] = ()
    """Besides Debian's own."""
    debs: tuple[tuple[str, str], ...] = ()
    """Path and SHA-256 of each .deb of the profile's own."""
    selectors: Mapping[str, str] = field(default_factory=dict)
    """``=VERSION`` or ``/SUITE`` or ``/REPOSITORY`` of packages by name."""
    compression: str = "zstd"
    compression_level: int = 3
    values: Mapping[str, Any] = field(default_factory=lambda: Said({}, stagespec.keys()).of(stagespec.keys()))
    """Plain data of the keys that belong to one stage, with their defaults; see iso/key.py."""
    project: str = "synos"
    """Name of the project, where the key `distribution` says nothing."""
    title: str = "SynOS"
    """What people call it, where the key `distribution` says nothing."""
    ancestors: tuple[str, ...] = ()
    """Profiles it inherits from, nearest first: whose locks it starts from, not for keys."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """``file:line:column`` of each package, hook and overlay by name, and of each value by its path as ``users[0].name``:
    for errors, not for keys."""

    @property
    def kernel_arguments(self) -> tuple[str, ...]:
        """All arguments: those that the profile names, and those that other keys need."""
        said = [(key, self.values[name]) for name, key in keys().items() if name in self.values]
        needed = [one for key, value in said for one in key.kernel_arguments(value)]
        return tuple(dict.fromkeys([*self.values.get("kernel_arguments", ()), *needed]))

    @property
    def packages(self) -> tuple[str, ...]:
        """All packages asked for, sorted."""
        return tuple(sorted(name for _, names in self.layers for name in names))

    def address(self, archive: str) -> str:
        """Return the address of an archive: ``main``, ``security``, or the name of a repository."""
        others = {one.name: one.url for one in self.third_parties}
        return {"main": self.mirror, "security": self.security_mirror, **others}[archive]

    @property
    def archives(self) -> dict[str, str]:
        """Return the mirror of each suite that is used."""
        of = {
            "release": (self.suite, self.mirror),
            "updates": (f"{self.suite}-updates", self.mirror),
            "security": (f"{self.suite}-security", self.security_mirror),
            BACKPORTS: (f"{self.suite}-{BACKPORTS}", self.mirror),
        }
        return dict(of[name] for name in of if name in self.suites)

    @property
    def sources(self) -> list[str]:
        """Return the one-line APT sources."""
        return [f"deb {mirror} {suite} {' '.join(self.areas)}" for suite, mirror in self.archives.items()]


def names(folder: Path) -> list[str]:
    """Names of the profiles in a folder, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml") if not path.name.endswith(".lock.yaml"))


def refuse_wrong_name(name: str, where: str = "") -> None:
    """Raise ProfileError for a name that no profile may have."""
    if re.fullmatch(NAME, name):
        return
    other = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    better = f"call it {other!r}; " if re.fullmatch(NAME, other) else ""
    hint = f"{better}allowed: lower-case letters, digits and - inside, a letter first, 40 characters at most"
    raise ProfileError(f"a profile cannot be called {name[:80]!r}", where=where, hint=hint)


def load(folder: Path, name: str) -> Profile:
    """Read a profile and those it inherits from; NAME@SUITE is NAME with another suite, as a file NAME-SUITE.yaml would be.

    Raises ProfileNotFound, or ProfileError or ComponentError with file, line, column and a hint; ``others`` are further mistakes.
    """
    chain = _chain(folder, name)
    name = chain[0][0]
    merged: dict[str, Value] = {}
    for _, source in reversed(chain):
        for key, value in source.entries.items():
            old = merged.get(key, Value([], ""))
            merged[key] = keys()[key].merge(old, value)
    said = Said(merged, keys())
    raise_all([mistake for key in keys().values() for mistake in key.check(said)])
    origins = _origins(chain, merged)
    others = repositories.read(said.value("repositories"), folder.parent)
    recipes = recipe.folder_of(folder.parent)
    components = [str(one.data) for one in said.value("components").items]
    needs = {one: recipe.load(recipes, one, origins[one]).depends for one in components}
    asked: list[tuple[str, list[str]]] = []
    for ancestor, source in reversed(chain):
        data = source.plain
        needed = [package for one in data.get("components", []) for package in needs.get(one, ())]
        needed += [package for key in data for package in keys()[key].packages(data[key])]
        asked.append((ancestor, [*data.get("packages", []), *needed]))
    raise_all([*wanted.idle_removals([source for _, source in reversed(chain)], asked)])
    profile = dataclasses.replace(
        codec.from_data(Profile, {**_fields(said), "name": name}),
        third_parties=others,
        debs=repositories.read_debs(said.value("debs"), folder.parent),
        layers=wanted.layers(asked),
        selectors=wanted.selectors(asked, said["suite"]),
        values=said.of(stagespec.keys()),
        ancestors=tuple(ancestor for ancestor, _ in chain[1:]),
        origins=origins,
    )
    raise_all([*repositories.unknown_archives(profile), *repositories.own_mirrors(profile)])
    return profile


def _chain(folder: Path, name: str) -> list[tuple[str, Value]]:
    """Return name and checked source of a profile and its ancestors, the nearest first."""
    parent, mark, suite = name.partition("@")
    chain = _ancestry(folder, parent)
    own = next((source.value("suite").data for _, source in chain if "suite" in source.entries), DEFAULT)
    if not mark or suite == own:
        return chain
    derived = f"{parent}-{suite}"
    if derived in names(folder):
        raise ProfileError(
            f"profile {derived} is a file of its own",
            where=str(folder / f"{derived}.yaml"),
            hint=f"write {derived} instead of {name}",
        )
    source = Value({"inherits": Value(parent, name), "suite": Value(suite, name)}, name)
    schema.check(source, kind())
    refuse_wrong_name(derived, name)
    _refuse_endless([ancestor for ancestor, _ in chain], derived, name)
    return [(derived, source), *chain]


def _ancestry(folder: Path, name: str) -> list[tuple[str, Value]]:
    chain: list[tuple[str, Value]] = []
    where = ""
    while name or not chain:
        _refuse_endless([one for one, _ in chain], name, where)
        path, known = folder / f"{name}.yaml", names(folder)
        if name not in known:
            what = f"there is no profile {name[:80]!r}"
            raise ProfileNotFound(what, where=where or str(folder), hint=guess(name, known))
        refuse_wrong_name(name, str(path))
        source = schema.load(path)
        schema.check(source, kind())
        chain.append((name, source))
        parent = source.value("inherits")
        name, where = str(parent.data or ""), parent.where
    return chain


def _refuse_endless(seen: list[str], name: str, where: str) -> None:
    circle = name in seen
    if circle or len(seen) > MAXIMUM_ANCESTORS:
        raise ProfileError(
            "profiles inherit from each other" if circle else "a profile has too many ancestors",
            where=where,
            why=" -> ".join([*seen, name]),
            hint="leave one `inherits:` out" if circle else f"{MAXIMUM_ANCESTORS} at most",
        )


def _origins(chain: list[tuple[str, Value]], merged: Mapping[str, Value]) -> dict[str, str]:
    """Return the places of values by their paths, and by what they say; of packages and files the nearest profile counts."""
    walked = [(path, value) for key, one in merged.items() for path, value in one.walk(key)]
    origins = {value.data: value.where for _, value in walked if isinstance(value.data, str)}
    origins |= {path: value.where for path, value in walked}
    for _, source in reversed(chain):
        for one in source.value("repositories").items:
            origins[f"repository {one.value('name').data}"] = one.value("key").where or one.where
        for key in ("packages", "components"):
            for item in source.value(key).items:
                name = str(item.data).lstrip("-")
                origins[wanted.name_of(name) if key == "packages" else name] = item.where
    return origins


# keys of a profile whose entries are fields
_GROUPS = {
    "mirrors": {"main": "mirror", "security": "security_mirror", "suites": "suites", "components": "areas"},
    "compression": {"algorithm": "compression", "level": "compression_level"},
}


def _fields(said: Said) -> dict[str, Any]:
    """Return the fields of a Profile, as in JSON, from what profiles say together."""
    fields = {
        key: value.plain
        for key, value in said.values.items()
        if key in CORE.keys() - {"inherits", "packages", "debs"}
    }
    for group, field_of in _GROUPS.items():
        fields |= {field_of[key]: value for key, value in fields.pop(group, {}).items()}
    fields.setdefault("suites", [*SUITES[said["suite"]].archives])
    for name in {"mirror", "security_mirror"} & fields.keys():
        fields[name] = fields[name].rstrip("/")
    if BACKPORTS in [one.data for one in said.value("repositories").items]:
        fields["suites"] = [*fields["suites"], BACKPORTS]
    return fields
