"""Compile one component into .debs, as the builder user, with the compilers' caches; the store keeps them by key."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import ComponentFailed, SynosError
from synos_tasks.iso import deb
from synos_tasks.iso.components import caches, packaging, source
from synos_tasks.iso.components.context import mirror_error
from synos_tasks.iso.diagnose import is_unreachable
from synos_tasks.iso.protocol import Done, Start
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.store import sha256

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synos_tasks.iso.components.context import CompileContext
    from synos_tasks.iso.components.recipe import Component
    from synos_tasks.iso.store import Entry, Store

CARGO_CONFIG = (
    '[source.crates-io]\nreplace-with = "debian"\n[source.debian]\ndirectory = "/usr/share/cargo/registry"\n'
)


def find_or_compile(
    context: CompileContext, store: Store, component: Component, key: str, source_digest: str
) -> Entry:
    """Return a component's entry, compiled unless the store has it; sends the events ``start`` and ``done``."""
    began = time.monotonic()
    entry = store.find(key)
    hit = entry is not None
    if entry is None:
        context.build.events.send(Start(stage=component.stage))
        with store.alone(key):
            entry = store.find(key) or _compile(context, store, component, key, source_digest)
    seconds = round(time.monotonic() - began, 3)
    context.build.events.send(
        Done(name=component.stage, key=key, hit=hit, seconds=seconds, bytes=entry.bytes, facts=entry.facts)
    )
    return entry


def _compile(
    context: CompileContext, store: Store, component: Component, key: str, source_digest: str
) -> Entry:
    folder = context.build.work / "build"
    remove(folder)
    folder.mkdir()
    context.own(folder)
    tree = folder / "source"  # the same for all, so that no path differs
    source.prepare(context, component, source_digest, tree)
    packaging.write(component, tree)
    context.own(tree)
    _install_dependencies(context, component, tree)
    began = time.monotonic()
    with caches.locked_caches(context.build.work, context.builder, context.warn) as usable:
        variables = {**usable, **_environment(context, component, folder)}
        argv = ["dpkg-buildpackage", "--build=binary", "--no-sign", "--no-check-builddeps"]
        context.run(component, argv, folder=tree, environment=variables)
        counts = caches.counts(context, component, tree, variables)
    facts = {"caches": counts, "compile_seconds": round(time.monotonic() - began, 1)}
    return _store_packages(store, component, key, folder, facts)


def _environment(context: CompileContext, component: Component, folder: Path) -> dict[str, str | None]:
    """Return the variables of a build besides those of the caches; writes Cargo's configuration."""
    home = folder / "cargo"
    home.mkdir()
    (home / "config.toml").write_text(CARGO_CONFIG)
    context.own(home)
    skipped = ["nocheck"] if component.tests == "skip" else []
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


def _install_dependencies(context: CompileContext, component: Component, tree: Path) -> None:
    """Install the build dependencies that the toolchain image lacks; raises ComponentFailed, which names them."""
    lines = context.run(component, ["sh", "-c", "dpkg-checkbuilddeps 2>&1 || true"], folder=tree)
    missing = [line.rpartition("dependencies: ")[2] for line in lines if "Unmet build dependencies" in line]
    if not missing:
        return

    def failed(lines: Sequence[str]) -> SynosError:
        if is_unreachable(lines):
            return mirror_error(lines)
        return ComponentFailed(
            f"a build dependency of {component.name} is missing: {', '.join(missing)}",
            where=f"docker/build/components/{component.name}.yaml",
            why="\n".join([line for line in lines if line.startswith(("E:", " "))][-4:]),
            hint="check the names under `build_depends:`; the mirrors must have them",
        )

    context.update_lists(component)
    argv = ["sudo", "DEBIAN_FRONTEND=noninteractive", "apt-get", "build-dep", "-q", "--yes",
            "--no-install-recommends", "./"]  # fmt: skip
    context.run(component, argv, folder=tree, on_failure=failed)


def _store_packages(
    store: Store, component: Component, key: str, folder: Path, facts: dict[str, Any]
) -> Entry:
    """Put the binary packages that the recipe names into the store."""
    found = {}
    for path in sorted(folder.glob("*.deb")):
        fields = deb.fields(deb.control(path))
        found[fields["Package"]] = (path, fields)
    missing = [name for name in component.packages if name not in found]
    if missing:
        raise ComponentFailed(
            f"component {component.name} gives no package {missing[0]}",
            where=f"docker/build/components/{component.name}.yaml",
            why=f"it gives {', '.join(sorted(found)) or 'none'}",
            hint="name those that belong into the ISO under `packages:`",
        )
    with store.slot() as slot:
        packages = []
        for name in component.packages:
            path, fields = found[name]
            copy = slot / path.name
            shutil.copyfile(path, copy)
            packages.append(
                {
                    "name": name,
                    "version": fields["Version"],
                    "architecture": fields["Architecture"],
                    "file": path.name,
                    "sha256": sha256(copy),
                    "bytes": copy.stat().st_size,
                    "installed_bytes": int(fields.get("Installed-Size", 0)) * 1024,
                }
            )
        return store.commit(key, slot, {**facts, "packages": packages}, component.stage)


def deliver(context: CompileContext, entry: Entry) -> None:
    """Copy the .debs of an entry into the output folder."""
    for package in entry.facts["packages"]:
        target = context.build.output / package["file"]
        shutil.copyfile(entry.file(package["file"]), target)
        os.chown(target, *context.build.owner)
        target.chmod(0o644)
