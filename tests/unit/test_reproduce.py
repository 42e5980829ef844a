"""Circumstances that differ in all that must not matter, and what is told when it did."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.build import reproduce
from synos_tasks.build.planning import Context, read_profile
from synos_tasks.build.reproduce import DAY, Circumstances, circumstances
from synos_tasks.engine.spec import ContainerSpec
from synos_tasks.errors import Irreproducible
from synos_tasks.iso import publish
from synos_tasks.iso.work import ELSEWHERE
from tests.unit.fake_docker import FakeDocker
from tests.unit.fakes import fake_containers
from tests.unit.projects import NAME, lay_lock, package, project

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from synos_tasks.settings import Settings

FIELDS = [field.name for field in dataclasses.fields(Circumstances) if field.name != "stored"]


@pytest.mark.parametrize("cpus", [1, 2, 64])
def test_the_first_two_differ_in_all_that_must_not_matter(cpus: int) -> None:
    one, two, _ = circumstances(cpus)
    assert [field for field in FIELDS if getattr(one, field) == getattr(two, field)] == []
    assert one.locale.partition("_")[0] != two.locale.partition("_")[0]
    # another year, another day, and another time of day
    assert two.clock > 366 * DAY
    assert two.clock % DAY


class Builder:
    """Delivers bytes that the test decides on, and keeps what it was asked."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = settings
        self.said: list[str] = []
        self.bytes_of: Callable[[ContainerSpec], bytes] = lambda _: b"same"
        self.difference: dict[str, Any] = {}
        self.compared: list[tuple[str, str]] = []
        self.containers = fake_containers(monkeypatch)
        self.containers.answer = self._build
        monkeypatch.setattr(reproduce, "files_of", self._files_of)
        monkeypatch.setattr("os.cpu_count", lambda: 2)

    def _build(self, spec: ContainerSpec, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        if request["request"] == "build":
            files = {bind.source.name: bind.source for bind in spec.binds if bind.writable}
            files[publish.ISO].write_bytes(self.bytes_of(spec))
        return []

    def verify(self, *, rounds: int = 1) -> str:
        context = Context(self.settings, FakeDocker(), self.said.append)
        return reproduce.verify(context, read_profile(self.settings, NAME), release=True, rounds=rounds)

    @property
    def specs(self) -> list[ContainerSpec]:
        """The containers of builds."""
        return [spec for spec, request in self.containers.asked if request["request"] == "build"]

    def _files_of(self, _context: Context, one: Path, two: Path) -> dict[str, Any]:
        self.compared.append((one.read_text(), two.read_text()))
        return {"added": [], "removed": [], **self.difference}


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builder:
    settings = project(tmp_path)
    lay_lock(settings, package("sudo"))
    return Builder(settings, monkeypatch)


@pytest.mark.parametrize("rounds", [1, 3])
def test_the_same_bytes_every_time(builder: Builder, rounds: int) -> None:
    sha256 = builder.verify(rounds=rounds)
    assert sha256 == "0967115f2813a3541eaef77de9d9d5773f1c0c04314b0bbfe4ff3b3b1c55b5d5"
    assert len(builder.said) == len(builder.specs) == 3 * rounds
    assert all(line.startswith(sha256) for line in builder.said)
    assert builder.compared == []
    assert sorted(path.name for path in builder.settings.project.state_dir.rglob("*")) == [
        "leases",
        "store.key",
    ]


def test_each_build_is_told_its_circumstances(builder: Builder) -> None:
    builder.verify()
    for case, spec, request, line in zip(
        circumstances(2), builder.specs, builder.containers.requests, builder.said, strict=True
    ):
        assert (spec.hostname, spec.cpuset) == (case.hostname, case.cores)
        language = {"LANG": case.locale, "LC_ALL": case.locale}
        assert spec.environment == {"TZ": case.timezone, **language}
        assert (str(ELSEWHERE) in spec.anonymous_volumes) == case.elsewhere
        assert (builder.settings.project.store_volume in spec.volumes) == case.stored
        for name in ("umask", "clock", "elsewhere"):
            assert request[name] == getattr(case, name)
        assert request["plan"]["release"] is True
        for word in (case.hostname, f"umask {case.umask:03o}", case.timezone, case.locale):
            assert word in line


def test_the_first_file_that_differs_is_named_and_shown(builder: Builder) -> None:
    builder.bytes_of = lambda spec: spec.environment["TZ"].encode()
    builder.difference = {
        "changed": [["/etc/a", 1, 1], ["/etc/b", 2, 2]],
        "first": ["/etc/a", ["@@ -1 +1 @@", "-noon", "+night"]],
    }
    with pytest.raises(Irreproducible) as caught:
        builder.verify()
    assert caught.value.where == "/etc/a"
    assert caught.value.why == "@@ -1 +1 @@\n-noon\n+night"
    assert caught.value.hint == "2 files differ, 0 are in one of the two only"
    # the two that differ were there to be compared, and the third was not built
    assert builder.compared == [("Pacific/Kiritimati", "America/St_Johns")]
    assert len(builder.specs) == 2
    assert sorted(path.name for path in builder.settings.project.state_dir.rglob("*")) == [
        "leases",
        "store.key",
    ]


CHANGED: dict[str, Any] = {"changed": [["/etc/a", 1, 1]], "first": ["/etc/a", ["-x"]]}


@pytest.mark.parametrize(
    ("difference", "where", "why"),
    [
        ({**CHANGED, "added": [["/etc/extra", 3]]}, "/etc/extra", "only in one of them"),
        ({**CHANGED, "removed": [["/etc/extra", 3]]}, "/etc/extra", "only in one of them"),
        ({"changed": [], "first": None}, "the ISO's own structures: no file differs", ""),
    ],
)
def test_a_file_that_one_of_them_lacks_comes_first_and_without_any_it_is_the_iso_itself(
    builder: Builder, difference: dict[str, Any], where: str, why: str
) -> None:
    builder.bytes_of = lambda spec: str(spec.hostname).encode()
    builder.difference = difference
    with pytest.raises(Irreproducible) as caught:
        builder.verify()
    assert (caught.value.where, caught.value.why) == (where, why)
    assert ("1 files differ, 1 are in one of the two only" in caught.value.hint) == bool(why)


def test_every_later_build_is_compared_with_the_first(builder: Builder) -> None:
    builder.bytes_of = lambda _: b"late" if len(builder.specs) == 5 else b"same"
    with pytest.raises(Irreproducible):
        builder.verify(rounds=2)
    assert builder.compared == [("same", "late")]
