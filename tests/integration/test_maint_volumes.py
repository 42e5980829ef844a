"""maint.volumes against the real engine: what tar can keep of a file is there again, byte for byte."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks.engine.labels import LABEL_PROJECT
from tests.build_helpers import Clone, docker, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration

PATIENCE = 60.0
"""Seconds that something may take on a machine with other work."""
FILL = r"""
import os, struct
os.chdir("/volume")
os.umask(0)
def write(name, text):
    with open(name, "wb") as stream:
        stream.write(text)
write("plain", b"x" * 100)
os.chown("plain", 1234, 4321)
os.chmod("plain", 0o4755)
os.setxattr("plain", "user.note", b"hi\0\xff=")
write("closed", b"y")
os.chown("closed", 999, 999)
os.chmod("closed", 0)
os.link("plain", "hard")
os.symlink(b"no\nwhere\xff", b"link")
os.chown("link", 5, 6, follow_symlinks=False)
os.utime("link", ns=(1, 1500000000123456789), follow_symlinks=False)
write(b"bad\nname\xff\x80 \xc3\xa4", b"z")
write(b"tar: -looks like a message", b"")
write("n" * 250, b"long")
with open("sparse", "wb") as stream:
    stream.seek(50 * 2**20)
    stream.write(b"end")
