"""A clone of the project to build in, and what tests ask of the host around it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks import settings as settings_module
from synos_tasks.engine.labels import LABEL_PROJECT
from synos_tasks.host import Mount, mount_table
from synos_tasks.images.catalog import BUILDER
from synos_tasks.iso import lock
from synos_tasks.iso import profile as profiles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from synos_tasks.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
ENGINE_PREFIX = "synos-engine-"
"""Folders of engines that a test starts for itself."""


OWN_DEV = {
    "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero",
}  # fmt: skip
"""All that a privileged builder has in /dev."""


@dataclass(frozen=True)
class Answer:
    """What a verb said: exit code, JSON object, and standard error."""

    code: int
    json: dict[str, Any]
    err: str

    @property
    def made(self) -> list[str]:
        """Names of the stages that were not in the store."""
        return [stage["name"] for stage in self.json["stages"] if not stage["hit"]]


@dataclass(frozen=True)
class Clone:
    """A copy of the project in a folder of its own: its labels are nobody else's."""

    root: Path

    @property
    def settings(self) -> Settings:
        return settings_module.load(self.root, {"name": "synos", "title": "SynOS"})

    @property
    def output(self) -> Path:
        return self.root / "dist"

    def add(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o755)

    def tiny_profile(self, name: str, hook: str) -> None:
        """Add a profile of a bare root and one hook, which decides how the build ends."""
        self.add(f"docker/build/hooks/{name}.sh", hook)
        profile = "description: A test\nsuite: bookworm\npackages: [bash]\nmirrors:\n  suites: [release]\n"
        self.add(f"docker/build/profiles/{name}.yaml", f"{profile}hooks:\n  - hooks/{name}.sh\n")

    def lock_nothing(self, profile: str) -> None:
        """Lock a profile to no package at all, so that a build asks no mirror."""
        folder = self.root / "docker/build/profiles"
        wanted = lock.request_of(profiles.load(folder, profile))
        empty = lock.Lock(request=wanted, epoch=1_700_000_000, packages=())
        lock.path_of(folder, profile).write_text(lock.dump(empty, profile))

    def inv(self, *arguments: str, fails: bool = False, **environment: str) -> Answer:
        """Run a verb with --json; it must do what it says, or else fail."""
        answer = self.try_inv(*arguments, **environment)
        assert (answer.code != 0) == fails, answer.err[-3000:]
        return answer

    def try_inv(self, *arguments: str, **environment: str) -> Answer:
        """Run a verb with --json, however it ends."""
        done = subprocess.run(
            [sys.executable, "-m", "synos_tasks", *arguments, "--json"],
            cwd=self.root,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return Answer(done.returncode, json.loads(done.stdout), done.stderr)

    def in_store(self, script: str) -> str:
        """Run a shell script in a container that has the clone's store as /cache; gives what it prints."""
        image = BUILDER.tag(self.settings.project)
        volume = f"--volume={self.settings.project.store_volume}:/cache"
        return docker(
            "run", "--rm", f"--label={self.label}", "--network=none", volume, image, "sh", "-euc", script
        )

    def start(
        self,
        profile: str,
        environment: Mapping[str, str] | None = None,
        output: str = "dist",
        options: Sequence[str] = (),
    ) -> subprocess.Popen[str]:
        """Start `inv build.iso`, in a process group of its own."""
        argv = [sys.executable, "-m", "synos_tasks", "build.iso", "--profile", profile, "--output", output]
        argv += ["--json", *options]
        return subprocess.Popen(
            argv,
            cwd=self.root,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # as in the background of a script
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509  (no threads)
        )

    def build(self, profile: str, timeout: float = 120) -> tuple[int, dict[str, Any]]:
        """Run `inv build.iso` to its end: exit code and JSON object."""
        process = self.start(profile)
        try:
            out, _ = process.communicate(timeout=timeout)
        finally:
            process.kill()
        return process.returncode, json.loads(out)

    def running(self, environment: Mapping[str, str] | None = None) -> list[str]:
        """Give the ids of the clone's running containers."""
        return docker(
            "ps", "--no-trunc", "--quiet", f"--filter=label={self.label}", environment=environment
        ).split()

    @property
    def label(self) -> str:
        return f"{LABEL_PROJECT}={self.settings.project.id}"

    def newest_log(self) -> str:
        logs = sorted((self.root / ".synos/logs").glob("*.log"), key=lambda path: path.stat().st_mtime)
        return logs[-1].read_text()


def copy_project(target: Path) -> Clone:
    """Copy what a build needs."""
    for folder in ("docker", "synos_tasks", "scripts/repository"):
        shutil.copytree(
            ROOT / folder, target / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("tasks.py", "invoke.yaml", ".dockerignore"):
        shutil.copy(ROOT / name, target / name)
    return Clone(target)


def docker(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Give what a docker command prints."""
    env = {**os.environ, **(environment or {})}
    return subprocess.run(
        ["docker", *arguments], check=True, capture_output=True, text=True, env=env
    ).stdout.strip()


def wait_until(what: Callable[[], bool], seconds: float) -> bool:
    """Ask again and again; False when it is not so in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.2)
    return what()


def processes_of(container: str) -> list[int]:
    """Process ids in a container's control group, as the host sees them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        with suppress(OSError):
            if container in path.read_text():
                found.append(int(path.parent.name))
    return found


def processes_in(folder: Path) -> set[str]:
    """Process ids and command lines of what works in a folder, as far as this user may see them."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if path.readlink().is_relative_to(folder):
                command = path.with_name("cmdline").read_text().replace("\0", " ")
                found.add(f"{path.parent.name} {command}")
    return found


@dataclass(frozen=True)
class HostState:
    """What a build must leave as it was."""

    devices: list[tuple[str, str, int]]
    mounts: tuple[Mount, ...]
    files: str
    kernel: tuple[str, ...]
    network: list[str]


def host_state(clone: Clone, engine_root: str) -> HostState:
    """Look at /dev, the mount table, the project's files and a few of the kernel's settings."""
    watched = ("kernel/hostname", "kernel/core_pattern", "vm/swappiness")
    return HostState(
        devices=device_listing(),
        mounts=tuple(mount for mount in mount_table() if not _of_an_engine(mount, engine_root)),
        files=_digest(clone.root),
        network=network_devices(),
        kernel=tuple((Path("/proc/sys") / name).read_text() for name in watched),
    )


def network_devices() -> list[str]:
    """Names of the network devices but for those that come and go with containers."""
    names = [path.name for path in Path("/sys/class/net").iterdir()]
    return sorted(name for name in names if not name.startswith(("veth", "br-")))


def device_listing() -> list[tuple[str, str, int]]:
    """Return name, type with mode, and device number of all below /dev that does not change by itself."""
    found = []
    for folder, folders, files in os.walk("/dev"):
        for path in (Path(folder, name) for name in (*folders, *files)):
            with suppress(FileNotFoundError):  # gone since the folder was read
                facts = path.lstat()
                is_device = stat.S_ISCHR(facts.st_mode) or stat.S_ISBLK(facts.st_mode)
                found.append((str(path), stat.filemode(facts.st_mode), facts.st_rdev if is_device else 0))
        if folder == "/dev":
            folders[:] = [name for name in folders if name not in {"pts", "shm", "mqueue", "hugepages"}]
    return sorted(found)


def _of_an_engine(mount: Mount, engine_root: str) -> bool:
    return mount.point.startswith((engine_root, "/run/docker/", "/var/run/docker/")) or (
        ENGINE_PREFIX in mount.point
    )


def _digest(root: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if inside.parts[0] in {".synos", "dist"} or "__pycache__" in inside.parts:
            continue
        content = path.read_bytes() if path.is_file() else b""
        found.update(f"{inside} {path.lstat().st_mode:o} {len(content)}\n".encode() + content)
    return found.hexdigest()
