"""Where a component is compiled: commands run as the builder user, and their failures are explained."""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from synos_tasks.errors import ComponentFailed, MirrorUnreachable
from synos_tasks.iso.components.recipe import folder_of
from synos_tasks.iso.diagnose import disk_full, is_full, mirror_failure, uplink_failure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from synos_tasks.errors import SynosError
    from synos_tasks.iso.components.recipe import Compilation, Component
    from synos_tasks.iso.tools import BuildContext

USER = "builder"
AS_ROOT = ("sudo", "--preserve-env=DEBIAN_FRONTEND,APT_CONFIG,http_proxy,https_proxy,no_proxy")
# gcc, clang, ld, make, meson and cmake put the place before the text. conftest is a probe, which may fail.
_PLACED = re.compile(
    r"^(?P<cmake>CMake Error at )?(?:/usr/bin/ld: )?(?!conftest)(?P<file>[^\s:()<>]+):(?P<line>\d+)"
    r"(?::(?P<column>\d+))?(?(cmake)\b|: (?:(?:fatal )?[Ee]rror: |ERROR: |(?=\*\*\* |undefined ref))(?P<text>.*))"
)
_RUST_ERROR = re.compile(r"^error(?:\[E\d+\])?: ")
_RUST_PLACE = re.compile(r"^\s*--> (?P<file>[^\s:]+):(?P<line>\d+):(?P<column>\d+)")
_MISSING = re.compile(r"fatal error: (?P<name>\S+): No such file or directory")
_TESTS = re.compile(r"^dh_auto_test: error|^error: test failed|override_dh_auto_test\] Error")
# make, dh and dpkg only repeat that something failed
_REPEATS = re.compile(
    r"make(?:\[\d+\])?: (?:Entering|Leaving|\*\*\* \[)|dpkg-buildpackage: |dh_\w+: error: .* exit code|dh "
)
CONTEXT_LINES = 8
LAST_LINES = 12


@dataclass(kw_only=True)
class CompileContext:
    """What all steps of one component's compilation share."""

    build: BuildContext
    wanted: Compilation
    offline: bool = False
    jobs: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """How many compilers run at once."""
    _lists_are_new: bool = field(default=False, init=False)

    @property
    def component(self) -> Component:
        """What is compiled."""
        return self.wanted.component

    @property
    def recipes(self) -> Path:
        """Folder of recipes and sources, read-only."""
        return folder_of(self.build.docker_build)

    @property
    def tree(self) -> Path:
        """Folder of the source under compilation: the same for all, so that no path differs."""
        return self.build.work / "build/source"

    @property
    def builder(self) -> tuple[int, int]:
        """User and group id of the builder."""
        found = pwd.getpwnam(USER)
        return found.pw_uid, found.pw_gid

    def own(self, tree: Path) -> None:
        """Give a file, or a folder and all in it, to the builder."""
        user, group = self.builder
        os.chown(tree, user, group, follow_symlinks=False)
        for folder, folders, files in os.walk(tree):
            for name in (*folders, *files):
                os.chown(os.path.join(folder, name), user, group, follow_symlinks=False)  # noqa: PTH118

    def run(
        self,
        argv: Sequence[str],
        *,
        folder: Path | None = None,
        environment: Mapping[str, str | None] | None = None,
        error: SynosError | None = None,
        network: bool = False,
    ) -> list[str]:
        """Run a command as the builder, in the tree or in ``folder``, and return its output.

        With ``network`` its environment names the host's proxies and certificates. If it fails, raise ``error`` with its last
        lines; without ``error`` raise what explain() finds.
        """
        folder = folder or self.tree

        def failure(code: int, lines: Sequence[str]) -> SynosError:
            if error is None or is_full(lines):
                return explain(self.component, argv, code, lines, folder)
            explained = mirror_failure if "apt-get" in argv else uplink_failure
            found = explained(lines, argv, self.component.file, self.build.proxies) if network else None
            found = found or error
            found.why = "\n".join(lines[-4:])
            return found

        return self.build.run(
            self.component.stage,
            argv,
            user=self.builder,
            folder=folder,
            environment={"HOME": f"/home/{USER}", **(environment or {})},
            network=network,
            on_failure=failure,
        )

    def update_lists(self) -> None:
        """Update apt's package lists, once; raises MirrorUnreachable or BadSignature."""
        if self._lists_are_new:
            return
        if self.offline:
            what = f"component {self.component.name} needs something from the mirrors"
            why, hint = "--offline fetches nothing", "run the same command without --offline once"
            raise MirrorUnreachable(what, where=self.component.file, why=why, hint=hint)
        argv = [*AS_ROOT, "apt-get", "update", "-q", "--error-on=any"]
        hint = "check the network and synos.build.mirror in invoke.yaml"
        error = MirrorUnreachable("a package mirror does not answer", hint=hint)
        lines = self.run(argv, folder=self.build.work, error=error, network=True)
        if another := mirror_failure(lines, argv, self.component.file):  # of another suite apt only warns
            raise another
        self._lists_are_new = True


def explain(
    component: Component, argv: Sequence[str], code: int, lines: Sequence[str], folder: Path
) -> SynosError:
    """Return the error for a command that ended with ``code`` in ``folder``; ``lines`` are its last output."""
    # source code that a compiler quotes, and the name of the error alone, do not mean a full disk
    if is_full([line.replace("ENOSPC", "") for line in lines if " | " not in line]):
        return disk_full(component.stage)
    for index, line in enumerate(lines):
        found = _PLACED.search(line)
        if not found and _RUST_ERROR.match(line):
            found = _RUST_PLACE.match(lines[index + 1]) if index + 1 < len(lines) else None
        if found:
            what, hint = f"{component.name} does not compile", ""
            if missing := _MISSING.search(line):
                what = f"a build dependency of {component.name} is missing: {missing['name']}"
                hint = "name the Debian package that has it under `build_depends:` of its recipe"
            # what belongs to an error is indented, or source with its line number
            more = takewhile(lambda line: line.startswith(tuple(" \t|0123456789")), lines[index + 1 :])
            quoted = [line.rstrip() for line in islice(more, CONTEXT_LINES)]
            why = [found.groupdict().get("text") or line, *quoted]
            return ComponentFailed(
                what, where=_place(component, found, folder), why="\n".join(why), hint=hint
            )
    tested = any(_TESTS.search(line) for line in lines)
    last = [line for line in lines if line.strip() and not _REPEATS.match(line)][-LAST_LINES:]
    return ComponentFailed(
        f"the tests of {component.name} fail" if tested else f"{component.name} could not be built",
        where=component.file,
        why="\n".join(last) or f"{argv[0]} ended with {code}",
        hint="`tests: skip` in its recipe leaves them out" if tested else "",
    )


def _place(component: Component, found: re.Match[str], folder: Path) -> str:
    """Return ``file:line:column``, as a path of the project where the file belongs to it."""
    # meson and cmake compile in a folder of the tree; ccache's -ffile-prefix-map writes . for the tree
    inside = os.path.relpath(folder / re.sub(r"^(?:\.\./)+", "", found["file"]), folder)
    ours = component.source[0] == "folder" and not inside.startswith("..") and (folder / inside).is_file()
    file = f"docker/build/components/{component.source[1]}/{inside}" if ours else found["file"]
    return ":".join([file, *(found[name] for name in ("line", "column") if found[name])])
