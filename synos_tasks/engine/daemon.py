"""The Docker daemon of this machine: which configuration it reads, what checks one, and how it is started again."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from synos_tasks.engine import api
from synos_tasks.errors import EngineUnavailable, HostUnfit

CONFIG = Path("/etc/docker/daemon.json")
USUAL_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock")
BOOTED = Path("/run/systemd/system")
"""There when systemd runs the machine (sd_booted(3))."""
INIT_SCRIPT = Path("/etc/init.d/docker")
SBIN = ":/usr/local/sbin:/usr/sbin:/sbin"
"""Where dockerd is, which the PATH of a user may lack."""


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """The daemon that answers."""

    version: str
    socket: str
    root_dir: Path
    """Where images, volumes and the build cache are."""
    config: Path
    """Its daemon.json, which need not be there."""
    pid: int | None = None
    """None where it cannot be seen, as in a container that has its socket only."""
    containers: int = 0
    """How many run now."""
    rootless: bool = False
    live_restore: bool = False
    """Containers outlive it."""

    def restart_hint(self) -> str:
        """Say how a person starts it anew, and what that does to containers."""
        stops = (
            ""
            if self.live_restore
            else f"; that stops every container, other projects' too ({self.containers} run now)"
        )
        return f"{self._restart()}{stops}"

    def _restart(self) -> str:
        if self.rootless:
            return "systemctl --user restart docker"
        if self.socket not in USUAL_SOCKETS:
            return f"end dockerd (process {self.pid or 'unknown'}) and start it as it was started before"
        if BOOTED.is_dir():
            return "sudo systemctl restart docker"
        if INIT_SCRIPT.exists():
            return "sudo service docker restart"
        return (
            f"sudo kill {self.pid or '$(pidof dockerd)'}, and ./scripts/synos doctor, which starts it again"
        )


def look() -> Daemon:
    """Ask the daemon, and look at its process.

    Raises EngineUnavailable, or HostUnfit where its configuration is not a file of this machine.
    """
    path = api.socket_path()
    if path is None:
        raise HostUnfit(
            "the engine is not this machine's",
            where=os.environ.get("DOCKER_HOST", ""),
            why="its configuration is a file of the engine's own machine",
            hint="unset DOCKER_HOST and DOCKER_CONTEXT, or run this there",
        )
    told = api.get("/info")
    if told.get("OperatingSystem") == "Docker Desktop":
        raise HostUnfit(
            "the engine is Docker Desktop's, which keeps its configuration to itself",
            hint="put the policy of docs/maint/gc-policy.md into its settings, under Docker Engine",
        )
    rootless = "name=rootless" in (told.get("SecurityOptions") or ())
    pid = _process(path)
    return Daemon(
        version=str(told.get("ServerVersion", "")),
        socket=path,
        root_dir=Path(told["DockerRootDir"]),
        config=(_named_config(pid) if pid else None) or (_user_config() if rootless else CONFIG),
        pid=pid,
        containers=int(told.get("ContainersRunning", 0)),
        rootless=rootless,
        live_restore=bool(told.get("LiveRestoreEnabled")),
    )


def inspect_builder() -> str:
    """Give what `docker buildx inspect` tells of the engine's own builder; raises EngineUnavailable."""
    try:
        done = subprocess.run(
            ["docker", "buildx", "inspect", "default"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise EngineUnavailable("there is no `docker` command", hint="./scripts/synos installs it") from None
    if done.returncode:
        raise EngineUnavailable("the engine's builder does not answer", why=done.stderr.strip())
    return done.stdout


def refusal(config: str) -> str:
    """Give what dockerd says against a daemon.json of this text; '' where it says nothing, or there is no dockerd.

    It finds unknown keys and values of the wrong type, not everything that would keep it from starting.
    """
    tool = shutil.which("dockerd", path=os.environ.get("PATH", "") + SBIN)
    if tool is None:
        return ""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", prefix="synos-daemon-", suffix=".json") as file:
        file.write(config)
        file.flush()
        argv = [tool, "--validate", f"--config-file={file.name}"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return (done.stderr.strip() or f"exit code {done.returncode}") if done.returncode else ""


def _process(path: str) -> int | None:
    """Find the dockerd behind a socket: who listens there, or where that is systemd, the only one there is."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(api.TIMEOUT)
            connection.connect(path)
            told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return None
    listener = struct.unpack("3i", told)[0]
    found = [pid for pid in _pids() if _words(pid)[0].rpartition("/")[2] == "dockerd"]
    if listener in found:
        return int(listener)
    return found[0] if len(found) == 1 and path in USUAL_SOCKETS else None


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return [""]


def _named_config(pid: int) -> Path | None:
    """Give the file that a dockerd was told to read, if it was."""
    words = _words(pid)
    for word, following in zip(words, [*words[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option == "--config-file" and (named := value if equals else following):
            try:
                return Path(f"/proc/{pid}/cwd").readlink() / named
            except OSError:
                return Path(named)
    return None


def _user_config() -> Path:
    folder = os.environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "docker/daemon.json"
