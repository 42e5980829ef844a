"""The tree that dpkg-buildpackage gets: a component's source, patched, with a debian/ folder from its recipe."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from typing import TYPE_CHECKING

from synos_tasks.errors import ComponentFailed
from synos_tasks.iso import inputs
from synos_tasks.iso.components.recipe import LEFT_BY_BUILDS, files_of, source_digest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synos_tasks.iso.components.context import CompileContext
    from synos_tasks.iso.components.recipe import Component

FETCH_COMMIT = 'git fetch --quiet --depth 1 "$0" "$1" || git fetch --quiet "$0" "+refs/*:refs/all/*"'
FETCH_PACKAGE = 'apt-get source --only-source --download-only "$0=$1" || { apt-cache madison "$0"; exit 1; }'
# a .deb of a folder or a commit is dated so: files in an ISO get the lock's date anyway
DATE = "Wed, 01 Jan 2025 00:00:00 +0000"
EPOCH = 1_735_689_600
"""The same, in seconds since 1970."""
MAINTAINER = "SynOS tasks <tasks@synos.invalid>"
SUFFIX = "+synos1"
"""Added to the version of a Debian source package, so that nobody takes ours for Debian's."""
_HEAD = re.compile(r"^(?P<name>\S+) \((?P<version>[^)]+)\) ")
_DATE = re.compile(r"^ -- .*  (?P<date>\S.*)$", re.MULTILINE)
_SYSTEMS = {"cmake": "cmake", "meson": "meson", "make": "makefile"}
_CARGO = """\
%:
\tdh $@
override_dh_auto_clean:
# crates are Debian's, in Debian's versions: a lock of crates.io's names others
override_dh_auto_configure:
\trm -f Cargo.lock
override_dh_auto_build:
\tcargo build --release --offline{options}
override_dh_auto_test:
ifeq (,$(filter nocheck,$(DEB_BUILD_OPTIONS)))
\tcargo test --release --offline{options}
endif
override_dh_auto_install:
\tfind target/release -maxdepth 1 -type f -executable ! -name '*.so' \\
\t\t-exec install -D -t debian/{name}/usr/bin {{}} +
"""


def prepare(context: CompileContext) -> None:
    """Make the tree, which does not exist yet; raises ComponentFailed or MirrorUnreachable.

    A source that was edited since its key was made is refused.
    """
    component, tree = context.component, context.tree
    kind, place, which = component.source
    folder, originals = files_of(component, context.recipes)
    patches = _copy_patches(context, originals)
    if folder:
        _copy(folder, tree)
    if context.wanted.source != source_digest(component, tree if folder else None, patches):
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
        what, where = f"a patch of {component.name} does not apply", f"docker/build/components/{patch}"
        hint = "make it again from the source that the recipe names; `patch -p1` applies it"
        error = ComponentFailed(what, where=where, hint=hint)
        context.run(["patch", "-p1", "--forward", "--batch", f"--input={copy}"], error=error)
    if kind != "package":  # dpkg-deb keeps dates that are older than the changelog's
        for path in (tree, *tree.rglob("*")):
            os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    complete(component, tree)
    context.own(tree)


def _copy_patches(context: CompileContext, patches: Sequence[Path]) -> list[Path]:
    """Copy patches to where the builder may read them: the project's folder may be closed to it."""
    copies = []
    for number, patch in enumerate(patches):
        copy = context.tree.with_name(f"patch-{number}")
        inputs.copy(patch, copy)
        context.own(copy)
        copies.append(copy)
    return copies


def _copy(folder: Path, tree: Path) -> None:
    def ignore(where: str, names: list[str]) -> set[str]:
        return set(names) & set(LEFT_BY_BUILDS) if where == str(folder) else set()

    shutil.copytree(folder, tree, symlinks=True, ignore=ignore, copy_function=inputs.copy)


