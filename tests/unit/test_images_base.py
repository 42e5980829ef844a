"""The base images: where they come from, and that half a one never takes the name."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from synos_tasks.errors import HostUnfit, MirrorUnreachable
from synos_tasks.images import base as bases
from synos_tasks.images.base import BOOKWORM, TRIXIE, Base, bootstrap_argv, ensure_base, renew
from tests.unit.fakes import FakeEngine
from tests.unit.projects import project

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from typing import IO

    from synos_tasks.engine.gateway import Engine as AnyEngine
    from synos_tasks.settings import Settings

    Have = Callable[[Settings, AnyEngine, Base, Callable[[str], None]], None]

MIRROR, SECURITY = "http://mirror.test/debian", "http://mirror.test/debian-security"
BOTH = pytest.mark.parametrize("base", [BOOKWORM, TRIXIE], ids=lambda base: base.suite)


class Engine(FakeEngine):
    """Has a registry that may answer, and takes what is imported."""

    registry: bool = False
    asked: tuple[tuple[str, float], ...] = ()
    imported: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def pull(self, tag: str, *, timeout: float) -> bool:
        self.asked += ((tag, timeout),)
        if self.registry:
            self.images[tag] = "sha256:pulled"
        return self.registry

    def import_image(self, archive: IO[bytes], tag: str, changes: Sequence[str]) -> None:
        self.imported += ((tag, tuple(changes)),)
        self.images[tag] = "sha256:imported"

    def tag(self, tag: str, new_tag: str) -> None:
        self.images[new_tag] = self.images[tag]


class Stream:
    """A bootstrap that may end in the middle, as `mmdebstrap` does when the mirror goes away."""

    def __init__(self, code: int) -> None:
        self.stdout, self._code = self, code

    def close(self) -> None:
        """Nobody reads it any more."""

    def wait(self) -> int:
        return self._code


class Mmdebstrap:
    """Stands for the one that is started: ends with ``code`` after having said ``words``."""

    def __init__(self) -> None:
        self.code, self.words = 0, b"I: done\n"
        self.ran: list[list[str]] = []

    def __call__(self, argv: list[str], *, stdin: int, stdout: int, stderr: IO[bytes]) -> Stream:
        self.ran.append(argv)
        stderr.write(self.words)
        stderr.flush()
        return Stream(self.code)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return project(tmp_path)


@pytest.fixture
def mmdebstrap(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Mmdebstrap:
    made = Mmdebstrap()
    monkeypatch.setattr(bases, "KEYRING", settings.root / "docker/build/Dockerfile")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "Popen", made)
    return made


def _ids(engine: Engine) -> dict[str, str]:
    """Give the images but for the temporary name, which the fake's untag() leaves."""
    return {tag: ident for tag, ident in engine.images.items() if tag not in engine.removed}


def test_tags_are_those_of_debian_in_registries() -> None:
    assert (BOOKWORM.tag, TRIXIE.tag) == ("debian:bookworm-slim", "debian:trixie-slim")


@BOTH
@pytest.mark.parametrize("root", [True, False])
def test_a_root_is_of_its_suite_alone_with_updates_of_all_kinds(base: Base, root: bool) -> None:
    argv = bootstrap_argv(base.suite, MIRROR, SECURITY, root=root)
    assert argv[argv.index("-") - 1] == base.suite
    assert [word for word in argv if word.startswith("deb ")] == [
        f"deb {MIRROR} {base.suite} main",
        f"deb {MIRROR} {base.suite}-updates main",
        f"deb {SECURITY} {base.suite}-security main",
    ]
    [other] = {BOOKWORM, TRIXIE} - {base}
    assert other.suite not in " ".join(argv)


def test_trixie_has_its_updates_and_its_security() -> None:
    argv = bootstrap_argv("trixie", MIRROR, SECURITY, root=True)
    named = [word.split()[2] for word in argv if word.startswith("deb ")]
    assert named == ["trixie", "trixie-updates", "trixie-security"]


@BOTH
def test_nothing_of_the_host_is_mounted_into_a_root(base: Base) -> None:
    as_root = bootstrap_argv(base.suite, MIRROR, SECURITY, root=True)
    assert {"--mode=root", "--skip=check/canmount,chroot/mount"} <= set(as_root)
    as_user = bootstrap_argv(base.suite, MIRROR, SECURITY, root=False)
    assert "--mode=unshare" in as_user
    assert not any(word.startswith("--skip") for word in as_user)


def test_signatures_are_checked_with_debians_own_keys() -> None:
    argv = bootstrap_argv("trixie", MIRROR, SECURITY, root=True)
    assert f"--keyring={bases.KEYRING}" in argv
    assert not any("trusted=yes" in word or "allow-unauthenticated" in word.lower() for word in argv)


