"""A guest whose power can be cut: QEMU is killed, and its disk loses what a drive may lose; see powercut.py."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.benchmarks import powercut_builds
from scripts.benchmarks.workbench import workbench
from synos_tasks.images.catalog import BOOT, BUILDER
from synos_tasks.iso.boot.qemu import machine_argv
from tests.build_helpers import ROOT, docker
from tests.service_clients import CLIENTS

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

FILES = Path(__file__).parent / "powercut-guest"
PROFILE = "powercut"
MEMORY_MB = 2048
DISK_BYTES = 4 * 2**30
BOOT_SECONDS = 400.0
KEPT = (0.0, 0.5, 1.0)
"""Which share of the writes that no flush followed a drive has on its disk, by chance."""
KVM = Path("/dev/kvm")
PROBE = (
    "from pathlib import Path\n"
    "from synos_tasks.iso.boot.qemu import accelerator_of\n"
    "print(accelerator_of(True, Path('/tmp')))"
)
SECTOR = 512
ENTRY = struct.Struct("<QQQQ")
"""Of a log of writes: sector, number of sectors, flags, bytes of data; see Linux' dm-log-writes."""
FLUSH = 1
DISCARD = 4


def replay(log: Path, disk: Path, kept: float, chance: random.Random) -> int:
    """Write to a disk what its log has up to the last flush, and a share of the rest; return how many writes were not kept.

    Raises ValueError where the log has a hole: then nobody knows what came after it.
    """
    writes: list[tuple[int, int, int]] = []
    flushed = 0
    with log.open("rb") as stream, disk.open("r+b") as target:
        end = stream.seek(0, 2)
        place = SECTOR
        while place < end:
            stream.seek(place)
            sector, count, flags, _ = ENTRY.unpack(stream.read(ENTRY.size))
            if not count and not flags:
                raise ValueError(f"{log} has a hole at {place} of {end}")
            place += SECTOR
            if flags & FLUSH:
                flushed = len(writes)
            if count:
                assert not flags & DISCARD
                writes.append((sector, count, place))
                place += count * SECTOR
        lost = {number for number in range(flushed, len(writes)) if chance.random() >= kept}
        for number, (sector, count, where) in enumerate(writes):
            if number not in lost:
                stream.seek(where)
                target.seek(sector * SECTOR)
                target.write(stream.read(count * SECTOR))
    return len(lost)


