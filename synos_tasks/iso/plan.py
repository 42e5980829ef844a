"""Plan: what will be done, as frozen stages with content keys. Pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks.iso import code
from synos_tasks.iso.components import recipe
from synos_tasks.iso.digests import digest
from synos_tasks.iso.lock import Lock, Package
from synos_tasks.iso.profile import Profile, User

if TYPE_CHECKING:
    from collections.abc import Mapping

BASE = "base"
BASE_OVERLAY = "overlays/synos-base"
# What of a profile each stage depends on, besides the stages below it.
_PROFILE_KEYS: Mapping[str, tuple[str, ...]] = {
    "base": ("suite", "architecture", "bootstrapper"),
    "packages": (),
    "components": ("components",),
    "system": ("users", "hostname", "locale", "timezone", "keyboard"),
    "overlay": ("name", "suite"),
    "hooks": (),
    "identity": (),
    "initramfs": (),
    "squashfs": (),
    "bootfiles": ("name", "suite", "boot", "kernel_arguments"),
    "iso": ("name", "boot"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step. ``key`` is the SHA-256 of all it depends on: inputs, the stages below, code and tools."""

    name: str
    kind: str
    """Name of its module in synos_tasks.iso.stages."""
    key: str
    why: Mapping[str, str]
    """Digests of its inputs by name, to tell later which of them changed."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A profile, its lock, and the stages that make its ISO."""

    profile: Profile
    lock: Lock
    stages: tuple[Stage, ...]
    build_id: str
    """Twelve hex digits, of all inputs: the ISO's name, and what the running system says of itself."""
    release: bool = False
    """One squashfs, compressed well, instead of layers."""

    def to_json(self) -> dict[str, Any]:
        """Give the plan as the container gets it."""
        return dataclasses.asdict(self)

    @property
    def layers(self) -> list[Stage]:
        """Stages whose product is a layer of the root file system, lowest first."""
        return [stage for stage in self.stages if stage.kind in LAYERS]

    @property
    def components(self) -> list[Stage]:
        """Stages whose product is a component's packages."""
        return [stage for stage in self.stages if stage.kind == COMPONENT]

    @property
    def stage_names(self) -> list[str]:
        """Names of the stages, in order."""
        return [stage.name for stage in self.stages]

    def stage(self, name: str) -> Stage:
        """Give the stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)

    def initramfs_key(self, layer: str) -> str:
        """Give the key of an initramfs that a layer above the base, of key ``layer``, brought something into."""
        return digest(["initramfs", self.stage("initramfs").key, layer])

    @property
    def key(self) -> str:
        """Key of the last stage: what the ISO is, byte for byte."""
        return self.stages[-1].key


COMPONENT = "component"
LAYERS = ("base", "packages", "components", "system", "overlay", "hooks", "identity")
# Modules of synos_tasks.iso that stages share, besides those that a stage's own module imports.
SHARED_CODE: Mapping[str, tuple[str, ...]] = {
    "layer": ("tools", "tree", "layers", "listing", "pool", "stages.squashfs"),
    "initramfs": ("tools", "tree", "run"),
    "squashfs": ("tools", "tree", "run"),
    "bootfiles": ("tools", "run"),
    "iso": ("tools", "run"),
}
LAYER_COMPRESSION = ("zstd", 3)
RELEASE_LEVEL = 15


def make(
    profile: Profile,
    lock: Lock,
    *,
    files: Mapping[str, str],
    tools: str,
    components: Mapping[str, Mapping[str, str]] | None = None,
    release: bool = False,
) -> Plan:
    """Plan a build.

    ``files`` maps each overlay and hook to its digest, ``tools`` is a digest of the builder's tools;
    ``components`` maps each component to its inputs, see components/recipe.py.
    """
    compiled = [_component(name, (components or {})[name]) for name in profile.components]
    inputs = {
        name: {**_inputs(profile, lock, name, kind, files, release=release), "tools": tools}
        for name, kind in _outline(profile, release=release)
    }
    build_id = digest([*inputs.items(), *((stage.name, stage.key) for stage in compiled)])[:12]
    for name in ("identity", "bootfiles"):
        inputs[name]["build"] = build_id
    stages = compiled
    for name, kind in _outline(profile, release=release):
        why = inputs[name] | {f"stage {below.name}": below.key for below in _below(kind, stages)}
        stages.append(Stage(name=name, kind=kind, key=digest([kind, why]), why=why))
    return Plan(profile=profile, lock=lock, stages=tuple(stages), release=release, build_id=build_id)


def _component(name: str, inputs: Mapping[str, str]) -> Stage:
    return Stage(name=f"{COMPONENT}-{name}", kind=COMPONENT, key=recipe.key_of(inputs), why=dict(inputs))


def _inputs(
    profile: Profile, lock: Lock, name: str, kind: str, files: Mapping[str, str], *, release: bool
) -> dict[str, str]:
    """Digests of what a stage depends on, by name, without tools and other stages."""
    found = {key: digest(getattr(profile, key)) for key in _PROFILE_KEYS[kind]}
    found |= {"code": _code(kind), "date": str(lock.epoch)}
    if kind == "system":
        found["sources"] = digest(profile.sources())
    if kind in {"base", "packages"}:
        asked = dict(profile.layers)[name]
        found["packages"] = digest([asked, [(*p.ident, p.sha256) for p in lock.layer(name)]])
    if kind in {"overlay", "hooks"}:
        paths = (BASE_OVERLAY, *profile.overlays) if kind == "overlay" else profile.hooks
        found |= {f"file {path}": files[path] for path in paths} | {"order": digest(paths)}
    if kind in LAYERS:
        found["compression"] = digest(layer_compression(profile, release=release))
    if kind == "squashfs":
        found["compression"] = digest(release_compression(profile))
    return found


def _code(kind: str) -> str:
    """Digest of the code that makes a stage: its own module's, and what turns its work into a layer or an ISO."""
    shared = SHARED_CODE.get(kind, SHARED_CODE["layer"])
    return digest(
        [
            code.digest_of(f"synos_tasks.iso.stages.{kind}"),
            *(code.digest_of_file(f"synos_tasks.iso.{s}") for s in shared),
        ]
    )


