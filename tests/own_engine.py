"""A Docker engine of a test's own, which it may kill."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.host import mount_table
from tests.build_helpers import ENGINE_PREFIX, docker, network_devices, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 120.0
"""Seconds that an engine may take for something on a machine with other work; it is a second or two otherwise."""
NO_NETWORKS = ("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false")
NETWORKS = ("--iptables=true", "--ip6tables=false")


class OwnEngine:
    """The engine; ``networks``: with bridges, in the network name space that it has for itself.

    What the machine's daemon.json says is not for it: it reads ``config``.
    """

    def __init__(self, folder: Path, *, networks: bool = False) -> None:
        self.folder, self.networks = folder, networks
        self.config = folder / "daemon.json"
        self.config.write_text("{}")
        self.environment = {"DOCKER_HOST": f"unix://{folder}/docker.sock"}
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        # In a network name space of its own: an engine told --bridge=none deletes docker0 where it finds it,
        # and that is the machine's.
        argv = [
            "unshare",
            "--net",
            "dockerd",
            f"--config-file={self.config}",
            f"--data-root={self.folder}/data",
            f"--exec-root={self.folder}/exec",
        ]
        argv += [f"--pidfile={self.folder}/pid", f"--host=unix://{self.folder}/docker.sock"]
        argv += NETWORKS if self.networks else NO_NETWORKS
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        if not wait_until(self._answers, PATIENCE):
            process.kill()
            raise AssertionError((self.folder / "log").read_text())
        return process

    def _answers(self) -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):
            return bool(docker("info", "--format={{.ServerVersion}}", environment=self.environment))
        return False

    def start(self) -> None:
        """Start it again."""
        self.process = self._start()

    def stop(self) -> None:
        """End it in order, and with it its containers."""
        self.process.terminate()
        self.process.wait(timeout=PATIENCE)

    def restart(self) -> None:
        """End it in order, and start it again."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """End dockerd and its containerd with SIGKILL; the shims of containers stay."""
        containerd = int((self.folder / "exec/containerd/containerd.pid").read_text())
        self.process.kill()
        os.kill(containerd, signal.SIGKILL)
        self.process.wait()

    def remove(self) -> None:
        """Start it once more, so that it tidies up itself, then end it."""
        if self.process.poll() is not None:
            self.start()
        if left := docker("ps", "--all", "--quiet", environment=self.environment).split():
            docker("rm", "--force", "--volumes", *left, environment=self.environment)
        self.stop()
        for mount in sorted(mount_table(), key=lambda mount: -len(mount.point)):
            if mount.point.startswith(f"{self.folder}/"):  # its data folder's mount on itself
                subprocess.run(["umount", mount.point], check=True)
        shutil.rmtree(self.folder)


@contextmanager
def own_engine(*images: str, networks: bool = False) -> Iterator[OwnEngine]:
    """Give an engine with some of the machine's images, apart from the machine's own. Needs root."""
    before = network_devices()
    # directly below /tmp: the path of a socket has no more than 107 bytes
    engine = OwnEngine(Path(tempfile.mkdtemp(prefix=ENGINE_PREFIX, dir="/tmp")), networks=networks)
    try:
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as save:
            subprocess.run(
                ["docker", "load", "--quiet"], stdin=save.stdout, check=True, capture_output=True,
                env={**os.environ, **engine.environment},
            )  # fmt: skip
        yield engine
    finally:
        engine.remove()
    assert network_devices() == before
