"""Bring a component's source into the work folder, patched."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from synos_tasks.errors import ComponentFailed
from synos_tasks.iso.components.packaging import EPOCH
from synos_tasks.iso.components.recipe import LEFT_BY_BUILDS, source_digest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synos_tasks.iso.components.context import CompileContext
    from synos_tasks.iso.components.recipe import Component


def prepare(context: CompileContext, component: Component, digest: str, tree: Path) -> None:
    """Lay the source out in ``tree``, which does not exist yet; raises ComponentFailed or MirrorUnreachable.

    ``digest`` is the one in the key: a source that was edited since then is refused.
    """
    kind, place, which = component.source
    patches = _copy_patches(context, component, tree.parent)
    if kind == "folder":
        _copy(context.recipes / place, tree)
    if digest != source_digest(component, tree if kind == "folder" else None, patches):
        raise ComponentFailed(
            f"the source of {component.name} changed while it was compiled",
            where=f"docker/build/components/{place if kind == 'folder' else component.name}",
            hint="run the command again",
        )
    if kind == "git":
        _clone(context, component, place, which, tree)
    elif kind == "package":
        _source_package(context, component, place, which, tree)
    context.own(tree)
    for patch, copy in zip(component.patches, patches, strict=True):
        _patch(context, component, patch, copy, tree)
    if kind != "package":  # dpkg-deb keeps dates that are older than the changelog's
        for path in (tree, *tree.rglob("*")):
            os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def _copy_patches(context: CompileContext, component: Component, folder: Path) -> list[Path]:
    """Copy patches to where the builder may read them: the project's folder may be closed to it."""
    copies = []
    for number, patch in enumerate(component.patches):
        copy = folder / f"patch-{number}"
        shutil.copyfile(context.recipes / patch, copy)
        context.own(copy)
        copies.append(copy)
    return copies


def _copy(folder: Path, tree: Path) -> None:
    def ignore(where: str, names: list[str]) -> set[str]:
        return set(names) & set(LEFT_BY_BUILDS) if where == str(folder) else set()

    shutil.copytree(folder, tree, symlinks=True, ignore=ignore)


def _clone(context: CompileContext, component: Component, address: str, commit: str, tree: Path) -> None:
    """Fetch one commit; from a server that hands out branches only, all of them."""

    def failed(lines: Sequence[str]) -> ComponentFailed:
        return ComponentFailed(
            f"commit {commit[:12]} of {component.name} cannot be fetched",
            where=address,
            why="\n".join([line for line in lines if line.startswith(("fatal", "error"))][-3:]),
            hint="check `git` and `commit` in its recipe, and the network",
        )

    tree.mkdir()
    context.own(tree)
    for argv in (
        ["git", "init", "--quiet"],
        ["sh", "-c", 'git fetch --quiet --depth 1 "$0" "$1" || git fetch --quiet "$0" "+refs/*:refs/all/*"',
         address, commit],
        ["git", "-c", "advice.detachedHead=false", "checkout", "--quiet", commit],
        ["git", "submodule", "update", "--init", "--recursive", "--quiet"],
    ):  # fmt: skip
        context.run(component, argv, folder=tree, on_failure=failed)
    shutil.rmtree(tree / ".git")


def _source_package(
    context: CompileContext, component: Component, name: str, version: str, tree: Path
) -> None:
    """Fetch a Debian source package: apt verifies it against the archive's signatures."""

    def failed(lines: Sequence[str]) -> ComponentFailed:
        return ComponentFailed(
            f"the mirrors have no source package {name} {version}",
            where=f"docker/build/components/{component.name}.yaml",
            why="\n".join(lines[-3:]),
            hint="put a name and a version that the mirrors have into `source:`",
        )

    context.update_lists(component)
    fetch = 'apt-get source --only-source --download-only "$0=$1" || { apt-cache madison "$0"; exit 1; }'
    context.run(component, ["sh", "-c", fetch, name, version], folder=tree.parent, on_failure=failed)
    dsc = next(tree.parent.glob("*.dsc"))
    context.run(component, ["dpkg-source", "--extract", dsc.name, tree.name], folder=tree.parent)


def _patch(context: CompileContext, component: Component, patch: str, copy: Path, tree: Path) -> None:
    def failed(lines: Sequence[str]) -> ComponentFailed:
        return ComponentFailed(
            f"a patch of {component.name} does not apply",
            where=f"docker/build/components/{patch}",
            why="\n".join(lines[-4:]),
            hint="make it again from the source that the recipe names; `patch -p1` applies it",
        )

    argv = ["patch", "-p1", "--forward", "--batch", f"--input={copy}"]
    context.run(component, argv, folder=tree, on_failure=failed)
