"""Plan: what will be done, as frozen stages with content keys.

plan_build() reads the files that a profile names, on the host and in a container alike; all else is pure.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.errors import ProfileError, raise_all
from synos_tasks.iso import digests, inputs, key, stagespec
from synos_tasks.iso.components import recipe
from synos_tasks.iso.digests import digest
from synos_tasks.iso.keys import debconf
from synos_tasks.iso.lock import Lock  # noqa: TC001  (codec.py reads the types of fields)
from synos_tasks.iso.profile import Profile  # noqa: TC001
from synos_tasks.iso.stagespec import Part

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.iso.components.recipe import Component

COMPONENT, OVERLAY = "component", "overlay"
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
    apart: bool = False
    """Whether the key leaves the files of overlays out, see Part."""

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

    def until(self, name: str) -> Plan:
        """Return the plan of the layers up to the one of that name, and of what they need: it makes no ISO."""
        index = [layer.name for layer in self.layers].index(name)
        layers = self.layers[: index + 1]
        wanted = {"initramfs", *(COMPONENT for layer in layers if layer.kind == "components")}
        stages = tuple(stage for stage in self.stages if stage in layers or stage.kind in wanted)
        return dataclasses.replace(self, stages=stages)

    def initramfs_key(self, layers: Sequence[str]) -> str:
        """Return the key of an initramfs that is made of the layers with these keys."""
        return digest(["initramfs", self.stage("initramfs").key, *layers])

    def initramfs_layers(self, touching: Collection[str]) -> list[str]:
        """Return the keys of the layers that the initramfs is made of, lowest first; none where it is the base alone.

        ``touching`` has the keys of the layers that bring something into it.
        """
        overlaid = any(layer.key in touching for layer in self.layers if layer.kind == OVERLAY)
        found: list[str] = []
        for index, layer in enumerate(self.layers[1:], 2):
            # what a layer that was made over another overlay has for the initramfs, this overlay may decide
            if layer.key in touching or (overlaid and layer.apart):
                found = [one.key for one in self.layers[:index]]
        return found

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
    places = find_files(docker_build, profile)
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


def find_files(docker_build: Path, profile: Profile) -> dict[str, Path]:
    """Return where the files and folders are that a profile names; raise ProfileError for all that are not."""
    places, mistakes = {}, []
    for spec in (module.STAGE for module in stagespec.modules().values()):
        if not spec.belongs_to(profile):
            continue
        paths: list[tuple[str, bool | None]] = [(path, False) for path in spec.files(profile)]
        paths += [(path, True) for path in spec.folders(profile)]
        for path, folder in [*paths, *((path, None) for path in spec.paths(profile))]:
            where = profile.origins.get(path, "")
            try:
                places[path] = inputs.find(docker_build, path, where, folder=folder)
                if folder is False:
                    spec.check_file(places[path], path, where)
            except ProfileError as error:
                mistakes.append(error)
    raise_all(mistakes)
    return places


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
        part.name: {**_inputs(profile, lock, kind, part, files, release=release), "tools": tools}
        for kind, part in outline
    }
    for _, part in outline:
        if part.apart:  # what lies where, but not what is in it
            inputs[part.name] |= {
                f"overlay's {name}": one
                for name, one in inputs[OVERLAY].items()
                if not name.startswith("file ")
            }
    build_id = digest([*inputs.items(), *((stage.name, stage.key) for stage in made)])[:12]
    for name in ("identity", "bootfiles"):
        inputs[name]["build"] = build_id
    for kind, part in outline:
        why = inputs[part.name] | {f"stage {one.name}": one.key for one in _below(kind, part, made)}
        made.append(Stage(name=part.name, kind=kind, key=digest([kind, why]), why=why, apart=part.apart))
    return Plan(profile=profile, lock=lock, stages=tuple(made), release=release, build_id=build_id)


def _inputs(
    profile: Profile, lock: Lock, kind: str, part: Part, files: Mapping[str, str], *, release: bool
) -> dict[str, str]:
    """Return digests of what a stage depends on, by name, without tools and other stages."""
    spec = stagespec.modules()[kind].STAGE
    values = {"said": part.value} if spec.parts else {key: profile.values.get(key) for key in spec.keys}
    if kind in {"base", "packages"}:
        packages = lock.layer(part.name)
        values["packages"] = [dict(profile.layers)[part.name], [(*p.ident, p.sha256) for p in packages]]
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
    alone = [*spec.files(profile), *spec.folders(profile), *spec.paths(profile)]
    paths = part.paths if spec.parts else alone
    if paths:
        found |= {f"file {path}": files[path] for path in paths} | {"order": digest(paths)}
    return found


def _code(kind: str) -> str:
    """Digest of the code that makes a stage: its own module's, and what turns its work into a layer or an ISO."""
    shared = [f"synos_tasks.iso.{name}" for name in SHARED_CODE.get(kind, LAYER_CODE)]
    if kind in {"system", "identity"}:  # what iso/keys has is found by its place
        shared += [f"{key.KEYS}.{name}" for name in key.of_system()]
    if kind == "identity":
        stages = stagespec.modules().items()
        shared += [f"{stagespec.STAGES}.{name}" for name, module in stages if hasattr(module, "expect")]
    files = [digests.of_module_alone(name) for name in shared]
    return digest([digests.of_module(f"synos_tasks.iso.stages.{kind}"), *files])


def layer_compression(profile: Profile, *, release: bool) -> tuple[str, int]:
    """Algorithm and level of the layers; in a release they never leave the store."""
    return LAYER_COMPRESSION if release else (profile.compression, profile.compression_level)


def release_compression(profile: Profile) -> tuple[str, int]:
    """Algorithm and level of a release: what the profile says, unless that is for speed."""
    fast = profile.compression == "zstd" and profile.compression_level < RELEASE_LEVEL
    return ("xz", 0) if fast else (profile.compression, profile.compression_level)


def _outline(profile: Profile, *, release: bool) -> list[tuple[str, Part]]:
    """Return kind and part of each stage, the lowest first."""
    found = [("packages" if name != "base" else name, Part(name=name, order=0)) for name, _ in profile.layers]
    found += [one for one in stagespec.layers_of(profile) if one[0] not in {"base", "packages"}]
    last = ("initramfs", *(["squashfs"] if release else []), "bootfiles", "iso")
    return [*found, *((kind, Part(name=kind, order=0)) for kind in last)]


def _below(kind: str, part: Part, made: Sequence[Stage]) -> list[Stage]:
    layers = [stage for stage in made if stage.is_layer]
    if part.apart:
        return [layer for layer in layers if layer.kind != OVERLAY][-1:]
    last = next((index for index in reversed(range(len(layers))) if not layers[index].apart), 0)
    uppermost = layers[last:]  # their keys cover all layers
    if kind == "iso":
        return [stage for stage in made if stage.kind != COMPONENT]
    if kind == "components":
        return [*(stage for stage in made if stage.kind == COMPONENT), *uppermost]
    if kind == "initramfs":  # of the kernel and what came with it; see run.py for layers that touch it
        return layers[:1]
    return [] if kind == "bootfiles" else uppermost