def _clone(context: CompileContext, address: str, commit: str) -> None:
    """Fetch one commit; from a server that hands out branches only, all of them."""
    context.tree.mkdir()
    context.own(context.tree)
    what = f"commit {commit[:12]} of {context.component.name} cannot be fetched"
    hint = "check `git` and `commit` in its recipe, and the network"
    for argv in (
        ["git", "init", "--quiet"],
        ["sh", "-c", FETCH_COMMIT, address, commit],
        ["git", "-c", "advice.detachedHead=false", "checkout", "--quiet", commit],
        ["git", "submodule", "update", "--init", "--recursive", "--quiet"],
    ):
        context.run(argv, error=ComponentFailed(what, where=address, hint=hint), network=True)
    shutil.rmtree(context.tree / ".git")


def _source_package(context: CompileContext, name: str, version: str) -> None:
    """Fetch a Debian source package: apt verifies it against the archive's signatures."""
    context.update_lists()
    folder = context.tree.parent
    what = f"the mirrors have no source package {name} {version}"
    hint = "put a name and a version that the mirrors have into `source:`"
    error = ComponentFailed(what, where=context.component.file, hint=hint)
    context.run(["sh", "-c", FETCH_PACKAGE, name, version], folder=folder, error=error, network=True)
    dsc = next(folder.glob("*.dsc"))
    context.run(["dpkg-source", "--extract", dsc.name, context.tree.name], folder=folder)


def complete(component: Component, tree: Path) -> None:
    """Complete the debian/ folder of a source tree."""
    folder = tree / "debian"
    folder.mkdir(exist_ok=True)
    if component.build == "debian":
        changelog = folder / "changelog"
        text = changelog.read_text(errors="surrogateescape")
        changelog.write_text(with_entry(text, component), errors="surrogateescape")
        return
    for name, text in generated(component).items():
        path = folder / name
        if not path.exists() and not path.is_symlink():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if name == "rules" else 0o644)


def with_entry(changelog: str, component: Component) -> str:
    """Put an entry of SynOS above a Debian changelog, with the date of the newest one there."""
    head, date = _HEAD.match(changelog), _DATE.search(changelog)
    if not head or not date:
        return changelog
    changes = "".join(f"  * {patch}\n" for patch in component.patches) or "  * Compiled for SynOS.\n"
    return (
        f"{head['name']} ({head['version']}{SUFFIX}) UNRELEASED; urgency=medium\n\n{changes}\n"
        f" -- {MAINTAINER}  {date['date']}\n\n{changelog}"
    )


def generated(component: Component) -> dict[str, str]:
    """Return the files of a debian/ folder by name."""
    name = component.name
    needs = ", ".join(["debhelper-compat (= 13)", *component.build_depends])
    depends = ", ".join([*component.depends, "${shlibs:Depends}", "${misc:Depends}"])
    files = {
        "control": (
            f"Source: {name}\nSection: misc\nPriority: optional\nMaintainer: {MAINTAINER}\n"
            f"Build-Depends: {needs}\nStandards-Version: 4.6.2\nRules-Requires-Root: no\n\n"
            f"Package: {name}\nArchitecture: any\nDepends: {depends}\n"
            f"Description: {component.description}\n"
        ),
        "changelog": f"{name} ({component.version}) UNRELEASED; urgency=medium\n\n  * Compiled for SynOS.\n\n"
        f" -- {MAINTAINER}  {DATE}\n",
        "rules": rules(component),
        "source/format": "3.0 (native)\n",
    }
    if component.license:
        files["copyright"] = (
            "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
            f"Upstream-Name: {name}\n\nFiles: *\nCopyright: the authors of {name}\nLicense: {component.license}\n"
        )
    return files


def rules(component: Component) -> str:
    """Return debian/rules."""
    options = "".join(f" {shlex.quote(option)}" for option in component.options)
    start = "#!/usr/bin/make -f\nexport DEB_BUILD_MAINT_OPTIONS = hardening=+all\n"
    if component.build == "cargo":
        return start + _CARGO.format(options=options, name=component.name)
    text = f"{start}%:\n\tdh $@ --buildsystem={_SYSTEMS[component.build]}\n"
    if component.build == "make":
        for step in ("build", "test", "install"):
            text += f"override_dh_auto_{step}:\n\tdh_auto_{step} -- PREFIX=/usr{options}\n"
    elif options:
        text += f"override_dh_auto_configure:\n\tdh_auto_configure --{options}\n"
    return text
