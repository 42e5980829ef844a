"""Time from the kernel's start to the login prompt: our ISO, the file systems it could have, and live-build's."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.benchmarks.workbench import median, report, workbench
from synos_tasks.images.catalog import BOOT
from tests.build_helpers import docker

if TYPE_CHECKING:
    from scripts.benchmarks.workbench import Workbench

LIMIT_SECONDS = 600
PACKERS = {
    "squashfs zstd-3": "mksquashfs SOURCE TARGET -comp zstd -Xcompression-level 3 -b 256K",
    "squashfs lz4": "mksquashfs SOURCE TARGET -comp lz4 -b 256K",
    "erofs zstd-3": "mkfs.erofs -zzstd,3 -C65536 TARGET SOURCE",
    "erofs lz4": "mkfs.erofs -zlz4 -C65536 TARGET SOURCE",
}
"""By name, what packs a folder. Of each, the fastest common setting; `zstd` and 256 KiB are what profiles have."""
FORMATS = {f"{name} {shape}": packer for name, packer in PACKERS.items() for shape in ("layered", "flat")}
REMASTER = r"""
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq && apt-get install -qq --no-install-recommends erofs-utils squashfs-tools xorriso
cd /tmp
xorriso -osirrox on -indev "/work/$ISO" -extract /live live
layers=$(cat live/filesystem.module)
mkdir layered flat
for layer in $layers; do
    unsquashfs -quiet -no-progress -dest "layered/$layer" "live/$layer"
    (cd "layered/$layer" && find . -type c ! -path ./dev/\*) | while read -r gone; do rm -rf "flat/$gone"; done
    cp -a --remove-destination "layered/$layer/." flat/
done
find flat -type c ! -path flat/dev/\* -delete
pack() { # NAME COMMAND
    rm -rf iso && mkdir -p iso/live && cp live/vmlinuz live/initrd.img iso/live
    folders=layered/*
    [ "${1% layered}" != "$1" ] || folders=flat
    for folder in $folders; do
        target=iso/live/$(basename "$folder" .squashfs).squashfs
        $(echo "$2" | sed "s|SOURCE|$folder|; s|TARGET|$target|")
    done
    (cd iso/live && ls ./*.squashfs | sed 's|./||' >filesystem.module)
    xorriso -as mkisofs -R -V LIVE -o "/work/$1.iso" iso
}
"""


def bench_boots(live_build: Path | None, rounds: int) -> None:
    """Boot `standard`, and the ISO that live-build made of the same packages; without one, standard in all formats."""
    with workbench() as bench:
        # where the medium is looked for, nothing mounts EROFS: no ISO of ours has it
        bench.clone.add(
            "docker/build/overlays/bench/etc/initramfs-tools/modules", "" if live_build else "erofs\n"
        )
        bench.clone.add(
            "docker/build/profiles/bench.yaml", "inherits: standard\noverlays: [overlays/bench]\n"
        )
        iso = Path(bench.build().json["iso"])
        isos = {"ours": iso}
        if live_build:
            isos["live-build"] = Path(shutil.copy(live_build, bench.clone.output))
        else:
            isos |= _remastered(bench, iso)
        bench.clone.try_inv("build.boot", "--iso", str(iso), "--timeout", "1")  # makes the image
        machines = {name: _Guest(bench, path) for name, path in isos.items()}
        booted = [{name: guest.login_seconds() for name, guest in machines.items()} for _ in range(rounds)]
        times = {name: median([one[name] for one in booted]) for name in machines}
        sizes = {name: path.stat().st_size for name, path in isos.items()}
    ours = times.pop("ours")
    for name, seconds in times.items():
        found = {"seconds": seconds, "bytes": sizes[name], "ours_seconds": ours, "ours_bytes": sizes["ours"]}
        report(
            f"kernel to login, ours / {name}", 0.9 if name == "live-build" else 1.1, ours / seconds, **found
        )


def _remastered(bench: Workbench, iso: Path) -> dict[str, Path]:
    """Pack the layers of an ISO in all FORMATS, one ISO each."""
    script = REMASTER + "".join(f"pack '{name}' '{command}'\n" for name, command in FORMATS.items())
    # layers have whiteouts: devices that overlayfs, where containers have their files, lets nobody make
    argv = ["run", "--rm", f"--label={bench.clone.label}", "--tmpfs=/tmp:exec,dev,suid"]
    argv += [f"--volume={iso.parent.resolve()}:/work", f"--env=ISO={iso.name}", "debian:trixie-slim"]
    docker(*argv, "sh", "-euc", script)
    return {name: iso.parent / f"{name}.iso" for name in FORMATS}


class _Guest:
    """A machine that starts the kernel of an ISO, as a boot loader would, without its menu."""

    def __init__(self, bench: Workbench, iso: Path) -> None:
        image, folder = BOOT.tag(bench.clone.settings.project), iso.with_suffix(".files")
        label = f"--label={bench.clone.label}"
        builder = docker("images", "--quiet", "--filter=reference=synos-builder").split()[0]
        read = f"xorriso -osirrox on -indev '/work/{iso.name}' -extract /live '/work/{folder.name}'"
        work = f"--volume={iso.parent.resolve()}:/work"
        docker("run", "--rm", label, work, builder, "sh", "-c", f"{read} 2>&1")
        kernel = min(path.name for path in folder.glob("vmlinuz*"))
        initrd = min(path.name for path in folder.glob("initrd*"))
        qemu = "qemu-system-x86_64 -nodefaults -machine q35 -accel tcg,thread=multi,tb-size=256 -cpu max,la57=off"
        qemu += " -smp 2 -m 1024 -vga std -display none -no-reboot -serial stdio -device virtio-rng-pci"
        drive = "if=none,id=medium,format=raw,readonly=on,media=cdrom,file=/iso"
        self._argv = [
            *(
                "docker",
                "run",
                "--rm",
                "--init",
                "--network=none",
                label,
                f"--volume={iso.resolve()}:/iso:ro",
            ),
            *(f"--volume={folder.resolve()}:/live:ro", image, *qemu.split(), "-drive", drive),
            *("-device", "ide-cd,drive=medium", "-kernel", f"/live/{kernel}", "-initrd", f"/live/{initrd}"),
            *("-append", "boot=live components console=tty0 console=ttyS0,115200"),
        ]

    def login_seconds(self) -> float:
        """Boot once; seconds from the kernel's first line to the first login prompt."""
        heard, began = b"", 0.0
        limit = time.monotonic() + LIMIT_SECONDS
        with subprocess.Popen(self._argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as machine:
            assert machine.stdout
            while b" login:" not in heard and time.monotonic() < limit:
                read = os.read(machine.stdout.fileno(), 65536)
                assert read, f"the machine ended: {heard[-300:]!r}"
                heard += read
                began = began or (time.monotonic() if b"Linux version" in heard else 0.0)
            machine.terminate()
        assert b" login:" in heard
        return time.monotonic() - began
