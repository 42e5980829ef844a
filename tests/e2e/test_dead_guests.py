"""A guest that stops on its way is recognised at once, and the error says where and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.build_helpers import Answer, Clone

pytestmark = pytest.mark.e2e
LINUX = "/live/vmlinuz "


def patched(iso: Path, target: Path, old: str, new: str) -> Path:
    """Copy an ISO with a change of the first entry of its menu; the others, which nobody starts, make room for it."""
    data = bytearray(iso.read_bytes())
    start = data.index(b'if [ "$grub_platform"')
    end = data.index(b"\0", start)
    first, entry, _ = data[start:end].decode().rsplit("menuentry", 2)
    menu = f"{first}menuentry{entry}"
    assert old in menu
    text = menu.replace(old, new).encode()
    data[start:end] = text.ljust(end - start, b"\n")
    assert data[end] == 0
    target.write_bytes(data)
    return target


@pytest.mark.parametrize(
    ("old", "new", "why", "hint"),
    [
        ("/live/vmlinuz", "/live/vmlinuy", "GRUB started no kernel: error: file `/live/vmlinuy' not found", "boot menu"),
        ("menuentry", "menuentrx", "GRUB found no menu and waits at its prompt: error: can't find command", "mistake"),
        ("timeout=3", "timeout=-1", "GRUB waits at its menu", ""),
        ("    initrd /live/initrd.img\n", "", "the kernel panicked: ", "the kernel got no initramfs"),
        pytest.param(LINUX, f"{LINUX}loop.max_loop=1 ", "No loop devices available", "loop.max_loop=64", marks=pytest.mark.long),
        pytest.param(LINUX, f"{LINUX}live-media=/dev/sdz ", "Unable to find a medium", "live-media", marks=pytest.mark.long),
        pytest.param(LINUX, f"{LINUX}systemd.unit=emergency.target ", "emergency mode", "", marks=pytest.mark.long),
        pytest.param(LINUX, f"{LINUX}systemd.unit=gone.target ", "systemd", "default target", marks=pytest.mark.long),
    ],
)  # fmt: skip
def test_a_dead_guest_ends_the_wait_and_is_explained(
    warm: Clone, minimal: Answer, tmp_path: Path, old: str, new: str, why: str, hint: str
) -> None:
    iso = patched(Path(minimal.json["iso"]), tmp_path / "dead.iso", old, new)
    failed = warm.inv("build.boot", "--iso", str(iso), "--timeout", "1800", fails=True)
    error = failed.json["error"]
    assert (failed.code, error["kind"]) == (40, "BootFailed")
    assert why in error["why"]
    assert hint in error["hint"]
