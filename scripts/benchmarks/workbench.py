"""A clone of the project to measure in, and the lines that a measurement prints."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.build_helpers import ROOT, Answer, Clone, copy_project
from tests.conftest import remove_labelled

if TYPE_CHECKING:
    from collections.abc import Iterator

INV = ROOT / ".venv/bin/inv"
PROFILE = "bench"
STAMP = f"docker/build/overlays/{PROFILE}/etc/stamp"


def seconds(argv: list[str], cwd: Path = ROOT, *, fails: bool = False) -> float:
    """Time a command that must end with 0; ``fails`` is for one that never does."""
    # what a developer's shell may set, and a user's does not
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    began = time.perf_counter()
    subprocess.run(argv, cwd=cwd, check=not fails, env=environment, **quiet)
    return time.perf_counter() - began


def report(name: str, promised: float, measured: float, **fields: object) -> None:
    """Print one JSON object, and a line for people on standard error."""
    verdict = "met" if measured <= promised else "MISSED"
    found = {"bench": name, "promised": promised, "measured": round(measured, 4), **fields}
    print(json.dumps(found), flush=True)
    print(f"{name}: promised at most {promised}, measured {measured:.3f}: {verdict}", file=sys.stderr)


class Workbench:
    """A clone with a profile that inherits `minimal` and adds a folder of files."""

    def __init__(self, clone: Clone) -> None:
        """Write the profile."""
        self.clone, self._changes = clone, 0
        self.touch()
        self.packages()

    def touch(self) -> None:
        """Change one file."""
        self._changes += 1
        self.clone.add(STAMP, f"{self._changes}\n")

    def packages(self, *names: str) -> None:
        """Let the profile add packages."""
        self._says(f"packages: [{', '.join(names)}]\n" if names else "")

    def hooks(self, *seconds: int) -> None:
        """Let the profile have hooks that take these seconds and read nothing of overlays."""
        listed = ""
        for index, one in enumerate(seconds):
            self.clone.add(
                f"docker/build/hooks/hook{index}", f"#!/bin/sh\nsleep {one}\necho >/etc/hook{index}\n"
            )
            listed += f"  - {{script: hooks/hook{index}, inputs: []}}\n"
        self._says(f"hooks:\n{listed}")

    def _says(self, more: str) -> None:
        profile = f"inherits: minimal\noverlays: [overlays/{PROFILE}]\n{more}"
        self.clone.add(f"docker/build/profiles/{PROFILE}.yaml", profile)

    def build(self, *options: str) -> Answer:
        """Build the profile."""
        return self.clone.inv("build.iso", "--profile", PROFILE, *options)

    def time(self, *options: str) -> float:
        """Time the whole command that builds the profile."""
        return seconds([str(INV), "build.iso", "--profile", PROFILE, *options], self.clone.root)

    def iso_bytes(self) -> int:
        """Size of the ISO built last."""
        return (self.clone.output / f"synos-{PROFILE}.iso").stat().st_size


@contextmanager
def workbench() -> Iterator[Workbench]:
    """Give a workbench, and remove all of it afterwards."""
    with tempfile.TemporaryDirectory(prefix="synos-bench-") as folder:
        clone = copy_project(Path(folder, "clone"))
        try:
            yield Workbench(clone)
        finally:
            remove_labelled(clone.settings.project.id)


def median(times: list[float]) -> float:
    """Give the median, rounded to milliseconds."""
    return round(statistics.median(times), 3)
