"""Times how long a real source package compiles, with and without a filled cache, for `inv build.verify-caches`."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks.iso.components import build, caches, source
from synos_tasks.iso.components.recipe import Component
from synos_tasks.iso.scratch import remove

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synos_tasks.iso.components.bench import Bench


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A Debian source package, what compiles it, and which cache answers. Fetching, installing, tests and packaging do not count."""

    package: str
    cache: str
    needs: tuple[str, ...]
    """Packages to install; without any, its build dependencies."""
    compile: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()


SUBJECTS = {
    "ccache": Subject(
        package="git",
        cache="ccache",
        needs=("zlib1g-dev",),
        compile=("make", "all", "NO_CURL=1", "NO_EXPAT=1", "NO_OPENSSL=1", "NO_GETTEXT=1", "NO_TCLTK=1", "NO_PERL=1",
                 "NO_PYTHON=1"),
    ),
    "sccache": Subject(
        package="rust-bat",
        cache="sccache",
        needs=(),
        compile=("cargo", "build", "--release", "--offline"),
        # its profile optimises when it links: that is no compiler's work, and no cache's
        environment=(("CARGO_PROFILE_RELEASE_LTO", "off"), ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")),
    ),
}  # fmt: skip


def measure(bench: Bench, subject: Subject) -> dict[str, Any]:
    """Compile a subject once: gives ``seconds``, ``hits``, ``misses`` and the package's ``version``."""
    component = Component(
        name=subject.package, description="", build="debian", source=("package", subject.package, "")
    )
    folder = bench.shop.work / "build"
    remove(folder)
    folder.mkdir()
    bench.own(folder)
    tree = folder / "source"
    source.prepare(bench, component, None, tree)
    _install(bench, component, subject, tree)
    if (tree / "Cargo.toml").is_file():
        _only_what_debian_has(tree)
    with caches.caches(bench.shop.work, bench.builder, bench.warn) as usable:
        environment = {
            **usable.environment,
            **build.environment(bench, component, folder),
            **dict(subject.environment),
        }
        jobs = f"-j{bench.jobs}"
        began = time.monotonic()
        bench.run(component, [*subject.compile, jobs], folder=tree, environment=environment)
        seconds = time.monotonic() - began
        counts = build.counts(bench, component, tree, environment)
    version = next(folder.glob("*.dsc")).stem.partition("_")[2]
    return {"seconds": round(seconds, 2), "version": version, **counts[subject.cache]}


def _install(bench: Bench, component: Component, subject: Subject, tree: Path) -> None:
    what: Sequence[str] = ["install", *subject.needs] if subject.needs else ["build-dep", "./"]
    argv = [
        "sudo",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "-q",
        "--yes",
        "--no-install-recommends",
        *what,
    ]
    bench.run(component, argv, folder=tree)


def _only_what_debian_has(tree: Path) -> None:
    """Take out what names crates that are for tests only, and the versions of crates.io."""
    path = tree / "Cargo.toml"
    parts = re.split(r"(?m)^(?=\[)", path.read_text())
    kept = [
        part
        for part in parts
        if "dev-dependencies" not in part.split("]")[0] and not part.startswith("[[bench")
    ]
    path.write_text("".join(kept))
    (tree / "Cargo.lock").unlink(missing_ok=True)
