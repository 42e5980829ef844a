"""The stages that install packages and run hooks: what the tools find, and what is left when they are done."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from synos_tasks.errors import HookFailed
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.stages import base, hooks, packages
from synos_tasks.iso.tools import BuildContext
from tests.unit.contexts import build_context, fake_tools, files, inputs_for
from tests.unit.plans import planned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

PLAN = planned()


@pytest.fixture
def context(tmp_path: Path) -> Iterator[BuildContext]:
    profile = Profile(name="x", hooks=("hooks/one", "hooks/two"), origins={"hooks/one": "x.yaml:2:5"})
    with build_context(tmp_path, profile) as made:
        files(made.root, "etc/apt/sources.list", "etc/dpkg/dpkg.cfg.d/x", "usr/sbin/x", "var/cache/x")
        files(made.docker_build, "hooks/one", "hooks/two")
        yield made


def test_hooks_run_in_order_and_leave_nothing_of_themselves(
    context: BuildContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(argv: list[str]) -> None:
        hook = context.root / argv[-1].lstrip("/")
        assert os.access(hook, os.X_OK)
        files(context.root, "usr/lib/made", "var/log/by-the-hook")

    ran = fake_tools(monkeypatch, act)
    hooks.make(inputs_for(context, PLAN, "hooks"), context.root)
    assert [argv[-1] for argv in ran] == ["/tmp/synos-hook-one", "/tmp/synos-hook-two"]
    assert all(argv[:2] == ["chroot", str(context.root)] for argv in ran)
    assert list((context.root / "tmp").iterdir()) == []
    assert not (context.root / "etc/resolv.conf").exists(), "that of the builder's network"
    assert (context.root / "usr/lib/made").exists()
    assert not (context.root / "var/log/by-the-hook").exists()


def test_a_failed_hook_is_named_with_its_place_and_its_last_lines(
    context: BuildContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(
        _context: BuildContext,
        _stage: str,
        _argv: Sequence[str],
        *,
        on_failure: Callable[[int, Sequence[str]], Exception],
    ) -> None:
        raise on_failure(7, [f"line {number}" for number in range(20)])

    monkeypatch.setattr(BuildContext, "run", run)
    with pytest.raises(HookFailed) as caught:
        hooks.make(inputs_for(context, PLAN, "hooks"), context.root)
    assert caught.value.what == "hook hooks/one ended with 7"
    assert caught.value.where == "x.yaml:2:5"
    assert caught.value.why.splitlines() == [f"line {number}" for number in range(10, 20)]


def test_packages_are_installed_without_starting_services(
    context: BuildContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, "repository/vim.deb", "repository/acl.deb", "repository/Packages")

    def act(_argv: list[str]) -> None:
        assert (context.root / "usr/sbin/policy-rc.d").read_text().endswith("exit 101\n")
        assert os.access(context.root / "usr/sbin/policy-rc.d", os.X_OK)
        assert "force-confold" in (context.root / "etc/dpkg/dpkg.cfg.d/99synos").read_text().splitlines()
        assert (context.root / "var/cache/synos/acl.deb").read_text() == "x"

    ran = fake_tools(monkeypatch, act)
    inputs = inputs_for(context, PLAN, "packages-x", folder=tmp_path / "repository")
    assert packages.make(inputs, context.root) == {"installed": {"acl": 7, "vim": 7}}
    assert [argv[-2:] for argv in ran] == [["/var/cache/synos/acl.deb", "/var/cache/synos/vim.deb"]]
    assert "--no-install-recommends" in ran[0]
    for left in ("usr/sbin/policy-rc.d", "etc/dpkg/dpkg.cfg.d/99synos", "var/cache/synos"):
        assert not (context.root / left).exists()


def test_the_base_is_laid_down_from_the_locks_packages(
    context: BuildContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = fake_tools(
        monkeypatch,
        lambda _: files(context.root, "etc/hostname", "etc/hosts", "etc/apt/apt.conf.d/99mmdebstrap"),
    )
    base.make(inputs_for(context, PLAN, "base", folder=tmp_path), context.root)
    (argv,) = ran
    assert argv[0] == "mmdebstrap"
    assert "--include=linux-image-amd64" in argv
    assert argv[-3:] == ["bookworm", str(context.root), "-"]
    for left in ("etc/apt/sources.list", "etc/apt/apt.conf.d/99mmdebstrap", "etc/hostname", "etc/hosts"):
        assert not (context.root / left).exists(), "of the machine that built it"
