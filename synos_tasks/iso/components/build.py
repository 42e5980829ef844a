"""Compile one component into .debs, as the builder user, with the compilers' caches; the store keeps them by key."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

from synos_tasks.errors import ComponentFailed
from synos_tasks.iso import deb
from synos_tasks.iso.components import caches, source
from synos_tasks.iso.components.context import CompileContext  # noqa: TC001  (so that keys cover its code)
from synos_tasks.iso.protocol import Done, Facts, Start
from synos_tasks.iso.publish import take
from synos_tasks.iso.scratch import remove

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.iso.components.recipe import Compilation
    from synos_tasks.iso.store import Entry, Store
    from synos_tasks.iso.tools import BuildContext

CARGO_CONFIG = (
    '[source.crates-io]\nreplace-with = "debian"\n[source.debian]\ndirectory = "/usr/share/cargo/registry"\n'
)


def find_or_compile(context: CompileContext, store: Store) -> Entry:
    """Return a component's entry, compiled unless the store has it; sends the events ``start`` and ``done``."""
    began = time.monotonic()
    key, stage, events = context.wanted.key, context.component.stage, context.build.events
    entry = store.find(key)
    hit = entry is not None
    if entry is None:
        events.send(Start(stage=stage))
        with store.alone(key):
            entry = store.find(key)
            if entry is None:
                folder = context.build.work / "packages"
                caches = compile_into(context, folder)
                entry = keep(store, context.wanted, folder, caches)
    events.send(done(context.wanted, entry, began, hit=hit))
    return entry


def done(wanted: Compilation, entry: Entry, began: float, *, hit: bool) -> Done:
    """Return what is reported of a component that the store has."""
    seconds, facts = round(time.monotonic() - began, 3), Facts.of(entry.facts)
    stage = wanted.component.stage
    return Done(name=stage, key=entry.key, hit=hit, seconds=seconds, bytes=entry.bytes, facts=facts)


def compile_into(context: CompileContext, packages: Path) -> dict[str, dict[str, int]]:
    """Compile a component, and put the packages that its recipe names into a folder; return how the caches answered."""
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
        counts = caches.counts(context, variables)
    packages.mkdir(exist_ok=True)
    for path in packages.iterdir():
        remove(path)
    for path in folder.glob("*.deb"):
        shutil.copyfile(path, packages / path.name)
    return counts


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
    missing = [line.rpartition("dependencies: ")[2] for line in lines if "Unmet build dependencies" in line]
    if not missing:
        return
    context.update_lists()
    what = f"a build dependency of {context.component.name} is missing: {', '.join(missing)}"
    hint = "check the names under `build_depends:`; the mirrors must have them"
    error = ComponentFailed(what, where=context.component.file, hint=hint)
    argv = ["sudo", "DEBIAN_FRONTEND=noninteractive", "apt-get", "build-dep", "-q", "--yes",
            "--no-install-recommends", "./"]  # fmt: skip
    context.run(argv, error=error)


def keep(store: Store, wanted: Compilation, folder: Path, caches: Mapping[str, Mapping[str, int]]) -> Entry:
    """Put the packages that a recipe names out of a folder, which foreign code may have filled, into the store."""
    component, packages = wanted.component, {}
    with store.slot() as slot:
        for path in sorted(folder.glob("*.deb")):
            copy = slot / path.name
            digest = take(path, copy, (0, 0))
            fields = deb.fields(deb.control(copy))
            if fields["Package"] not in component.packages or not copy.name.startswith(
                f"{fields['Package']}_"
            ):
                copy.unlink()
                continue
            packages[fields["Package"]] = {
                "name": fields["Package"],
                "version": fields["Version"],
                "architecture": fields["Architecture"],
                "file": copy.name,
                "sha256": digest,
                "bytes": copy.stat().st_size,
                "installed_bytes": int(fields.get("Installed-Size", 0)) * 1024,
            }
        if missing := [name for name in component.packages if name not in packages]:
            what, why = (
                f"component {component.name} gives no package {missing[0]}",
                ", ".join(sorted(packages)),
            )
            hint = "name those that belong into the ISO under `packages:`"
            raise ComponentFailed(what, where=component.file, why=f"it gives {why or 'none'}", hint=hint)
        found = [packages[name] for name in component.packages]
        return store.commit(wanted.key, slot, {"caches": caches, "packages": found}, component.stage)


def deliver(context: BuildContext, entry: Entry) -> None:
    """Copy the .debs of an entry into the output folder."""
    for package in entry.facts["packages"]:
        target = context.output / package["file"]
        shutil.copyfile(entry.file(package["file"]), target)
        os.chown(target, *context.owner)
        target.chmod(0o644)
