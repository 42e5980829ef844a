"""A lock fits or not; it is written only when it changes, and its date moves only when asked."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any
from unittest import mock

import pytest

from synos_tasks.build import planning
from synos_tasks.build.planning import Context, read_profile
from synos_tasks.engine.spec import ContainerSpec
from synos_tasks.errors import BadSignature, LockDrift, OutputNotWritable
from synos_tasks.iso import codec
from synos_tasks.iso import lock as locks
from synos_tasks.iso.lock import Change, Lock, Package
from synos_tasks.iso.profile import Profile
from synos_tasks.settings import Settings
from tests.unit.fake_docker import FakeDocker
from tests.unit.fakes import fake_containers
from tests.unit.projects import DATE, NAME, PROFILE, lay_lock, lock_for, package

LATER = DATE + 3600
SUDO = package("sudo", "1")
NEWER_SUDO = package("sudo", "2", archive="security")


class Resolver:
    """Resolves to what the mirrors have in the test, and keeps what it was asked."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = settings
        self.packages: tuple[Package, ...] = (SUDO,)
        self.releases: dict[str, str] = {}
        self.heard: list[str] = []
        self.containers = fake_containers(monkeypatch)
        self.containers.answer = self._resolve

    def _resolve(self, _spec: ContainerSpec, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        found = lock_for(codec.from_data(Profile, request["profile"]), *self.packages, epoch=LATER)
        found = dataclasses.replace(found, releases=self.releases)
        resolved = {"event": "resolved", "lock": codec.to_data(found)}
        return [{"event": "warning", "text": "a slow mirror"}, resolved]

    def renew(self, *, update: bool) -> tuple[Lock, list[Change]]:
        profile = read_profile(self.settings, NAME)
        return planning.renew_lock(
            Context(self.settings, FakeDocker(), self.heard.append), profile, update=update
        )


@pytest.fixture
def resolver(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Resolver:
    return Resolver(settings, monkeypatch)


def _on_disk(settings: Settings) -> Lock:
    found = locks.load(planning.lock_path(settings, NAME))
    assert found is not None
    return found


@pytest.mark.parametrize("there", [True, False])
def test_drift_is_refused_with_the_command_that_mends_it(settings: Settings, there: bool) -> None:
    if there:
        lay_lock(settings, SUDO)
        (settings.project.root / f"docker/build/profiles/{NAME}.yaml").write_text("packages: [tmux]\n")
    with pytest.raises(LockDrift) as caught:
        planning.required_lock(settings, read_profile(settings, NAME), "--locked")
    assert caught.value.where == f"docker/build/profiles/{NAME}.lock.yaml"
    assert caught.value.why.startswith("the profile asks for other packages" if there else "there is none")
    assert caught.value.hint == f"`inv build.lock --profile {NAME}` writes it; --locked never does"


def test_the_lock_belongs_to_who_asked_and_nothing_lies_beside_it(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "chown", lambda _path, user, group: given.append((user, group)))
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setenv("SUDO_GID", "5678")
    resolver.renew(update=False)
    path = planning.lock_path(resolver.settings, NAME)
    assert given == [(1234, 5678)]
    assert sorted(p.name for p in path.parent.iterdir()) == [f"{NAME}.lock.yaml", f"{NAME}.yaml"]


@pytest.mark.parametrize(
    ("update", "found_version", "epoch"),
    [(False, SUDO, DATE), (False, NEWER_SUDO, DATE), (True, SUDO, DATE), (True, NEWER_SUDO, LATER)],
    ids=["nothing new", "a version that vanished", "an update without news", "an update"],
)
def test_it_is_written_when_something_changed_and_dated_by_an_update(
    resolver: Resolver, update: bool, found_version: Package, epoch: int
) -> None:
    lay_lock(resolver.settings, SUDO)
    path = planning.lock_path(resolver.settings, NAME)
    written = path.stat()
    resolver.packages = packages = (found_version,)
    found, changed = resolver.renew(update=update)
    assert (path.stat().st_ino == written.st_ino) == (found_version == SUDO)
    assert found == _on_disk(resolver.settings)
    assert found.epoch == epoch
    assert found.packages == packages
    news = [Change(name="sudo", old="1", new="2", security=True)]
    assert changed == ([] if found_version == SUDO else news)


def test_a_lock_of_another_suite_says_nothing_of_packages_and_dates(resolver: Resolver) -> None:
    other = dataclasses.replace(lay_lock(resolver.settings, SUDO), releases={"trixie": NEWER})
    planning.lock_path(resolver.settings, NAME).write_text(locks.dump(other, NAME))
    assert resolver.renew(update=False)[0].epoch == LATER
    assert resolver.containers.requests[0]["previous"] is None


def test_a_lock_for_another_request_is_written_again_with_its_date(resolver: Resolver) -> None:
    before = lay_lock(resolver.settings, SUDO)
    profile = resolver.settings.project.root / f"docker/build/profiles/{NAME}.yaml"
    assert planning.fitting_lock(resolver.settings, read_profile(resolver.settings, NAME)) == before
    profile.write_text(f"{PROFILE}bootstrapper: debootstrap\n")
    assert planning.fitting_lock(resolver.settings, read_profile(resolver.settings, NAME)) is None
    found, changed = resolver.renew(update=False)
    assert found == _on_disk(resolver.settings)
    assert found == dataclasses.replace(
        before, request=locks.request_of(read_profile(resolver.settings, NAME))
    )
    assert changed == []


OLDER, NEWER = "2025-06-07T09:00:00Z", "2025-10-01T00:00:00Z"


@pytest.mark.parametrize("update", [True, False])
@pytest.mark.parametrize("inherited", [True, False])
def test_files_of_a_mirror_older_than_those_of_the_lock_are_refused(
    resolver: Resolver, update: bool, inherited: bool
) -> None:
    folder = resolver.settings.project.root / "docker/build/profiles"
    (folder / "parent.yaml").write_text(PROFILE)
    (folder / f"{NAME}.yaml").write_text("inherits: parent\npackages: [tmux]\n")
    name = "parent" if inherited else NAME
    noted = dataclasses.replace(lay_lock(resolver.settings, SUDO, name=name), releases={"bookworm": NEWER})
    path = planning.lock_path(resolver.settings, name)
    path.write_text(locks.dump(noted, name))
    resolver.packages, resolver.releases = (NEWER_SUDO,), {"bookworm": OLDER}
    with pytest.raises(BadSignature) as caught:
        resolver.renew(update=update)
    assert (OLDER in caught.value.why, NEWER in caught.value.why) == (True, True)
    assert locks.load(path) == noted
    resolver.releases = {"bookworm": NEWER}
    found, _ = resolver.renew(update=update)
    assert found.releases == {"bookworm": NEWER}


def test_newer_dates_alone_write_no_lock_but_none_at_all_does(resolver: Resolver) -> None:
    lay_lock(resolver.settings, SUDO)
    for date in (OLDER, NEWER):
        resolver.releases = {"bookworm": date}
        found, changed = resolver.renew(update=True)
        assert (found, changed) == (_on_disk(resolver.settings), [])
        assert found.releases == {"bookworm": OLDER}
    resolver.packages = (NEWER_SUDO,)
    assert resolver.renew(update=True)[0].releases == {"bookworm": NEWER}


@pytest.mark.parametrize("text", ["", "packages: [\n", "schema: synos.lock/1\n", "\x00"])
def test_a_damaged_lock_is_told_and_written_anew(resolver: Resolver, text: str) -> None:
    path = planning.lock_path(resolver.settings, NAME)
    path.write_text(text)
    found, changed = resolver.renew(update=False)
    assert found == _on_disk(resolver.settings)
    assert found.epoch == LATER
    assert len(changed) == 1
    own, _, others, *_ = resolver.heard
    assert own.startswith(f"warning: {path}")
    assert own.endswith("; it is written again")
    assert others == "warning: a slow mirror"
    assert resolver.containers.requests[0]["previous"] is None


@pytest.mark.parametrize(("suite", "shared"), [("bookworm", True), ("trixie", False)])
def test_a_new_profile_starts_from_the_lock_of_its_ancestor(
    resolver: Resolver, suite: str, shared: bool
) -> None:
    folder = resolver.settings.project.root / "docker/build/profiles"
    (folder / "parent.yaml").write_text(PROFILE)
    (folder / f"{NAME}.yaml").write_text(f"inherits: parent\nsuite: {suite}\npackages: [tmux]\n")
    parent = lay_lock(resolver.settings, SUDO, name="parent")
    found, changed = resolver.renew(update=False)
    asked = resolver.containers.requests[0]["previous"]
    assert (asked is not None) == shared
    assert (found.epoch == parent.epoch) == shared
    assert [change.name for change in changed] == ["sudo"], "all of it is new to this lock"
    assert _on_disk(resolver.settings) == found


def test_the_damaged_lock_of_an_ancestor_is_told(resolver: Resolver) -> None:
    folder = resolver.settings.project.root / "docker/build/profiles"
    (folder / "parent.yaml").write_text(PROFILE)
    (folder / f"{NAME}.yaml").write_text("inherits: parent\nsuite: bookworm\npackages: [tmux]\n")
    path = planning.lock_path(resolver.settings, "parent")
    path.write_text("packages: [\n")
    resolver.renew(update=False)
    assert resolver.containers.requests[0]["previous"] is None
    [line] = [line for line in resolver.heard if line.startswith(f"warning: {path}")]
    assert line.endswith("; no layers are shared with parent")


def test_a_folder_that_cannot_be_written(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    before = lay_lock(resolver.settings, SUDO)
    resolver.packages = (NEWER_SUDO,)
    refused = mock.Mock(side_effect=PermissionError(13, "Permission denied"))
    monkeypatch.setattr("tempfile.mkstemp", refused)  # root may write anywhere
    with pytest.raises(OutputNotWritable) as caught:
        resolver.renew(update=True)
    assert caught.value.where == str(planning.lock_path(resolver.settings, NAME))
    assert caught.value.why == "Permission denied"
    assert _on_disk(resolver.settings) == before
