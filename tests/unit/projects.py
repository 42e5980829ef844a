"""A project that is small enough to be written anew for each test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from synos_tasks.build.planning import lock_path, read_profile
from synos_tasks.iso import lock as locks
from synos_tasks.iso.lock import Lock, Package
from synos_tasks.iso.profile import Profile
from synos_tasks.project import Project
from synos_tasks.settings import Settings

NAME = "x"
DATE = 1_700_000_000
PROFILE = "suite: bookworm\npackages: [live-boot, sudo]\n"


def settings_in(root: Path, ident: str = "synos-test", **sections: Any) -> Settings:  # noqa: ANN401
    """Return the settings of a project in a folder, with the defaults where no section is given."""
    return Settings(project=Project(root=root, name="synos", id=ident, title="SynOS"), **sections)


def project(root: Path, ident: str = "synos-test") -> Settings:
    """Write what a plan reads: one profile, the base overlay, what images are made of."""
    folder = root / "docker/build"
    (folder / "profiles").mkdir(parents=True)
    (folder / "overlays/synos-base").mkdir(parents=True)
    (folder / "image").mkdir()
    for name in ("Dockerfile", "boot.Dockerfile", "image/sudoers"):
        (folder / name).write_text(f"{name}\n")
    (folder / f"profiles/{NAME}.yaml").write_text(PROFILE)
    return settings_in(root, ident)


def package(
    name: str, version: str = "1", *, layer: str = f"packages-{NAME}", archive: str = "main"
) -> Package:
    """Give a package as a lock has it."""
    return Package(
        name=name, version=version, architecture="all", layer=layer, size=1000, sha256="0" * 64,
        archive=archive, path=f"pool/{name}_{version}.deb",
    )  # fmt: skip


def lock_for(profile: Profile, *packages: Package, epoch: int = DATE) -> Lock:
    """Give a lock that fits a profile."""
    return Lock(request=locks.request_of(profile), epoch=epoch, packages=packages)


def lay_lock(settings: Settings, *packages: Package, name: str = NAME) -> Lock:
    """Write a lock that fits the profile on disk."""
    lock = lock_for(read_profile(settings, name), *packages)
    lock_path(settings, name).write_text(locks.dump(lock, name))
    return lock


def lay_component(docker_build: Path, name: str = "tool", **more: object) -> None:
    """Write a component whose source is a folder; ``more`` goes into its recipe."""
    folder = docker_build / "components"
    (folder / name).mkdir(parents=True)
    (folder / name / "Makefile").write_text(f"all: {name}\n")
    fields = {
        "description": "A tool.", "build": "make", "version": "1.0", "source": {"folder": name}, **more
    }  # fmt: skip
    (folder / f"{name}.yaml").write_text(json.dumps(fields))  # JSON is YAML


def tree(root: Path) -> dict[str, tuple[int, str | bytes]]:
    """Give date and content of all below a folder, to tell whether anything was touched."""
    found: dict[str, tuple[int, str | bytes]] = {}
    for path in sorted(root.rglob("*")):
        link = str(path.readlink()) if path.is_symlink() else ""
        content = path.read_bytes() if path.is_file() and not link else link
        found[str(path.relative_to(root))] = (path.lstat().st_mtime_ns, content)
    return found
