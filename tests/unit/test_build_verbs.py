"""The verbs of `inv build.*` that look, and the one that locks: one JSON object each, and --dry changes nothing."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
from invoke.collection import Collection

from synos_tasks.build import iso_build, planning
from synos_tasks.build import tasks as build
from synos_tasks.build.iso_build import BuildResult
from synos_tasks.errors import (
    IsoNotFound,
    LockError,
    OutputNotWritable,
    ProfileError,
    ProfileNotFound,
    SettingsError,
    SynosError,
    WrongUse,
)  # fmt: skip
from synos_tasks.project import load as identify
from tests.unit.fake_docker import FakeDocker
from tests.unit.fakes import FakeContainers, fake_containers
from tests.unit.projects import NAME, lay_lock, lock_for, package, project, tree
from tests.unit.verbs import answer, inv

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.settings import Settings

pytestmark = pytest.mark.usefixtures("keep_signals")

Shown = pytest.CaptureFixture[str]


COMPARED = {
    "sizes": [3, 5], "added": [[f"/{number}", number] for number in range(5)], "removed": [["ISO:boot/a", 4]],
    "changed": [["/etc/motd", 6, 7]], "first": None,
}  # fmt: skip


@pytest.fixture(autouse=True)
def containers(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> FakeContainers:
    """Run the verbs in a small project, with an engine whose project has built something."""

    def answer(_spec: ContainerSpec, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        lock = lock_for(planning.read_profile(settings, NAME), package("libc6"), package("sudo", "2"))
        answers: dict[str, dict[str, Any]] = {
            "inspect": {"event": "entries", "entries": {}},
            "resolve": {"event": "resolved", "lock": dataclasses.asdict(lock)},
            "compare": {"event": "compared", "result": COMPARED},
        }
        return [answers[request["request"]]]

    made = fake_containers(monkeypatch)
    made.answer = answer
    engine = FakeDocker()
    engine.add_volume(settings.project.store_volume)
    monkeypatch.setattr("synos_tasks.engine.client.Docker", lambda: engine)
    monkeypatch.chdir(settings.project.root)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(build.iso, "post", [])  # of whoever has assembled the namespace in this process
    return made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A project as the verbs find it: named for its folder."""
    return project(tmp_path, identify(tmp_path).id)


@pytest.fixture
def iso(settings: Settings) -> Path:
    """A published ISO, with what belongs to it."""
    path = settings.output_dir / f"synos-{NAME}-0123456789ab.iso"
    path.parent.mkdir()
    path.write_bytes(b"iso")
    stage = {"name": "iso", "key": "k", "hit": False, "began": 0, "seconds": 2.5, "bytes": 3}
    packed = {"name": "sudo", "version": "1", "bytes": 1000, "installed_bytes": 2000}
    manifest = {
        "profile": NAME, "suite": "bookworm", "architecture": "amd64", "release": False,
        "build_id": "0123456789ab", "key": "k", "sha256": "d" * 64, "bytes": {"iso": 3},
        "stages": [stage], "packages": [packed],
    }  # fmt: skip
    path.with_name(f"{path.name}.manifest.json").write_text(json.dumps(manifest))
    path.with_name(f"synos-{NAME}.iso").symlink_to(path.name)
    return path


def run(*words: str) -> int:
    """Run verbs as `inv` does, with x as the profile of invoke.yaml; give the exit code."""
    namespace = Collection(build=build.namespace)
    namespace.configure({"synos": {"build": {"profile": NAME}}})
    return inv(namespace, *words)


def test_plan_shows_each_stage_to_scripts_and_to_people(settings: Settings, capfd: Shown) -> None:
    lay_lock(settings, package("sudo"))
    assert run("build.plan", "--json") == 0
    first = answer(capfd, "build.plan")
    assert (first["profile"], first["lock"], first["seconds"]) == (NAME, "fits", None)
    base = first["stages"][0]
    assert base == {
        "name": "base", "key": base["key"], "hit": False, "where": "make", "why": "no earlier build known", "bytes": None, "seconds": None,
        "download_bytes": 0,
    }  # fmt: skip
    state = settings.project.state_dir
    state.mkdir(exist_ok=True)
    (state / "history.json").write_text(json.dumps({NAME: {"base": 12.34, "system": 0.3}}))
    assert run("build.plan") == 0
    shown = capfd.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == f"plan of {NAME}"
    assert "base        make  no earlier build known        12.3 s" in lines
    assert "iso         make  made each time" in lines
    assert lines[-1].startswith("about 13 s of work in 2 stages; 6 stages were never timed here")


