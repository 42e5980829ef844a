"""Components in the container that makes ISOs: found in the store or told, installed above all, in the manifest."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.errors import ComponentError, ComponentMissing, StageFailed
from synos_tasks.iso import deliver
from synos_tasks.iso.protocol import Start
from synos_tasks.iso.run import Runner
from synos_tasks.iso.stages import components
from synos_tasks.iso.store import Entry, Store
from synos_tasks.iso.tools import BuildContext
from tests.unit.contexts import KeptEvents, build_context, fake_tools, files, inputs_for
from tests.unit.plans import BASE, LOCK, planned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


PLAN = planned(dataclasses.replace(BASE, components=("tool", "agent")))
UNMET = [
    "Some packages could not be installed. This may mean that you have",
    "The following packages have unmet dependencies:",
    " synos-agent : Depends: libsystemd-extra (>= 2) but it is not installable",
    "               Depends: other but it is not going to be installed",
    " synos-tool : Depends: less but it is not installable",
    "E: Unable to correct problems, you have held broken packages.",
]


@pytest.fixture(autouse=True)
def no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def context(tmp_path: Path) -> Iterator[BuildContext]:
    with build_context(tmp_path, PLAN.profile) as made:
        files(made.root, "etc/apt/sources.list", "etc/dpkg/dpkg.cfg.d/x", "usr/sbin/x", "var/cache/x")
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", pytest.fail)


def _package(name: str, **more: object) -> dict[str, Any]:
    return {
        "name": name, "version": "1.0", "architecture": "amd64", "sha256": "d" * 64,
        "file": f"{name}_1.0_amd64.deb", "bytes": 3, "installed_bytes": 4096, **more,
    }  # fmt: skip


def _compiled(store: Store, name: str, *packages: dict[str, Any]) -> Entry:
    """Put a component into the store, as its compilation does."""
    packages = packages or (_package(name),)
    with store.slot() as slot:
        for package in packages:
            (slot / package["file"]).write_text(package["name"])
        facts = {"packages": list(packages), "caches": {}, "compile_seconds": 1.0}
        return store.commit(PLAN.stage(f"component-{name}").key, slot, facts)


@pytest.mark.parametrize("there", [(), ("tool",), ("agent",)])
def test_what_is_not_compiled_is_named_before_any_work(
    context: BuildContext,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    there: tuple[str, ...],
) -> None:
    ran = fake_tools(monkeypatch)
    for name in there:
        _compiled(store, name)
    before = sorted(context.work.rglob("*"))
    missing = [name for name in PLAN.profile.components if name not in there]
    with pytest.raises(ComponentMissing) as caught:
        Runner(context, PLAN, store).run()
    assert caught.value.what == f"not compiled yet: {', '.join(missing)}"
    assert ran == []
    assert sorted(context.work.rglob("*")) == before
    assert list(context.output.iterdir()) == []
    assert isinstance(context.events, KeptEvents)
    assert not any(isinstance(event, Start) for event in context.events.sent)


def test_a_damaged_component_is_not_compiled_either(context: BuildContext, tmp_path: Path) -> None:
    warned: list[str] = []
    store = Store(tmp_path / "cache", warned.append)
    _compiled(store, "tool")
    _compiled(store, "agent").file("agent_1.0_amd64.deb").write_text("damaged")
    with pytest.raises(ComponentMissing) as caught:
        Runner(context, PLAN, store).run()
    assert caught.value.what == "not compiled yet: agent"
    assert len(warned) == 1


def test_the_manifest_lists_the_packages_of_components_behind_those_of_the_lock(
    context: BuildContext, store: Store
) -> None:
    layer = Entry("k", context.work, {"installed": {"sudo": 5000}, "removed": []})
    two = _compiled(store, "tool", _package("tool"), _package("tool-data", installed_bytes=7))
    (context.output / deliver.ISO).write_bytes(b"iso")
    deliver.deliver(context, PLAN, [layer, two, _compiled(store, "agent")], {}, [])
    packages = json.loads((context.output / deliver.MANIFEST).read_text())["packages"]
    locked = [package.name for package in LOCK.packages]
    assert [package["name"] for package in packages] == [*locked, "tool", "tool-data", "agent"]
    assert packages[-2] == {
        "name": "tool-data", "version": "1.0", "architecture": "amd64", "sha256": "d" * 64,
        "layer": "components", "bytes": 3, "installed_bytes": 7,
    }  # fmt: skip
    # whoever reads the manifest need not know where a package comes from
    assert {tuple(sorted(package)) for package in packages} == {tuple(sorted(packages[0]))}


def _failing(monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> None:
    """Let apt fail with some last words."""

    def run(
        _context: BuildContext,
        stage: str,
        _argv: Sequence[str],
        *,
        on_failure: Callable[[int, Sequence[str]], Exception | None],
    ) -> None:
        assert stage == "components"
        raise on_failure(100, lines) or StageFailed("what the lines say")

    monkeypatch.setattr(BuildContext, "run", run)


def test_a_dependency_that_the_profile_lacks_is_named(
    context: BuildContext, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    _failing(monkeypatch, UNMET)
    with pytest.raises(ComponentError) as caught:
        components.make(
            inputs_for(context, PLAN, "components", compiled=[_compiled(store, "agent")]), context.root
        )
    assert caught.value.what == "synos-agent needs libsystemd-extra, which the profile does not have"
    assert "synos-agent : Depends: libsystemd-extra (>= 2)" in caught.value.why
    assert "synos-tool : Depends: less" in caught.value.why
    assert "`depends:`" in caught.value.hint


@pytest.mark.parametrize("lines", [[], ["dpkg: error processing package synos-agent"], UNMET[:2]])
def test_another_failure_is_told_as_any_stage_tells_it(
    context: BuildContext, store: Store, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    _failing(monkeypatch, lines)
    with pytest.raises(StageFailed) as caught:
        components.make(
            inputs_for(context, PLAN, "components", compiled=[_compiled(store, "agent")]), context.root
        )
    assert caught.value.what == "what the lines say"


DEBIAN = st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,15}", fullmatch=True)


@given(DEBIAN, DEBIAN, st.sampled_from(["", " (= 1.2-3)", " (>= 2:1~rc1)"]), st.integers(1, 4))
def test_whatever_is_unmet_is_named_whole(name: str, needs: str, version: str, indent: int) -> None:
    line = f"{' ' * indent}{name} : Depends: {needs}{version} but it is not installable"
    error = components._unmet(["Reading package lists...", line])
    assert error is not None
    assert error.what == f"{name} needs {needs}, which the profile does not have"
    assert f"add {needs} " in error.hint
