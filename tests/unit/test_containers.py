"""The containers that build, compile and give a shell: what each may do, and what it can reach."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from synos_tasks.build.containers import (
    PRIVILEGED,
    builder_spec,
    compile_spec,
    open_shell,
    read_only_binds,
    shell_spec,
    stage_spec,
    store_volume,
    toolchain_spec,
)
from synos_tasks.build.planning import Context
from synos_tasks.engine.labels import LABEL_ROLE, TOOLCHAIN_CAPABILITIES
from synos_tasks.engine.spec import Bind, ContainerSpec
from synos_tasks.images.catalog import BUILDER, TOOLCHAIN
from synos_tasks.iso.components import recipe
from synos_tasks.iso.protocol import RunApart
from tests.unit.fake_docker import FakeDocker
from tests.unit.projects import lay_component, project

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return project(tmp_path)


@pytest.fixture
def context(settings: Settings) -> Context:
    """One whose images are there."""
    engine = FakeDocker()
    for image in (BUILDER, TOOLCHAIN):
        engine.add_image(image.tag(settings.project))
    return Context(settings, engine, print)


def test_a_project_may_have_any_words_in_its_name(tmp_path: Path) -> None:
    ident, engine = "my-build-and-compile-tools-0f", FakeDocker()
    settings = project(tmp_path, ident)
    for image in (BUILDER, TOOLCHAIN):
        engine.add_image(image.tag(settings.project))
    context = Context(settings, engine, print)
    asked = RunApart(id="streams-1", command=("enter",), mounts=(), work="/work")
    builder = builder_spec(context)
    made = [toolchain_spec(context), stage_spec(builder, "volume", asked)]
    made += [shell_spec(context, toolchain=True), shell_spec(context)]
    assert [one.name.rpartition("-")[0] for one in (builder, *made)] == [
        f"{ident}-{what}" for what in ("build", "compile", "stage", "shell", "shell")
    ]


def _differing(one: ContainerSpec, two: ContainerSpec) -> set[str]:
    names = (field.name for field in dataclasses.fields(ContainerSpec))
    return {name for name in names if getattr(one, name) != getattr(two, name)}


def test_the_toolchain_is_the_builder_but_for_sudo_and_the_caches(context: Context, tmp_path: Path) -> None:
    made = toolchain_spec(context, output=tmp_path / "out")
    builder = builder_spec(context, output=tmp_path / "out")
    assert _differing(builder, made) == {
        "name", "image", "user", "capabilities", "new_privileges", "volumes", "anonymous_volumes",
    }  # fmt: skip
    assert (made.tmpfs, made.anonymous_volumes) == ({}, {"/work": ""})
    assert made.user == "0:0"
    assert made.capabilities == TOOLCHAIN_CAPABILITIES
    assert made.new_privileges
    assert made.name.startswith("synos-test-compile-")
    assert not made.privileged


def test_the_toolchain_reads_the_project_and_writes_what_it_is_given(
    context: Context, tmp_path: Path
) -> None:
    of_project = read_only_binds(context.settings)
    assert [bind.source.name for bind in of_project] == ["synos_tasks", "build"]
    assert not any(bind.writable for bind in of_project)
    assert toolchain_spec(context).binds == of_project
    given = toolchain_spec(context, output=tmp_path / "out").binds
    assert given == (*of_project, Bind(source=tmp_path / "out", target="/output", writable=True))
    assert toolchain_spec(context, network=False).network == "none"


def test_what_compiles_a_component_reads_its_source_and_patches_and_writes_packages(
    context: Context, tmp_path: Path
) -> None:
    data = context.settings.project.build_data
    lay_component(data, "agent")
    lay_component(data, "tool", patches=["tool/a.patch", "b.patch"])
    (data / "shared").mkdir()
    (data / "shared/b.patch").write_text("b")
    (data / "components/tool/a.patch").write_text("a")
    (data / "components/b.patch").symlink_to("../shared/b.patch")
    component = recipe.load(data / "components", "tool")
    spec = compile_spec(context, component, "synos-test-once-1", cached=True, network=False)
    assert {name for name, path in spec.volumes.items() if path == "/packages"} == {"synos-test-once-1"}
    assert "synos-test-store" not in spec.volumes
    assert not any(bind.writable for bind in spec.binds)
    assert spec.network == "none"
    _reaches_no_device(spec)
    # what the container finds there is the source that the key was made of
    for bind in spec.binds[1:]:
        target = tmp_path / "inside" / bind.target.lstrip("/")
        if bind.source.is_dir():
            shutil.copytree(bind.source, target)
        else:
            shutil.copyfile(bind.source, target)
    inside = tmp_path / "inside/project/docker/build/components"
    digests = (
        recipe.source_digest(component, *recipe.files_of(component, there))
        for there in (inside, data / "components")
    )
    assert len(set(digests)) == 1
    assert sorted(path.name for path in inside.iterdir()) == ["b.patch", "tool"]
    assert [path.name for path in inside.parent.iterdir()] == ["components"]


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_volume_for_once_is_removed_however_it_ends(context: Context, error: type[BaseException]) -> None:
    engine = FakeDocker()
    context = dataclasses.replace(context, docker=engine)
    with suppress(error), store_volume(context, cached=False) as volume:
        engine.create_volume(volume, {})
        assert engine.names("volume") == [volume]
        raise error
    assert volume.startswith("synos-test-once-")
    assert engine.names("volume") == []


def _reaches_no_device(spec: ContainerSpec) -> None:
    assert spec.devices == ()
    targets = [bind.target for bind in spec.binds] + [*spec.volumes.values(), *spec.tmpfs]
    for path in [*targets, *(str(bind.source) for bind in spec.binds)]:
        assert path != "/"
        assert not f"{path}/".startswith("/dev/")
    options = spec.options()
    assert not {"pid", "ipc", "uts", "userns"} & options.keys()
    assert "docker.sock" not in str(options)


def test_a_privileged_shell_has_a_dev_of_its_own_and_none_of_the_hosts(context: Context) -> None:
    spec = shell_spec(context, privileged=True)
    assert spec.privileged
    assert spec.entrypoint == "synos-own-dev"
    _reaches_no_device(spec)
    assert spec.command == ("bash",)


@pytest.mark.parametrize("toolchain", [False, True])
def test_a_shell_without_privileges_is_as_confined_as_what_it_stands_in_for(
    context: Context, toolchain: bool
) -> None:
    settings = context.settings
    spec = shell_spec(context, toolchain=toolchain)
    of_builder = builder_spec(context, output=settings.output_dir)
    stands_for = toolchain_spec(context, output=settings.output_dir) if toolchain else of_builder
    other = {"name", "command", "init"} | ({"user"} if toolchain else set())
    assert _differing(spec, stands_for) - {"terminal"} == other
    assert not spec.privileged
    assert spec.entrypoint == ""
    _reaches_no_device(spec)
    # no build by name, but cleaned up like one
    assert spec.name.startswith("synos-test-shell-")
    assert spec.labels[LABEL_ROLE] == "build"
    assert spec.image == (TOOLCHAIN if toolchain else BUILDER).tag(settings.project)
    assert not toolchain or spec.user is None, "the toolchain's own user, who may use sudo"


@pytest.mark.parametrize("privileged", [False, True])
def test_opening_a_shell_warns_only_of_what_is_not_isolated(
    context: Context, monkeypatch: pytest.MonkeyPatch, privileged: bool
) -> None:
    settings, engine, said = context.settings, context.docker, list[str]()
    monkeypatch.setattr(engine, "interact", lambda _spec: 7)
    spec = shell_spec(context, privileged=privileged, command="exit 7")
    assert open_shell(dataclasses.replace(context, say=said.append), spec) == 7
    volume = engine.volume(settings.project.store_volume)
    assert volume is not None
    assert volume.labels[LABEL_ROLE] == "cache"
    assert settings.output_dir.is_dir()
    assert [line for line in said if "NOT isolated" in line] == [f"warning: {PRIVILEGED}"] * privileged


@pytest.mark.parametrize("at_terminal", [True, False])
def test_a_shell_is_interactive_without_a_command_and_at_a_terminal(
    context: Context, monkeypatch: pytest.MonkeyPatch, at_terminal: bool
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: at_terminal)
    plain, given = (shell_spec(context, command=command) for command in ("", "make | wc"))
    assert (plain.command, plain.terminal) == (("bash",), at_terminal)
    assert (given.command, given.terminal) == (("bash", "-c", "make | wc"), False)
