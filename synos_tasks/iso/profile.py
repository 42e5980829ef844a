"""Profiles: docker/build/profiles/NAME.yaml, read into a frozen Profile."""

from __future__ import annotations

import dataclasses
import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import ProfileError, ProfileNotFound, guess
from synos_tasks.iso import codec, schema, stagespec
from synos_tasks.iso.components import recipe
from synos_tasks.iso.schema import RELATIVE, SUITES, Kind, choice, list_of, mapping, text, url

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAXIMUM_ANCESTORS = 8
# What the initramfs is made of, and what changes least: below all that a person adds and removes.
BASE = re.compile(r"linux-image-.*|initramfs-tools.*|live-(boot|config)(-.*)?|systemd-sysv|user-setup")
PACKAGE = r"-?[a-z0-9][a-z0-9+.-]+"
_MIRRORS = mapping(
    {
        "main": url("The Debian archive."),
        "security": url("Security updates."),
        "suites": list_of(
            choice("release", "updates", "security"),
            "Which of the suite, its -updates and its -security are used.",
        ),
        "components": list_of(
            choice("main", "contrib", "non-free", "non-free-firmware"), "Archive components."
        ),
    },
    "Where packages come from.",
)
_USER = mapping(
    {
        "name": text(r"[a-z][a-z0-9_-]{0,30}", "a user name", "Login name."),
        "full_name": text(r'[^:,"$`\\\x00-\x1f]{1,60}', "a name without : , and quotes", "For people."),
        "groups": list_of(text(r"[a-z_][a-z0-9_-]{0,30}", "a group"), "Further groups."),
        "password_hash": text(r"\$(y|6)\$[A-Za-z0-9./$=,]+", "a crypt(3) hash", "Without it: locked."),
    },
    required=("name",),
)
_KEYBOARD = mapping(
    {
        "layout": text(r"[a-z]{2,6}(,[a-z]{2,6}){0,3}", "an XKB layout as us", "Layout."),
        "variant": text(r"[a-z0-9_-]{0,30}", "an XKB variant", "Variant."),
        "model": text(r"[a-z0-9_-]{1,30}", "an XKB model as pc105", "Model."),
    },
    "Keyboard, in XKB's terms.",
)
_COMPRESSION = mapping(
    {
        "algorithm": choice("zstd", "xz", doc="zstd is fast, xz is small."),
        "level": Kind(type="integer", minimum=1, maximum=22, shape="1 to 22", doc="zstd only."),
    },
    "How the root file system is compressed.",
)
PROFILE = mapping(
    {
        "description": text(r"[^\x00-\x1f]{1,200}", "one line of text", "One line for people."),
        "inherits": text(r"[a-z][a-z0-9-]*", "the name of a profile", "Another profile to start from."),
        "suite": choice(*SUITES, doc="Debian suite."),
        "architecture": choice("amd64", doc="Debian architecture."),
        "bootstrapper": choice("mmdebstrap", "debootstrap", doc="What lays the root file system down."),
        "mirrors": _MIRRORS,
        "packages": list_of(
            text(PACKAGE, "a Debian package name, or -name to take an inherited one out"),
            "Packages; those of an inherited profile come first, -name takes one out.",
        ),
        "components": list_of(
            text(PACKAGE, "a component, or -name to take an inherited one out"),
            "Components of docker/build/components, compiled where they are needed.",
        ),
        "users": list_of(_USER, "Users. The first is the live user, whom live-config makes at boot."),
        "hostname": text(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "a host name", "Host name."),
        "locale": text(r"(C|[a-z]{2,3}_[A-Z]{2})\.UTF-8", "a UTF-8 locale as en_US.UTF-8", "Locale."),
        "timezone": text(r"[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}", "a zone as Europe/Berlin", "Zone."),
        "keyboard": _KEYBOARD,
        "kernel_arguments": list_of(
            text(r"[A-Za-z0-9_.,=:/@%+-]+", "one kernel argument without spaces"),
            "Added to the kernel command line.",
        ),
        "overlay": text(RELATIVE, "a folder relative to docker/build", "Files copied over the root."),
        "hooks": list_of(
            text(RELATIVE, "a script relative to docker/build"), "Scripts run in the root, in this order."
        ),
        "compression": _COMPRESSION,
        "boot": list_of(choice("bios", "uefi", "secure-boot"), "Firmware the ISO boots on."),
    },
    "A SynOS profile: what goes into an ISO.",
)


