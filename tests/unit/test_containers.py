"""The containers that build, compile and give a shell: what each may do, and what it can reach."""

from __future__ import annotations

import dataclasses
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from synos_tasks import builder
from synos_tasks.build import shell
from synos_tasks.build.planning import Context
from synos_tasks.builder import builder_spec, once_volume, read_only_binds, toolchain_spec
from synos_tasks.engine.labels import LABEL_ROLE, TOOLCHAIN_CAPABILITIES
from synos_tasks.engine.spec import Bind, ContainerSpec
from synos_tasks.images.catalog import BUILDER, TOOLCHAIN
from tests.unit.fake_docker import FakeDocker
from tests.unit.fakes import INFO, fake_containers
from tests.unit.projects import project

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return project(tmp_path)


def _toolchain(
    settings: Settings, *, output: Path | None = None, store: str | None = "", network: bool = True
) -> ContainerSpec:
    return toolchain_spec(settings, INFO, "image", output=output, store=store, network=network)


def _differing(one: ContainerSpec, two: ContainerSpec) -> set[str]:
    names = (field.name for field in dataclasses.fields(ContainerSpec))
    return {name for name in names if getattr(one, name) != getattr(two, name)}


def test_the_toolchain_is_the_builder_but_for_sudo_and_the_caches(settings: Settings, tmp_path: Path) -> None:
    made = _toolchain(settings, output=tmp_path / "out")
    builder = builder_spec(settings, INFO, "image", output=tmp_path / "out")
    assert _differing(builder, made) == {
        "name", "user", "capabilities", "new_privileges", "volumes", "tmpfs", "anonymous_volumes",
    }  # fmt: skip
    assert (made.tmpfs, made.anonymous_volumes) == ({}, ("/work",))
    assert made.user == "0:0"
    assert made.capabilities == TOOLCHAIN_CAPABILITIES
    assert made.new_privileges
    assert made.name.startswith("synos-test-compile-")
    assert not made.privileged


def test_the_toolchain_reads_the_project_and_writes_what_it_is_given(
    settings: Settings, tmp_path: Path
) -> None:
    of_project = read_only_binds(settings)
    assert [bind.source.name for bind in of_project] == ["synos_tasks", "build"]
    assert not any(bind.writable for bind in of_project)
    assert _toolchain(settings).binds == of_project
    given = _toolchain(settings, output=tmp_path / "out").binds
    assert given == (*of_project, Bind(source=tmp_path / "out", target="/output", writable=True))
    assert _toolchain(settings, network=False).network == "none"


def test_the_compilers_caches_come_with_the_projects_own_store_alone(settings: Settings) -> None:
    own = {"synos-test-store", "synos-test-ccache", "synos-test-sccache"}
    assert set(_toolchain(settings).volumes) == own
    assert set(_toolchain(settings, store="synos-test-once-1").volumes) == {"synos-test-once-1"}
    assert _toolchain(settings, store=None).volumes == {}


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_volume_for_once_is_removed_however_it_ends(settings: Settings, error: type[BaseException]) -> None:
    engine = FakeDocker()
    with suppress(error), once_volume(settings, engine) as volume:
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


def test_a_privileged_shell_has_a_dev_of_its_own_and_none_of_the_hosts(settings: Settings) -> None:
    spec = shell.shell_spec(settings, INFO, privileged=True)
    assert spec.privileged
    assert spec.entrypoint == "synos-own-dev"
    _reaches_no_device(spec)
    assert spec.command == ("bash",)


@pytest.mark.parametrize("toolchain", [False, True])
def test_a_shell_without_privileges_is_as_confined_as_what_it_stands_in_for(
    settings: Settings, toolchain: bool
) -> None:
    spec = shell.shell_spec(settings, INFO, toolchain=toolchain)
    of_builder = builder_spec(settings, INFO, "image", output=settings.output_dir)
    stands_for = _toolchain(settings, output=settings.output_dir) if toolchain else of_builder
    other = {"name", "image", "command"} | ({"user"} if toolchain else set())
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
    settings: Settings, monkeypatch: pytest.MonkeyPatch, privileged: bool
) -> None:
    fake_containers(monkeypatch)
    engine, said = FakeDocker(), list[str]()
    monkeypatch.setattr(engine, "interact", lambda _spec: 7)
    code = shell.open_shell(
        Context(settings, engine, said.append), toolchain=False, privileged=privileged, command="exit 7"
    )
    assert code == 7
    volume = engine.volume(settings.project.store_volume)
    assert volume is not None
    assert volume.labels[LABEL_ROLE] == "cache"
    assert settings.output_dir.is_dir()
    assert [line for line in said if "NOT isolated" in line] == [
        f"warning: {builder.PRIVILEGED}"
    ] * privileged


@pytest.mark.parametrize("at_terminal", [True, False])
def test_a_shell_is_interactive_without_a_command_and_at_a_terminal(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, at_terminal: bool
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: at_terminal)
    plain, given = (shell.shell_spec(settings, INFO, command=command) for command in ("", "make | wc"))
    assert (plain.command, plain.terminal) == (("bash",), at_terminal)
    assert (given.command, given.terminal) == (("bash", "-c", "make | wc"), False)
