"""Plan: what will be done, as frozen stages with content keys.

plan_build() reads the files that a profile names, on the host and in a container alike; all else is pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.iso import digests, inputs, key, stagespec
from synos_tasks.iso.components import recipe
from synos_tasks.iso.digests import digest
from synos_tasks.iso.keys import debconf
from synos_tasks.iso.lock import Lock  # noqa: TC001  (codec.py reads the types of fields)
from synos_tasks.iso.profile import Profile  # noqa: TC001

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from synos_tasks.iso.components.recipe import Component

COMPONENT = "component"
LAYER_COMPRESSION = ("zstd", 3)
RELEASE_LEVEL = 15
# Modules of synos_tasks.iso that stages share, besides those that a stage's own module imports.
LAYER_CODE = ("tools", "stage_containers", "tree", "layers", "initramfs_inputs", "pool", "stages.squashfs")
SHARED_CODE: Mapping[str, Sequence[str]] = {
    "initramfs": ("tools", "stage_containers", "tree", "run"),
    "squashfs": ("tools", "tree", "run"),
    "bootfiles": ("tools", "run"),
    "iso": ("tools", "run"),
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step. ``key`` is the SHA-256 of all it depends on: inputs, the stages below, code and tools."""

    name: str
    kind: str
    """Name of its module in synos_tasks.iso.stages."""
    key: str
    why: Mapping[str, str]
    """Digests of its inputs by name, to tell later which of them changed."""

    @property
    def is_layer(self) -> bool:
        """Tell whether its result is a layer of the root file system."""
        return self.kind in stagespec.layer_kinds()


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

    @property
    def layers(self) -> list[Stage]:
        """Stages whose product is a layer of the root file system, lowest first."""
        return [stage for stage in self.stages if stage.is_layer]

    @property
    def components(self) -> list[Stage]:
        """Stages whose product is a component's packages."""
        return [stage for stage in self.stages if stage.kind == COMPONENT]

    @property
    def stage_names(self) -> list[str]:
        """Names of the stages, in order."""
        return [stage.name for stage in self.stages]

    def stage(self, name: str) -> Stage:
        """Return the stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)

    def initramfs_key(self, layer: str) -> str:
        """Return the key of an initramfs that a layer above the base, of key ``layer``, brought something into."""
        return digest(["initramfs", self.stage("initramfs").key, layer])

    @property
    def key(self) -> str:
        """Key of the last stage: what the ISO is, byte for byte."""
        return self.stages[-1].key


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Digests of what the images hold, by version; ``toolchain`` matters only where something is compiled."""

    builder: str
    toolchain: str = ""

    @staticmethod
    def digest_of(text: str) -> str:
        """Return the digest of an image's list of tools; how it was read decides over the newline at its end."""
        return digest(text.strip())


def plan_build(
    docker_build: Path, profile: Profile, lock: Lock, tools: Tools, *, release: bool = False
) -> Plan:
    """Plan a build; raises ProfileError or ComponentError where an overlay, hook, folder or patch is missing."""
    debconf.refuse_unasked(profile, {package.name for package in lock.packages})
    places = {
        path: inputs.find(docker_build, path, profile.origins.get(path, ""), folder=folder)
        for path, folder in files_of(profile)
    }
    for module in stagespec.modules().values():
        for path in module.STAGE.files(profile) if module.STAGE.belongs_to(profile) else ():
            module.STAGE.check_file(places[path], path, profile.origins.get(path, ""))
    files = {
        path: (digests.of_folder if place.is_dir() else digests.of_file)(place)
        for path, place in places.items()
    }
    folder = recipe.folder_of(docker_build)
    components = {
        component.name: recipe.inputs_of(component, folder, tools.toolchain)
        for component in components_of(docker_build, profile.components)
    }
    return make(profile, lock, files=files, tools=tools.builder, components=components, release=release)


def components_of(docker_build: Path, names: Sequence[str]) -> list[Component]:
    """Read recipes by name; raises ComponentError."""
    return [recipe.load(recipe.folder_of(docker_build), name) for name in names]


