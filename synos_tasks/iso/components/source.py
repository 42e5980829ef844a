"""Bring a component's source into the tree, patched."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from synos_tasks.errors import ComponentFailed
from synos_tasks.iso.components.packaging import EPOCH
from synos_tasks.iso.components.recipe import LEFT_BY_BUILDS, source_digest

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.iso.components.context import CompileContext

FETCH_COMMIT = 'git fetch --quiet --depth 1 "$0" "$1" || git fetch --quiet "$0" "+refs/*:refs/all/*"'
FETCH_PACKAGE = 'apt-get source --only-source --download-only "$0=$1" || { apt-cache madison "$0"; exit 1; }'


def prepare(context: CompileContext) -> None:
    """Lay the source out in the tree, which does not exist yet; raises ComponentFailed or MirrorUnreachable.

    A source that was edited since its key was made is refused.
    """
    component, tree = context.component, context.tree
    kind, place, which = component.source
    patches = _copy_patches(context)
    if kind == "folder":
        _copy(context.recipes / place, tree)
    if context.wanted.source != source_digest(component, tree if kind == "folder" else None, patches):
        raise ComponentFailed(
            f"the source of {component.name} changed while it was compiled",
            where=f"docker/build/components/{place if kind == 'folder' else component.name}",
            hint="run the command again",
        )
    if kind == "git":
        _clone(context, place, which)
    elif kind == "package":
        _source_package(context, place, which)
    context.own(tree)
    for patch, copy in zip(component.patches, patches, strict=True):
        error = ComponentFailed(
            f"a patch of {component.name} does not apply",
            where=f"docker/build/components/{patch}",
            hint="make it again from the source that the recipe names; `patch -p1` applies it",
        )
        context.run(["patch", "-p1", "--forward", "--batch", f"--input={copy}"], error=error)
    if kind != "package":  # dpkg-deb keeps dates that are older than the changelog's
        for path in (tree, *tree.rglob("*")):
            os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)


def _copy_patches(context: CompileContext) -> list[Path]:
    """Copy patches to where the builder may read them: the project's folder may be closed to it."""
    copies = []
    for number, patch in enumerate(context.component.patches):
        copy = context.tree.with_name(f"patch-{number}")
        shutil.copyfile(context.recipes / patch, copy)
        context.own(copy)
        copies.append(copy)
    return copies


def _copy(folder: Path, tree: Path) -> None:
    def ignore(where: str, names: list[str]) -> set[str]:
        return set(names) & set(LEFT_BY_BUILDS) if where == str(folder) else set()

    shutil.copytree(folder, tree, symlinks=True, ignore=ignore)


def _clone(context: CompileContext, address: str, commit: str) -> None:
    """Fetch one commit; from a server that hands out branches only, all of them."""
    context.tree.mkdir()
    context.own(context.tree)
    for argv in (
        ["git", "init", "--quiet"],
        ["sh", "-c", FETCH_COMMIT, address, commit],
        ["git", "-c", "advice.detachedHead=false", "checkout", "--quiet", commit],
        ["git", "submodule", "update", "--init", "--recursive", "--quiet"],
    ):
        error = ComponentFailed(
            f"commit {commit[:12]} of {context.component.name} cannot be fetched",
            where=address,
            hint="check `git` and `commit` in its recipe, and the network",
        )
        context.run(argv, error=error)
    shutil.rmtree(context.tree / ".git")


def _source_package(context: CompileContext, name: str, version: str) -> None:
    """Fetch a Debian source package: apt verifies it against the archive's signatures."""
    context.update_lists()
    folder = context.tree.parent
    error = ComponentFailed(
        f"the mirrors have no source package {name} {version}",
        where=f"docker/build/components/{context.component.name}.yaml",
        hint="put a name and a version that the mirrors have into `source:`",
    )
    context.run(["sh", "-c", FETCH_PACKAGE, name, version], folder=folder, error=error)
    dsc = next(folder.glob("*.dsc"))
    context.run(["dpkg-source", "--extract", dsc.name, context.tree.name], folder=folder)
