"""Runs the tools of a stage: argv lists, output line by line, failures explained."""

from __future__ import annotations

import os
import re
import subprocess
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.iso.diagnose import diagnose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import IO

    from synos_tasks.iso.events import Events
    from synos_tasks.iso.plan import Plan

_FRACTION = re.compile(r"(\d+)/(\d+)\s+(\d+)%|UPDATE :\s+([\d.]+)% done")
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
class Workshop:
    """What stages share: the plan, the folders inside the container, and where events go."""

    plan: Plan
    work: Path
    docker_build: Path
    """docker/build of the project, read-only."""
    output: Path
    events: Events

    @property
    def root(self) -> Path:
        """The root file system under construction."""
        return self.work / "root"

    @property
    def tree(self) -> Path:
        """What becomes the ISO's file tree."""
        return self.work / "iso"

    def run(
        self,
        stage: str,
        argv: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stdin: str | None = None,
        on_failure: Callable[[int, Sequence[str]], Exception] | None = None,
    ) -> None:
        """Run a tool. Raises the error that its last lines explain, or what ``on_failure`` makes of them."""
        self.events.log(stage, "$ " + " ".join(argv))
        last: deque[str] = deque(maxlen=200)
        with subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**BASE_ENVIRONMENT, **(environment or {})},
            umask=0o022,
        ) as process:
            if stdin is not None and process.stdin is not None:
                process.stdin.write(stdin.encode())
                process.stdin.close()
            for line in _lines(process.stdout):
                if not self._progress(stage, line):
                    last.append(line)
                    self.events.log(stage, line)
        if process.returncode:
            lines = list(last)
            if on_failure:
                raise on_failure(process.returncode, lines)
            raise diagnose(stage, argv, process.returncode, lines, self.plan.profile.origins)

    def chroot(self, stage: str, *argv: str, environment: Mapping[str, str] | None = None) -> None:
        """Run a command in the root file system."""
        self.run(stage, ["chroot", str(self.root), *argv], environment=environment)

    def capture(self, *argv: str) -> str:
        """Give the output of a short command."""
        env = {**os.environ, **BASE_ENVIRONMENT}
        return subprocess.run(argv, check=True, capture_output=True, text=True, env=env).stdout

    def _progress(self, stage: str, line: str) -> bool:
        found = _FRACTION.search(line)
        if not found:
            return False
        fraction = float(found.group(3) or found.group(4)) / 100
        self.events.send("progress", stage=stage, fraction=fraction)
        return True


def _lines(stream: IO[bytes] | None) -> Iterator[str]:
    """Lines of a tool's output, ended by newline or, as progress bars do it, carriage return."""
    if stream is None:
        return
    rest = b""
    while chunk := os.read(stream.fileno(), 65536):
        *whole, rest = re.split(rb"[\r\n]", rest + chunk)
        yield from (line.decode(errors="replace") for line in whole if line.strip())
    if rest.strip():
        yield rest.decode(errors="replace")