class Guest:
    """A machine with a disk that survives its power cuts, in a folder that has vmlinuz and initrd of its ISO."""

    def __init__(self, folder: Path, iso: Path, image: str, label: str) -> None:
        """Make the empty disk."""
        self._folder, self._iso, self._image, self._label = folder, iso, image, label
        self._name = ""
        self.disk, self._as_left, self._log = folder / "disk", folder / "disk.now", folder / "log"
        with self.disk.open("wb") as disk:
            disk.truncate(DISK_BYTES)
        probe = ["--volume", f"{ROOT}/synos_tasks:/project/synos_tasks:ro", image, "python3", "-c", PROBE]
        self.accelerator = self._docker("run", "--rm", *probe)

    def _docker(self, *words: str, ports: Iterator[int] | tuple[int, ...] = ()) -> str:
        first, *rest = words
        more = [
            "--label",
            self._label,
            "--user",
            f"{os.getuid()}:{os.getgid()}",
            *(["--device", str(KVM)] if KVM.exists() else []),
        ]
        return docker(first, *more, *(f"--publish=127.0.0.1::{port}" for port in ports), *rest)

    def start(self, *arguments: str, ports: tuple[int, ...] = ()) -> dict[int, int]:
        """Switch it on until its disk is mounted; return the ports of this machine by those of the guest.

        Linux now and then panics before that in QEMU without KVM on a busy machine; then it is switched on again.
        """
        end = time.monotonic() + BOOT_SECONDS
        while True:
            found = self._switch_on(arguments, ports)
            while time.monotonic() < end and "Kernel panic" not in self.console():
                if "POWERCUT mounted" in self.console():
                    return found
                time.sleep(0.2)
            if time.monotonic() > end:
                raise SystemExit(f"the guest does not come up:\n{self.console()}")
            print("the guest's kernel panicked before it mounted the disk", file=sys.stderr)
            self.end()

    def _switch_on(self, arguments: tuple[str, ...], ports: tuple[int, ...]) -> dict[int, int]:
        subprocess.run(["cp", "--sparse=always", self.disk, self._as_left], check=True)
        self._log.write_bytes(b"")
        (self._folder / "console").unlink(missing_ok=True)
        forwards = "".join(f",hostfwd=tcp::{port}-:{port}" for port in ports)
        node = "driver=file,cache.no-flush=on"  # the host keeps its power
        append = "rdinit=/boot net.ifnames=0 mitigations=off console=ttyS0"
        argv = [
            *machine_argv("bios", MEMORY_MB, self.accelerator, Path("/work")),
            *("-display", "none", "-no-reboot", "-serial", "file:/work/console"),
            *(
                "-kernel",
                "/work/vmlinuz",
                "-initrd",
                "/work/initrd",
                "-append",
                " ".join([append, *arguments]),
            ),
            *("-blockdev", f"{node},node-name=data,filename=/work/{self._as_left.name}"),
            *("-blockdev", f"{node},node-name=log,filename=/work/{self._log.name}"),
            *("-blockdev", f"driver=blklogwrites,node-name=disk,file=data,log=log,log-sector-size={SECTOR}"),
            *(
                "-device",
                "virtio-blk-pci,drive=disk,write-cache=on,request-merging=off,discard=off,write-zeroes=off",
            ),
            *("-blockdev", "driver=file,node-name=iso,filename=/iso,read-only=on"),
            *("-device", "virtio-blk-pci,drive=iso"),
            *("-netdev", f"user,id=net{forwards}", "-device", "virtio-net-pci,netdev=net,romfile="),
        ]
        mounts = [f"--volume={self._folder}:/work", f"--volume={self._iso}:/iso:ro"]
        self._name = self._docker("run", "--detach", *mounts, self._image, "nice", *argv, ports=ports)
        return {
            port: int(docker("port", self._name, str(port)).split()[0].rpartition(":")[2]) for port in ports
        }

    def cut(self) -> None:
        """Kill QEMU, the first process of its container."""
        docker("kill", "--signal=KILL", self._name)
        self.end()

    def end(self) -> None:
        """Remove the container, if there is one."""
        if self._name:
            docker("rm", "--force", self._name)
        self._name = ""

    def lose(self, chance: random.Random) -> dict[str, Any]:
        """Let the disk lose what a drive without power may lose; return what that was."""
        kept = chance.choice(KEPT)
        try:
            lost = replay(self._log, self.disk, kept, chance)
        except ValueError as error:
            print(f"the disk is as QEMU left it: {error}", file=sys.stderr)
            self._as_left.replace(self.disk)
            return {"kept": 1.0, "writes_lost": 0, "hole": True}
        return {"kept": kept, "writes_lost": lost}

    def console(self) -> str:
        """What the guest has said since it was switched on."""
        path = self._folder / "console"
        return path.read_text(errors="replace") if path.exists() else ""


@contextmanager
def power_guest() -> Iterator[tuple[Guest, Path]]:
    """Build the ISO, and give a machine that starts it, with an empty disk, and its folder."""
    with workbench() as bench, tempfile.TemporaryDirectory(prefix="synos-powercut-") as name:
        clone, folder = bench.clone, Path(name)
        data = clone.root / "docker"
        for part in ("profiles", "overlays"):
            shutil.copytree(FILES / part, data / "build" / part, dirs_exist_ok=True)
        inside = data / f"build/overlays/{PROFILE}/usr/libexec/{PROFILE}"
        shutil.copytree(clone.root / "synos_tasks", inside / "project/synos_tasks")
        shutil.copy(powercut_builds.__file__, inside)
        for service in CLIENTS:
            shutil.copytree(data / "services" / service, inside / "services" / service)
        iso = Path(clone.inv("build.iso", "--profile", PROFILE).json["iso"])
        clone.try_inv("build.boot", "--iso", str(iso), "--timeout", "1")  # makes the image
        label = clone.label
        _take_kernel(BUILDER.tag(clone.settings.project), label, iso, folder)
        machine = Guest(folder, iso, BOOT.tag(clone.settings.project), label)
        try:
            yield machine, folder
        finally:
            machine.end()


def _take_kernel(image: str, label: str, iso: Path, folder: Path) -> None:
    """Take kernel and initramfs out of an ISO, and put `boot` in front of what the initramfs has."""
    script = (
        "xorriso -osirrox on -indev /iso -extract /live /tmp/live 2>/dev/null; cp /tmp/live/vmlinuz* /work/vmlinuz\n"
        "cd /files; echo boot | cpio -o -H newc --quiet >/work/initrd; cat /tmp/live/initrd* >>/work/initrd"
    )
    mounts = [f"--volume={iso}:/iso:ro", f"--volume={FILES}:/files:ro", f"--volume={folder}:/work"]
    user = f"--user={os.getuid()}:{os.getgid()}"
    docker("run", "--rm", "--network=none", f"--label={label}", user, *mounts, image, "sh", "-euc", script)
