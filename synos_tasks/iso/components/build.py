"""Compile one component into .debs, as the builder user, with the compilers' caches; the store keeps them by key."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import ComponentFailed, StageFailed
from synos_tasks.iso import codec, deb
from synos_tasks.iso.components import caches, source
from synos_tasks.iso.components.context import AS_ROOT, CompileContext
from synos_tasks.iso.protocol import Done, Facts, Start
from synos_tasks.iso.publish import take
from synos_tasks.iso.scratch import remove

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.iso.components.recipe import Compilation
    from synos_tasks.iso.store import Entry, Store

CARGO_CONFIG = (
    '[source.crates-io]\nreplace-with = "debian"\n[source.debian]\ndirectory = "/usr/share/cargo/registry"\n'
)
_SAID = re.compile(r"([a-z0-9.+-]+) (?:[0-9]+:)?([A-Za-z0-9.+~-]+) ([a-z0-9-]+) [0-9]{1,12}")
"""Name, version without its epoch, and architecture, as they are in the name of a package's file; its size in kB."""


def find_or_compile(context: CompileContext, store: Store) -> Entry:
    """Return a component's entry, compiled unless the store has it; sends the events ``start`` and ``done``."""
    began = time.monotonic()
    key, events = context.wanted.key, context.build.events
    hit = (entry := store.find(key)) is not None
    if entry is None:
        events.send(Start(stage=context.component.stage))
        with store.alone(key):
            entry = store.find(key) or keep(
                store, context.wanted, context.tree.parent, compile_component(context)
            )
    events.send(done(context.wanted, entry, began, hit=hit))
    return entry


def done(wanted: Compilation, entry: Entry, began: float, *, hit: bool) -> Done:
    """Return what is reported of a component that the store has."""
    seconds, facts = round(time.monotonic() - began, 3), codec.from_data(Facts, entry.facts)
    stage = wanted.component.stage
    size, fetched = entry.bytes, entry.fetched
    return Done(name=stage, key=entry.key, hit=hit, fetched=fetched, seconds=seconds, bytes=size, facts=facts)


def compile_component(context: CompileContext) -> dict[str, dict[str, int]]:
    """Compile a component, which leaves its .debs in the tree's parent; return how the caches answered."""
    folder = context.tree.parent
    remove(folder)
    folder.mkdir()
    context.own(folder)
    source.prepare(context)
    _install_dependencies(context)
    with caches.locked_caches(context.build.work, context.builder, context.build.events.warn) as usable:
        variables = {**usable, **_environment(context)}
        argv = ["dpkg-buildpackage", "--build=binary", "--no-sign", "--no-check-builddeps"]
        context.run(argv, environment=variables)
        return caches.counts(context, variables)


def _environment(context: CompileContext) -> dict[str, str | None]:
    """Return the variables of a build besides those of the caches; writes Cargo's configuration."""
    home = context.tree.with_name("cargo")
    home.mkdir()
    (home / "config.toml").write_text(CARGO_CONFIG)
    context.own(home)
    skipped = ["nocheck"] if context.component.tests == "skip" else []
    return {
        "DEB_BUILD_OPTIONS": " ".join([f"parallel={context.jobs}", "noautodbgsym", *skipped]),
        "CARGO_HOME": str(home),
        "CARGO_BUILD_JOBS": str(context.jobs),
        "SOURCE_DATE_EPOCH": None,  # dpkg-buildpackage takes it from the changelog
        "TERM": "dumb",
        # meson would put sccache in front of a compiler that it finds by itself
        "CC": "cc",
        "CXX": "c++",
    }


def _install_dependencies(context: CompileContext) -> None:
    """Install the build dependencies that the toolchain image lacks; raises ComponentFailed, which names them."""
    lines = context.run(["sh", "-c", "dpkg-checkbuilddeps 2>&1 || true"])
    unmet = "nmet build dependencies: "  # with a capital until Debian 12
    missing = [line.rpartition(unmet)[2] for line in lines if unmet in line]
    if not missing:
        return
    context.update_lists()
    what = f"a build dependency of {context.component.name} is missing: {', '.join(missing)}"
    hint = "check the names under `build_depends:`; the mirrors must have them"
    error = ComponentFailed(what, where=context.component.file, hint=hint)
    argv = [*AS_ROOT, "apt-get", "build-dep", "-q", "--yes", "--no-install-recommends", "./"]
    context.run(argv, error=error, network=True)


def keep(store: Store, wanted: Compilation, folder: Path, caches: Mapping[str, Mapping[str, int]]) -> Entry:
    """Put the packages that a recipe names into the store; raise ComponentFailed.

    ``folder``, which has them, was filled by foreign code.
    """
    component, packages = wanted.component, []
    with store.slot() as slot:
        for name in dict.fromkeys(component.packages):
            try:
                packages.append(_take_package(name, folder, slot))
            except (StageFailed, ValueError, KeyError) as error:
                what = f"component {component.name} gives no package {name}"
                why = getattr(error, "why", str(error))
                hint = "name those that belong into the ISO under `packages:`"
                raise ComponentFailed(what, where=component.file, why=why, hint=hint) from error
        return store.commit(wanted.key, slot, {"caches": caches, "packages": packages}, component.stage)


def _take_package(name: str, folder: Path, slot: Path) -> dict[str, Any]:
    """Copy a package and return what it says of itself; raise StageFailed, ValueError or KeyError."""
    found = list(folder.glob(f"{name}_*.deb"))
    if len(found) != 1:
        given = sorted({path.name.partition("_")[0] for path in folder.glob("*.deb")})
        raise ValueError(f"it gives {len(found) or ', '.join(given[:20]) or 'none'}")
    copy = slot / found[0].name
    digest = take(found[0], copy)
    fields = {"Installed-Size": "0", **deb.fields(deb.control(copy))}
    said = " ".join(fields[key] for key in ("Package", "Version", "Architecture", "Installed-Size"))
    checked = _SAID.fullmatch(said)
    if not checked or "{}_{}_{}.deb".format(*checked.groups()) != copy.name:
        raise ValueError(f"{copy.name} is of {said}")
    return {
        "name": name,
        "version": fields["Version"],
        "architecture": fields["Architecture"],
        "file": copy.name,
        "sha256": digest,
        "bytes": copy.stat().st_size,
        "installed_bytes": int(fields["Installed-Size"]) * 1024,
    }
