"""What the image does without `inv`: its arguments, where the ISO goes, and what it refuses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from synos_tasks.errors import LockDrift, OutsideContainer, SettingsError
from synos_tasks.iso import guard, publish, standalone
from synos_tasks.iso.digests import digest
from synos_tasks.iso.lock import dump
from synos_tasks.iso.plan import Plan, Tools, plan_build
from synos_tasks.iso.profile import load
from synos_tasks.iso.store import Store
from tests.unit.contexts import put_entry
from tests.unit.projects import NAME, lay_component, lock_for, package, project

Built = list[tuple[Plan, Path, Path]]
"""What a container would have built: the plan, where it goes, and where it was worked on."""

Shown = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every folder of the container that is written to is one of the test's own."""
    (tmp_path / "work").mkdir()
    monkeypatch.setattr(guard, "refuse_outside_container", lambda: None)
    monkeypatch.setattr(standalone, "WORK", tmp_path / "work")
    monkeypatch.setattr(standalone, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(standalone, "COMPILED", tmp_path / "components")
    monkeypatch.setattr(os, "umask", lambda _: 0)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a component and a lock that fits, as the image finds it."""
    made = tmp_path / "project"
    project(made)
    build = made / "docker/build"
    lay_component(build, "tool")
    (build / f"profiles/{NAME}.yaml").write_text("packages: [sudo]\ncomponents: [tool]\n")
    (made / "invoke.yaml").write_text(f"synos:\n  build:\n    profile: {NAME}\n")
    lock = lock_for(load(build / "profiles", NAME), package("sudo"))
    (build / f"profiles/{NAME}.lock.yaml").write_text(dump(lock, NAME))
    (tmp_path / "builder").write_text("builder's tools\n")
    (tmp_path / "toolchain").write_text("toolchain's tools\nsuite trixie\n")
    monkeypatch.setattr(standalone, "PROJECT", made)
    monkeypatch.setattr(standalone, "DOCKER_BUILD", build)
    monkeypatch.setattr(standalone, "TOOLS", tmp_path / "builder")
    monkeypatch.setattr(standalone, "TOOLCHAIN", tmp_path / "toolchain")
    return made


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Built:
    made: Built = []
    monkeypatch.setattr(standalone, "_build", lambda plan, output, work: made.append((plan, output, work)))
    return made


def _iso(tmp_path: Path, *words: str) -> int:
    return standalone.main(["iso", "--output", str(tmp_path / "out"), *words])


@pytest.mark.parametrize("do", ["iso", "components"])
def test_outside_a_container_nothing_is_done(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Shown, do: str
) -> None:
    def refuse() -> NoReturn:
        raise OutsideContainer("the ISO engine runs in its builder container only", hint="elsewhere")

    def reached(*_: object) -> NoReturn:
        raise AssertionError("work began")

    monkeypatch.setattr(guard, "refuse_outside_container", refuse)
    for name in ("_iso", "_compile"):
        monkeypatch.setattr(standalone, name, reached)
    assert standalone.main([do]) == OutsideContainer.exit_code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "error: the ISO engine runs" in shown.err
    assert "hint: elsewhere" in shown.err


@pytest.mark.parametrize("suite", ["trixie", "bookworm"])
def test_the_plan_is_that_of_inv_and_the_isos_path_alone_on_standard_output(
    root: Path, built: Built, capsys: Shown, tmp_path: Path, suite: str
) -> None:
    text = f"toolchain's tools\nsuite {suite}"
    (tmp_path / "toolchain").write_text(f"{text}\n")
    precious = tmp_path / "work/precious/a"
    precious.parent.mkdir()
    precious.touch()
    assert _iso(tmp_path) == 0
    [(made, output, work)] = built
    build = root / "docker/build"
    profile = load(build / "profiles", NAME)
    tools = Tools(builder=digest("builder's tools"), toolchain=digest(text) if suite == "trixie" else "")
    assert made == plan_build(build, profile, lock_for(profile, package("sudo")), tools)
    assert output == tmp_path / "out"
    assert work.parent == tmp_path / "work"
    assert list((tmp_path / "work").rglob("*")) == [precious.parent, precious], "what it did not put there"
    assert capsys.readouterr().out == f"{publish.iso_path(output, profile, made.build_id)}\n"


@pytest.mark.parametrize("text", ["", "synos: {}\n", "synos: [\n", None])
def test_without_a_default_profile_one_must_be_given(
    root: Path, built: Built, tmp_path: Path, text: str | None
) -> None:
    if text is None:
        (root / "invoke.yaml").unlink()
    else:
        (root / "invoke.yaml").write_text(text)
    assert _iso(tmp_path) == SettingsError.exit_code
    assert built == []
    assert _iso(tmp_path, "--profile", NAME) == 0
    assert len(built) == 1


@pytest.mark.parametrize("there", [True, False])
def test_a_lock_that_does_not_fit_is_refused_as_nothing_here_can_renew_it(
    root: Path, built: Built, capsys: Shown, tmp_path: Path, there: bool
) -> None:
    profile = root / f"docker/build/profiles/{NAME}.yaml"
    if there:
        profile.write_text("packages: [sudo, tmux]\n")
    else:
        profile.with_name(f"{NAME}.lock.yaml").unlink()
    assert _iso(tmp_path) == LockDrift.exit_code
    shown = capsys.readouterr().err
    assert f"where: docker/build/profiles/{NAME}.lock.yaml" in shown
    assert f"`inv build.lock --profile {NAME}`" in shown
    assert built == []


def test_an_iso_that_is_there_is_not_built(
    root: Path, built: Built, monkeypatch: pytest.MonkeyPatch, capsys: Shown, tmp_path: Path
) -> None:
    monkeypatch.setattr(publish, "published", lambda *_: {"sha256": "d"})
    assert _iso(tmp_path) == 0
    shown = capsys.readouterr()
    assert "nothing changed" in shown.err
    assert shown.out.startswith(f"{tmp_path}/out/synos-{NAME}-")
    assert built == []
    assert not (tmp_path / "out").exists()


def test_an_interruption_is_told_and_leaves_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Shown, tmp_path: Path
) -> None:
    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(standalone, "_build", interrupt)
    assert _iso(tmp_path) == 130
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "interrupted: nothing was published\n")
    assert list((tmp_path / "work").iterdir()) == []


def test_what_the_image_has_compiled_is_brought_into_the_store_once(
    root: Path, built: Built, tmp_path: Path
) -> None:
    _iso(tmp_path)
    wanted = built[0][0]
    key = wanted.components[0].key
    store = Store(standalone.CACHE, pytest.fail)
    standalone._take_compiled(wanted, store)
    assert store.find(key) is None, "the image has none"
    image = Store(standalone.COMPILED, pytest.fail)
    for name in (key, "another"):
        put_entry(image, name, {"tool.deb": b"deb"}, {"packages": [{"name": "tool", "file": "tool.deb"}]})
    for _ in range(2):
        standalone._take_compiled(wanted, store)
        found = store.find(key)
        assert found is not None
        assert found.file("tool.deb").read_text() == "deb"
    assert store.find("another") is None