@dataclass(frozen=True, kw_only=True)
class User:
    """A user of the live system."""

    name: str = "synos"
    full_name: str = "SynOS live user"
    groups: tuple[str, ...] = ()
    password_hash: str = ""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What goes into an ISO. Paths are relative to docker/build."""

    name: str
    description: str = ""
    suite: str = "bookworm"
    architecture: str = "amd64"
    bootstrapper: str = "mmdebstrap"
    mirror: str = "http://deb.debian.org/debian"
    security_mirror: str = "http://deb.debian.org/debian-security"
    suites: tuple[str, ...] = ("release", "updates", "security")
    areas: tuple[str, ...] = ("main",)
    """Archive areas, `mirrors.components` in YAML."""
    layers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Packages by the layer that adds them, lowest first: ``base`` with all that boots, then one for each
    profile of the ancestry. So a profile that adds a package leaves its ancestors' layers as they are."""
    components: tuple[str, ...] = ()
    """What SynOS compiles itself, installed above all packages."""
    users: tuple[User, ...] = (User(),)
    hostname: str = "synos"
    locale: str = "C.UTF-8"
    timezone: str = "Etc/UTC"
    keyboard: tuple[str, str, str] = ("us", "", "pc105")
    """Layout, variant, model."""
    kernel_arguments: tuple[str, ...] = ()
    overlays: tuple[str, ...] = ()
    """The inherited ones first."""
    hooks: tuple[str, ...] = ()
    compression: str = "zstd"
    compression_level: int = 3
    boot: tuple[str, ...] = ("bios", "uefi", "secure-boot")
    options: Mapping[str, Any] = field(default_factory=dict)
    """Values of the keys that belong to one stage, see StageSpec.schema."""
    distribution: str = "synos"
    """Name of the project: first word of the ISO's name, and ID in os-release. Not in the YAML file."""
    title: str = "SynOS"
    """What boot menus and os-release call the distribution. Not in the YAML file."""
    ancestors: tuple[str, ...] = ()
    """Profiles it inherits from, nearest first: whose locks it starts from, not for keys."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Where each package, hook and overlay is named (``file:line:column``): for errors, not for keys."""

    @property
    def packages(self) -> tuple[str, ...]:
        """All packages asked for, sorted."""
        return tuple(sorted(name for _, names in self.layers for name in names))

    def address(self, archive: str) -> str:
        """Return the mirror of an archive, ``main`` or ``security``."""
        return self.security_mirror if archive == "security" else self.mirror

    @property
    def archives(self) -> dict[str, str]:
        """Return the mirror of each suite that is used."""
        of = {
            "release": (self.suite, self.mirror),
            "updates": (f"{self.suite}-updates", self.mirror),
            "security": (f"{self.suite}-security", self.security_mirror),
        }
        return dict(of[name] for name in of if name in self.suites)

    @property
    def sources(self) -> list[str]:
        """Return the one-line APT sources."""
        return [f"deb {mirror} {suite} {' '.join(self.areas)}" for suite, mirror in self.archives.items()]


@functools.cache
def kind() -> Kind:
    """Return what a profile may say: the keys of all profiles, and those of each stage."""
    return dataclasses.replace(PROFILE, fields={**PROFILE.fields, **stagespec.schemas()})


