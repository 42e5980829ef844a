"""The containers that build, compile and give a shell: what each may do, and what it can reach."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import pytest

from synos_tasks.build.containers import (
    PRIVILEGED,
    builder_spec,
    compile_spec,
    open_shell,
    shell_spec,
    stage_spec,
    toolchain_spec,
)
from synos_tasks.build.planning import Context
from synos_tasks.engine.labels import LABEL_ROLE
from synos_tasks.images.catalog import BUILDER, TOOLCHAIN
from synos_tasks.iso.components import recipe
from synos_tasks.iso.protocol import RunApart
from synos_tasks.settings import Settings
from tests.unit.fake_docker import FakeDocker
from tests.unit.projects import lay_component, project


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
    made = [toolchain_spec(context, "trixie"), stage_spec(builder, "volume", asked)]
    made += [shell_spec(context, toolchain="trixie"), shell_spec(context)]
    assert [one.name.rpartition("-")[0] for one in (builder, *made)] == [
        f"{ident}-{what}" for what in ("build", "compile", "stage", "shell", "shell")
    ]


def test_an_engine_that_does_not_say_how_much_memory_it_has_sets_no_limit_of_zero(context: Context) -> None:
    assert isinstance(context.docker, FakeDocker)
    context.docker.memory = 0
    assert builder_spec(context).memory_mb == context.settings.build.memory_mb


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
    spec = compile_spec(context, component, "synos-test-once-1", suite="trixie", cached=True, network=False)
    assert {name for name, path in spec.volumes.items() if path == "/packages"} == {"synos-test-once-1"}
    assert "synos-test-store" not in spec.volumes
    assert not any(bind.writable for bind in spec.binds)
    assert spec.network == "none"
    assert spec.devices == ()
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
