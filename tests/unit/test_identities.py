"""What must differ from machine to machine is found by what it is, and left to the first boot."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from synos_tasks.iso import identities
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.tools import BuildContext
from tests.unit.contexts import build_context, warnings

UUID = "nqn.2014-08.org.nvmexpress:uuid:8d6b0a8e-6a8a-4f6e-9a63-0d1c2b3a4f5e"
FOUND = {"b": UUID, "c": "InitiatorName=iqn.1993-08.org.debian:01:9b3a1f2c4d5e", "d": "secret \"8xQ2nV9cR4tY7wZ1aB3dE5fG\"",
         "e": "-----BEGIN PRIVATE KEY-----\n", "g": "4e1243bd22c66e76c2ba9eddc1f91394e57f9f83"}  # fmt: skip
PLAIN = {
    "a": "root:x:0:0:root:/root:/bin/bash\n",
    "f": "PATH=/usr/local/sbin:/usr/local/bin\n",
    "h": "20261129\n",
    "i": "",
}


@pytest.mark.parametrize(
    ("text", "random"), [*((one, True) for one in FOUND.values()), *((one, False) for one in PLAIN.values())]
)
def test_what_looks_random(tmp_path: Path, text: str, random: bool) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "var/lib").mkdir(parents=True)
    (tmp_path / "etc/x").write_text(text)
    (tmp_path / "etc/machine-id").write_text("4e1243bd22c66e76c2ba9eddc1f91394\n")
    assert [*identities._candidates(tmp_path, 0)] == (["etc/x"] if random else [])
    assert [*identities._candidates(tmp_path, 2**40)] == [], "what was there before is not looked at again"


POSTINST = {
    # random, and made where it is missing
    "munge": "[ -e etc/munge/munge.key ] || head -c 32 /proc/sys/kernel/random/uuid >etc/munge/munge.key",
    # its result follows from what is there, as that of ucf and ca-certificates does
    "ucf": "echo 0123456789abcdef0123456789abcdef >var/lib/ucf/hashfile",
    # made once, and never again
    "odd": "true",
}


@pytest.mark.allow_process(reason="the script that configures packages again")
def test_what_is_random_is_made_at_first_boot_and_the_rest_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_inside(_: object, __: str, root: Path, argv: Sequence[str], *, stdin: str) -> list[str]:
        """Run the script with paths of `root` in the place of absolute ones."""
        script = (
            stdin.replace('"/$file', '"./$file')
            .replace(" /var/lib", " ./var/lib")
            .replace("/run/synos-old", "./old")
        )
        script = script.replace("    /var/lib", "    ./var/lib")
        return subprocess.run(
            argv, input=script, cwd=root, text=True, capture_output=True, check=False
        ).stdout.splitlines()

    monkeypatch.setattr(BuildContext, "run_inside", run_inside)
    files = {"munge": "etc/munge/munge.key", "ucf": "var/lib/ucf/hashfile", "odd": "etc/odd/key"}
    with build_context(tmp_path, Profile(name="x")) as context:
        info = context.root / "var/lib/dpkg/info"
        info.mkdir(parents=True)
        for name, path in files.items():
            (context.root / path).parent.mkdir(parents=True, exist_ok=True)
            (context.root / path).write_text("-----BEGIN PRIVATE KEY-----\n")
            units = f"/lib/systemd/system/{name}.service\n/lib/systemd/system/{name}@.service\n"
            (info / f"{name}.list").write_text(f"/{Path(path).parent}\n{units}")
            (info / f"{name}.postinst").write_text(f"#!/bin/sh\n{POSTINST[name]}\n")
            (info / f"{name}.postinst").chmod(0o755)
        (context.root / "var/lib/dpkg/status").write_text(
            "Package: munge\nStatus: install ok installed\nVersion: 0.5\n"
        )
        (context.root / "etc/munge/link").symlink_to("munge.key")
        identities.leave_to_first_boot(context, context.root, "packages-x", 0)
    root = context.root
    assert not (root / files["munge"]).exists()
    assert not (root / "etc/munge/link").is_symlink()
    for kept in ("ucf", "odd"):
        assert "PRIVATE KEY" in (root / files[kept]).read_text(), "as it was"
    command = "/var/lib/dpkg/info/munge.postinst configure"
    assert (root / "usr/lib/synos/first-boot/munge").read_text() == f"{command}\n/etc/munge/munge.key\n"
    folder = root / "usr/lib/systemd/system"
    unit = "synos-first-boot@munge.service"
    assert (folder / f"{unit}.d/before.conf").read_text() == "[Unit]\nBefore=munge.service\n"
    assert (folder / f"sysinit.target.wants/{unit}").is_symlink()
    assert len([text for text in warnings(context) if "same on every machine" in text]) == 2
