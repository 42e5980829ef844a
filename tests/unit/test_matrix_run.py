"""A matrix on this machine: what several ISOs have in common is made once, and an ISO that fails stops no other."""

from __future__ import annotations

import dataclasses
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from synos_tasks.build import planning
from synos_tasks.build import tasks as build
from synos_tasks.build.iso_build import BuildResult, Options, build_iso
from synos_tasks.build.matrix import run
from synos_tasks.build.matrix.engine import Local, Report
from synos_tasks.build.matrix.view import LiveView
from synos_tasks.build.matrix.wanted import Asked, Wanted, asked_by, set_of
from synos_tasks.engine.spec import ContainerSpec
from synos_tasks.errors import (
    MirrorUnreachable,
    PackageVanished,
    ProfileError,
    ProfileNotFound,
    SettingsError,
    StageFailed,
    SynosError,
)  # fmt: skip
from synos_tasks.iso import codec, protocol, publish
from synos_tasks.iso import plan as plans
from synos_tasks.iso.store import sha256
from synos_tasks.project import load as identify
from synos_tasks.settings import Settings
from tests.unit.fakes import FakeToolchain, done
from tests.unit.projects import NAME, lay_component, lay_lock, lock_for, package, project, tree
from tests.unit.verbs import answer, inv

Shown = pytest.CaptureFixture[str]
Request = Mapping[str, Any]
FOUR = Wanted(profiles=(NAME, "y"), variants=("layers", "release"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Two profiles, of which the second inherits the first and has a component."""
    made = project(tmp_path, identify(tmp_path).id)
    lay_component(made.project.build_data)
    (made.project.build_data / "profiles/y.yaml").write_text(
        f"inherits: {NAME}\npackages: [tmux]\ncomponents: [tool]\n"
    )
    for name in (NAME, "y"):
        lay_lock(made, package("sudo"), name=name)
    return made


class Machine(FakeToolchain):
    """Containers that make what the store lacks, with bytes that follow from the plan."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(settings, monkeypatch)
        self.made: Counter[str] = Counter()
        self.fails: dict[str, SynosError] = {}
        """What a stage ends with, by its name."""
        self.lock = threading.Lock()
        self.docker.add_volume(settings.project.store_volume)

    def _layers(self, spec: ContainerSpec, request: Request) -> Iterator[dict[str, Any]]:
        plan = codec.from_data(plans.Plan, request["plan"])
        store = self.store_of(spec)
        while request["awaits"] and not {stage.key for stage in plan.components} <= store:
            yield {"event": "tick"}
        for stage in plan.stages:
            if stage.name in self.fails:
                raise self.fails[stage.name]
            with self.lock:
                hit = stage.key in store
                if stage.kind not in {"bootfiles", "iso"} and not hit:
                    store.add(stage.key)
                    self.made[stage.name] += 1
            yield {"event": "start", "stage": stage.name}
            yield done(stage.name, stage.key, hit=hit, seconds=1.0)
        yield {"event": "layers-stored"}

    def _build(self, spec: ContainerSpec, request: Request) -> Iterator[dict[str, Any]]:
        stages = [event for event in self._layers(spec, request) if event["event"] == "done"]
        yield from stages
        plan = codec.from_data(plans.Plan, request["plan"])
        files = {bind.source.name: bind.source for bind in spec.binds if bind.writable}
        files[publish.ISO].write_text(plan.key)
        files[publish.LOG].write_text("log")
        listed = [{key: value for key, value in stage.items() if key != "event"} for stage in stages]
        manifest = {"build_id": plan.build_id, "key": plan.key, "stages": listed}
        files[publish.MANIFEST].write_text(json.dumps(manifest))
        yield {"event": "delivered", "build_id": plan.build_id}

    def _inspect(self, spec: ContainerSpec, request: Request) -> Iterator[dict[str, Any]]:
        entries = {key: {"bytes": 1} for key in request["keys"] if key in self.store_of(spec)}
        yield {"event": "entries", "entries": entries}

    def _resolve(self, _spec: ContainerSpec, request: Request) -> Iterator[dict[str, Any]]:
        name = request["profile"]["name"].partition("-")[0]
        profile = planning.read_profile(self.settings, name)
        if request["profile"]["suite"] != profile.suite:
            profile = planning.read_profile(self.settings, f"{name}@{request['profile']['suite']}")
        yield {"event": "resolved", "lock": dataclasses.asdict(lock_for(profile, package("sudo", "2")))}

    def run(self, wanted: Wanted = FOUR, jobs: int = 2, **options: bool) -> dict[str, Any]:
        """Run a matrix; return how each ISO ended."""
        asked = Options(profile="", output=self.settings.output_dir, **options)
        matrix = run.planned(self.context, asked_by(self.settings, wanted), asked)
        self.reports: list[Report] = []
        return run.build(matrix, Local(self.context, asked, jobs))


@pytest.fixture
def machine(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("NO_COLOR", "1")
    return Machine(settings, monkeypatch)


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_what_is_common_is_made_once_and_each_iso_is_that_of_build_iso(machine: Machine, jobs: int) -> None:
    results = machine.run(jobs=jobs)
    assert list(results) == ["x layers", "x release", "y layers", "y release"]
    assert machine.made["base"] == machine.made["initramfs"] == machine.made["packages-x"] == 1
    assert (machine.made["packages-y"], machine.made["identity"], machine.made["squashfs"]) == (1, 4, 2)
    assert machine.all.done.count("compile") == 1
    for name, result in results.items():
        assert result.sha256 == sha256(result.iso)
        result.iso.unlink()
        profile, _, variant = name.partition(" ")
        options = Options(profile=profile, output=machine.settings.output_dir, release=variant == "release")
        alone = build_iso(machine.context, options, planning.read_profile(machine.settings, profile))
        assert (alone.iso, alone.sha256) == (result.iso, result.sha256)


def test_what_is_there_is_not_made_again(machine: Machine) -> None:
    before = machine.run()
    machine.all.asked.clear()
    after = machine.run()
    assert machine.all.done == []
    assert {name: one.sha256 for name, one in after.items()} == {
        name: one.sha256 for name, one in before.items()
    }
    before["y release"].iso.unlink()
    machine.run()
    assert machine.all.done == ["build"], "the segments below are in the store"
    for one in after.values():
        one.iso.unlink()
    machine.all.asked.clear()
    machine.run()
    assert machine.all.done == ["inspect", *["build"] * 4]


@pytest.mark.parametrize(
    ("stage", "failed"),
    [("squashfs", ["x release", "y release"]), ("packages-y", ["y layers", "y release"]),
     ("base", ["x layers", "x release", "y layers", "y release"])],
)  # fmt: skip
def test_an_iso_that_fails_stops_no_other(machine: Machine, stage: str, failed: list[str]) -> None:
    machine.fails[stage] = StageFailed("it failed", where=stage)
    results = machine.run()
    assert [name for name, one in results.items() if isinstance(one, SynosError)] == failed
    for one in results.values():
        assert isinstance(one, SynosError) or one.iso.exists()
    error = run.failure(results)
    assert error is not None
    assert error.exit_code == StageFailed.exit_code
    assert error.what == f"{len(failed)} of 4 ISOs failed: {', '.join(failed)}"
    assert all(any(name in other.what for other in error.others) for name in failed)
    machine.fails.clear()
    assert run.failure(machine.run()) is None


def test_a_package_that_vanished_is_replaced_for_all_that_need_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew, renewed = planning.renew_lock, list[str]()

    def noted(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401
        machine.fails.clear()
        renewed.append(arguments[1].name)
        return renew(*arguments, **more)

    monkeypatch.setattr(planning, "renew_lock", noted)
    machine.fails["base"] = PackageVanished("sudo 1 is gone")
    assert run.failure(machine.run(jobs=1)) is None
    assert renewed == ["x"]


def test_an_interrupt_ends_all_work(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = threading.Event()

    def forever(*_: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401
        endless.set()
        while True:
            yield {"event": "tick"}

    def interrupted(*_: Any, **__: Any) -> Any:  # noqa: ANN401
        endless.wait(5)
        raise KeyboardInterrupt

    monkeypatch.setattr(machine, "_layers", forever)
    monkeypatch.setattr("synos_tasks.build.matrix.engine.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        machine.run()
    assert list(machine.settings.output_dir.glob("*.iso")) == []


def test_without_a_lock_one_is_written_for_each_profile_and_suite(machine: Machine) -> None:
    wanted = Wanted(profiles=(NAME, "y"), suites=("trixie",))
    with pytest.raises(SynosError):
        machine.run(wanted, locked=True)
    results = machine.run(wanted)
    assert list(results) == ["x-trixie layers", "y-trixie layers"]
    locks = sorted(
        path.name for path in (machine.settings.project.build_data / "profiles").glob("*-*.lock.yaml")
    )
    assert locks == ["x-trixie.lock.yaml", "y-trixie.lock.yaml"]
    first, second = (one for one in machine.all.requests if one["request"] == "resolve")
    assert first["previous"] is None
    assert second["previous"]["packages"], "it starts from the lock of its ancestor in this suite"
    assert results["x-trixie layers"].iso.name.startswith("synos-x-trixie-")


# ---- what is asked for


def asked(settings: Settings, **lists: Any) -> list[Asked]:  # noqa: ANN401
    return asked_by(settings, Wanted(**lists))


def test_a_product_is_of_profiles_suites_and_variants(settings: Settings) -> None:
    found = asked(
        settings, profiles=("x", "y"), suites=("bookworm", "trixie"), variants=("layers", "release")
    )
    assert [one.name for one in found] == [
        f"{profile} {variant}"
        for profile in ("x", "x-trixie", "y", "y-trixie")
        for variant in ("layers", "release")
    ]
    assert [one.text for one in found][::2] == ["x@bookworm", "x@trixie", "y@bookworm", "y@trixie"]


@pytest.mark.parametrize(
    ("lists", "error", "words"),
    [
        ({"profiles": ("x", "x@bookworm")}, SettingsError, "x layers is asked for twice"),
        ({"profiles": ("x", "x")}, SettingsError, "x layers is asked for twice"),
        ({"profiles": ("xx",)}, ProfileNotFound, "there is no profile 'xx'"),
        ({"profiles": ("x@bookwrm",)}, ProfileError, "suite is 'bookwrm'"),
        ({"profiles": ("x@trixie",), "suites": ("trixie",)}, SettingsError, "already names a suite"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for(
    settings: Settings, lists: dict[str, tuple[str, ...]], error: type[SynosError], words: str
) -> None:
    with pytest.raises(error) as caught:
        asked(settings, **lists)
    assert words in caught.value.what
    assert caught.value.hint


SETS = "both:\n  profiles: [x, y@trixie]\n  variants: [layers, release]\n"


@pytest.mark.parametrize(
    ("text", "place", "words", "hint"),
    [
        ("", "1:1", "the file is empty", "both: "),
        ("both: [x]\n", "1:7", "both is a list, not a mapping", "key: value"),
        ("both:\n  profile: [x]\n", "2:3", "unknown key 'profile'", "did you mean 'profiles'?"),
        ("both:\n  suites: [sid]\n", "2:3", "both has no 'profiles'", "add"),
        ("both:\n  profiles: [X]\n", "2:14", "both.profiles[0] is 'X'", "profile"),
        ("both:\n  profiles: []\n", "2:13", "both.profiles is empty", ""),
        ("both:\n  profiles: [x]\n  suites: [bookwrm]\n", "3:12", "'bookwrm', not", "did you mean 'bookworm'?"),
        ("both:\n  profiles: [x]\n  variants: [relase]\n", "3:14", "'relase', not", "did you mean 'release'?"),
        ("both:\n  profiles: [x\n", "3:1", "not valid YAML", ""),
        ("both:\n  profiles: [z]\n", "2:14", "there is no profile 'z'", ""),
        ("bth:\n  profiles: [x]\n", "", "there is no set 'both'", "did you mean 'bth'?"),
        (None, "", "there is no set 'both': docker/build has no matrix.yaml", "write one"),
    ],
)  # fmt: skip
def test_a_mistake_in_matrix_yaml_has_a_place(
    settings: Settings, text: str | None, place: str, words: str, hint: str
) -> None:
    path = settings.project.build_data / "matrix.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SynosError) as caught:
        asked_by(settings, set_of(settings, "both"))
    assert caught.value.where == (f"{path}:{place}" if place else str(path))
    assert words in caught.value.what
    assert hint in caught.value.hint


# ---- the verb


@pytest.fixture
def verbs(machine: Machine, monkeypatch: pytest.MonkeyPatch, keep_signals: None) -> Machine:
    monkeypatch.setattr("synos_tasks.engine.client.Docker", lambda: machine.docker)
    monkeypatch.chdir(machine.settings.project.root)
    monkeypatch.setattr(build.namespace["matrix"], "post", [])
    return machine


def test_the_verb_answers_with_the_fields_of_build_iso(verbs: Machine, capsys: Shown) -> None:
    (verbs.settings.project.build_data / "matrix.yaml").write_text(SETS)
    assert inv(build.namespace, "matrix", "--set", "both", "--json") == 0
    found = answer(capsys, "build.matrix")
    assert [one["name"] for one in found["isos"]] == [
        "x layers", "x release", "y-trixie layers", "y-trixie release",
    ]  # fmt: skip
    for one in found["isos"]:
        assert {field.name for field in dataclasses.fields(BuildResult)} <= one.keys()
        assert Path(one["iso"]).read_text()
    assert found["jobs"] >= 1
    assert [one["after"] for one in found["segments"]] == [None, 0, 0, None, 3, 3]


def test_a_dry_run_shows_the_tree_and_changes_nothing(verbs: Machine, capsys: Shown) -> None:
    before = tree(verbs.settings.project.root)
    assert inv(build.namespace, "--dry", "matrix", "--profiles", "x,y", "--variants", "layers,release") == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("for 4 ISOs: initramfs, base, packages-x")
    assert any(line.startswith("    y release: ") for line in shown)
    assert tree(verbs.settings.project.root) == before
    assert verbs.all.asked == []


def test_the_verb_names_all_that_failed_and_ends_with_the_code_of_the_first(
    verbs: Machine, capsys: Shown
) -> None:
    verbs.fails["squashfs"] = MirrorUnreachable("no answer")
    assert inv(build.namespace, "matrix", "--profiles", "x,y", "--variants", "layers,release", "--json") == 31
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert [one["name"] for one in found["isos"] if "error" in one] == ["x release", "y release"]
    assert found["error"]["others"]
    assert "x release, y release: no answer" in shown.err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ((), "--profiles minimal"),
        (("--profiles", ","), "--profiles minimal"),
        (("--profiles", "x", "--suites", ","), "--profiles minimal"),
        (("--profiles", "x", "--set", "both"), "leave one of them out"),
        (("--profiles", "x", "--suites", "bookworm,trixi"), "did you mean 'trixie'?"),
        (("--profiles", "x", "--variants", "realease"), "did you mean 'release'?"),
    ],
)
def test_wrong_use_says_what_was_meant(
    verbs: Machine, capsys: Shown, words: tuple[str, ...], hint: str
) -> None:
    assert inv(build.namespace, "matrix", *words) == 2
    assert hint in capsys.readouterr().err


def test_the_table_fits_a_terminal_of_80_columns(machine: Machine) -> None:
    asked = asked_by(machine.settings, dataclasses.replace(FOUR, suites=("bookworm", "trixie")))
    matrix = run.planned(machine.context, asked, Options(profile="", output=machine.settings.output_dir))
    view = LiveView(matrix.isos)
    segment = matrix.tree[0]
    view.handle(Report(segment=segment, event=protocol.Start(stage="base")))
    view.handle(
        Report(
            segment=segment, event=protocol.Done(name="base", key="k", hit=True, seconds=1, bytes=2 * 10**8)
        )
    )
    view.handle(Report(segment=segment, node="worker-1", event=protocol.Start(stage="initramfs")))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(view.table())
    lines = console.export_text().splitlines()
    assert all(len(line.rstrip()) <= 80 for line in lines)
    assert sum("initramfs (worker-1)" in line for line in lines) == len(segment.isos)
    assert [line for line in lines if "…" in line] == []
