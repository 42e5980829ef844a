"""What each stage says of itself, and how stages are found: by their files in iso/stages. Nothing else lists them.

A file has the documentation of its stage as its docstring, a ``STAGE``, and a function:

``make(inputs, root)`` works in the root file system. It may return facts for the store.
``make_files(inputs, lower, target)`` writes files into the empty folder ``target``, without unpacking what is below.

It may have ``expect(inputs)``, which yields what the self-test compares, see key.Expected.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.iso.key import Key
    from synos_tasks.iso.profile import Profile

STAGES = "synos_tasks.iso.stages"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One stage of a kind that makes several, and what its key covers."""

    name: str
    order: int
    value: Any = None
    """Plain data."""
    paths: Sequence[str] = ()
    """Files or folders below docker/build, in the order of their use."""
    apart: bool = False
    """Whether files of overlays do not matter to it: it reads those of its ``paths``, and changes no others."""


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """Where a stage belongs, and what its key covers besides its code, the tools and the stages below it."""

    order: int | None = None
    """Place of its layer among the others, the lowest first. None: its result is no layer."""
    fields: Sequence[str] = ()
    """Fields of the profile."""
    files: Callable[[Profile], Sequence[str]] = lambda _: ()
    """Files below docker/build, in the order of their use."""
    check_file: Callable[[Path, str, str], None] = lambda *_: None
    """Raises ProfileError for one of these files that is of no use: where it is, its name, and the place that names it."""
    folders: Callable[[Profile], Sequence[str]] = lambda _: ()
    """Folders below docker/build, in the order of their use."""
    paths: Callable[[Profile], Sequence[str]] = lambda _: ()
    """Files or folders below docker/build, in the order of their use."""
    parts: Callable[[Profile], Sequence[Part]] | None = None
    """Stages of this kind, in the place of one that has its name."""
    is_wanted: Callable[[Profile], bool] = lambda _: True
    """Whether a profile has this stage."""
    keys: Mapping[str, Key] = field(default_factory=dict)
    """Keys of a profile that only this stage reads, from ``profile.values``. Without any of them there is no stage."""

    def belongs_to(self, profile: Profile) -> bool:
        """Tell whether a profile has this stage."""
        return self.is_wanted(profile) and (
            not self.keys or any(profile.values.get(key) is not None for key in self.keys)
        )


class StageModule(Protocol):
    """One file of this folder."""

    STAGE: StageSpec
    make: Callable[..., Mapping[str, Any] | None]
    make_files: Callable[..., Mapping[str, Any] | None]


@functools.cache
def modules() -> Mapping[str, StageModule]:
    """Return all stages by kind: layers in their order, then the rest."""
    found = {
        name: cast("StageModule", importlib.import_module(f"{STAGES}.{name}"))
        for _, name, _ in pkgutil.iter_modules(importlib.import_module(STAGES).__path__)
    }

    def place(kind: str) -> tuple[bool, int, str]:
        order = found[kind].STAGE.order
        return order is None, order or 0, kind

    return {kind: found[kind] for kind in sorted(found, key=place)}


def layer_kinds() -> list[str]:
    """Return the kinds of stages whose result is a layer, lowest first."""
    return [kind for kind, module in modules().items() if module.STAGE.order is not None]


def layers_of(profile: Profile) -> list[tuple[str, Part]]:
    """Return kind and part of each layer of a profile, lowest first; a kind that makes one is a part by itself."""
    found = []
    for kind in layer_kinds():
        spec = modules()[kind].STAGE
        if spec.belongs_to(profile):
            alone = Part(name=kind, order=spec.order or 0)
            found += [(kind, part) for part in (spec.parts(profile) if spec.parts else [alone])]
    return sorted(found, key=lambda one: one[1].order)


def keys() -> dict[str, Key]:
    """Return the keys of a profile that belong to one stage."""
    return {name: key for module in modules().values() for name, key in module.STAGE.keys.items()}
