"""Runs the tools of a stage: argv lists, output line by line, failures explained."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.iso import inputs
from synos_tasks.iso.diagnose import diagnose
from synos_tasks.iso.scratch import remove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.protocol import Events

_FRACTION = re.compile(r"\d+/\d+\s+(\d+)%|UPDATE :\s+([\d.]+)% done")
LAST_LINES = 20000
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
    owner: tuple[int, int] = (0, 0)
    """User and group id that results belong to on the host."""
    clock: int = 0
    """Seconds that tools see the clock ahead; see fake_clock()."""
    running: list[subprocess.Popen[str]] = field(default_factory=list)
    """The tools at work."""

    @property
    def root(self) -> Path:
        """The root file system under construction."""
        return self.work / "root"

    def find(self, path: str, *, folder: bool = False) -> Path:
        """Return a file or folder of docker/build that the profile names; raise ProfileError."""
        return inputs.find(self.docker_build, path, self.profile.origins.get(path, ""), folder=folder)

    def run(
        self,
        stage: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str | None] | None = None,
        user: tuple[int, int] | None = None,
        folder: Path | None = None,
        stdin: str | None = None,
        on_failure: Callable[[int, Sequence[str]], Exception | None] | None = None,
    ) -> list[str]:
        """Run a tool and give its output's last lines, at most LAST_LINES of them.

        ``environment`` adds variables, None takes one away; ``user`` (with group) and ``folder`` are where it runs.
        Raises what ``on_failure`` makes of these lines, or else the error that they explain.
        """
        self.events.log(stage, "$ " + " ".join(argv)[:4000])
        last: deque[str] = deque(maxlen=LAST_LINES)
        with subprocess.Popen(
            list(argv),
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment(environment or {}),
            cwd=folder,
            user=user[0] if user else None,
            group=user[1] if user else None,
            extra_groups=[] if user else None,
            umask=0o022,
            start_new_session=True,  # so that stop() reaches what it starts itself
        ) as process:
            self.running.append(process)
            if stdin is not None and process.stdin:
                process.stdin.write(stdin)
                process.stdin.close()
            # progress bars end their lines by a carriage return, which Python reads as a newline
            for line in (line.rstrip("\n") for line in process.stdout or () if line.strip()):
                if not self._progress(stage, line):
                    last.append(line)
                    self.events.log(stage, line)
        self.running.remove(process)
        lines = list(last)
        if process.returncode:
            if on_failure and (failure := on_failure(process.returncode, lines)):
                raise failure
            raise diagnose(stage, argv, process.returncode, lines, self.profile.origins)
        return lines

    def stop(self) -> None:
        """End all tools at work: their callers get an error."""
        for process in list(self.running):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    @contextmanager
    def fake_clock(self, root: Path) -> Iterator[None]:
        """Let programs in ``root`` see the wrong time too, when that is asked for: to verify that it leaves no trace."""
        inside = root / FAKETIME.relative_to("/")
        shared = root / "dev/shm"
        if self.clock:
            inside.parent.mkdir(exist_ok=True)
            shutil.copyfile(FAKETIME, inside)
            shared.mkdir(exist_ok=True)
        yield
        inside.unlink(missing_ok=True)
        remove(shared)

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
