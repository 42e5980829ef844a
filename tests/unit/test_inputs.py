"""What a build reads of a project is inside docker/build, and is files: anything else is an error, on the host and in a container."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from synos_tasks.errors import ComponentError, LockError, ProfileError, SynosError
from synos_tasks.iso import inputs, lock, plan, profile
from synos_tasks.iso.components import recipe, source
from synos_tasks.iso.components.context import CompileContext
from synos_tasks.iso.components.recipe import Compilation
from synos_tasks.iso.layers import Listing
from synos_tasks.iso.stages import hooks, overlay
from tests.unit.contexts import build_context, inputs_for
from tests.unit.plans import LOCK

PROFILE = "overlays: [overlays/a/b]\nhooks:\n  - hooks/x\ncomponents: [tool]\n"
RECIPE = "description: x\nbuild: make\nversion: '1'\nsource: {folder: src/tool}\npatches: [fixes/one.patch]\n"
FILES = {
    "profiles/x.yaml": PROFILE,
    "components/tool.yaml": RECIPE,
    "overlays/synos-base/a": "",
    "overlays/a/b/etc/motd": "hello",
    "hooks/x": "#!/bin/sh\n",
    "components/src/tool/main.c": "int main;",
    "components/fixes/one.patch": "-a\n+b\n",
}
NAMED = {
    "profiles/x.yaml": "profiles/x.yaml",
    "components/tool.yaml": "components/tool.yaml",
    "overlays/a/b": "x.yaml:1:12",
    "hooks/x": "x.yaml:3:5",
    "components/src/tool": "components/tool.yaml",
    "components/fixes/one.patch": "components/tool.yaml",
}
"""All that can be named, with the place that names it."""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "clone/docker/build" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    secrets = tmp_path / "clone/.synos/secrets"
    secrets.mkdir(parents=True)
    (secrets / "password").write_text("hunter2")
    return tmp_path / "clone"


def planning(clone: Path) -> plan.Plan:
    build = clone / "docker/build"
    tools = plan.Tools(builder="b", toolchain="t")
    return plan.plan_build(build, profile.load(build / "profiles", "x"), LOCK, tools)


def refused(clone: Path) -> SynosError:
    with pytest.raises((ProfileError, ComponentError)) as caught:
        planning(clone)
    error = caught.value
    assert error.where
    assert len(error.what) < 300
    return error


def move_out(clone: Path, name: str) -> Path:
    """Put a link in the place of something, to the same outside docker/build."""
    path = clone / "docker/build" / name
    outside = clone / ".synos" / path.name
    path.rename(outside)
    path.symlink_to(os.path.relpath(outside, path.parent))
    return outside


@pytest.mark.parametrize("name", NAMED)
def test_no_link_out_of_docker_build_is_followed(clone: Path, name: str) -> None:
    planning(clone)
    outside = move_out(clone, name)
    error = refused(clone)
    assert "leads out of docker/build" in error.what
    assert NAMED[name] in error.where
    assert str(outside) in error.why
    assert error.hint


@pytest.mark.parametrize(
    "name", ["profiles", "components", "overlays", "overlays/a", "hooks", "components/src"]
)
def test_nor_one_in_a_folder_above(clone: Path, name: str) -> None:
    move_out(clone, name)
    assert "leads out of docker/build" in refused(clone).what


@pytest.mark.parametrize("name", ["docker", "docker/build"])
def test_docker_build_is_no_link_itself(clone: Path, name: str) -> None:
    real = clone / "elsewhere"
    (clone / name).rename(real)
    (clone / name).parent.mkdir(exist_ok=True)
    (clone / name).symlink_to(real)
    assert "leads out of docker/build" in refused(clone).what


@pytest.mark.parametrize("name", NAMED)
def test_a_link_inside_is_followed_where_it_is_named(clone: Path, name: str) -> None:
    before = planning(clone)
    path = clone / "docker/build" / name
    path.rename(clone / "docker/build/real")
    path.symlink_to("../" * name.count("/") + "real")
    assert planning(clone).key == before.key


def fifo(path: Path) -> None:
    os.mkfifo(path)


def plug(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def holes(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**42)


def nowhere(path: Path) -> None:
    path.symlink_to("nowhere")


def other_kind(path: Path) -> None:
    if path.with_name(path.name + "~").is_dir():
        path.write_text("")
    else:
        path.mkdir()


STRANGE = [fifo, plug, loop, endless, holes, nowhere, other_kind]


@pytest.mark.parametrize("make", STRANGE)
@pytest.mark.parametrize("name", NAMED)
def test_what_is_no_such_file_or_folder_is_an_error_with_its_place(
    clone: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[Path], None]
) -> None:
    path = clone / "docker/build" / name
    path.rename(path.with_name(path.name + "~"))
    monkeypatch.chdir(path.parent)
    make(path)
    error = refused(clone)
    assert NAMED[name] in error.where or path.name in error.where
    part_of_component = name.startswith(("components/src", "components/fixes"))
    assert error.what.startswith("component tool: ") is part_of_component


@pytest.mark.parametrize("make", [fifo, plug, holes])
@pytest.mark.parametrize("folder", ["overlays/a/b/etc", "components/src/tool"])
def test_nor_is_there_anything_but_files_in_a_folder(
    clone: Path, monkeypatch: pytest.MonkeyPatch, folder: str, make: Callable[[Path], None]
) -> None:
    monkeypatch.chdir(clone / "docker/build" / folder)
    make(clone / "docker/build" / folder / "strange")
    assert refused(clone).where.endswith("strange")


def test_folders_nested_too_deeply_for_other_programs_are_refused(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone / "docker/build/overlays/a/b")
    for _ in range(300):
        Path("d").mkdir()
        monkeypatch.chdir("d")
    assert "too deeply" in refused(clone).what


@pytest.mark.parametrize("name", ["profiles/x.yaml", "components/tool.yaml"])
def test_a_file_that_is_too_long_is_not_read(clone: Path, name: str) -> None:
    with (clone / "docker/build" / name).open("a") as file:
        file.truncate(2**33)
    assert "at most" in refused(clone).hint


@pytest.mark.parametrize("make", STRANGE)
def test_a_lock_is_a_file(clone: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]) -> None:
    path = lock.path_of(clone / "docker/build/profiles", "x")
    monkeypatch.chdir(path.parent)
    make(path)
    with pytest.raises(LockError) as caught:
        lock.load(path)
    assert path.name in caught.value.where


def test_links_in_an_overlay_or_a_source_are_content(clone: Path, tmp_path: Path) -> None:
    build = clone / "docker/build"
    for folder in ("overlays/a/b/etc", "components/src/tool"):
        (build / folder / "link").symlink_to("/etc/shadow")
        (build / folder / "folder").symlink_to(clone)
    before = planning(clone).key
    (tmp_path / "clone/new").write_text("")
    assert planning(clone).key == before
    (tmp_path / "target").mkdir()
    overlay.copy(build / "overlays/a/b", Listing(), tmp_path / "target")
    assert (tmp_path / "target/etc/link").readlink() == Path("/etc/shadow")
    assert (tmp_path / "target/etc/folder").readlink() == clone


@pytest.mark.parametrize("name", [name for name in NAMED if "yaml" not in name])
def test_the_container_follows_no_link_out_either(clone: Path, tmp_path: Path, name: str) -> None:
    build = clone / "docker/build"
    planned = planning(clone)
    tool = recipe.load(build / "components", "tool")
    wanted = Compilation(
        component=tool, key="k", source=recipe.inputs_of(tool, build / "components", "t")["source"]
    )
    outside = move_out(clone, name)
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "work/root").mkdir(parents=True)
    with build_context(tmp_path, planned.profile) as given:
        context = dataclasses.replace(given, docker_build=build)
        readers: dict[str, Callable[[], object]] = {
            "overlays/a/b": lambda: overlay.make_files(
                inputs_for(context, planned, "overlay"), Listing(), target
            ),
            "hooks/x": lambda: hooks.make(inputs_for(context, planned, "hook-x"), context.root),
        }
        component = CompileContext(build=context, wanted=wanted)
        readers.setdefault(name, lambda: source.prepare(component))
        with pytest.raises((ProfileError, ComponentError)) as caught:
            readers[name]()
    assert str(outside) in caught.value.why
    assert not [path for path in target.rglob("*") if path.name == "motd"]


def test_a_copy_has_the_mode_and_reads_files_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "a").chmod(0o640)
    inputs.copy(tmp_path / "a", tmp_path / "b")
    assert ((tmp_path / "b").read_text(), (tmp_path / "b").stat().st_mode & 0o777) == ("x", 0o640)
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(ProfileError):
        inputs.copy(tmp_path / "link", tmp_path / "c")