os.mknod("whiteout", 0o20600, os.makedev(0, 0))
os.mknod("null", 0o20666, os.makedev(1, 3))
os.mkfifo("fifo", 0o640)
os.makedirs("folder/below")
os.chmod("folder", 0o3770)
os.chown("folder", 7, 8)
os.setxattr("folder", "user.d", b"v")
write("capable", b"c")
os.setxattr("capable", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0))
write("shared", b"c")
entries = [(1, 6, 0xFFFFFFFF), (2, 4, 1000), (4, 4, 0xFFFFFFFF), (16, 4, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
os.setxattr("shared", "system.posix_acl_access", acl)
os.setxattr("folder", "system.posix_acl_default", acl)
os.chmod(".", 0o1750)
os.chown(".", 42, 43)
for name in ("plain", "folder", "folder/below", "."):
    os.utime(name, ns=(1, 1400000000987654321))
"""
LIST = r"""
import hashlib, os, stat
os.chdir(b"/volume")
first = {}
def show(path):
    status = os.lstat(path)
    content = b""
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest().encode()
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)
    names = sorted(os.listxattr(path, follow_symlinks=False))
    is_folder = stat.S_ISDIR(status.st_mode)
    print(
        path, oct(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev, content,
        0 if is_folder else status.st_size, status.st_blocks < 2000,
        {name: os.getxattr(path, name, follow_symlinks=False) for name in names},
        first.setdefault(status.st_ino, path),
    )
def walk(folder):
    for name in sorted(os.listdir(folder)):
        path = folder + b"/" + name
        show(path)
        if os.path.isdir(path) and not os.path.islink(path):
            walk(path)
show(b".")
walk(b".")
"""


@pytest.fixture(scope="module")
def full(clone: Clone, builder_image: str) -> str:
    """A volume of the clone with one of each odd kind of file; its listing."""
    make(clone, f"{clone.settings.project.id}-odd")
    inside(clone, builder_image, "odd", FILL)
    return inside(clone, builder_image, "odd", LIST)


def make(clone: Clone, name: str, *options: str) -> None:
    docker("volume", "create", f"--label={clone.label}", "--label=io.synos.role=cache", *options, name)


def inside(clone: Clone, image: str, volume: str, script: str) -> str:
    """Run Python in a container that has a volume of the clone, and give what it prints."""
    name = f"{clone.settings.project.id}-{volume}"
    mount = f"--mount=type=volume,source={name},target=/volume"
    more = ("--rm", "--network=none", "--tmpfs=/work", f"--label={clone.label}", mount)
    return docker("run", *more, image, "python3", "-c", script)


def volumes_of(clone: Clone) -> set[str]:
    found = docker("volume", "ls", "--quiet", f"--filter=label={clone.label}").split()
    return {name.removeprefix(f"{clone.settings.project.id}-") for name in found}


def test_all_that_a_file_is_survives_export_and_import(clone: Clone, builder_image: str, full: str) -> None:
    exported = clone.inv("maint.volumes", "--export", "odd").json
    assert exported["files"] == 13
    assert exported["bytes"] < 10_000, "the hole of a sparse file is none of its content"
    made = clone.inv("maint.volumes", "--import", exported["file"], "--name", "again").json
    assert made["files"] == 13
    assert inside(clone, builder_image, "again", LIST) == full
    told = clone.inv("maint.volumes", "--inspect", "again").json
    assert (told["files"], told["folders"]) == (13, 2)


def test_a_clone_is_the_same(clone: Clone, builder_image: str, full: str) -> None:
    clone.inv("maint.volumes", "--clone", "odd", "--to", "twin")
    assert inside(clone, builder_image, "twin", LIST) == full
    assert inside(clone, builder_image, "odd", LIST) == full


def test_a_damaged_archive_is_refused_and_nothing_made(clone: Clone, full: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.tar.zst"
    clone.inv("maint.volumes", "--export", "odd", "--to", str(path))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    before = volumes_of(clone)
    answer = clone.inv("maint.volumes", "--import", str(path), "--name", "bad", fails=True)
    assert answer.json["error"]["kind"] == "BackupDamaged"
    assert volumes_of(clone) == before


BOMB = r"""
import subprocess, sys, tarfile
size = 2_500_000_000
text = b"%d comment=" % size
entry = tarfile.TarInfo("././@PaxHeader")
entry.type, entry.size = tarfile.XHDTYPE, size
zstd = subprocess.Popen(["zstd", "-q", "-19", "--long"], stdin=subprocess.PIPE)
zstd.stdin.write(entry.tobuf(tarfile.USTAR_FORMAT) + text)
block = b"a" * 2**20
for _ in range((size - len(text)) // len(block)):
    zstd.stdin.write(block)
zstd.stdin.write(b"a" * ((size - len(text)) % len(block) - 1) + b"\n" + bytes(-size % 512))
zstd.stdin.write(tarfile.TarInfo("./a").tobuf(tarfile.USTAR_FORMAT) + bytes(10240))
zstd.stdin.close()
sys.exit(zstd.wait())
"""


@pytest.fixture(scope="module")
def bomb(clone: Clone, builder_image: str, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An archive whose first file has a comment of 2.5 GB."""
    path = tmp_path_factory.mktemp("bomb") / "bomb.tar.zst"
    argv = [
        "docker",
        "run",
        "--rm",
        f"--label={clone.label}",
        "--network=none",
        "--tmpfs=/work",
        builder_image,
    ]
    with path.open("wb") as out:
        subprocess.run([*argv, "python3", "-c", BOMB], stdout=out, check=True)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("unpacked", "why"), [(10240, "it unpacks to more than 10240 bytes"), (2_600_000_000, "Killed")]
)
def test_an_archive_that_unpacks_to_gigabytes_takes_neither_time_nor_memory(
    clone: Clone, full: str, tmp_path: Path, bomb: bytes, unpacked: int, why: str
) -> None:
    assert len(bomb) < 300_000
    path = tmp_path / "odd.tar.zst"
    clone.inv("maint.volumes", "--export", "odd", "--to", str(path))
    path.write_bytes(bomb)
    manifest = json.loads(Path(f"{path}.json").read_text())
    manifest["facts"] |= {"files": 1, "unpacked": unpacked}
    manifest["files"][0] |= {"bytes": len(bomb), "sha256": hashlib.sha256(bomb).hexdigest()}
    Path(f"{path}.json").write_text(json.dumps(manifest))
    before, began = volumes_of(clone), time.monotonic()
    answer = clone.inv("maint.volumes", "--import", str(path), "--name", "bomb", fails=True)
    assert why in answer.json["error"]["why"]
    assert time.monotonic() - began < PATIENCE
    assert volumes_of(clone) == before


def test_users_of_a_volume_are_named(clone: Clone, builder_image: str, full: str) -> None:
    project = clone.settings.project.id
    user = docker(
        "run", "--detach", "--rm", "--network=none", "--tmpfs=/work", f"--label={clone.label}",
        f"--name={project}-user", f"--mount=type=volume,source={project}-odd,target=/volume",
        builder_image, "sleep", "60",
    )  # fmt: skip
    try:
        listed = {one["short"]: one for one in clone.inv("maint.volumes").json["volumes"]}
        assert listed["odd"]["bytes"] > 50 * 2**20
        assert listed["odd"]["users"] == [f"{project}-user (runs)"]
        answer = clone.inv("maint.volumes", "--export", "odd", "--to", str(clone.root / "used.tar.zst"))
        assert f"in use by {project}-user" in answer.err
        assert answer.json["users"] == [f"{project}-user"]
    finally:
        docker("rm", "--force", user)


def test_a_volume_of_another_project_is_not_touched(clone: Clone, own_label: str) -> None:
    name = f"{own_label}-data"
    docker("volume", "create", f"--label={LABEL_PROJECT}={own_label}", name)
    for options in (("--inspect", name), ("--export", name), ("--clone", name, "--to", "x")):
        answer = clone.inv("maint.volumes", *options, fails=True)
        assert answer.json["error"]["kind"] == "SettingsError"
    assert name not in str(clone.inv("maint.volumes").json)


@pytest.fixture(scope="module")
def large(clone: Clone, builder_image: str) -> Path:
    """An export of so many files that it takes seconds to import, and more bytes than all pipes hold."""
    make(clone, f"{clone.settings.project.id}-large")
    script = """
import os
for n in range(15_000):
    with open(f"/volume/{n}", "wb") as stream:
        stream.write(os.urandom(3000))
"""
    inside(clone, builder_image, "large", script)
    path = clone.root / "large.tar.zst"
    clone.inv("maint.volumes", "--export", "large", "--to", str(path))
    return path


@dataclass(frozen=True)
class Import:
    """An import in the middle, whose container does nothing until it is let go on."""

    process: subprocess.Popen[bytes]
    container: str


@pytest.fixture
def half_import(clone: Clone, large: Path) -> Iterator[Import]:
    argv = [sys.executable, "-m", "invoke", "maint.volumes", f"--import={large}", "--name=half"]
    process = subprocess.Popen(argv, cwd=clone.root, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        end = time.monotonic() + PATIENCE
        while not helpers(clone, "running") and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        [container] = helpers(clone, "running")
        docker("pause", container)
        assert helpers(clone, "paused") == [container]
        assert process.poll() is None
        yield Import(process, container)
    finally:
        process.kill()
        process.wait()
        subprocess.run(["docker", "rm", "--force", *helpers(clone)], check=False, capture_output=True)


def test_an_import_that_is_interrupted_leaves_nothing(clone: Clone, half_import: Import) -> None:
    assert "half" in volumes_of(clone)
    half_import.process.send_signal(signal.SIGINT)
    assert half_import.process.wait(timeout=PATIENCE) == 130
    assert not helpers(clone)
    assert "half" not in volumes_of(clone)


def test_what_an_import_that_is_killed_leaves_is_shown_and_tidied_up(
    clone: Clone, half_import: Import
) -> None:
    half_import.process.kill()
    half_import.process.wait(timeout=PATIENCE)
    docker("unpause", half_import.container)
    assert wait_until(lambda: not helpers(clone), PATIENCE), "the container goes with the command"
    listed = {one["short"]: one["unfinished"] for one in clone.inv("maint.volumes").json["volumes"]}
    assert listed["half"]
    refused = clone.inv("maint.volumes", "--clone", "half", "--to", "other", fails=True)
    assert "not whole" in refused.json["error"]["error"]
    make(clone, f"{clone.settings.project.id}-small")
    clone.inv("maint.volumes", "--clone", "small", "--to", "other")  # any of them tidies up before
    names = docker("volume", "ls", "--quiet").split()
    assert f"{clone.settings.project.id}-half" not in names, "not even an empty one that the engine made"


def helpers(clone: Clone, state: str = "") -> list[str]:
    states = [f"--filter=status={state}"] if state else []
    return docker("ps", "--all", "--quiet", f"--filter=label={clone.label}", *states).split()
