"""`inv maint.gc-policy` and `inv maint.update-base` as a person types them, without an engine."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from invoke.collection import Collection
from invoke.program import Program

from synos_tasks import cli, console
from synos_tasks.engine import daemon
from synos_tasks.engine.daemon import Daemon
from synos_tasks.images.base import BOOKWORM, TRIXIE
from synos_tasks.images.catalog import every
from synos_tasks.images.recipe import tag_of
from synos_tasks.maint import engine_tasks, gc_rules
from synos_tasks.settings import Settings, project_id
from tests.unit.fake_compose import lay_services
from tests.unit.fakes import FakeEngine
from tests.unit.projects import project

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("keep_signals")

Shown = pytest.CaptureFixture[str]
DEFAULTS = "GC Policy rule#0:\n All: false\n Keep Bytes: 20GiB\n"


class Machine:
    """An engine with its configuration, and what is asked of a person."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = root / "etc/docker/daemon.json"
        self.told = ""
        self.refused = ""
        self.asked: list[str] = []
        self.answer = True
        self._monkeypatch = monkeypatch
        self.daemon = Daemon(version="26.1.5", socket="/run/docker.sock", root_dir=root, config=self.file)
        monkeypatch.setattr(daemon, "look", lambda: self.daemon)
        monkeypatch.setattr(daemon, "inspect_builder", lambda: self.told)
        monkeypatch.setattr(daemon, "refusal", lambda _text: self.refused)
        monkeypatch.setattr(gc_rules, "limit_gib", lambda _bytes: 25)

    def lay(self, text: str) -> None:
        self.file.parent.mkdir(parents=True)
        self.file.write_text(text)

    def person(self, *, agrees: bool) -> None:
        """Have somebody sit at the terminal."""
        self._monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
        self._monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

        def agreed(question: str) -> bool:
            self.asked.append(question)
            return agrees

        self._monkeypatch.setattr(console, "agreed", agreed)

    def in_force(self) -> None:
        """Start the engine anew."""
        self.told = ""
        for number, rule in enumerate(gc_rules.proposal(25)):
            age = f" Keep Duration: {rule.unused_minutes // 60}h0m0s\n" if rule.unused_minutes else ""
            self.told += f"GC Policy rule#{number}:\n All: {str(rule.everything).lower()}\n"
            self.told += f" Filters: {' '.join(rule.filters)}\n{age} Keep Bytes: {rule.keep}\n"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    made = project(tmp_path)
    lay_services(made)
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    return Settings(root=tmp_path, project_id=project_id(tmp_path))


