"""What a container must say, and how it must end, before the host believes that its work is done."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest

from synos_tasks import builder
from synos_tasks.build.planning import Context
from synos_tasks.engine.spec import ContainerSpec
from synos_tasks.errors import ComponentFailed, ContainerLost, DiskFull, SynosError, error_classes
from synos_tasks.iso import codec, protocol
from tests.unit.fake_docker import FakeDocker
from tests.unit.projects import settings_in
from tests.unit.test_protocol import COMPILATION, EVENTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SPEC = ContainerSpec(name="synos-test-build-1", image="i", command=(), labels={})
DELIVERED = protocol.Delivered(build_id="1")
FAILED = protocol.Failure(kind="DiskFull", error="no space", why="one\ntwo")


class Answering:
    """A container that prints lines and ends with a code."""

    def __init__(self, folder: Path) -> None:
        self.docker, self.said = FakeDocker(), list[str]()
        self.context = Context(settings_in(folder), self.docker, self.said.append)

    def ask(self, *printed: protocol.Event | bytes, code: int = 0) -> protocol.Delivered:
        self._prints(printed, code)
        return builder.ask(self.context, SPEC, protocol.ListStore(), protocol.Delivered)

    def compile(self, *printed: protocol.Event) -> list[protocol.Event]:
        """Let it be one that compiles; return what its command heard."""
        heard: list[protocol.Event] = []
        self._prints(printed, 0)
        request = protocol.Compile(component=COMPILATION, offline=True, jobs=1)
        builder.ask(self.context, SPEC, request, protocol.Compiled, heard.append)
        return heard

    def _prints(self, printed: Sequence[protocol.Event | bytes], code: int) -> None:
        lines = [one if isinstance(one, bytes) else json.dumps(codec.encode(one)).encode() for one in printed]
        self.docker.on_run = lambda *_: (code, b"\n".join(lines), b"")

    @property
    def log(self) -> str:
        """What was written to the log."""
        [path] = (self.context.settings.project.state_dir / "logs").iterdir()
        return path.read_text()


@pytest.fixture
def container(tmp_path: Path) -> Answering:
    return Answering(tmp_path)


def test_an_answer_and_then_a_good_end_is_success(container: Answering) -> None:
    assert container.ask(DELIVERED, protocol.Evicted(bytes=0, count=0, left_bytes=0, skipped=0)) == DELIVERED


@pytest.mark.parametrize("code", [1, 137, 143])
def test_an_answer_of_a_container_that_was_killed_is_none(container: Answering, code: int) -> None:
    with pytest.raises(ContainerLost) as caught:
        container.ask(DELIVERED, code=code)
    assert f"exit code {code}" in caught.value.why


@pytest.mark.parametrize("code", [0, 1])
def test_a_failure_after_an_answer_is_a_failure(container: Answering, code: int) -> None:
    with pytest.raises(DiskFull, match="no space"):
        container.ask(DELIVERED, FAILED, code=code)


def test_two_answers_are_none(container: Answering) -> None:
    with pytest.raises(ContainerLost, match="twice"):
        container.ask(DELIVERED, DELIVERED)


def test_no_answer_is_none(container: Answering) -> None:
    with pytest.raises(ContainerLost):
        container.ask(b"hello")


def test_what_it_prints_cannot_steer_a_terminal_or_forge_lines_of_the_log(container: Answering) -> None:
    warning = protocol.Warn(text="be\x1b[31m careful\nerror: forged")
    line = protocol.Log(stage="ba\nse", line="one\n[base] two\x1b]52;c;eA==\x07")
    container.ask(warning, line, b'{"event": "log"}', b"\xff\x1bc", DELIVERED)
    assert container.said == ["warning: be careful error: forged"]
    assert "\x1b" not in container.log
    assert len(container.log.splitlines()) == 5
    assert container.log.splitlines()[1] == "[ba se] one [base] two\ufffd]52;c;eA==\ufffd"


def test_an_error_is_shown_without_what_a_terminal_obeys(container: Answering) -> None:
    forged = protocol.Failure(kind="DiskFull", error="a\x1b[2Jb", where="/c\x9bd", hint="e\u202ef")
    with pytest.raises(DiskFull) as caught:
        container.ask(forged)
    assert (caught.value.what, caught.value.where) == ("ab", "/c\ufffdd")
    assert caught.value.hint.startswith("e\ufffdf\nfull log: ")


@pytest.mark.parametrize("kind", error_classes())
def test_what_compiles_a_component_can_report_no_other_error_than_its_own(
    container: Answering, kind: type[SynosError]
) -> None:
    """Of some errors the host does more than say them: of PackageVanished it makes a new lock."""
    with pytest.raises(ComponentFailed, match="sudo 1 is gone"):
        container.compile(protocol.Failure(kind=kind.__name__, error="sudo 1 is gone"))


def test_what_compiles_a_component_speaks_of_no_other_stage(container: Answering) -> None:
    answered = protocol.Compiled(caches={})
    others = [one for one in EVENTS if not isinstance(one, protocol.Failure | protocol.Compiled)]
    heard = container.compile(*others, answered)
    allowed = protocol.Tick | protocol.Log | protocol.Warn | protocol.Start | protocol.Progress
    assert all(isinstance(one, allowed) for one in heard if one != answered)
    assert {stage for one in heard if (stage := getattr(one, "stage", None))} == {"component-a"}
    assert container.said == ["warning: component-a: x"]
    assert all(line.startswith(("[component-a] ", "{")) for line in container.log.splitlines())


def test_the_key_of_the_store_is_made_once_and_for_its_owner_alone(container: Answering) -> None:
    settings = container.context.settings
    key = builder.store_key(settings)
    assert len(bytes.fromhex(key)) == 32
    assert builder.store_key(settings) == key
    [path] = [path for path in settings.project.state_dir.iterdir() if path.read_text() == key]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_services_secrets_are_known_but_for_short_ones(container: Answering) -> None:
    folder = container.context.settings.project.state_dir / "services/unified/secrets"
    folder.mkdir(parents=True)
    (folder / "redis").write_text("3f786850e387550f\n")
    (folder / "short").write_text("admin\n")
    (folder / "damaged").write_bytes(b"\xff" * 20)
    assert builder.secrets_of(container.context) == {"redis": "3f786850e387550f"}


def test_secrets_that_cannot_be_read_are_said_not_to_be_looked_for(container: Answering) -> None:
    services = container.context.settings.project.state_dir / "services"
    for name in ("one", "two"):
        (services / name).mkdir(parents=True)
    (services / "one/secrets").write_text("no folder, so that root cannot list it either")
    (services / "two/secrets").mkdir()
    (services / "two/secrets/redis").write_text("3f786850e387550f")
    said = list[str]()
    context = dataclasses.replace(container.context, say=said.append)
    assert builder.secrets_of(context) == {"redis": "3f786850e387550f"}
    [line] = said
    assert line.startswith(
        f"warning: {services}/one/secrets cannot be read (Not a directory): it is not checked"
    )
