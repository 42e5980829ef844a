"""Compiles one component into .debs, through the caches, as the builder user; the store keeps them by key."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import ComponentFailed, SynosError
from synos_tasks.iso import deb
from synos_tasks.iso.components import caches, packaging, source
from synos_tasks.iso.components.explain import TREE
from synos_tasks.iso.diagnose import is_unreachable
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.store import sha256

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from synos_tasks.iso.components.bench import Bench
    from synos_tasks.iso.components.recipe import Component
    from synos_tasks.iso.store import Entry, Store

CARGO_CONFIG = (
    '[source.crates-io]\nreplace-with = "debian"\n[source.debian]\ndirectory = "/usr/share/cargo/registry"\n'
)


def have(bench: Bench, store: Store, component: Component, key: str, source_digest: str) -> Entry:
    """Give a component's entry, compiled unless it is in the store; tells ``start`` and ``done`` of it."""
    began = time.monotonic()
    entry = store.find(key)
    hit = entry is not None
    if entry is None:
        bench.shop.events.send("start", stage=component.stage)
        with store.alone(key):
            entry = store.find(key) or _make(bench, store, component, key, source_digest)
    bench.shop.events.send(
        "done",
        stage=component.stage,
        name=component.stage,
        key=key,
        hit=hit,
        seconds=round(time.monotonic() - began, 3),
        bytes=entry.bytes,
        facts=dict(entry.facts),
    )
    return entry


def _make(bench: Bench, store: Store, component: Component, key: str, source_digest: str) -> Entry:
    folder = bench.shop.work / "build"
    remove(folder)
    folder.mkdir()
    bench.own(folder)
    tree = folder / TREE.rpartition("/")[2]
    source.prepare(bench, component, source_digest, tree)
    packaging.write(component, tree)
    bench.own(tree)
    _install_dependencies(bench, component, tree)
    began = time.monotonic()
    with caches.caches(bench.shop.work, bench.builder, bench.warn) as usable:
        variables = {**usable.environment, **environment(bench, component, folder)}
        bench.run(
            component,
            ["dpkg-buildpackage", "--build=binary", "--no-sign", "--no-check-builddeps"],
            folder=tree,
            environment=variables,
        )
        found = counts(bench, component, tree, variables)
    facts = {"caches": found, "compile_seconds": round(time.monotonic() - began, 1)}
    return _keep(store, component, key, folder, facts)


def counts(
    bench: Bench, component: Component, tree: Path, variables: Mapping[str, str | None]
) -> dict[str, dict[str, int]]:
    """Give hits and misses of the compilers' caches in this build, by cache; ends the sccache server."""
    ask = "sccache --show-stats --stats-format=json || true; sccache --stop-server >/dev/null 2>&1 || true"
    told = []
    if "SCCACHE_DIR" in variables:
        told = bench.run(component, ["sh", "-c", ask], folder=tree, environment=variables)
    return {
        "ccache": caches.ccache_counts(bench.shop.work / "ccache"),
        "sccache": caches.sccache_counts("".join(told)),
    }


def environment(bench: Bench, component: Component, folder: Path) -> dict[str, str | None]:
    """Give what a build is told besides the caches."""
    home = folder / "cargo"
    home.mkdir()
    (home / "config.toml").write_text(CARGO_CONFIG)
    bench.own(home)
    jobs = bench.jobs
    options = [f"parallel={jobs}", "noautodbgsym", *(["nocheck"] if component.tests == "skip" else [])]
    return {
        "DEB_BUILD_OPTIONS": " ".join(options),
        "CARGO_HOME": str(home),
        "CARGO_BUILD_JOBS": str(jobs),
        "SOURCE_DATE_EPOCH": None,  # dpkg-buildpackage takes it from the changelog
        "TERM": "dumb",
        # said, because meson would put sccache in front of a compiler that it finds by itself
        "CC": "cc",
        "CXX": "c++",
    }


def _install_dependencies(bench: Bench, component: Component, tree: Path) -> None:
    """Install what the toolchain image lacks; raises ComponentFailed, which names it."""
    lacking: list[str] = []

    def note(_code: int, lines: Sequence[str]) -> Exception:
        lacking.extend(
            line.rpartition("dependencies: ")[2] for line in lines if "Unmet build dependencies" in line
        )
        return ComponentFailed(
            f"the build dependencies of {component.name} cannot be told",
            where=f"docker/build/components/{component.name}.yaml",
            why="\n".join(lines[-4:]),
        )

    try:
        bench.run(component, ["dpkg-checkbuilddeps"], folder=tree, on_failure=note)
    except ComponentFailed:
        if not lacking:
            raise
    else:
        return

    def failed(_code: int, lines: Sequence[str]) -> SynosError:
        if is_unreachable(lines):
            return bench.no_mirror(component, lines)
        return ComponentFailed(
            f"a build dependency of {component.name} is missing: {', '.join(lacking)}",
            where=f"docker/build/components/{component.name}.yaml",
            why="\n".join([line for line in lines if line.startswith(("E:", " "))][-4:]),
            hint="check the names under `build_depends:`; the mirrors must have them",
        )

    bench.update_lists(component)
    argv = ["sudo", "DEBIAN_FRONTEND=noninteractive", "apt-get", "build-dep", "-q", "--yes",
            "--no-install-recommends", "./"]  # fmt: skip
    bench.run(component, argv, folder=tree, on_failure=failed)


def _keep(store: Store, component: Component, key: str, folder: Path, facts: dict[str, Any]) -> Entry:
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
            shutil.copyfile(path, slot / path.name)
            packages.append(
                {
                    "name": name,
                    "version": fields["Version"],
                    "architecture": fields["Architecture"],
                    "file": path.name,
                    "sha256": sha256(slot / path.name),
                    "bytes": (slot / path.name).stat().st_size,
                    "installed_bytes": int(fields.get("Installed-Size", 0)) * 1024,
                }
            )
        return store.commit(key, slot, {**facts, "packages": packages}, component.stage)


def deliver(bench: Bench, entry: Entry) -> None:
    """Lay the .debs of an entry into the output folder."""
    for package in entry.facts["packages"]:
        target = bench.shop.output / package["file"]
        shutil.copyfile(entry.file(package["file"]), target)
        os.chown(target, *bench.shop.owner)
        target.chmod(0o644)
