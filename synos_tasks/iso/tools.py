"""Runs the tools of a stage: argv lists, output line by line, failures explained."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from synos_tasks.iso import inputs
from synos_tasks.iso.diagnose import diagnose
from synos_tasks.iso.proxies import NO_PROXIES, Proxies
from synos_tasks.iso.root import within
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.stage_containers import SLASH, StageContainers, mounts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.protocol import Events
    from synos_tasks.iso.remote import Remote

    OnFailure = Callable[[int, Sequence[str]], Exception | None]
    """Makes an error of the exit code and the last lines of a tool; None: that of diagnose()."""

_FRACTION = re.compile(r"\d+/\d+\s+(\d+)%|UPDATE :\s+([\d.]+)% done")
LAST_LINES = 20000
NOTHING: Mapping[str, Any] = MappingProxyType({})
FAKETIME = Path("/opt/faketime.so.1")
"""libfaketime in the builder image."""
BASE_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBCONF_NONINTERACTIVE_SEEN": "true",
    # the kernel's postinst would make an initramfs each time it is configured; a stage makes it once
    "INITRD": "No",
    # systemctl says that there is nothing to reload, as in a chroot
    "SYSTEMD_OFFLINE": "1",
}


@dataclass(frozen=True, kw_only=True)
class BuildContext:
    """What stages share: the profile, the folders inside the container, and where events go.

    Every tool gets SOURCE_DATE_EPOCH, see reproducible-builds.org.
    """

    profile: Profile
    events: Events
    epoch: int = 0
    """All dates end here, seconds since 1970."""
    work: Path = Path("/work")
    docker_build: Path = Path("/project/docker/build")
    """docker/build of the project, read-only."""
    output: Path = Path("/output")
    cache: Path = Path("/cache")
    """Where the store is."""
    store_key: str = ""
    """What its entries are sealed with; see Store."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Secrets by name, of services and of proxies, which nothing may hold."""
    proxies: Proxies = NO_PROXIES
    """Of the host."""
    clock: int = 0
    """Seconds that tools see the clock ahead; see fake_clock()."""
    containers: StageContainers | None = None
    """Where foreign code runs; None: here, as there is no host to ask."""
    remote: Remote | None = None
    """Where the store takes from what it lacks."""
    running: list[subprocess.Popen[str]] = field(default_factory=list)
    """The tools at work."""

    @property
    def root(self) -> Path:
        """The root file system under construction."""
        return self.work / "root"

    def find(self, path: str, *, folder: bool | None = False) -> Path:
        """Return a file or folder of docker/build that the profile names; raise ProfileError."""
        return inputs.find(self.docker_build, path, self.profile.origins.get(path, ""), folder=folder)

    def run(
        self,
        stage: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str | None] = NOTHING,
        user: tuple[int, int] | None = None,
        folder: Path | None = None,
        network: bool = False,
        stdin: str | None = None,
        root: Path | None = None,
        on_failure: OnFailure | None = None,
    ) -> list[str]:
        """Run a tool and give its output's last lines, at most LAST_LINES of them.

        ``environment`` adds variables, None takes one away; ``user`` (with group) and ``folder`` are where it runs.
        What it leaves running ends with it, and so do processes whose root folder is ``root``.
        With ``network`` its environment names the host's proxies and certificates.
        Raises what ``on_failure`` makes of these lines, or else the error that they explain.
        """
        self._say_command(stage, argv)
        with subprocess.Popen(
            list(argv),
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment(environment) | (self.proxies.environment if network else {}),
            cwd=folder,
            user=user[0] if user else None,
            group=user[1] if user else None,
            extra_groups=[] if user else None,
            umask=0o022,
            start_new_session=True,  # so that stop() reaches what it starts itself
        ) as process:
            self.running.append(process)
            ending = threading.Thread(target=_end_what_is_left, args=(process.pid, root))
            ending.start()
            if stdin is not None and process.stdin:
                process.stdin.write(stdin)
                process.stdin.close()
            # progress bars end their lines by a carriage return, which Python reads as a newline
            lines = self._follow(stage, (line.rstrip("\n") for line in process.stdout or () if line.strip()))
            ending.join()
        self.running.remove(process)
        return self._checked(stage, argv, process.returncode, lines, on_failure)

    def run_apart(
        self,
        stage: str,
        argv: Sequence[str],
        mounts: Sequence[tuple[str, str, bool]],
        *,
        environment: Mapping[str, str | None] = NOTHING,
        network: bool = False,
        stdin: str | None = None,
        on_failure: OnFailure | None = None,
    ) -> list[str]:
        """Run foreign code with folders of the work folder and nothing else, where there is a host to ask; see run()."""
        if self.containers is None:
            # without the host's certificates, which that system does not have
            variables = {**environment, **(self.proxies.variables if network else {})}
            return self.run(stage, argv, environment=variables, stdin=stdin, on_failure=on_failure)
        self._say_command(stage, argv)
        given = self._environment(environment)
        private = self.proxies.environment if network else {}
        with self.containers.started(
            argv, given, mounts, self.work, stdin=stdin, network=network, private=private
        ) as program:
            lines = self._follow(stage, program.lines())
        return self._checked(stage, argv, program.code, lines, on_failure)

    def run_inside(
        self,
        stage: str,
        root: Path,
        argv: Sequence[str],
        *,
        reading: Mapping[str, Path] = NOTHING,
        environment: Mapping[str, str | None] = NOTHING,
        network: bool = False,
        stdin: str | None = None,
        on_failure: OnFailure | None = None,
    ) -> list[str]:
        """Run a program of the system in ``root``, in a container whose root this system is; see run_apart().

        ``reading`` maps empty folders of the system to folders of the work folder that the program may read there.
        """
        if self.containers is None:
            for path, folder in reading.items():
                if not any((root / path).iterdir()):
                    shutil.copytree(folder, root / path, symlinks=True, dirs_exist_ok=True)
            argv = ["chroot", str(root), *argv]
            return self.run(
                stage, argv, environment=environment, stdin=stdin, root=root, on_failure=on_failure
            )
        mounts = mounts_of(root, str(root.relative_to(self.work)), without=reading)
        mounts += [
            (str(folder.relative_to(self.work)), f"{SLASH}/{path}", False) for path, folder in reading.items()
        ]
        return self.run_apart(
            stage, argv, mounts, environment=environment, network=network, stdin=stdin, on_failure=on_failure
        )

    def stop(self) -> None:
        """End all tools at work: their callers get an error."""
        for process in list(self.running):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if self.containers:
            self.containers.stop()

    def _say_command(self, stage: str, argv: Sequence[str]) -> None:
        self.events.log(stage, "$ " + " ".join(argv)[:4000])

    def _follow(self, stage: str, lines: Iterable[str]) -> list[str]:
        last: deque[str] = deque(maxlen=LAST_LINES)
        for line in lines:
            if not self._progress(stage, line):
                last.append(line)
                self.events.log(stage, line)
        return list(last)

    def _checked(
        self,
        stage: str,
        argv: Sequence[str],
        code: int,
        lines: list[str],
        on_failure: OnFailure | None,
    ) -> list[str]:
        if code:
            if on_failure and (failure := on_failure(code, lines)):
                raise failure
            raise diagnose(stage, argv, code, lines, self.profile.origins, self.proxies)
        return lines

    @contextmanager
    def fake_clock(self, root: Path) -> Iterator[None]:
        """Let programs in ``root`` see the wrong time too, when that is asked for: to verify that it leaves no trace."""
        inside, shared = str(FAKETIME.relative_to("/")), "dev/shm"
        if self.clock:
            remove(within(root, inside))
            within(root, inside).parent.mkdir(exist_ok=True)
            shutil.copyfile(FAKETIME, within(root, inside))
            within(root, shared).mkdir(exist_ok=True)
        yield
        remove(within(root, inside))
        remove(within(root, shared))

    def _environment(self, more: Mapping[str, str | None]) -> dict[str, str]:
        together: dict[str, str | None] = {**BASE_ENVIRONMENT, "SOURCE_DATE_EPOCH": str(self.epoch)}
        if self.clock:
            together |= {"LD_PRELOAD": str(FAKETIME), "FAKETIME": f"+{self.clock}", "NO_FAKE_STAT": "1",
                         "FAKETIME_DONT_FAKE_MONOTONIC": "1"}  # fmt: skip
        return {key: value for key, value in {**together, **more}.items() if value is not None}

    def _progress(self, stage: str, line: str) -> bool:
        if found := _FRACTION.search(line):
            self.events.progress(stage, float(found[1] or found[2]) / 100)
        return bool(found)


def _end_what_is_left(pid: int, root: Path | None) -> None:
    """Wait for a process, and kill what it started: that has its output open, so that nobody would see the end of it."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # until it is reaped, no other process has its id
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    for link in Path("/proc").glob("[0-9]*/root") if root else ():
        with suppress(OSError):
            if link.readlink() == root:
                os.kill(int(link.parent.name), signal.SIGKILL)