@pytest.fixture
def machine(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(settings.root, monkeypatch)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    made = FakeEngine(images={BOOKWORM.tag: "sha256:old-bookworm", TRIXIE.tag: "sha256:old-trixie"})
    made.printed[("dpkg-query", "--show")] = "bash\t5.2\n"
    monkeypatch.setattr("synos_tasks.engine.gateway.DockerEngine", lambda: made)
    monkeypatch.setattr("synos_tasks.images.base.bootstrap", lambda *_: None)
    return made


def run(*words: str) -> int:
    namespace = Collection()
    namespace.add_collection(Collection("maint", *engine_tasks.VERBS), "maint")
    try:
        Program(namespace=namespace, name="inv").run(["inv", *words], exit=False)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def answer(shown: Shown) -> tuple[dict[str, Any], str]:
    """Give the one JSON object on standard output, and what people see."""
    told = shown.readouterr()
    return json.loads(told.out), told.err


def test_where_nothing_is_dropped_it_says_so_and_proposes(machine: Machine, capfd: Shown) -> None:
    assert run("maint.gc-policy", "--json") == 0
    told, err = answer(capfd)
    assert told["schema"] == "synos.maint.gc-policy/1"
    assert (told["in_force"], told["written"], told["changed"]) == ([], None, False)
    assert told["proposed"]["policy"][0]["filter"] == ["type=exec.cachemount", "unused-for=672h"]
    assert "garbage collection is off" in err
    assert "drops cache mounts unused for 28 days" in err
    assert "`inv maint.gc-policy --write` writes the proposal" in err
    assert not machine.file.exists()


TURNS_ON = "garbage collection on, for every project's build cache on this machine"


def test_that_writing_turns_the_dropping_on_for_everybody_is_said_and_asked(
    machine: Machine, capfd: Shown
) -> None:
    machine.person(agrees=False)
    assert run("maint.gc-policy") == 0
    assert f"writing the proposal turns {TURNS_ON}" in capfd.readouterr().err.splitlines()
    assert run("maint.gc-policy", "--write") == 12
    assert machine.asked == [f"This turns {TURNS_ON}. Write it into {machine.file}?"]


def test_where_it_is_on_already_nothing_of_that_is_said(machine: Machine, capfd: Shown) -> None:
    machine.told = DEFAULTS
    machine.person(agrees=False)
    assert run("maint.gc-policy", "--write") == 12
    assert TURNS_ON not in capfd.readouterr().err
    assert machine.asked == [f"Write this into {machine.file}?"]


def test_where_it_is_written_already_it_turns_nothing_on_by_writing(machine: Machine, capfd: Shown) -> None:
    assert run("maint.gc-policy", "--write", "--yes") == 0
    capfd.readouterr()
    assert run("maint.gc-policy") == 0
    assert TURNS_ON not in capfd.readouterr().err


def test_rules_that_drop_our_mounts_are_named(settings: Settings, machine: Machine, capfd: Shown) -> None:
    (settings.root / "docker/build/Dockerfile").write_text(
        "FROM base\nRUN --mount=type=cache,id=synos-ccache,target=/c --mount=type=cache,id=x,target=/x make\n"
    )
    machine.told = DEFAULTS
    assert run("maint.gc-policy", "--json") == 0
    told, err = answer(capfd)
    assert told["cache_mounts"] == ["synos-ccache"]
    assert "our 1 cache mounts (synos-ccache) may be dropped, by rule 0" in err


def test_it_is_written_after_asking_and_the_rest_stays(machine: Machine, capfd: Shown) -> None:
    before = '{"debug": true, "builder": {"gc": {"enabled": true, "defaultKeepStorage": "1GB"}}}'
    machine.lay(before)
    machine.told = DEFAULTS
    machine.person(agrees=True)
    assert run("maint.gc-policy", "--write", "--json") == 0
    told, err = answer(capfd)
    assert machine.asked == [f"Write this into {machine.file}?"]
    assert '-{"debug": true' in err  # what somebody else wrote is shown
    now = json.loads(machine.file.read_text())
    assert now == {"debug": True, "builder": {"gc": told["proposed"]}}
    assert (told["changed"], told["written"], told["is_in_force"]) == (True, told["proposed"], False)
    (copy,) = machine.file.parent.glob("daemon.json.before-*")
    assert (copy.read_text(), told["copy"]) == (before, str(copy))
    assert "the engine reads it when it starts" in err
    assert "stops every container" in err


def test_a_no_and_nobody_change_nothing(machine: Machine, capfd: Shown) -> None:
    machine.lay("{}")
    assert run("maint.gc-policy", "--write") == 12
    assert "nobody to ask" in capfd.readouterr().err
    machine.person(agrees=False)
    assert run("maint.gc-policy", "--write") == 12
    assert "the answer was no" in capfd.readouterr().err
    assert [path.name for path in machine.file.parent.iterdir()] == ["daemon.json"]
    assert machine.file.read_text() == "{}"


def test_yes_does_not_ask_and_twice_is_nothing_to_do(machine: Machine, capfd: Shown) -> None:
    machine.person(agrees=False)
    assert run("maint.gc-policy", "--write", "--yes") == 0
    assert machine.asked == []
    written = machine.file.read_bytes()
    capfd.readouterr()
    assert run("maint.gc-policy", "--write", "--yes") == 0
    assert "the engine reads it when it starts" in capfd.readouterr().err  # not started since
    machine.in_force()
    assert run("maint.gc-policy", "--write", "--json") == 0
    told, err = answer(capfd)
    assert "nothing to do" in err
    assert "are kept: only rules 0 and 5 may drop them" in err
    assert (told["changed"], told["is_written"], told["is_in_force"]) == (False, True, True)
    assert machine.file.read_bytes() == written


def test_dry_shows_the_difference_alone(machine: Machine, capfd: Shown) -> None:
    assert run("--dry", "maint.gc-policy", "--write", "--yes", "--json") == 0
    told, err = answer(capfd)
    assert f"would write {machine.file}" in err
    assert '+                    "keepStorage": "25GiB",' in err
    assert not told["changed"]
    assert not machine.file.parent.exists()


@pytest.mark.parametrize(("text", "refused"), [("{", ""), ("{}", "dockerd says no")])
def test_a_file_that_is_not_fit_stays_as_it_is(
    machine: Machine, capfd: Shown, text: str, refused: str
) -> None:
    machine.lay(text)
    machine.refused = refused
    assert run("maint.gc-policy", "--write", "--yes", "--json") == 12
    told, _ = answer(capfd)
    assert "nothing was written" in told["error"]["error"]
    assert refused in told["error"]["why"]
    assert machine.file.read_text() == text


def test_who_may_not_write_is_not_asked(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capfd: Shown
) -> None:
    machine.person(agrees=True)
    monkeypatch.setattr("os.access", lambda _path, _mode: False)
    assert run("maint.gc-policy", "--write") == 24
    assert machine.asked == []
    assert "hint: sudo " in capfd.readouterr().err


def lay_images(settings: Settings, engine: FakeEngine, *names: str) -> None:
    for recipe in every(settings):
        if recipe.name in names:
            engine.images[tag_of(settings.root, recipe)] = f"sha256:old-{recipe.name}"


def built(engine: FakeEngine) -> list[str]:
    return [words[0].removeprefix("--tag=synos-").partition(":")[0] for words in engine.built]


def test_images_that_are_there_are_built_on_their_newer_bases(
    settings: Settings, engine: FakeEngine, capfd: Shown
) -> None:
    lay_images(settings, engine, "builder", "redis")
    assert run("maint.update-base", "--json") == 0
    told, err = answer(capfd)
    assert built(engine) == ["builder", "redis"]
    assert [one["image"].partition(":")[0] for one in told["images"]] == [
        "debian", "debian", "synos-builder", "synos-redis",
    ]  # fmt: skip
    assert told["not_built"] == ["toolchain", "boot", "nats", "postgres", "nats-box"]
    assert "not built, so left alone: toolchain, boot, nats, postgres, nats-box" in err
    assert "1 packages, 0 changed" in err
    assert "inv services.upgrade" in err


def test_who_never_ran_services_gets_none(settings: Settings, engine: FakeEngine, capfd: Shown) -> None:
    lay_images(settings, engine, "builder")
    assert run("maint.update-base", "--json") == 0
    told, err = answer(capfd)
    assert told["images"][0]["image"] == BOOKWORM.tag
    assert TRIXIE.tag not in {one["image"] for one in told["images"]}
    assert "services.upgrade" not in err


def test_without_any_image_there_is_nothing_to_do(
    engine: FakeEngine, settings: Settings, capfd: Shown
) -> None:
    assert run("maint.update-base", "--json") == 0
    told, err = answer(capfd)
    assert (told["images"], engine.built) == ([], [])
    assert "nothing to do: no image of ours is there" in err


def test_dry_builds_nothing(settings: Settings, engine: FakeEngine, capfd: Shown) -> None:
    lay_images(settings, engine, "builder", "redis")
    assert run("--dry", "maint.update-base", "--json") == 0
    told, err = answer(capfd)
    assert (told["images"], engine.built) == (["builder", "redis"], [])
    assert "would build builder, redis on newer bases" in err


def test_no_engine_is_not_taken_for_no_image(
    settings: Settings, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.known = None
    assert run("maint.update-base") == 21
    assert run("--dry", "maint.update-base") == 21
