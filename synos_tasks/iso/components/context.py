"""Where components are compiled: commands run as the builder user, and their failures are explained."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from synos_tasks.errors import MirrorUnreachable
from synos_tasks.iso.components.explain import explain
from synos_tasks.iso.diagnose import is_full

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.iso.components.recipe import Component
    from synos_tasks.iso.tools import BuildContext

USER = "builder"


@dataclass(kw_only=True)
class CompileContext:
    """What all steps of a compilation share. ``recipes`` is docker/build/components."""

    build: BuildContext
    recipes: Path
    offline: bool = False
    jobs: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """How many compilers run at once."""
    _lists_are_new: bool = field(default=False, init=False)

    @property
    def builder(self) -> tuple[int, int]:
        """User and group id of the builder."""
        found = pwd.getpwnam(USER)
        return found.pw_uid, found.pw_gid

    def warn(self, text: str) -> None:
        """Send a warning to the person who builds."""
        self.build.events.warn(text)

    def own(self, tree: Path) -> None:
        """Return a file, or a folder and all in it, to the builder."""
        user, group = self.builder
        os.chown(tree, user, group, follow_symlinks=False)
        for folder, folders, files in os.walk(tree):
            for name in (*folders, *files):
                os.chown(os.path.join(folder, name), user, group, follow_symlinks=False)  # noqa: PTH118

    def run(
        self,
        component: Component,
        argv: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str | None] | None = None,
        on_failure: Callable[[Sequence[str]], Exception] | None = None,
    ) -> list[str]:
        """Run a command as the builder and return its output; raise ``on_failure``'s error, or what explain() finds."""

        def failure(code: int, lines: Sequence[str]) -> Exception:
            if on_failure is None or is_full(lines):
                return explain(component, argv, code, lines, folder)
            return on_failure(lines)

        return self.build.run(
            component.stage,
            argv,
            user=self.builder,
            folder=folder,
            environment={"HOME": f"/home/{USER}", **(environment or {})},
            on_failure=failure,
        )

    def update_lists(self, component: Component) -> None:
        """Update apt's package lists, once; raises MirrorUnreachable."""
        if self._lists_are_new:
            return
        if self.offline:
            raise MirrorUnreachable(
                f"component {component.name} needs something from the mirrors",
                where=f"docker/build/components/{component.name}.yaml",
                why="--offline fetches nothing",
                hint="run the same command without --offline once",
            )
        argv = ["sudo", "apt-get", "update", "-q", "--error-on=any"]
        self.run(component, argv, folder=self.build.work, on_failure=mirror_error)
        self._lists_are_new = True


def mirror_error(lines: Sequence[str]) -> MirrorUnreachable:
    """Return the error for a mirror that does not answer."""
    return MirrorUnreachable(
        "a package mirror does not answer",
        why="\n".join([line for line in lines if line.startswith(("E:", "W:", "Err:"))][-3:]),
        hint="check the network and synos.build.mirror in invoke.yaml",
    )