def names(folder: Path) -> list[str]:
    """Names of the profiles in a folder, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml") if not path.name.endswith(".lock.yaml"))


def load(folder: Path, name: str) -> Profile:
    """Read a profile and those it inherits from.

    Raises ProfileNotFound, or ProfileError or ComponentError with file, line, column and a hint.
    """
    chain = _chain(folder, name)
    merged: dict[str, Any] = {"components": []}
    origins: dict[str, str] = {}
    for _, source, data in reversed(chain):
        _note_origins(origins, source)
        _merge(merged, data)
    _refuse_wrong_suite(merged, origins)
    _refuse_password_of_live_user(merged, [source for _, source, _ in chain])
    if "release" not in merged.get("mirrors", {}).get("suites", ["release"]):
        raise ProfileError("mirrors.suites lacks release", where=chain[0][1].where, hint="add `release`")
    recipes = recipe.folder_of(folder.parent)
    needs = {one: recipe.load(recipes, one, origins[one]).depends for one in merged["components"]}
    asked: list[tuple[str, list[str]]] = []
    for ancestor, _, data in reversed(chain):
        needed = [package for one in data.get("components", []) for package in needs.get(one, ())]
        asked.append((ancestor, [*data.get("packages", []), *needed]))
    return dataclasses.replace(
        codec.from_data(Profile, {**_fields(merged), "name": name}),
        layers=_layers(asked),
        ancestors=tuple(ancestor for ancestor, _, _ in chain[1:]),
        origins=origins,
    )


def _chain(folder: Path, name: str) -> list[tuple[str, schema.Value, dict[str, Any]]]:
    """Return name, source and checked data of a profile and its ancestors, the nearest first."""
    chain: list[tuple[str, schema.Value, dict[str, Any]]] = []
    where = ""
    while name or not chain:
        _refuse_endless([name for name, _, _ in chain], name, where)
        known = names(folder)
        if name not in known:
            raise ProfileNotFound(
                f"there is no profile {name[:80]!r}",
                where=where or str(folder),
                hint=guess(name, tuple(known)),
            )
        source = schema.load(folder / f"{name}.yaml")
        data = schema.check(source, kind())
        chain.append((name, source, data))
        name = data.get("inherits", "")
        where = source.entries["inherits"].where if name else ""
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


def _refuse_wrong_suite(merged: dict[str, Any], origins: Mapping[str, str]) -> None:
    if merged["components"] and merged.get("suite", recipe.SUITE) != recipe.SUITE:
        name = merged["components"][0]
        raise ProfileError(
            f"component {name} does not go into a profile of {merged['suite']}",
            where=origins[name],
            why=f"components are compiled on {recipe.SUITE}, for its libraries",
            hint=f"`suite: {recipe.SUITE}`, or `- -{name}` under `components:` to take it out",
        )


def _refuse_password_of_live_user(merged: dict[str, Any], chain: list[schema.Value]) -> None:
    """Raise ProfileError where a password is set that nobody would ever have: live-config sets `live`."""
    if merged.get("users") and merged["users"][0].get("password_hash"):
        raise ProfileError(
            f"the first user, {merged['users'][0]['name']}, cannot have a password_hash",
            where=next(source.entries["users"].key for source in chain if "users" in source.entries),
            why="it is the live user, whom live-config makes at boot with the password `live`",
            hint="put another user first, or take the hash out",
        )


def _merge(merged: dict[str, Any], data: dict[str, Any]) -> None:
    """Lay a profile over what it inherits: lists that add up add up, mappings merge, the rest replaces."""
    for key, value in data.items():
        if key == "components":
            kept = [name for name in merged.get(key, []) if f"-{name}" not in value]
            new = [name for name in value if not name.startswith("-")]
            merged[key] = list(dict.fromkeys([*kept, *new]))
        elif key in {"hooks", "kernel_arguments"}:
            merged[key] = [*merged.get(key, []), *value]
        elif key == "overlay":
            merged.setdefault("overlays", []).append(value)
        elif isinstance(value, dict):
            merged[key] = {**merged.get(key, {}), **value}
        else:
            merged[key] = value


def _note_origins(origins: dict[str, str], source: schema.Value) -> None:
    for key in ("packages", "hooks", "components", "overlay"):
        if value := source.entries.get(key):
            for item in value.data if isinstance(value.data, list) else [value]:
                origins[str(item.data).lstrip("-")] = item.where


# keys of a profile whose entries are fields
_GROUPS = {
    "mirrors": {"main": "mirror", "security": "security_mirror", "suites": "suites", "components": "areas"},
    "compression": {"algorithm": "compression", "level": "compression_level"},
}


def _fields(merged: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a Profile, as in JSON, from what profiles say together."""
    fields = {key: value for key, value in merged.items() if key not in {"inherits", "packages"}}
    if not fields.get("users"):
        fields.pop("users", None)
    fields["options"] = {key: fields.pop(key) for key in stagespec.schemas() if key in fields}
    keyboard = {"layout": "us", "variant": "", "model": "pc105", **fields.pop("keyboard", {})}
    fields["keyboard"] = [keyboard[key] for key in ("layout", "variant", "model")]
    for group, field_of in _GROUPS.items():
        fields |= {field_of[key]: value for key, value in fields.pop(group, {}).items()}
    for name in {"mirror", "security_mirror"} & fields.keys():
        fields[name] = fields[name].rstrip("/")
    return fields


def _layers(chain: list[tuple[str, list[str]]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Sort packages into layers. ``chain`` is (profile, its list), the oldest ancestor first; -name removes."""
    owner: dict[str, str] = {}
    for profile, listed in chain:
        for entry in listed:
            if entry.startswith("-"):
                owner.pop(entry[1:], None)
            else:
                owner.setdefault(entry, "base" if BASE.fullmatch(entry) else f"packages-{profile}")
    layers = ["base", *(f"packages-{profile}" for profile, _ in chain)]
    members = {layer: tuple(sorted(name for name in owner if owner[name] == layer)) for layer in layers}
    return tuple((layer, names) for layer, names in members.items() if names or layer == "base")
