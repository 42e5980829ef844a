"""A plan beside what is there: hits, and for each miss what of its inputs changed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from synos_tasks.build import planning, view
from synos_tasks.build.iso_build import Options
from synos_tasks.build.planning import Context
from synos_tasks.build.view import Row, last_plan, reason, remember
from synos_tasks.errors import MirrorUnreachable
from synos_tasks.iso import plan as plans
from synos_tasks.iso.digests import digest
from synos_tasks.iso.lock import Lock, Package
from synos_tasks.iso.plan import Plan
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.publish import iso_path
from synos_tasks.iso.stages.overlay import BASE_OVERLAY
from synos_tasks.iso.store import sha256
from synos_tasks.settings import Settings
from tests.unit.fake_docker import FakeDocker
from tests.unit.fakes import TOOLS, fake_containers
from tests.unit.plans import saying
from tests.unit.projects import NAME, lay_lock, lock_for, package, project

LAYERS = (("base", ("live-boot",)), ("packages-x", ("sudo",)))
PROFILE = saying(Profile(name=NAME, layers=LAYERS), overlays=["overlays/x"], hooks=["hooks/x"])
FILES = {BASE_OVERLAY: "1", "overlays/x": "2", "hooks/x": "3", "hooks/y": "4"}
SUDO = package("sudo")


def _plan(
    *packages: Package,
    files: dict[str, str] | None = None,
    tools: str = "t",
    epoch: int = 1,
    release: bool = False,
    **fields: Any,  # noqa: ANN401
) -> Plan:
    said = {name: fields.pop(name) for name in ("overlays", "hooks") if name in fields}
    profile = saying(dataclasses.replace(PROFILE, **fields), **said)
    lock = lock_for(profile, *(packages or (SUDO,)), epoch=epoch)
    return plans.make(profile, lock, files={**FILES, **(files or {})}, tools=tools, release=release)


def _asked(*names: str) -> dict[str, Any]:
    """Fields of a profile whose own layer has these packages."""
    return {"layers": (LAYERS[0], ("packages-x", names))}


def _with(*names: str) -> Plan:
    return _plan(**_asked(*names))


TWO_HOOKS = _plan(hooks=["hooks/x", {"script": "hooks/y", "stage": "before-squash"}])
LATER = _plan(hooks=["hooks/x", "hooks/y"])
UPPER = _plan(SUDO, package("tmux", layer="packages-y"), layers=(*LAYERS, ("packages-y", ("tmux", "zsh"))))
REASONS = [
    ("base", _plan(), None, "no earlier build known"),
    ("system", _plan(), _plan(), "no longer in the store"),
    *((stage, _plan(), last, "made each time") for stage in ("bootfiles", "iso") for last in (None, _plan(tools="u"))),
    ("packages-x", _with("sudo", "tmux"), _with("sudo"), "packages: +tmux"),
    ("packages-x", _with("sudo", "tmux"), _with("less", "sudo"), "packages: +tmux -less"),
    ("packages-x", _with("sudo"), _with("sudo", "zsh"), "packages: -zsh"),
    ("packages-x", _with(*"abcdefgh"), _with(), "packages: +a +b +c +d +e +f and 2 more"),
    # what was asked for counts more than what came with it
    ("packages-x", _plan(package("libevent"), SUDO, package("tmux"), **_asked("sudo", "tmux")), _with("sudo"),
     "packages: +tmux"),
    ("packages-x", _plan(package("libnew", "3"), package("sudo", "2"), package("tar")),
     _plan(package("libz"), package("sudo", "1"), package("tar")), "packages: libnew 3 libz gone sudo 2"),
    ("system", _with("sudo", "tmux"), _with("sudo"), "follows packages-x"),
    ("overlay", _with("sudo", "tmux"), _with("sudo"), "follows system"),
    ("initramfs", _with("sudo", "tmux"), _with("sudo"), "no longer in the store"),
    *((stage, _plan(tools="u"), _plan(), "the tools of its image changed") for stage in ("base", "hook-x", "initramfs")),
    *((stage, _plan(epoch=2), _plan(), "the lock's date changed") for stage in ("base", "overlay", "initramfs")),
    ("overlay", _plan(files={BASE_OVERLAY: "other"}), _plan(), f"{BASE_OVERLAY} changed"),
    ("overlay", _plan(files={"overlays/x": "other"}), _plan(), "overlays/x changed"),
    ("hook-x", _plan(files={"hooks/x": "other"}), _plan(), "hooks/x changed"),
    ("hook-y", TWO_HOOKS, _plan(), "new"),
    ("hook-y", LATER, TWO_HOOKS, "what the profile says of it changed"),
    ("overlay", _plan(overlays=[]), _plan(), "overlays changed; other files"),
    ("packages-x", _plan(tools="u", epoch=2, **_asked("sudo", "tmux")), _plan(),
     "the lock's date changed; packages: +tmux; the tools of its image changed"),
    ("packages-y", UPPER, _plan(), "packages: +tmux +zsh"),
    ("system", UPPER, _plan(), "follows packages-y"),
    ("packages-x", UPPER, _plan(), "no longer in the store"),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "now", "last", "why"), REASONS, ids=[case[3] for case in REASONS])
def test_a_stage_is_not_there_for_a_reason(stage: str, now: Plan, last: Plan | None, why: str) -> None:
    assert reason(now.stage(stage), now, last) == why


def test_a_plan_is_remembered_with_all_that_is_in_it(tmp_path: Path) -> None:
    settings = project(tmp_path)
    assert last_plan(settings, NAME) is None
    for plan in (_plan(), _plan(release=True, **_asked("sudo", "tmux"))):
        remember(settings, plan, [])
        assert last_plan(settings, NAME) == plan
    assert last_plan(settings, "other") is None
    # nothing half-written is left beside it
    assert [path.name for path in (settings.project.state_dir / "plans").iterdir()] == [f"{NAME}.json"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "{}", '"text"', "\x00", '{"profile": {"users": []}}', "half"],
)
def test_a_damaged_plan_is_none(tmp_path: Path, text: str) -> None:
    settings = project(tmp_path)
    remember(settings, _plan(), [])
    path = settings.project.state_dir / "plans" / f"{NAME}.json"
    path.write_text(path.read_text()[:-99] if text == "half" else text)
    assert last_plan(settings, NAME) is None


class Store:
    """Answers what is asked of the store, and keeps it."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings, self.docker = settings, FakeDocker()
        self.entries: dict[str, dict[str, Any]] = {}
        self.containers = fake_containers(monkeypatch)
        self.containers.answer = self._answer

    def _answer(self, _: object, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        if request["request"] == "resolve":
            raise MirrorUnreachable("a package mirror does not answer", where="http://a.example")
        found = {key: value for key, value in self.entries.items() if key in request["keys"]}
        return [{"event": "entries", "entries": found}]

    def view(self) -> tuple[list[Row], str]:
        options = Options(profile=NAME, output=self.settings.output_dir)
        return view.view(Context(self.settings, self.docker, print), options)

    def rows(self) -> dict[str, Row]:
        return {row.name: row for row in self.view()[0]}


@pytest.fixture
def store(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Return the store of a project that has built something."""
    made = Store(settings, monkeypatch)
    made.docker.add_volume(settings.project.store_volume)
    return made


def test_before_the_first_lock_and_build_the_store_is_not_asked(settings: Settings, store: Store) -> None:
    assert store.view()[1] == "missing"
    assert list(store.rows()) == [
        "base", "packages-x", "system", "overlay", "identity", "initramfs", "bootfiles", "iso",
    ]  # fmt: skip
    for row in store.view()[0]:
        assert (row.hit, row.why, row.bytes, row.seconds) == (False, "no lock yet", None, None)
    lay_lock(settings, SUDO)
    store.docker = FakeDocker()
    assert store.view()[1] == "fits"
    assert store.rows()["base"].why == "no earlier build known"
    assert store.rows()["iso"].why == "made each time"
    assert set(store.containers.done) == {"resolve"}


def test_before_a_first_build_it_is_said_what_is_known(settings: Settings, store: Store) -> None:
    lay_lock(settings, package("libc6", layer="base"), SUDO)
    rows = store.view()[0]
    assert view.estimate(rows) == (
        "how long it takes is not known: 8 stages were never timed here; packages: at most 2 kB to download"
    )
    settings.project.state_dir.mkdir()
    (settings.project.state_dir / "history.json").write_text(json.dumps({NAME: {"base": 12.5, "iso": 1.0}}))
    store.entries = {rows[0].key: {"bytes": 4096}}
    assert view.estimate(store.view()[0]) == (
        "about 1 s of work in 1 stages; 6 stages were never timed here; packages: at most 1 kB to download"
    )
    _publish(settings, lay_lock(settings, SUDO))
    assert view.estimate(store.view()[0]) == "nothing to do: the ISO is there"


def test_a_layer_in_the_store_is_a_hit_and_others_take_as_long_as_last_time(
    settings: Settings, store: Store
) -> None:
    lay_lock(settings, SUDO)
    base = store.rows()["base"]
    store.entries = {base.key: {"bytes": 4096}, "others": {"bytes": 9}}
    settings.project.state_dir.mkdir()
    history = {NAME: {"base": 12.5, "iso": 1.0}, "other": {"system": 3.0}}
    (settings.project.state_dir / "history.json").write_text(json.dumps(history))
    rows = store.rows()
    assert rows["base"] == dataclasses.replace(base, where="local", why="", bytes=4096, seconds=0.0)
    assert not any(row.hit for row in rows.values() if row.name != "base")
    assert {name: row.seconds for name, row in rows.items() if row.seconds} == {"iso": 1.0}


def test_the_initramfs_that_counts_is_the_one_with_what_upper_layers_brought(
    settings: Settings, store: Store
) -> None:
    lay_lock(settings, SUDO)
    rows = store.rows()
    here = {row.key: {"bytes": 1, "initramfs": row.name == "overlay"} for row in rows.values()}
    store.entries = here
    assert not store.rows()["initramfs"].hit
    names = list(rows)
    below = [rows[name].key for name in names[: names.index("overlay") + 1]]
    derived = digest(["initramfs", rows["initramfs"].key, *below])
    store.entries = {**here, derived: {"bytes": 7}}
    found = store.rows()["initramfs"]
    assert (found.hit, found.bytes) == (True, 7)


def _publish(settings: Settings, lock: Lock) -> Path:
    """Lay an ISO of the profile and this lock where builds lay it; its stages have 10, 11, ... bytes."""
    plan = plans.plan_build(settings.project.build_data, planning.read_profile(settings, NAME), lock, TOOLS)
    settings.output_dir.mkdir()
    iso = iso_path(settings.output_dir, plan.profile, plan.build_id)
    iso.write_bytes(b"iso")
    made = {"key": "k", "hit": False, "seconds": 1.0}
    stages = [{"name": name, "bytes": size, **made} for size, name in enumerate(plan.stage_names, 10)]
    manifest = {"key": plan.key, "sha256": sha256(iso), "stages": stages}
    iso.with_name(f"{iso.name}.manifest.json").write_text(json.dumps(manifest))
    return iso


def test_an_iso_that_is_there_makes_every_stage_a_hit(settings: Settings, store: Store) -> None:
    iso = _publish(settings, lay_lock(settings, SUDO))
    rows = store.view()[0]
    assert all(row.hit and row.why == "" and row.seconds == 0 for row in rows)
    assert [row.bytes for row in rows] == list(range(10, 10 + len(rows)))
    iso.write_bytes(b"damaged")
    assert not any(row.hit for row in store.view()[0])


def test_a_stale_lock_still_tells_which_layers_stay(settings: Settings, store: Store) -> None:
    lock = lay_lock(settings, package("libc6", layer="base"), SUDO)
    store.entries = {store.rows()["base"].key: {"bytes": 4096}}
    profile = settings.project.root / f"docker/build/profiles/{NAME}.yaml"
    profile.write_text("suite: bookworm\npackages: [live-boot, sudo, tmux]\n")
    _publish(settings, lock)
    assert store.view()[1] == "stale"
    hits = [name for name, row in store.rows().items() if row.hit]
    assert hits == ["base"], "the ISO that is there is not what a build would give"
