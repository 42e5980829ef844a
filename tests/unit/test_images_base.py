"""The base images: where they come from, and that half of one never takes the name."""

from __future__ import annotations

import subprocess
from typing import IO, TYPE_CHECKING

import pytest

from synos_tasks.build.planning import Context
from synos_tasks.errors import BadSignature, HostUnfit, MirrorUnreachable
from synos_tasks.images import base as bases
from synos_tasks.images.base import bootstrap_argv, ensure_base, renew, suite_of
from synos_tasks.images.catalog import BOOKWORM, TRIXIE
from synos_tasks.iso.suites import base_image
from tests.unit.fake_docker import FakeDocker
from tests.unit.projects import project

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from synos_tasks.settings import Settings

    Get = Callable[[Context, str], None]
    Ended = subprocess.CompletedProcess[bytes]

MIRROR, SECURITY = "http://mirror.test/debian", "http://mirror.test/debian-security"
BOTH = pytest.mark.parametrize("base", [BOOKWORM, TRIXIE, base_image("sid")], ids=suite_of)


class Host(FakeDocker):
    """An engine, and mmdebstrap beside it: that ends with ``code`` after it printed ``output``."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.code, self.output = 0, b"I: done\n"
        self.ran: list[list[str]] = []
        self.changes: tuple[str, ...] = ()

    def import_image(self, archive: IO[bytes], ref: str, changes: Sequence[str]) -> None:
        self.changes += tuple(changes)
        assert archive.read() == b"a tar stream"
        super().import_image(archive, ref, changes)

    def mmdebstrap(self, argv: list[str], *, stdout: IO[bytes], stderr: IO[bytes], **_: object) -> Ended:
        self.ran.append(argv)
        stdout.write(b"a tar stream")
        stderr.write(self.output)
        return subprocess.CompletedProcess(argv, self.code)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(project(tmp_path))
    monkeypatch.setattr(bases, "KEYRING", tmp_path / "docker/build/Dockerfile")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", made.mmdebstrap)
    return made


@BOTH
@pytest.mark.parametrize("root", [True, False])
def test_a_root_is_of_its_suite_with_updates_and_checked_signatures(base: str, root: bool) -> None:
    argv = bootstrap_argv(suite_of(base), MIRROR, SECURITY, root=root)
    assert base == f"debian:{suite_of(base)}-slim"
    assert argv[argv.index("-") - 1] == suite_of(base)
    more = [f"deb {MIRROR} {suite_of(base)}-updates main", f"deb {SECURITY} {suite_of(base)}-security main"]
    assert [word for word in argv if word.startswith("deb ")] == [
        f"deb {MIRROR} {suite_of(base)} main",
        *([] if suite_of(base) == "sid" else more),
    ]
    assert f"--keyring={bases.KEYRING}" in argv
    assert not any("trusted=yes" in word or "allow-unauthenticated" in word.lower() for word in argv)


@BOTH
@pytest.mark.parametrize("get", [ensure_base, renew])
@pytest.mark.parametrize("answers", [True, False])
def test_it_is_bootstrapped_only_without_a_registry(host: Host, base: str, get: Get, answers: bool) -> None:
    host.pullable = {base} if answers else set()
    said: list[str] = []
    get(Context(host.settings, host, said.append), base)
    assert host.names("image") == [base]
    assert len(said) == 2
    assert len(host.ran) == (not answers)
    ensure_base(Context(host.settings, host, pytest.fail), base)  # what is there is used as it is


def test_a_bootstrapped_base_has_no_label_that_other_images_would_inherit(host: Host) -> None:
    bases.bootstrap(Context(host.settings, host, print), TRIXIE)
    assert [change for change in host.changes if change.startswith("LABEL")] == [
        "LABEL io.synos.base=synos-test"
    ]


@BOTH
def test_a_stream_that_breaks_does_not_become_the_base(host: Host, base: str) -> None:
    host.add_image(base, ident="sha256:old")
    host.code, host.output = 100, b"".join(b"E: line %d\n" % number for number in range(20))
    with pytest.raises(MirrorUnreachable) as caught:
        bases.bootstrap(Context(host.settings, host, print), base)
    assert base in caught.value.what
    assert caught.value.why.splitlines() == [f"E: line {number}" for number in range(14, 20)]
    assert host.names("image") == [base]
    assert host.image_id(base) == "sha256:old"
    log = host.settings.project.state_dir / f"logs/base-image-{suite_of(base)}.log"
    assert log.read_bytes() == host.output


def test_a_mirror_that_serves_another_suite_does_not_become_the_base(host: Host) -> None:
    hook = " ".join(bootstrap_argv("trixie", MIRROR, SECURITY, root=True))
    ran = f"I: running --customize-hook in shell: sh -c '{hook}'\n".encode()
    said = b"E: Conflicting distribution: another one is served as trixie\n"
    host.code, host.output = 25, ran + said
    with pytest.raises(BadSignature) as caught:
        bases.bootstrap(Context(host.settings, host, print), TRIXIE)
    assert caught.value.why == said.decode().strip()
    assert caught.value.where == host.settings.build.mirror
    assert not host.names("image")
    host.output = ran + b"tar: Broken pipe\n"
    with pytest.raises(MirrorUnreachable):
        bases.bootstrap(Context(host.settings, host, print), TRIXIE)


@pytest.mark.parametrize("missing", ["mmdebstrap", "keys"])
def test_a_host_that_cannot_bootstrap_says_what_is_missing(
    host: Host, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "mmdebstrap":
        monkeypatch.setattr("shutil.which", lambda _: None)
    else:
        monkeypatch.setattr(bases, "KEYRING", host.settings.project.root / "nowhere.gpg")
    with pytest.raises(HostUnfit, match="missing") as caught:
        renew(Context(host.settings, host, print), TRIXIE)
    assert "debian-archive-keyring" in caught.value.hint
    assert host.ran == []
