"""The stages that install packages and run hooks: what the tools find, and what is left when they are done."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
from typing import TYPE_CHECKING

import pytest

from synos_tasks.errors import HookFailed
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.stages import base, devices, hooks, packages
from synos_tasks.iso.tools import Workshop
from tests.unit.fakes import fake_tools, files, workshop
from tests.unit.plans import LOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    profile = Profile(name="x", hooks=("hooks/one", "hooks/two"), origins={"hooks/one": "x.yaml:2:5"})
    with workshop(tmp_path, profile) as made:
        files(made.root, "etc/apt/sources.list", "etc/dpkg/dpkg.cfg.d/x", "usr/sbin/x", "var/cache/x")
        files(made.docker_build, "hooks/one", "hooks/two")
        yield made


def test_hooks_run_in_order_and_leave_nothing_of_themselves(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(argv: list[str]) -> None:
        hook = shop.root / argv[-1].lstrip("/")
        assert os.access(hook, os.X_OK)
        files(shop.root, "usr/lib/made", "var/log/by-the-hook")

    ran = fake_tools(monkeypatch, act)
    hooks.make(shop, shop.root)
    assert [argv[-1] for argv in ran] == ["/tmp/synos-hook-one", "/tmp/synos-hook-two"]
    assert all(argv[:2] == ["chroot", str(shop.root)] for argv in ran)
    assert list((shop.root / "tmp").iterdir()) == []
    assert not (shop.root / "etc/resolv.conf").exists(), "that of the builder's network"
    assert (shop.root / "usr/lib/made").exists()
    assert not (shop.root / "var/log/by-the-hook").exists()


def test_a_failed_hook_is_named_with_its_place_and_its_last_lines(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(
        _shop: Workshop,
        _stage: str,
        _argv: Sequence[str],
        *,
        on_failure: Callable[[int, Sequence[str]], Exception],
    ) -> None:
        raise on_failure(7, [f"line {number}" for number in range(20)])

    monkeypatch.setattr(Workshop, "run", run)
    with pytest.raises(HookFailed) as caught:
        hooks.make(shop, shop.root)
    assert caught.value.what == "hook hooks/one ended with 7"
    assert caught.value.where == "x.yaml:2:5"
    assert caught.value.why.splitlines() == [f"line {number}" for number in range(10, 20)]


def test_packages_are_installed_without_starting_services(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, "repository/vim.deb", "repository/acl.deb", "repository/Packages")

    def act(_argv: list[str]) -> None:
        assert (shop.root / "usr/sbin/policy-rc.d").read_text().endswith("exit 101\n")
        assert os.access(shop.root / "usr/sbin/policy-rc.d", os.X_OK)
        assert "force-confold" in (shop.root / "etc/dpkg/dpkg.cfg.d/99synos").read_text().splitlines()
        assert (shop.root / "var/cache/synos/acl.deb").read_text() == "x"

    ran = fake_tools(monkeypatch, act)
    packages.make(shop, shop.root, tmp_path / "repository", "packages-x")
    assert [argv[-2:] for argv in ran] == [["/var/cache/synos/acl.deb", "/var/cache/synos/vim.deb"]]
    assert "--no-install-recommends" in ran[0]
    for left in ("usr/sbin/policy-rc.d", "etc/dpkg/dpkg.cfg.d/99synos", "var/cache/synos"):
        assert not (shop.root / left).exists()


def test_the_base_is_laid_down_from_the_locks_packages(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = fake_tools(
        monkeypatch,
        lambda _: files(shop.root, "etc/hostname", "etc/hosts", "etc/apt/apt.conf.d/99mmdebstrap"),
    )
    base.make(shop, shop.root, tmp_path, LOCK.packages)
    (argv,) = ran
    assert argv[0] == "mmdebstrap"
    assert "--include=linux-image-amd64,sudo,vim" in argv
    assert argv[-3:] == ["bookworm", str(shop.root), "-"]
    for left in ("etc/apt/sources.list", "etc/apt/apt.conf.d/99mmdebstrap", "etc/hostname", "etc/hosts"):
        assert not (shop.root / left).exists(), "of the machine that built it"


def test_debootstrap_finds_an_archive_of_one_suite(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, "repository/Packages", "repository/vim.deb")
    ran = fake_tools(monkeypatch)
    shop = dataclasses.replace(shop, profile=dataclasses.replace(shop.profile, bootstrapper="debootstrap"))
    base.make(shop, shop.root, tmp_path / "repository", LOCK.packages)
    assert [argv[0] for argv in ran] == ["debootstrap", "chroot"]
    assert ran[0][-3:] == ["bookworm", str(shop.root), f"file://{tmp_path / 'repository'}"]
    suite = tmp_path / "repository/dists/bookworm"
    assert (suite / "main/binary-amd64/Packages").read_text() == "x"
    release = (suite / "Release").read_text().splitlines()
    assert "Codename: bookworm" in release
    assert f" {hashlib.sha256(b'x').hexdigest()} 1 main/binary-amd64/Packages" in release


def test_scripts_find_the_devices_they_expect_and_those_that_are_there_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, int] = {}

    def mknod(path: Path, mode: int, device: int) -> None:
        assert stat.S_ISCHR(mode)
        made[path.name] = device
        path.touch()

    monkeypatch.setattr(os, "mknod", mknod)
    files(tmp_path, "dev/zero")
    devices.make(tmp_path)
    assert set(made) == {"null", "full", "random", "urandom", "tty"}
    assert made["null"] == os.makedev(1, 3), "as on every Linux"
    assert (tmp_path / "dev/null").stat().st_mode & 0o777 == 0o666