def make(
    profile: Profile,
    lock: Lock,
    *,
    files: Mapping[str, str],
    tools: str,
    components: Mapping[str, Mapping[str, str]] = {},
    release: bool = False,
) -> Plan:
    """Plan a build.

    ``files`` maps each overlay and hook to its digest, ``tools`` is a digest of the builder's tools;
    ``components`` maps each component to its inputs, see components/recipe.py.
    """
    made = []
    for name in profile.components:
        why = components[name]
        made.append(Stage(name=f"{COMPONENT}-{name}", kind=COMPONENT, key=recipe.key_of(why), why=why))
    outline = _outline(profile, release=release)
    inputs = {
        name: {**_inputs(profile, lock, name, kind, files, release=release), "tools": tools}
        for name, kind in outline
    }
    build_id = digest([*inputs.items(), *((stage.name, stage.key) for stage in made)])[:12]
    for name in ("identity", "bootfiles"):
        inputs[name]["build"] = build_id
    for name, kind in outline:
        why = inputs[name] | {f"stage {below.name}": below.key for below in _below(kind, made)}
        made.append(Stage(name=name, kind=kind, key=digest([kind, why]), why=why))
    return Plan(profile=profile, lock=lock, stages=tuple(made), release=release, build_id=build_id)


def files_of(profile: Profile) -> list[tuple[str, bool]]:
    """Return what the stages of a profile read below docker/build: paths, and whether they are folders."""
    specs = [module.STAGE for module in stagespec.modules().values() if module.STAGE.belongs_to(profile)]
    files = [(path, False) for spec in specs for path in spec.files(profile)]
    return [*files, *((path, True) for spec in specs for path in spec.folders(profile))]


def _inputs(
    profile: Profile, lock: Lock, name: str, kind: str, files: Mapping[str, str], *, release: bool
) -> dict[str, str]:
    """Return digests of what a stage depends on, by name, without tools and other stages."""
    spec = stagespec.modules()[kind].STAGE
    values = {key: profile.values.get(key) for key in spec.keys}
    if kind in {"base", "packages"}:
        packages = lock.layer(name)
        values["packages"] = [dict(profile.layers)[name], [(*p.ident, p.sha256) for p in packages]]
        values["debconf"] = debconf.answers(profile, {p.name for p in packages})
    if kind == "squashfs":
        values["compression"] = release_compression(profile)
    if spec.order is not None:
        values["compression"] = layer_compression(profile, release=release)
    found = {
        **{key: digest(getattr(profile, key)) for key in spec.fields},
        "code": _code(kind),
        "date": str(lock.epoch),
        **{key: digest(value) for key, value in values.items()},
    }
    if paths := [*spec.files(profile), *spec.folders(profile)]:
        found |= {f"file {path}": files[path] for path in paths} | {"order": digest(paths)}
    return found


def _code(kind: str) -> str:
    """Digest of the code that makes a stage: its own module's, and what turns its work into a layer or an ISO."""
    shared = [f"synos_tasks.iso.{name}" for name in SHARED_CODE.get(kind, LAYER_CODE)]
    if kind in {"system", "identity"}:  # what iso/keys has is found by its place
        shared += [f"{key.KEYS}.{name}" for name in key.of_system()]
    files = [digests.of_module_alone(name) for name in shared]
    return digest([digests.of_module(f"synos_tasks.iso.stages.{kind}"), *files])


def layer_compression(profile: Profile, *, release: bool) -> tuple[str, int]:
    """Algorithm and level of the layers; in a release they never leave the store."""
    return LAYER_COMPRESSION if release else (profile.compression, profile.compression_level)


def release_compression(profile: Profile) -> tuple[str, int]:
    """Algorithm and level of a release: what the profile says, unless that is for speed."""
    fast = profile.compression == "zstd" and profile.compression_level < RELEASE_LEVEL
    return ("xz", 0) if fast else (profile.compression, profile.compression_level)


def _outline(profile: Profile, *, release: bool) -> list[tuple[str, str]]:
    found = [(name, "packages" if name != "base" else name) for name, _ in profile.layers]
    modules, done = stagespec.modules(), {"base", "packages"}
    kinds = [kind for kind in stagespec.layer_kinds() if modules[kind].STAGE.belongs_to(profile)]
    last = ("initramfs", *(["squashfs"] if release else []), "bootfiles", "iso")
    return [*found, *((kind, kind) for kind in [*kinds, *last] if kind not in done)]


def _below(kind: str, made: Sequence[Stage]) -> list[Stage]:
    layers = [stage for stage in made if stage.is_layer]
    if kind == "iso":
        return [stage for stage in made if stage.kind != COMPONENT]
    if kind == "components":
        return [*(stage for stage in made if stage.kind == COMPONENT), *layers[-1:]]
    if kind == "initramfs":  # of the kernel and what came with it; see run.py for layers that touch it
        return layers[:1]
    return [] if kind == "bootfiles" else layers[-1:]
