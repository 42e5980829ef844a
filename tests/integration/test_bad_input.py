"""What a person sees when the input or the machine is wrong: `inv build.iso` as a process, on the real engine."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import shutil
import subprocess
import sys
import threading
import uuid
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks import project
from synos_tasks.engine.labels import LABEL_PROJECT
from synos_tasks.iso.suites import DEFAULT
from tests.conftest import remove_labelled
from tests.mirrors import MISPLACED, mirror

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from synos_tasks.engine.client import Docker
    from tests.mirrors import Change

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
IGNORED = shutil.ignore_patterns("__pycache__")
EARLIER = b"an ISO of an earlier build"
MAIN = "mirrors:\n  suites: [release]\n"
QUICK = f"packages: [netbase]\n{MAIN}"
RELEASE = """Origin: Debian
Label: Debian
Suite: stable
Codename: trixie
Date: Sat, 07 Jun 2025 09:00:00 UTC
Architectures: amd64
Components: main
SHA256:
 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 main/binary-amd64/Packages
"""


@dataclasses.dataclass(frozen=True)
class Clone:
    """A copy of the project, with an output folder that holds an earlier ISO."""

    root: Path

    @property
    def profiles(self) -> Path:
        return self.root / "docker/build/profiles"

    @property
    def earlier(self) -> Path:
        return self.root / "dist/synos-x-000000000000.iso"

    def profile(self, text: str, name: str = "x") -> Path:
        path = self.profiles / f"{name}.yaml"
        path.write_text(text)
        return path

    def build(self, *more: str, name: str = "x", **environment: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "invoke", "build.iso", "--profile", name, *more]
        env = {**os.environ, **environment}
        return subprocess.run(
            argv, cwd=self.root, env=env, capture_output=True, text=True, timeout=150, check=False
        )


@pytest.fixture
def clone(tmp_path: Path, engine: Docker) -> Iterator[Clone]:
    root = tmp_path / "clone"
    for name in ("docker", "synos_tasks", "scripts/repository"):
        shutil.copytree(ROOT / name, root / name, symlinks=True, ignore=IGNORED)
    for name in ("tasks.py", "invoke.yaml"):
        shutil.copy(ROOT / name, root / name)
    copy = Clone(root)
    copy.earlier.parent.mkdir()
    copy.earlier.write_bytes(EARLIER)
    yield copy
    left = _left_running(root)
    remove_labelled(project.load(root, "synos").id)
    assert not left, "a builder of a failed build is still there"


def _left_running(root: Path) -> str:
    label = f"label={LABEL_PROJECT}={project.load(root, 'synos').id}"
    listed = subprocess.run(
        ["docker", "ps", "--all", "--quiet", "--filter", label], capture_output=True, text=True, check=True
    )
    return listed.stdout.strip()


def _parts(text: str) -> dict[str, str]:
    """The four parts of an error, each with its indented lines."""
    parts: dict[str, str] = {}
    label = ""
    for line in text.splitlines():
        start, colon, rest = line.partition(": ")
        if colon and start in {"error", "where", "why", "hint"}:
            label = start
            parts[label] = rest
        elif label and line.startswith("  "):
            parts[label] += "\n" + line.strip()
    return parts


def _failed(
    clone: Clone, done: subprocess.CompletedProcess[str], code: int, parts: str = "error where why hint"
) -> dict[str, str]:
    """Check what every failure owes a person, and give its parts."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stdout == ""
    found = _parts(done.stderr)
    assert list(found) == parts.split(), done.stderr
    assert all(found.values()), found
    assert clone.earlier.read_bytes() == EARLIER
    assert [path.name for path in clone.earlier.parent.iterdir()] == [clone.earlier.name]
    return found


def test_missing_package(clone: Clone) -> None:
    path = clone.profile(f"{MAIN}packages:\n  - no-such-package-anywhere\n")
    found = _failed(clone, clone.build(), 13)
    assert found["where"].endswith(f"{path.name}:4:5")
    assert "'no-such-package-anywhere'" in found["error"]
    asked = {
        "linux-headers-6.1.0": "'linux-headers-6.1.0-",
        "nano-": "`- -nano`",
        "firmware-iwlwifi": "add non-free-firmware",
        "mail-transport-agent": "nullmailer",
        "ngnix": "did you mean 'nginx'?",
    }
    listed = "".join(f"  - {name}\n" for name in asked)
    clone.profile(f"suite: bookworm\n{MAIN}packages:\n{listed}")
    told = _failed(clone, clone.build(), 13)["why"].splitlines()
    assert len(told) == len(asked)
    for line, (name, hint) in zip(told, asked.items(), strict=True):
        assert f"{name}: " in line
        assert hint in line


