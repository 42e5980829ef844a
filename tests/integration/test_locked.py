"""Builds and their lock: what is refused, what is renewed, and what is said of it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from synos_tasks.iso import lock as locks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from synos_tasks.iso.lock import Lock, Package
    from tests.build_helpers import Answer, Clone

pytestmark = pytest.mark.integration
NAME = "locked"
PACKAGE = "tree"


@pytest.fixture(scope="module")
def current(warm: Clone, minimal: Answer) -> tuple[Path, str, str]:
    """A profile that adds one package to `minimal`: the place of its lock, its own text, and the mirrors' lock."""
    assert minimal.json["sha256"]
    text = f"inherits: minimal\npackages: [{PACKAGE}]\n"
    warm.add(f"docker/build/profiles/{NAME}.yaml", text)
    warm.inv("build.lock", "--profile", NAME, "--update")
    path = locks.path_of(warm.root / "docker/build/profiles", NAME)
    return path, text, path.read_text()


@pytest.fixture
def path(current: tuple[Path, str, str]) -> Path:
    """The lock, as the mirrors have it now, whatever the test before made of it and of the profile."""
    path, profile, lock = current
    (path.parent / f"{NAME}.yaml").write_text(profile)
    path.write_text(lock)
    return path


def rewrite(path: Path, change: Callable[[Package], Package]) -> Lock:
    """Change the line of PACKAGE as somebody would who knows how a lock is sealed."""
    lock = locks.load(path)
    assert lock is not None
    packages = tuple(change(package) if package.name == PACKAGE else package for package in lock.packages)
    path.write_text(locks.dump(dataclasses.replace(lock, packages=packages), NAME))
    return lock


def refused(warm: Clone, kind: str, code: int, *options: str) -> dict[str, str]:
    """Build, see it refused, and see that no ISO has come of it."""
    before = sorted(warm.output.iterdir())
    answer = warm.inv("build.iso", "--profile", NAME, *options, fails=True)
    assert (answer.code, answer.json["error"]["kind"]) == (code, kind), answer.err
    assert sorted(warm.output.iterdir()) == before
    error: dict[str, str] = answer.json["error"]
    return error


def test_an_edited_lock_is_named(warm: Clone, path: Path) -> None:
    path.write_text(
        path.read_text().replace(f"name: '{PACKAGE}', version: '", f"name: '{PACKAGE}', version: '9")
    )
    error = refused(warm, "LockError", 15)
    assert error["where"] == str(path)
    assert "build.lock" in error["hint"]
    again = warm.inv("build.lock", "--profile", NAME)
    assert "written again" in again.err
    assert locks.load(path) is not None


def test_a_line_with_the_wrong_checksum_gets_no_package_into_an_iso(warm: Clone, path: Path) -> None:
    rewrite(path, lambda package: dataclasses.replace(package, sha256="0" * 64))
    error = refused(warm, "BadSignature", 32)
    assert PACKAGE in error["error"]
    assert PACKAGE in error["where"]


def test_a_line_that_names_another_package_than_its_file(warm: Clone, path: Path) -> None:
    rewrite(path, lambda package: dataclasses.replace(package, version="1:2-3"))
    error = refused(warm, "LockError", 15)
    assert PACKAGE in error["error"]


def gone(package: Package) -> Package:
    """A version that no mirror has any more."""
    return dataclasses.replace(
        package, version="0.1", sha256="1" * 64, path=package.path.replace(package.version, "0.1")
    )


def test_a_vanished_version_is_an_error_where_the_lock_must_stay(warm: Clone, path: Path) -> None:
    rewrite(path, gone)
    text = path.read_text()
    error = refused(warm, "PackageVanished", 17, "--locked")
    assert f"{PACKAGE} 0.1" in error["error"]
    assert path.read_text() == text


def test_a_vanished_version_is_replaced_and_that_is_said(warm: Clone, path: Path) -> None:
    before = rewrite(path, gone)
    answer = warm.inv("build.iso", "--profile", NAME)
    assert f"warning: {PACKAGE} 0.1 is no longer on the mirror" in answer.err
    assert f"{PACKAGE}  0.1 -> " in answer.err
    after = locks.load(path)
    assert after is not None
    assert after.packages == before.packages


def test_locked_and_offline_write_no_lock(warm: Clone, path: Path) -> None:
    path.unlink()
    for option in ("--locked", "--offline"):
        error = refused(warm, "LockDrift", 16, option)
        assert option in error["hint"]
    assert not path.exists()


def test_a_mirror_that_is_down_matters_only_for_what_is_missing(warm: Clone, path: Path) -> None:
    warm.inv("build.iso", "--profile", NAME, "--locked")
    profile = warm.root / f"docker/build/profiles/{NAME}.yaml"
    down = "mirrors:\n  main: http://127.0.0.1:9/debian\n  security: http://127.0.0.1:9/security\n"
    profile.write_text(profile.read_text() + down)
    built = warm.inv("build.iso", "--profile", NAME, "--locked")
    assert built.made[0] == "system"  # which has the mirrors' addresses in it
    error = refused(warm, "MirrorUnreachable", 31, "--locked", "--no-cache")
    assert "127.0.0.1:9" in error["where"]
    assert path.exists()


def test_build_lock_says_what_changed(warm: Clone, path: Path) -> None:
    rewrite(path, lambda package: dataclasses.replace(package, version="0.1"))
    kept = warm.inv("build.lock", "--profile", NAME).json
    assert [(change["name"], change["old"]) for change in kept["changes"]] == [(PACKAGE, "0.1")]
    assert warm.inv("build.lock", "--profile", NAME).json["changes"] == []


def test_an_index_that_was_changed_in_the_store_is_not_believed(warm: Clone, path: Path) -> None:
    """As code of a package could leave it: apt itself does not look again at what it has."""
    text = path.read_text()
    index = "/cache/lists/trixie/*_dists_trixie_main_binary-amd64_Packages"
    warm.in_store(f"sed -i 's/^Version: /Version: 99:/' {index}")
    answer = warm.inv("build.lock", "--profile", NAME, "--update")
    assert "fetched again" in answer.err
    assert path.read_text() == text


def test_release_files_older_than_those_of_the_lock_are_refused(warm: Clone, path: Path) -> None:
    lock = locks.load(path)
    assert lock is not None
    assert list(lock.releases) == ["trixie", "trixie-security", "trixie-updates"]
    later = dataclasses.replace(lock, releases={**lock.releases, "trixie-security": "2099-01-01T00:00:00Z"})
    path.write_text(text := locks.dump(later, NAME))
    answer = warm.inv("build.lock", "--profile", NAME, "--update", fails=True)
    assert (answer.code, answer.json["error"]["kind"]) == (32, "BadSignature")
    assert lock.releases["trixie-security"] in answer.json["error"]["why"]
    assert answer.json["error"]["where"].endswith("/dists/trixie-security")
    assert path.read_text() == text
