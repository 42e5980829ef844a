"""What changed from one ISO or lock to another: what can be compared, and how it is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.build.compare import Difference, diff, sections
from synos_tasks.build.containers import read_only_binds
from synos_tasks.build.planning import Context, lock_path
from synos_tasks.engine.spec import Bind
from synos_tasks.errors import IsoNotFound, SettingsError
from synos_tasks.iso.lock import Change
from tests.unit.fake_docker import FakeDocker
from tests.unit.fakes import FakeContainers, fake_containers
from tests.unit.projects import NAME, lay_lock, package, project

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.settings import Settings

SAME: dict[str, Any] = {"sizes": [3, 3], "added": [], "removed": [], "changed": [], "first": None}
CHANGES = [
    Change(name="gone", old="1", new="", security=False),
    Change(name="new", old="", new="3", security=False),
    Change(name="sudo", old="1", new="2", security=True),
]


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch) -> FakeContainers:
    """Stand for the container, which finds no difference."""
    made = fake_containers(monkeypatch)
    made.answer = lambda *_: [{"event": "compared", "result": SAME}]
    return made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A project with two profiles of the same packages: x, locked, and y."""
    made = project(tmp_path)
    profile = made.project.root / f"docker/build/profiles/{NAME}.yaml"
    profile.with_name("y.yaml").write_text(profile.read_text())
    lay_lock(made, package("gone"), package("sudo"))
    return made


def _iso(path: Path, **versions: str) -> Path:
    """Write an ISO with its manifest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"iso")
    packages = [{"name": name, "version": version} for name, version in versions.items()]
    path.with_name(f"{path.name}.manifest.json").write_text(json.dumps({"packages": packages}))
    return path


def _diff(settings: Settings, one: object, two: object) -> Difference:
    return diff(Context(settings, FakeDocker(), print), str(one), str(two))


def test_two_locks_differ_in_packages(settings: Settings, container: FakeContainers) -> None:
    path = lock_path(settings, NAME)
    for one, two in [(NAME, NAME), (path, NAME)]:
        assert _diff(settings, one, two) == Difference(packages=[], files=None)
    lay_lock(settings, package("new", "3"), package("sudo", "2", archive="security"), name="y")
    found = _diff(settings, NAME, "y")
    assert found == Difference(packages=CHANGES, files=None)
    assert sections(found)
    assert container.asked == []


def test_two_isos_differ_in_packages_and_files(settings: Settings, container: FakeContainers) -> None:
    one = _iso(settings.project.root / "a/one.iso", gone="1", sudo="1")
    two = _iso(settings.project.root / "b/two.iso", new="3", sudo="2")
    files = {**SAME, "changed": [["/etc/motd", 1, 2]]}
    container.answer = lambda *_: [{"event": "compared", "result": files}]
    found = _diff(settings, one, two)
    # a manifest does not tell where a version came from
    assert [(c.name, c.old, c.new) for c in found.packages] == [(c.name, c.old, c.new) for c in CHANGES]
    assert not any(change.security for change in found.packages)
    assert found.files == files
    assert sections(found)
    [(spec, request)] = container.asked
    assert (request["request"], request["one"], request["two"]) == ("compare", "/one/one.iso", "/two/two.iso")
    assert (spec.network, spec.volumes) == ("none", {}), "it can reach and change nothing"
    isos = (Bind(source=one.parent, target="/one"), Bind(source=two.parent, target="/two"))
    assert spec.binds == (*read_only_binds(settings), *isos)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"packages": [{}]}', '{"packages": 1}'])
def test_without_manifests_files_are_compared_all_the_same(
    settings: Settings, container: FakeContainers, text: str | None
) -> None:
    for name in ("one.iso", "two.iso"):
        manifest = _iso(settings.output_dir / name).with_name(f"{name}.manifest.json")
        manifest.unlink() if text is None else manifest.write_text(text)
    found = _diff(settings, "one.iso", "two.iso")
    assert found == Difference(packages=[], files=SAME)
    assert not sections(found)


def test_an_iso_and_a_lock_cannot_be_compared(settings: Settings, container: FakeContainers) -> None:
    pair = [_iso(settings.project.root / "one.iso"), NAME]
    for one, two in (pair, pair[::-1]):
        with pytest.raises(SettingsError) as caught:
            _diff(settings, one, two)
        assert caught.value.hint == "give two of a kind"
    assert container.asked == []


@pytest.mark.parametrize("name", ["nothing", "y", "nothing.iso", "/nowhere/a.iso", "docker"])
def test_what_is_not_there_is_named(
    settings: Settings, container: FakeContainers, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(settings.project.root)  # where docker is a folder
    for one, two in ((NAME, name), (name, NAME)):
        with pytest.raises(IsoNotFound) as caught:
            _diff(settings, one, two)
        assert caught.value.what == f"there is no {name}"
        assert "a profile that has a lock" in caught.value.hint
    assert container.asked == []


def test_what_changed_is_told_by_kind() -> None:
    files = {
        "sizes": [2048, 4096],
        "added": [["/etc/new", 3]],
        "removed": [["/etc/old", 4], ["ISO:boot/a", 5]],
        "changed": [["/etc/motd", 6, 7]],
        "first": ["/etc/motd", ["-a", "+b"]],
    }
    assert sections(Difference(packages=CHANGES, files=files)) == [
        ("packages", ["  - gone  1", "  + new  3", "  sudo  1 -> 2  (security)"]),
        ("files added", ["  /etc/new  3"]),
        ("files removed", ["  /etc/old  4", "  ISO:boot/a  5"]),
        ("files changed", ["  /etc/motd  6 -> 7"]),
        ("size", ["  2048 -> 4096 bytes (+2048)"]),
    ]
