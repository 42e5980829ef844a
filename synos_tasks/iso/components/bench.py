"""The workbench of a component: commands run as the builder user, whose failures are explained."""

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
    from synos_tasks.iso.tools import Workshop

USER = "builder"


@dataclass(kw_only=True)
class Bench:
    """Where components are compiled. ``recipes`` is docker/build/components."""

    shop: Workshop
    recipes: Path
    offline: bool = False
    jobs: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """How many compilers run at once."""
    _lists: bool = field(default=False, init=False)

    @property
    def builder(self) -> tuple[int, int]:
        """User and group id of the builder."""
        found = pwd.getpwnam(USER)
        return found.pw_uid, found.pw_gid

    def warn(self, text: str) -> None:
        """Tell people something that costs them time only."""
        self.shop.events.send("warning", text=text)

    def own(self, tree: Path) -> None:
        """Give a file, or a folder and all in it, to the builder."""
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
        on_failure: Callable[[int, Sequence[str]], Exception] | None = None,
    ) -> list[str]:
        """Run a command as the builder; raises ComponentFailed with the compiler's own error."""
        return self.shop.run(
            component.stage,
            argv,
            user=self.builder,
            folder=folder,
            environment={"HOME": f"/home/{USER}", **(environment or {})},
            on_failure=lambda code, lines: (
                explain(component, argv, code, lines)
                if on_failure is None or is_full(lines)
                else on_failure(code, lines)
            ),
        )

    def update_lists(self, component: Component) -> None:
        """Ask the mirrors what there is, once; raises MirrorUnreachable."""
        if self._lists:
            return
        if self.offline:
            raise MirrorUnreachable(
                f"component {component.name} needs something from the mirrors",
                where=f"docker/build/components/{component.name}.yaml",
                why="--offline fetches nothing",
                hint="run the same command without --offline once",
            )

        argv = ["sudo", "apt-get", "update", "-q", "--error-on=any"]
        self.run(
            component,
            argv,
            folder=self.shop.work,
            on_failure=lambda _, lines: self.no_mirror(component, lines),
        )
        self._lists = True

    def no_mirror(self, component: Component, lines: Sequence[str]) -> MirrorUnreachable:
        """Give the error for a mirror that does not answer."""
        return MirrorUnreachable(
            "a package mirror does not answer",
            where=component.stage,
            why="\n".join([line for line in lines if line.startswith(("E:", "W:", "Err:"))][-3:]),
            hint="check the network and synos.build.mirror in invoke.yaml",
        )