def test_a_build_ends_with_how_to_log_in_boot_and_write_it(
    settings: Settings, iso: Path, capfd: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = settings.project.root / f"docker/build/profiles/{NAME}.yaml"
    users = "users: [{name: kim, autologin: true}, {name: eve, password_hash: '$6$x$y'}, {name: nobody}]\n"
    profile.write_text(profile.read_text() + users)
    result = BuildResult(iso=iso, sha256="d", build_id="b", profile=NAME, seconds=2.5, stages=[])
    monkeypatch.setattr(iso_build, "build_iso", lambda *_: result)
    assert run("build.iso") == 0
    first, *lines = capfd.readouterr().err.splitlines()
    assert first.endswith("in 2.5 s")
    assert lines[0] == "log in: kim (is logged in automatically); eve (password: that of the profile)"
    assert "build.run" in lines[1]
    assert "build.boot" in lines[1]
    assert f"dd if={iso} of=/dev/sdX" in lines[2]
    assert len(lines) == 3


@pytest.mark.parametrize(("laid", "state"), [(False, "missing"), (True, "stale")])
def test_a_plan_whose_lock_does_not_fit_is_made_with_what_the_mirrors_have(
    settings: Settings, capfd: Shown, laid: bool, state: str
) -> None:
    if laid:
        lay_lock(settings, package("sudo"))
        profile = settings.project.root / f"docker/build/profiles/{NAME}.yaml"
        profile.write_text("packages: [live-boot, sudo, tmux]\n")
    assert run("build.plan", "--json") == 0
    shown = capfd.readouterr()
    assert f"the lock is {state}: planned with what the mirrors have" in shown.err
    found = json.loads(shown.out)
    assert (found["lock"], {stage["why"] for stage in found["stages"]} & {"no lock yet"}) == (state, set())
    assert planning.lock_path(settings, NAME).exists() == laid, "no lock is written"


def test_lock_writes_and_tells_what_changed(settings: Settings, capfd: Shown) -> None:
    lay_lock(settings, package("sudo", "1"))
    assert run("build.lock", "--json") == 0
    path = planning.lock_path(settings, NAME)
    shown = capfd.readouterr()
    assert json.loads(shown.out) == {
        "schema": "synos.build.lock/1", "profile": NAME, "lock": str(path), "packages": 2,
        "changes": [
            {"name": "libc6", "old": "", "new": "1", "security": False},
            {"name": "sudo", "old": "1", "new": "2", "security": False},
        ],
    }  # fmt: skip
    assert shown.err.splitlines()[-2:] == [
        f"{path}: 2 packages, 2 changed, 0 for security", "next: ./scripts/synos build.iso --profile x"
    ]  # fmt: skip
    assert "'sudo', version: '2'" in path.read_text()


def test_diff_of_locks(settings: Settings, capfd: Shown) -> None:
    lay_lock(settings, package("sudo", "1"))
    other = settings.project.root / "other.lock.yaml"
    other.write_text(planning.lock_path(settings, NAME).read_text())
    lay_lock(settings, package("sudo", "2", archive="security"))
    assert run("build.diff", str(other), NAME, "--json") == 0
    shown = capfd.readouterr()
    assert json.loads(shown.out) == {
        "schema": "synos.build.diff/1",
        "packages": [{"name": "sudo", "old": "1", "new": "2", "security": True}],
    }
    assert shown.err.splitlines() == ["packages: 1", "  sudo  1 -> 2  (security)"]


def test_diff_of_isos_shows_no_more_than_asked_but_json_has_all(
    iso: Path, containers: FakeContainers, capfd: Shown
) -> None:
    other, manifest = iso.with_name("other.iso"), iso.with_name(f"{iso.name}.manifest.json").read_text()
    other.touch()
    other.with_name("other.iso.manifest.json").write_text(
        manifest.replace('"version": "1"', '"version": "2"')
    )
    assert run("build.diff", iso.name, str(other), "--limit", "2", "--json") == 0
    shown = capfd.readouterr()
    changes = [{"name": "sudo", "old": "1", "new": "2", "security": False}]
    assert json.loads(shown.out) == {"schema": "synos.build.diff/1", "packages": changes, **COMPARED}
    assert shown.err.splitlines() == [
        "packages: 1", "  sudo  1 -> 2",
        "files added: 5", "  /0  0", "  /1  1", "  …", "files removed: 1", "  ISO:boot/a  4",
        "files changed: 1", "  /etc/motd  6 -> 7", "size: 1", "  3 -> 5 bytes (+2)",
    ]  # fmt: skip
    [spec] = containers.specs
    assert (spec.network, spec.volumes, [bind for bind in spec.binds if bind.writable]) == ("none", {}, [])


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"packages": [{}]}', '{"packages": 1}'])
def test_without_manifests_files_are_compared_all_the_same(iso: Path, capfd: Shown, text: str | None) -> None:
    manifest = iso.with_name(f"{iso.name}.manifest.json")
    manifest.unlink() if text is None else manifest.write_text(text)
    assert run("build.diff", iso.name, str(iso), "--json") == 0
    assert answer(capfd, "build.diff") == {"packages": None, **COMPARED}


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (None, "no difference"),
        (["outside", ["at byte 4 of 9 and 9", "- 1"]], "outside, at byte 4 of 9 and 9"),
    ],
)
def test_diff_of_isos_says_where_they_differ_when_no_file_does(
    iso: Path, containers: FakeContainers, capfd: Shown, first: list[Any] | None, said: str
) -> None:
    result = {**COMPARED, "sizes": [3, 3], "added": [], "removed": [], "changed": [], "first": first}
    containers.answer = lambda *_: [{"event": "compared", "result": result}]
    assert run("build.diff", iso.name, str(iso)) == 0
    assert capfd.readouterr().out == f"{said}\n"


