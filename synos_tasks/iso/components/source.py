"""Brings a component's source into the work folder, patched."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

from synos_tasks.errors import ComponentFailed
from synos_tasks.iso.components.packaging import EPOCH
from synos_tasks.iso.components.recipe import LEFT_BY_BUILDS, source_digest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synos_tasks.iso.components.bench import Bench
    from synos_tasks.iso.components.recipe import Component

_HUNK = re.compile(
    r"^(?:\d+ out of \d+ hunks? FAILED|Hunk #\d+ FAILED.*|can't find file to patch.*|patch: \*\*\*\* .*)"
)
_HAVE = re.compile(r"^\s*(\S+) \|\s+(\S+) \|")


def prepare(bench: Bench, component: Component, digest_of_source: str | None, tree: Path) -> None:
    """Lay the source out in ``tree``, which is not there yet; raises ComponentFailed or MirrorUnreachable.

    ``digest_of_source`` is the one in the key: what is edited between the two is refused. With None it is not asked.
    """
    kind, place, which = component.source
    patches = _copy_patches(bench, component, tree.parent)
    if kind == "folder":
        _copy(bench, component, tree)
    found = source_digest(component, tree if kind == "folder" else None, patches)
    if digest_of_source not in {None, found}:
        raise ComponentFailed(
            f"the source of {component.name} changed while it was compiled",
            where=f"docker/build/components/{place if kind == 'folder' else component.name}",
            hint="run the command again",
        )
    if kind == "git":
        _clone(bench, component, place, which, tree)
    elif kind == "package":
        _source_package(bench, component, place, which, tree)
    bench.own(tree)
    for patch, copy in zip(component.patches, patches, strict=True):
        _patch(bench, component, patch, copy, tree)
    if kind != "package":  # dpkg-deb lets dates that are older than the changelog's be
        _date(tree)


def _date(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def _copy_patches(bench: Bench, component: Component, folder: Path) -> list[Path]:
    """Copy patches to where the builder may read them: it may have no way into the project's folder."""
    copies = []
    for number, patch in enumerate(component.patches):
        copy = folder / f"patch-{number}"
        shutil.copyfile(bench.recipes / patch, copy)
        bench.own(copy)
        copies.append(copy)
    return copies


def _copy(bench: Bench, component: Component, tree: Path) -> None:
    folder = bench.recipes / component.source[1]

    def ignore(where: str, names: list[str]) -> set[str]:
        return set(names) & set(LEFT_BY_BUILDS) if where == str(folder) else set()

    shutil.copytree(folder, tree, symlinks=True, ignore=ignore)


def _clone(bench: Bench, component: Component, address: str, commit: str, tree: Path) -> None:
    """Fetch one commit; where a server hands out branches alone, all of them."""

    def failed(_code: int, lines: Sequence[str]) -> ComponentFailed:
        return ComponentFailed(
            f"commit {commit[:12]} of {component.name} cannot be had",
            where=address,
            why="\n".join([line for line in lines if line.startswith(("fatal", "error"))][-3:]),
            hint="check `git` and `commit` in its recipe, and the network",
        )

    tree.mkdir()
    bench.own(tree)
    for argv in (
        ["git", "init", "--quiet"],
        ["sh", "-c", 'git fetch --quiet --depth 1 "$0" "$1" || git fetch --quiet "$0" "+refs/*:refs/all/*"',
         address, commit],
        ["git", "-c", "advice.detachedHead=false", "checkout", "--quiet", commit],
        ["git", "submodule", "update", "--init", "--recursive", "--quiet"],
    ):  # fmt: skip
        bench.run(component, argv, folder=tree, on_failure=failed)
    shutil.rmtree(tree / ".git")


def _source_package(bench: Bench, component: Component, name: str, version: str, tree: Path) -> None:
    """Fetch a Debian source package: apt verifies it against the archive's signatures."""

    def failed(_code: int, lines: Sequence[str]) -> ComponentFailed:
        there = [found[2] for line in lines if (found := _HAVE.match(line)) and found[1] == name]
        return ComponentFailed(
            f"there is no source package {name} {version}",
            where=f"docker/build/components/{component.name}.yaml",
            why=f"the mirrors have {', '.join(there)}" if there else "\n".join(lines[-3:]),
            hint="put the version that is there into its recipe"
            if there
            else "check `source.package` in its recipe",
        )

    bench.update_lists(component)
    look = 'apt-get source --only-source --download-only "$0${1:+=$1}" || { apt-cache madison "$0"; exit 1; }'
    bench.run(component, ["sh", "-c", look, name, version], folder=tree.parent, on_failure=failed)
    dsc = next(tree.parent.glob("*.dsc"))
    bench.run(component, ["dpkg-source", "--extract", dsc.name, tree.name], folder=tree.parent)


def _patch(bench: Bench, component: Component, patch: str, copy: Path, tree: Path) -> None:
    def failed(_code: int, lines: Sequence[str]) -> ComponentFailed:
        files = [line.removeprefix("patching file ") for line in lines if line.startswith("patching file ")]
        return ComponentFailed(
            f"a patch of {component.name} does not apply",
            where=f"docker/build/components/{patch}",
            why="\n".join([*files[-1:], *(line for line in lines if _HUNK.match(line))]),
            hint="make it again from the source that the recipe names; `patch -p1` applies it",
        )

    argv = ["patch", "-p1", "--forward", "--batch", f"--input={copy}"]
    bench.run(component, argv, folder=tree, on_failure=failed)
