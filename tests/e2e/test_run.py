"""`inv build.run` at a terminal: keys reach the guest, its ssh answers at the port that was printed, and nothing stays."""

from __future__ import annotations

import os
import pty
import re
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.build_helpers import wait_until
from tests.e2e.test_dead_guests import patched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.build_helpers import Answer, Clone

pytestmark = pytest.mark.e2e
REACHABLE = """inherits: minimal
overlays: [overlays/reachable]
packages: [openssh-server]
services:
  enable: [systemd-networkd.service]
"""
DHCP = "[Match]\nName=en*\n[Network]\nDHCP=yes\n"


class Terminal:
    """A command at a terminal of its own."""

    def __init__(self, clone: Clone, *arguments: str) -> None:
        self._own, its = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "invoke", *arguments],
            cwd=clone.root,
            stdin=its,
            stdout=its,
            stderr=its,
            start_new_session=True,
        )
        os.close(its)
        os.set_blocking(self._own, False)
        self.text = ""

    def shows(self, pattern: str, seconds: float) -> re.Match[str]:
        """Wait until the terminal shows a pattern."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < end, self.text[-2000:]
            time.sleep(0.1)
            self._read()
        return found

    def types(self, keys: str) -> None:
        os.write(self._own, keys.encode())

    def ends(self, seconds: float = 30) -> int:
        """Read to the end, as the process waits for that, and return its exit code."""
        assert wait_until(lambda: not self._read() and self.process.poll() is not None, seconds), self.text
        return self.process.returncode

    def _read(self) -> bool:
        with suppress(OSError):  # nothing there, or its end
            more = os.read(self._own, 2**16).decode(errors="replace")
            self.text += more
            return bool(more)
        return False

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._own)


@contextmanager
def running(clone: Clone, iso: Path, *options: str) -> Iterator[Terminal]:
    """Run an ISO at a terminal; nothing of it is left."""
    terminal = Terminal(clone, "build.run", "--iso", str(iso), *options)
    try:
        yield terminal
    finally:
        terminal.close()
    assert wait_until(lambda: not clone.running(), 15)


@pytest.fixture
def at_prompt(warm: Clone, minimal: Answer, tmp_path: Path) -> Path:
    """An ISO whose GRUB stops at its prompt: a guest that answers after a second."""
    assert warm.root
    return patched(Path(minimal.json["iso"]), tmp_path / "prompt.iso", "menuentry", "menuentrx")


def test_keys_reach_the_guest_and_one_of_them_ends_it(warm: Clone, at_prompt: Path) -> None:
    with running(warm, at_prompt, "--serial") as terminal:
        terminal.shows("grub>", 120)
        terminal.types("echo its answer: $grub_platform\r\x03")  # Ctrl-C is the guest's
        terminal.shows("its answer: pc", 20)
        terminal.types("\x1d")
        assert terminal.ends() == 0
        assert "ended by the person" in terminal.text


def test_a_killed_run_leaves_nothing(warm: Clone, at_prompt: Path) -> None:
    with running(warm, at_prompt, "--serial") as terminal:
        terminal.shows("grub>", 120)
        terminal.process.kill()


@pytest.mark.long
def test_a_person_gets_a_login_prompt_a_disk_and_ssh(warm: Clone, minimal: Answer, tmp_path: Path) -> None:
    assert minimal.json["sha256"]
    warm.add("docker/build/overlays/reachable/etc/systemd/network/80-dhcp.network", DHCP)
    warm.add("docker/build/profiles/reachable.yaml", REACHABLE)
    built = warm.inv("build.iso", "--profile", "reachable")
    disk = tmp_path / "disk.raw"
    with running(warm, Path(built.json["iso"]), "--serial", "--disk", str(disk)) as terminal:
        port = int(terminal.shows(r"-p (\d+) USER@127\.0\.0\.1", 120)[1])
        terminal.shows("\\[vda\\]", 900)
        terminal.shows("login: ", 900)
        assert wait_until(lambda: banner(port).startswith(b"SSH-2.0-"), 60)
        terminal.process.terminate()
        assert terminal.ends() == 130
    assert disk.stat().st_size == 16 * 10**9


def banner(port: int) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return connection.recv(64)
    except OSError:
        return b""