def test_packages_that_do_not_go_together(clone: Clone) -> None:
    clone.profile(f"suite: bookworm\n{MAIN}packages:\n  - systemd-sysv\n  - libpam-elogind\n")
    found = _failed(clone, clone.build(), 10)
    assert found["where"].endswith(("x.yaml:5:5", "x.yaml:6:5"))
    assert "elogind conflicts with systemd" in found["why"]
    for side in ("systemd, needed by systemd-sysv: .*:5:5", "elogind, needed by libpam-elogind: .*:6:5"):
        assert re.search(f"^{side}$", found["why"], re.MULTILINE)


def test_missing_package_with_debootstrap(clone: Clone) -> None:
    path = clone.profile(f"bootstrapper: debootstrap\n{MAIN}packages:\n  - no-such-package-anywhere\n")
    found = _failed(clone, clone.build(), 13)
    assert found["where"].endswith(f"{path.name}:5:5")


def test_unreachable_mirror(clone: Clone) -> None:
    mirror = "http://127.0.0.1:9/debian"
    clone.profile(f"{QUICK}  main: {mirror}\n")
    found = _failed(clone, clone.build(), 31)
    assert mirror in found["where"]


@pytest.fixture
def gateway() -> str:
    """The host's address as containers on the default bridge see it."""
    template = "{{(index .IPAM.Config 0).Gateway}}"
    shown = subprocess.run(
        ["docker", "network", "inspect", "bridge", "--format", template],
        capture_output=True,
        text=True,
        check=True,
    )
    return shown.stdout.strip()


