"""This checkout against another one of the project, in turns in one run: how long people wait for each."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchmarks.workbench import PROFILE, STAMP, median, report, seconds
from tests.build_helpers import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROMISED = 1.05
COPIED = ("docker", "synos_tasks", "scripts", "tasks.py", "invoke.yaml", ".dockerignore")
PACKAGES = ("tmux", "less", "netbase", "file", "tree")


@dataclass
class Tree:
    """A copy of a checkout, with the bench profile; only its public commands are used."""

    root: Path
    inv: Path
    changes: int = 0

    def run(self, *words: str) -> float:
        """Run a verb to its end and return its seconds."""
        return seconds([str(self.inv), *words], self.root)

    def build(self, *options: str) -> float:
        """Build the bench profile."""
        return self.run("build.iso", "--profile", PROFILE, *options)

    def touch(self) -> float:
        """Change one file, and build."""
        self.changes += 1
        _write(self.root / STAMP, f"{self.changes}\n")
        return self.build()

    def package(self) -> float:
        """Add one package, and build."""
        self.changes += 1
        self.profile(PACKAGES[self.changes % len(PACKAGES)])
        return self.build()

    def profile(self, *packages: str) -> None:
        """Write the bench profile, of a suite that every checkout has: their defaults differ."""
        schema = (self.root / "docker/build/profiles/profile.schema.json").read_text()
        folder = (
            f"overlays: [overlays/{PROFILE}]" if '"overlays"' in schema else f"overlay: overlays/{PROFILE}"
        )
        text = f"inherits: minimal\nsuite: bookworm\n{folder}\npackages: [{', '.join(packages)}]\n"
        _write(self.root / f"docker/build/profiles/{PROFILE}.yaml", text)


def bench_against(other: Path, rounds: int) -> None:
    """Compare the verbs of this checkout with those of the one at ``other``, whose .venv is there too."""
    with _tree(ROOT, 21_000) as ours, _tree(other, 22_000) as theirs:
        _compare("inv --list", ours, theirs, lambda tree: tree.run("--list"), 4 * rounds)
        for tree in (ours, theirs):
            tree.build()
        _compare("nothing changed", ours, theirs, Tree.build, 2 * rounds)
        _compare("one file changed", ours, theirs, Tree.touch, rounds)
        _compare("one package added", ours, theirs, Tree.package, rounds)
        _compare("cold", ours, theirs, lambda tree: tree.build("--no-cache"), rounds)
        for tree in (ours, theirs):
            tree.run("services.up")
        _compare("second services.up", ours, theirs, lambda tree: tree.run("services.up"), 2 * rounds)


def _compare(name: str, ours: Tree, theirs: Tree, work: Callable[[Tree], float], rounds: int) -> None:
    """Take turns, and report the ratio of the medians."""
    pairs = [(work(ours), work(theirs)) for _ in range(rounds)]
    one, two = median([pair[0] for pair in pairs]), median([pair[1] for pair in pairs])
    report(f"{name}, this checkout / the other", PROMISED, one / two, ours_seconds=one, other_seconds=two)


@contextmanager
def _tree(checkout: Path, port: int) -> Iterator[Tree]:
    """Copy a checkout, with ports of its own; everything it made is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="synos-bench-") as folder:
        for name in COPIED:
            if (checkout / name).is_dir():
                shutil.copytree(checkout / name, Path(folder, name), symlinks=True)
            else:
                shutil.copy(checkout / name, Path(folder, name))
        settings = Path(folder, "invoke.yaml")
        ports = iter(range(port, port + 10))
        settings.write_text(
            re.sub(r"(_port): \d+", lambda found: f"{found[1]}: {next(ports)}", settings.read_text())
        )
        tree = Tree(Path(folder), checkout / ".venv/bin/inv")
        tree.profile()
        _write(tree.root / STAMP, "0\n")
        try:
            yield tree
        finally:
            for words in (["services.down", "--volumes", "--yes", "--no-backup"], ["maint.reset", "--yes"]):
                subprocess.run([tree.inv, *words], cwd=folder, check=False, stdout=sys.stderr)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