def test_report_is_written_beside_the_newest_iso(iso: Path, capfd: Shown) -> None:
    assert run("build.report", "--json") == 0
    target = iso.with_name(f"{iso.name}.report.html")
    assert answer(capfd, "build.report") == {"iso": str(iso), "report": str(target)}
    assert target.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    "words",
    [
        "plan",
        "plan --json",
        "lock",
        "lock --update",
        f"diff {NAME} {NAME}",
        f"new y --from {NAME}",
        "iso",
        "iso --json",
    ],
)
def test_dry_changes_nothing(settings: Settings, containers: FakeContainers, words: str) -> None:
    lay_lock(settings, package("sudo"))
    before = tree(settings.project.root)
    assert run("--dry", *f"build.{words}".split()) == 0
    assert tree(settings.project.root) == before
    assert "resolve" not in containers.done


def test_dry_shows_the_plan_and_what_the_container_may_do(settings: Settings, capfd: Shown) -> None:
    lay_lock(settings, package("sudo"))
    assert run("--dry", "build.iso", "--json", "--offline") == 0
    fields = answer(capfd, "build.iso")
    assert fields["profile"] == NAME
    assert fields["plan"]["stages"][0]["name"] == "base"
    assert fields["container"]["network"] == "none"
    assert run("--dry", "build.iso", "--offline") == 0
    shown = capfd.readouterr()
    assert "packages: live-boot sudo" in shown.out.splitlines()
    assert re.search(r"^rights +CHOWN .*SYS_CHROOT; no new privileges$", shown.out, re.MULTILINE)
    assert re.search(
        r"^writable +.*/dist/\.synos-partial-\*/image.iso at /output/image.iso, .*, volume \S+-store at /cache$",
        shown.out,
        re.MULTILINE,
    )


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("plan --profile nothing", ProfileNotFound),
        ("lock --profile nothing", ProfileNotFound),
        ("plan --profile wrong", ProfileError),
        ("plan --profile damaged", LockError),
        (f"diff {NAME} nothing", IsoNotFound),
        (f"diff {NAME} dist/a.iso", SettingsError),
        ("report", IsoNotFound),
        ("boot --iso none.iso", IsoNotFound),
        ("run --iso none.iso --firmware uefi", IsoNotFound),
        ("run --iso none.iso --vnc --serial", WrongUse),
        ("report --iso dist/a.iso", IsoNotFound),
        ("report --iso good.iso --to tasks/report.html", OutputNotWritable),
    ],
)
def test_an_error_is_an_exit_code_and_one_object(
    settings: Settings, iso: Path, capfd: Shown, words: str, error: type[SynosError]
) -> None:
    lay_lock(settings, package("sudo"))
    profiles = settings.project.root / "docker/build/profiles"
    (profiles / "wrong.yaml").write_text("pakages: []\n")
    (profiles / "damaged.yaml").write_text("suite: bookworm\n")
    (profiles / "damaged.lock.yaml").write_text("packages: 1\n")
    (settings.project.root / "good.iso.manifest.json").write_text(
        iso.with_name(f"{iso.name}.manifest.json").read_text()
    )
    (settings.project.root / "tasks").touch()
    (iso.parent / "a.iso").touch()
    os.utime(iso, (1, 1))  # the newest is then the one without a manifest
    before = tree(settings.project.root)
    assert run(*f"build.{words}".split(), "--json") == error.exit_code
    assert json.loads(capfd.readouterr().out)["error"]["kind"] == error.__name__
    assert tree(settings.project.root) == before