@pytest.fixture
def unsigned_mirror(tmp_path: Path, gateway: str) -> Iterator[tuple[Path, str]]:
    """A package mirror: its folder of Release files, and its address."""
    suite = tmp_path / "mirror/debian/dists/trixie"
    (suite / "main/binary-amd64").mkdir(parents=True)
    (suite / "main/binary-amd64/Packages").write_bytes(b"")
    handler = functools.partial(_Quiet, directory=str(tmp_path / "mirror"))
    with ThreadingHTTPServer((gateway, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield suite, f"http://{gateway}:{server.server_port}/debian"
        server.shutdown()
        thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def _sign(suite: Path, image: str) -> None:
    """Sign the Release file with a key that nobody knows."""
    gpg = "gpg --homedir /tmp --batch --quiet --passphrase ''"
    script = (
        f"{gpg} --quick-gen-key nobody@example.org ed25519 sign; cd /suite; "
        f"{gpg} --clearsign --output InRelease Release; {gpg} --detach-sign --output Release.gpg Release; "
        "chmod a+r *"
    )
    volume = f"--volume={suite}:/suite"
    subprocess.run(
        ["docker", "run", "--rm", "--network=none", volume, image, "sh", "-euc", script], check=True
    )


@pytest.mark.parametrize("signed", [True, False])
def test_bad_signature(
    clone: Clone, unsigned_mirror: tuple[Path, str], builder_image: str, signed: bool
) -> None:
    suite, address = unsigned_mirror
    (suite / "Release").write_text(RELEASE)
    if signed:
        _sign(suite, builder_image)
    clone.profile(f"{QUICK}  main: {address}\n")
    found = _failed(clone, clone.build(), 32)
    assert address in found["where"]


@pytest.mark.parametrize(("changes", "why"), MISPLACED.values(), ids=MISPLACED)
def test_signed_files_at_the_wrong_place(clone: Clone, changes: Mapping[str, Change], why: str) -> None:
    with mirror(changes) as (address, _):
        mirrors = f"  main: {address}/debian\n  security: {address}/debian-security\n"
        clone.profile(f"packages: [netbase]\nmirrors:\n  suites: [release, security]\n{mirrors}")
        found = _failed(clone, clone.build(), 32)
    assert why in found["why"]
    assert min(changes).rstrip("/") in found["where"]
    assert not (clone.profiles / "x.lock.yaml").exists()


DOCKERFILES = [(str(path.relative_to(ROOT)), "BASE") for path in sorted(ROOT.glob("docker/*/*Dockerfile*"))]


@pytest.mark.long
@pytest.mark.parametrize(
    ("dockerfile", "argument"), [*DOCKERFILES, ("docker/build/Dockerfile", "TOOLCHAIN_BASE")]
)
def test_no_image_is_made_of_another_suite(dockerfile: str, argument: str, own_label: str) -> None:
    """apt only warns of that, whatever its settings."""
    text = (ROOT / dockerfile).read_text().replace("${SUITE}", DEFAULT)
    base = re.findall(rf"^ARG {argument}=(debian:(\w+)-slim)$", text, re.MULTILINE)[0]
    hidden = {f"/debian-security/dists/{base[1]}-security/": f"/debian/dists/{base[1]}/"}
    tag, build = (
        f"synos-test-misled:{uuid.uuid4().hex[:8]}",
        ["docker", "build", f"--label={LABEL_PROJECT}={own_label}"],
    )
    with mirror(hidden) as (address, _):
        lists = "$(find /etc/apt -name '*.list' -o -name '*.sources')"
        text = f"FROM {base[0]}\nRUN sed -i s,http://deb.debian.org,{address}, {lists}\n"
        subprocess.run([*build, f"--tag={tag}", "-"], input=text, text=True, check=True, capture_output=True)
        argv = [*build, f"--build-arg={argument}={tag}", f"--file={ROOT / dockerfile}", str(ROOT)]
        done = subprocess.run(argv, text=True, check=False, capture_output=True)
    subprocess.run(["docker", "image", "rm", tag], check=True, capture_output=True)
    assert (done.returncode, "Conflicting distribution" in done.stderr) == (1, True), done.stderr[-3000:]


def test_failing_hook(clone: Clone) -> None:
    hook = clone.root / "docker/build/hooks/bad.sh"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'the hook is about to fail'\nexit 3\n")
    path = clone.profile(f"{QUICK}hooks:\n  - hooks/bad.sh\n")
    found = _failed(clone, clone.build("--output", 'an "output", of mine'), 33)
    assert "hooks/bad.sh ended with 3" in found["error"]
    assert found["where"].endswith(f"{path.name}:5:5")
    assert "the hook is about to fail" in found["why"]


def test_overlay_that_is_a_link_to_passwords(clone: Clone) -> None:
    secrets = clone.root / ".synos/services/unified/secrets"
    secrets.mkdir(parents=True)
    (secrets / "nats_password").write_text("hunter2")
    (clone.root / "docker/build/overlays/leak").symlink_to("../../../.synos/services/unified/secrets")
    path = clone.profile(f"{QUICK}overlays: [overlays/leak]\n")
    found = _failed(clone, clone.build(), 10)
    assert found["where"].endswith(f"{path.name}:4:12")
    assert str(secrets) in found["why"]


def test_profile_that_nobody_writes_to(clone: Clone) -> None:
    os.mkfifo(clone.profiles / "x.yaml")
    assert "FIFO" in _failed(clone, clone.build(), 10, "error where why hint")["error"]


def test_full_disk(clone: Clone) -> None:
    settings = clone.root / "invoke.yaml"
    text = settings.read_text().replace("work: auto", "work: tmpfs").replace("work_mb: 0", "work_mb: 100")
    settings.write_text(text)
    clone.profile(QUICK)
    found = _failed(clone, clone.build(), 34)
    assert "work_mb" in found["hint"]


def test_no_engine(clone: Clone) -> None:
    clone.profile(QUICK)
    found = _failed(clone, clone.build(DOCKER_HOST="unix:///nonexistent.sock"), 21)
    assert found["where"] == "DOCKER_HOST=unix:///nonexistent.sock"


def test_missing_profile(clone: Clone) -> None:
    clone.profile(QUICK, name="xylophone")
    found = _failed(clone, clone.build(name="xylophon"), 11, "error where hint")
    assert found["hint"] == "did you mean 'xylophone'?"


def test_mistake_in_a_profile(clone: Clone) -> None:
    path = clone.profile("suite: trixie\npakages: [sudo]\n")
    found = _failed(clone, clone.build(), 10, "error where hint")
    assert found["where"].endswith(f"{path.name}:2:1")
    assert found["hint"] == "did you mean 'packages'?"


@pytest.mark.parametrize("folder", ["invoke.yaml/below-a-file", "invoke.yaml", "/proc/synos"])
def test_output_not_writable(clone: Clone, folder: str) -> None:
    clone.profile(QUICK)
    found = _failed(clone, clone.build("--output", folder), 24)
    assert found["where"].endswith(folder)


def test_unknown_setting(clone: Clone) -> None:
    settings = clone.root / "invoke.yaml"
    settings.write_text(settings.read_text().replace("cpus: 4", "cpuz: 4"))
    found = _failed(clone, clone.build(), 12, "error where hint")
    assert found["hint"] == "did you mean 'cpus'?"


def test_broken_settings_file(clone: Clone) -> None:
    settings = clone.root / "invoke.yaml"
    settings.write_text("synos: [not, a, mapping]\n")
    found = _failed(clone, clone.build(), 12, "error where hint")
    assert "invoke.yaml" in found["where"]
