"""What the documentation claims of caches: how it is measured, and what is told where it does not hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.build import verify_caches
from synos_tasks.build.builder import store_volume
from synos_tasks.build.verify_caches import Claim, amount, refuse, verify
from synos_tasks.errors import ClaimFailed, ImageBuildFailed
from synos_tasks.images.base import BOOKWORM
from tests.unit.fakes import FakeContainers, FakeEngine, fake_containers
from tests.unit.projects import project

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.settings import Settings


def _claim(before: float, after: float, required: float = 80, what: str = "C recompiled") -> Claim:
    return Claim(what=what, documented="", required=required, before=before, after=after)


@pytest.mark.parametrize(
    ("before", "after", "measured"),
    [(100, 20, 80.0), (10, 10, 0.0), (10, 15, -50.0), (8, 0, 100.0), (3, 1, 66.7)],
)
def test_measured_is_how_much_less_there_is_afterwards(before: float, after: float, measured: float) -> None:
    assert _claim(before, after).measured == measured


@pytest.mark.parametrize(
    ("after", "holds"), [(19.9, True), (20.0, True), (20.04, True), (20.06, False), (100.0, False)]
)
def test_a_claim_holds_from_what_is_required_on(after: float, holds: bool) -> None:
    assert _claim(100, after, required=80).holds == holds


@given(st.floats(0.1, 1e10), st.floats(0, 1), st.floats(0, 1))
def test_the_less_is_left_the_more_is_measured(before: float, one: float, two: float) -> None:
    less, more = sorted((one, two))
    assert _claim(before, before * less).measured >= _claim(before, before * more).measured
    assert 0 <= _claim(before, before * one).measured <= 100


@pytest.mark.parametrize(
    ("count", "told"), [(0.0, "0.0 s"), (12.34, "12.3 s"), (3600.0, "3600.0 s"), (5_000_000, "5.0 MB")]
)
def test_times_and_sizes_are_told_by_how_large_they_are(count: float, told: str) -> None:
    assert amount(count) == told


def test_claims_that_hold_are_nothing_to_refuse() -> None:
    refuse([])
    refuse([_claim(100, 20), _claim(100, 0)])


def test_what_does_not_hold_is_named_and_nothing_else() -> None:
    claims = [_claim(100, 60, what="one"), _claim(100, 10, what="fine"), _claim(100, 25, 95.5, what="two")]
    with pytest.raises(ClaimFailed) as caught:
        refuse(claims)
    assert caught.value.what == "2 of 3 claims do not hold on this machine"
    assert caught.value.where == "one; two"
    assert caught.value.why == "40.0 % measured, 80 % needed; 75.0 % measured, 95.5 % needed"
    assert "quiet machine" in caught.value.hint


class Machine:
    """Compiles and builds images in times that a test gives; its clock stands still otherwise."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings, self.now = settings, 0.0
        self.engine = FakeEngine(images={BOOKWORM.tag: "sha256:base"})
        self.seconds = {"nothing": 100.0, "all": 2.0, "edited": 40.0}
        self.edited: list[str] = []
        """Source of the edited component at each build of all stages."""
        self.containers: FakeContainers = fake_containers(monkeypatch)
        self.containers.answer = self._compile
        build = self.engine.build

        def timed(arguments: Sequence[str], on_event: Callable[[dict[str, Any]], None]) -> None:
            build(arguments, on_event)
            if any("synos-verify" in word for word in arguments):
                self.now += self._image(arguments)

        monkeypatch.setattr(self.engine, "build", timed)
        monkeypatch.setattr(self.engine, "image_bytes", lambda tag: 400 if "builder" in tag else 1000)
        monkeypatch.setattr("time.monotonic", lambda: self.now)
        for name in (*verify_caches.CONTEXT[1:], "docker/build/components/synos-welcome/src"):
            (settings.root / name).mkdir(parents=True, exist_ok=True)
        (settings.root / ".dockerignore").write_text(".git\n")
        (settings.root / verify_caches.EDITED).write_text("int main;\n")

    def _image(self, arguments: Sequence[str]) -> float:
        source = (Path(arguments[-1]) / verify_caches.EDITED).read_text()
        self.edited.append(source)
        if "--no-cache" in arguments:
            return self.seconds["nothing"]
        return self.seconds["all" if source == self.edited[0] else "edited"]

    def _compile(self, spec: ContainerSpec, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        filled = any(spec.volumes == other.volumes for other in self.containers.specs[:-1])
        result = {
            "seconds": 10.0 if filled else 100.0,
            "hits": 95 if filled else 0,
            "misses": 5 if filled else 100,
            "version": "1:2.39-1",
        }
        log = {"event": "log", "stage": "x", "line": request["cache"]}
        return [log, {"event": "measured", "result": result}]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(project(tmp_path), monkeypatch)


def test_all_that_is_documented_is_measured(machine: Machine) -> None:
    claims = verify(machine.settings, machine.engine, print)
    assert {claim.what: claim.measured for claim in claims} == {
        "builder image, beside the toolchain": 60.0,
        "image, built again": 98.0,
        "image, after an edit": 60.0,
        "ccache, C recompiled": 90.0,
        "sccache, Rust recompiled": 90.0,
    }


def test_what_was_compiled_and_how_much_came_from_the_cache_is_told(machine: Machine) -> None:
    told = {claim.what: claim.told for claim in verify(machine.settings, machine.engine, print)}
    assert told["ccache, C recompiled"] == "git 1:2.39-1, 95 % hits"
    assert told["sccache, Rust recompiled"] == "bat 1:2.39-1, 95 % hits"


def test_caches_are_measured_with_volumes_that_are_empty_at_first_and_gone_afterwards(
    machine: Machine,
) -> None:
    verify(machine.settings, machine.engine, print)
    assert machine.containers.requests == [
        {"do": "measure", "cache": cache} for cache in ("ccache", "ccache", "sccache", "sccache")
    ]
    volumes = [spec.volumes for spec in machine.containers.specs]
    assert volumes[0] == volumes[1] != volumes[2] == volumes[3]
    assert [list(one.values()) for one in volumes[::2]] == [["/var/cache/ccache"], ["/var/cache/sccache"]]
    assert not any(store_volume(machine.settings) in one for one in volumes)
    assert machine.engine.volumes == {}


def test_the_project_itself_is_not_edited_and_nothing_is_left(machine: Machine) -> None:
    source = machine.settings.root / verify_caches.EDITED
    verify(machine.settings, machine.engine, print)
    assert source.read_text() == "int main;\n"
    assert machine.edited[0] == machine.edited[1] == "int main;\n"
    assert machine.edited[2].startswith("int main;\n/*")
    assert not list(machine.settings.state_dir.glob("verify-*"))
    assert f"synos-verify:{machine.settings.project_id}" in machine.engine.removed


def test_a_build_that_fails_leaves_nothing_either(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> NoReturn:
        raise ImageBuildFailed("a step of an image's build failed")

    monkeypatch.setattr(machine, "_image", fails)
    with pytest.raises(ImageBuildFailed):
        verify(machine.settings, machine.engine, print)
    assert not list(machine.settings.state_dir.glob("verify-*"))
    assert f"synos-verify:{machine.settings.project_id}" in machine.engine.removed
    assert machine.containers.asked == []