@BOTH
def test_a_base_that_is_there_is_taken_as_it_is(
    settings: Settings, mmdebstrap: Mmdebstrap, base: Base
) -> None:
    engine = Engine(images={base.tag: "sha256:base"})
    ensure_base(settings, engine, base, pytest.fail)
    assert (engine.asked, mmdebstrap.ran) == ((), [])


def test_one_of_another_suite_is_not_enough(settings: Settings) -> None:
    engine = Engine(images={BOOKWORM.tag: "sha256:base"})
    engine.registry = True
    ensure_base(settings, engine, TRIXIE, print)
    assert engine.images == {BOOKWORM.tag: "sha256:base", TRIXIE.tag: "sha256:pulled"}


@BOTH
@pytest.mark.parametrize("have", [ensure_base, renew])
@pytest.mark.parametrize("answers", [True, False])
def test_it_is_bootstrapped_only_without_a_registry(
    settings: Settings, mmdebstrap: Mmdebstrap, base: Base, have: Have, answers: bool
) -> None:
    engine, said = Engine(), list[str]()
    engine.registry = answers
    have(settings, engine, base, said.append)
    assert list(engine.asked) == [(base.tag, settings.build.registry_timeout)]
    assert len(mmdebstrap.ran) == (not answers)
    assert _ids(engine) == {base.tag: "sha256:pulled" if answers else "sha256:imported"}
    assert len(said) == 2
    assert all(base.tag in line for line in said)


@pytest.mark.parametrize("answers", [True, False])
def test_a_base_is_renewed_though_there_is_one(
    settings: Settings, mmdebstrap: Mmdebstrap, answers: bool
) -> None:
    engine = Engine(images={TRIXIE.tag: "sha256:old"})
    engine.registry = answers
    renew(settings, engine, TRIXIE, print)
    assert engine.images[TRIXIE.tag] == ("sha256:pulled" if answers else "sha256:imported")


@BOTH
def test_what_is_bootstrapped_is_of_the_suite_and_the_mirrors_of_the_settings(
    settings: Settings, mmdebstrap: Mmdebstrap, base: Base
) -> None:
    bases.bootstrap(settings, Engine(), base)
    mirrors = settings.build.mirror, settings.build.security_mirror
    [argv] = mmdebstrap.ran
    assert argv in [bootstrap_argv(base.suite, *mirrors, root=root) for root in (True, False)]


def test_what_is_bootstrapped_carries_no_label_that_others_images_would_inherit(
    settings: Settings, mmdebstrap: Mmdebstrap
) -> None:
    engine = Engine()
    bases.bootstrap(settings, engine, TRIXIE)
    [(_, changes)] = engine.imported
    assert [change for change in changes if change.startswith("LABEL")] == ["LABEL io.synos.base=synos-test"]


@BOTH
@pytest.mark.parametrize("code", [0, 100])
def test_a_stream_becomes_the_base_only_when_it_was_whole(
    settings: Settings, mmdebstrap: Mmdebstrap, base: Base, code: int
) -> None:
    engine = Engine(images={base.tag: "sha256:old"})
    mmdebstrap.code = code
    if code:
        with pytest.raises(MirrorUnreachable):
            bases.bootstrap(settings, engine, base)
    else:
        bases.bootstrap(settings, engine, base)
    [(temporary, _)] = engine.imported
    assert temporary != base.tag
    assert temporary in engine.removed
    assert _ids(engine) == {base.tag: "sha256:old" if code else "sha256:imported"}


def test_each_suite_has_a_log_and_its_last_lines_are_in_the_error(
    settings: Settings, mmdebstrap: Mmdebstrap
) -> None:
    bases.bootstrap(settings, Engine(), BOOKWORM)
    mmdebstrap.code = 100
    mmdebstrap.words = b"".join(b"E: line %d\n" % number for number in range(20))
    with pytest.raises(MirrorUnreachable) as caught:
        bases.bootstrap(settings, Engine(), TRIXIE)
    assert TRIXIE.tag in caught.value.what
    assert caught.value.why.splitlines() == [f"E: line {number}" for number in range(14, 20)]
    logs = settings.state_dir / "logs"
    assert (logs / "base-image-bookworm.log").read_bytes() == b"I: done\n"
    assert (logs / "base-image-trixie.log").read_bytes() == mmdebstrap.words


@pytest.mark.parametrize("missing", ["mmdebstrap", "keys"])
def test_a_host_that_cannot_bootstrap_is_told_what_it_lacks(
    settings: Settings, mmdebstrap: Mmdebstrap, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "mmdebstrap":
        monkeypatch.setattr("shutil.which", lambda _: None)
    else:
        monkeypatch.setattr(bases, "KEYRING", settings.root / "nowhere.gpg")
    with pytest.raises(HostUnfit, match="missing") as caught:
        renew(settings, Engine(), TRIXIE, print)
    assert "debian-archive-keyring" in caught.value.hint
    assert mmdebstrap.ran == []