def layer_compression(profile: Profile, *, release: bool) -> tuple[str, int]:
    """Algorithm and level of the layers; in a release they never leave the store."""
    return LAYER_COMPRESSION if release else (profile.compression, profile.compression_level)


def release_compression(profile: Profile) -> tuple[str, int]:
    """Algorithm and level of a release: what the profile says, unless that is for speed."""
    fast = profile.compression == "zstd" and profile.compression_level < RELEASE_LEVEL
    return ("xz", 0) if fast else (profile.compression, profile.compression_level)


def _outline(profile: Profile, *, release: bool) -> list[tuple[str, str]]:
    """Give (name, kind) of the stages, in order."""
    layers = [(name, "base" if name == BASE else "packages") for name, _ in profile.layers]
    rest = [
        *(["components"] if profile.components else []),
        "system",
        "overlay",
        *(["hooks"] if profile.hooks else []),
        "identity",
    ]
    rest += ["initramfs", *(["squashfs"] if release else []), "bootfiles", "iso"]
    return [*layers, *((kind, kind) for kind in rest)]


def _below(kind: str, stages: list[Stage]) -> list[Stage]:
    """Give the stages that a stage builds on."""
    layers = [stage for stage in stages if stage.kind in LAYERS]
    if kind == "iso":
        return [stage for stage in stages if stage.kind != COMPONENT]
    if kind == "components":
        return [*(stage for stage in stages if stage.kind == COMPONENT), *layers[-1:]]
    if kind == "initramfs":  # of the kernel and what came with it; see run.py for layers that touch it
        return layers[:1]
    return [] if kind == "bootfiles" else layers[-1:]


def from_json(data: Mapping[str, Any]) -> Plan:
    """Read back what to_json gave."""
    return Plan(
        profile=profile_from_json(data["profile"]),
        lock=lock_from_json(data["lock"]),
        stages=tuple(Stage(**{**stage, "why": dict(stage["why"])}) for stage in data["stages"]),
        build_id=data["build_id"],
        release=data["release"],
    )


def lock_from_json(data: Mapping[str, Any]) -> Lock:
    """Read back a lock."""
    return Lock(**{**data, "packages": tuple(Package(**package) for package in data["packages"])})


def profile_from_json(data: Mapping[str, Any]) -> Profile:
    """Read back a profile."""
    raw: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
    }
    raw["users"] = tuple(User(**{**user, "groups": tuple(user["groups"])}) for user in data["users"])
    raw["layers"] = tuple((name, tuple(packages)) for name, packages in data["layers"])
    return Profile(**raw)
