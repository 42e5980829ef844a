"""Foreign code in containers of its own: how the builder asks and hears of the end, and how the host answers."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from synos_tasks import builder
from synos_tasks.build.containers import builder_spec, stage_spec
from synos_tasks.build.planning import Context
from synos_tasks.engine import run as host
from synos_tasks.engine.spec import ContainerSpec
from synos_tasks.errors import ContainerLost, DiskFull, EngineUnavailable, StageFailed
from synos_tasks.images.catalog import BUILDER
from synos_tasks.iso import codec, protocol
from synos_tasks.iso.stage_containers import LINE_LENGTH, STREAMS, StageContainers, mounts_of
from tests.unit.contexts import build_context
from tests.unit.fake_docker import FakeDocker
from tests.unit.guest import Guest, until_end
from tests.unit.projects import project, settings_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from synos_tasks.iso.tools import BuildContext

MEGABYTE = 2**20
SECONDS = 5.0


class Host:
    """Stands for the host and the container that it starts: ``program`` opens the streams; then a reply is sent."""

    def __init__(self, work: Path, program: Callable[[Path], object], code: int = 0, why: str = "") -> None:
        self.asked: list[dict[str, Any]] = []
        self.stdin = ""
        self._work, self._program, self._reply = work, program, {"code": code, "why": why}
        self.containers = StageContainers(self._on_ask)

    def _on_ask(self, **fields: Any) -> None:  # noqa: ANN401
        self.asked.append(fields)
        threading.Thread(target=self._start, args=(fields["id"],), daemon=True).start()

    def _start(self, ident: str) -> None:
        self.stdin = (self._work / ident / "in").read_text()
        self._program(self._work / ident / "out")
        self.containers.on_reply({"id": ident, **self._reply})

    def run(self, *argv: str, stdin: str | None = None) -> tuple[int, list[str]]:
        """Run a program to its end; fail where that takes too long."""
        done: list[tuple[int, list[str]] | Exception] = []

        def work() -> None:
            try:
                asked = self.containers.started(
                    argv, {"A": "b"}, (), self._work, stdin=stdin, network=False, private={}
                )
                with asked as program:
                    lines = list(program.lines())
                done.append((program.code, lines))
            except Exception as error:  # noqa: BLE001  (raised below)
                done.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(SECONDS)
        assert done, "it hangs"
        if isinstance(done[0], Exception):
            raise done[0]
        return done[0]


def writing(*parts: bytes) -> Callable[[Path], None]:
    """Return a program that writes with small pauses."""

    def program(out: Path) -> None:
        with out.open("wb", buffering=0) as stream:
            for part in parts:
                stream.write(part)
                time.sleep(0.02)

    return program


def silent(_out: Path) -> None:
    """Stand for a program that never starts."""


def test_lines_and_the_code_come_back_and_nothing_is_left(tmp_path: Path) -> None:
    fake = Host(
        tmp_path, writing(b"one\ntw", b"o\n\n", b" 10%\r 20%\r", b"\xff\xfe bad\n", b"no end"), code=3
    )
    assert fake.run("tool", "argument", stdin="text") == (
        3, ["one", "two", " 10%", " 20%", "\ufffd\ufffd bad", "no end"],
    )  # fmt: skip
    [asked] = fake.asked
    assert asked["command"][-4:] == ("-i", "A=b", "tool", "argument")
    assert (asked["id"], STREAMS, False) in asked["mounts"]
    assert fake.stdin == "text"
    assert list(tmp_path.iterdir()) == []


def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    code, lines = Host(tmp_path, writing(b"x" * MEGABYTE, b"\nlast\n")).run("tool")
    assert code == 0
    assert [len(line) for line in lines] == [LINE_LENGTH, len("last")]
    assert max(map(len, lines)) <= 2 * LINE_LENGTH, "memory has a limit"
    assert lines[-1] == "last"


def test_what_was_written_before_the_end_is_all_read(tmp_path: Path) -> None:
    many = "".join(f"{number}\n" for number in range(5000))
    assert Host(tmp_path, writing(many.encode())).run("tool") == (0, many.split())


def test_a_container_that_could_not_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StageFailed) as caught:
        Host(tmp_path, silent, 125, "no such image").run("tool")
    assert (caught.value.where, caught.value.why) == ("tool", "no such image")
    assert list(tmp_path.iterdir()) == []


def test_a_container_that_never_opened_its_streams_hangs_nothing(tmp_path: Path) -> None:
    assert Host(tmp_path, silent, code=127).run("tool") == (127, [])


def _flood(out: Path) -> None:
    with suppress(BrokenPipeError), out.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"talk\n" * 2000)


@pytest.mark.parametrize("program", [lambda _: threading.Event().wait(60), _flood], ids=["silent", "talking"])
def test_a_stop_ends_those_who_wait(tmp_path: Path, program: Callable[[Path], object]) -> None:
    fake = Host(tmp_path, program)
    threading.Timer(0.2, fake.containers.stop).start()
    with pytest.raises(StageFailed, match="could not run") as caught:
        fake.run("tool")
    assert caught.value.why == "another stage failed"


def test_folders_of_the_system_are_mounted_and_those_of_the_engine_are_not(tmp_path: Path) -> None:
    for name in ("etc", "usr", "proc", "sys", "dev", "data", "synos"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "out").symlink_to("/etc")
    assert {folder for folder, _, _ in mounts_of(tmp_path, "root")} == {
        "root",
        "root/etc",
        "root/usr",
        "root/data",
    }


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[tuple[BuildContext, Host]]:
    with build_context(tmp_path) as made:
        fake = Host(made.work, writing(b"said\n"), code=0)
        (made.work / "root/etc").mkdir(parents=True)
        (made.work / "repository").mkdir()
        yield dataclasses.replace(made, containers=fake.containers), fake


def test_a_program_of_the_root_gets_its_system_and_what_it_reads(
    inside: tuple[BuildContext, Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, fake = inside
    monkeypatch.setattr(type(made), "run", lambda *_, **__: pytest.fail("it ran beside the store"))
    reading = {"var/cache/synos": made.work / "repository"}
    assert made.run_inside("hooks", made.work / "root", ["/bin/tool"], reading=reading) == ["said"]
    [asked] = fake.asked
    writable = {folder for folder, _, may_write in asked["mounts"] if may_write}
    assert writable == {"root", "root/etc"}
    [where] = [
        target for folder, target, may_write in asked["mounts"] if folder == "repository" and not may_write
    ]
    assert where.endswith("/var/cache/synos")
    folders = [target for _, target, may_write in asked["mounts"] if may_write]
    assert all(where.count("/") > target.count("/") for target in folders), "the engine mounts it after them"
    assert not asked["network"], "a network is what a stage asks for"


# ---- the host

SPEC = ContainerSpec(name="synos-test-build-1", image="i", command=(), labels={})
DELIVERED = protocol.Delivered(build_id="1")
WANTED = protocol.RunApart(id="streams-a", command=("tool",), mounts=(), work="/work")


def line_of(event: protocol.Event) -> bytes:
    return json.dumps(codec.encode(event)).encode() + b"\n"


def reply_on(descriptor: int) -> dict[str, Any]:
    """Read a lease until a line with a reply."""
    text = b""
    while chunk := os.read(descriptor, 4096):
        text += chunk
        for line in text.split(b"\n")[:-1]:
            if b'"code"' in line:
                found: dict[str, Any] = json.loads(line)
                return found
    return {}


class Engine(FakeDocker):
    """One builder that asks for a container, does what ``then`` says, and such a container."""

    def __init__(self, then: Callable[[int, IO[bytes]], object], stage: Callable[[], Guest]) -> None:
        super().__init__()
        self.stage, self.stages = stage, list[Guest]()
        self.add_container(SPEC.name)
        self.objects["container"][self._ident("container", SPEC.name)]["Mounts"] = [
            {"Type": "volume", "Name": "anonymous", "Destination": "/work"}
        ]

        def build(stdin: int, out: IO[bytes], _err: IO[bytes]) -> None:
            out.write(line_of(WANTED))
            then(stdin, out)

        self.builder = Guest(build)

    def attach(self, spec: ContainerSpec) -> Any:  # noqa: ANN401
        self.runs.append(spec)
        if spec.name == SPEC.name:
            return self.builder
        self.stages.append(self.stage())
        return self.stages[-1]


def ask(folder: Path, engine: Engine, *, may: bool = True) -> protocol.Delivered:
    def made(spec: ContainerSpec, volume: str, wanted: protocol.RunApart) -> ContainerSpec:
        return dataclasses.replace(spec, name=f"stage-in-{volume}", command=wanted.command)

    context = Context(settings_in(folder), engine, print)
    return builder.ask(
        context, SPEC, protocol.ListStore(), protocol.Delivered, stage_spec=made if may else None
    )


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "RENEWAL_SECONDS", 0.02)
    monkeypatch.setattr(host, "TICK_SECONDS", 0.02)


def replied(folder: Path, stage: Callable[[], Guest], *, may: bool = True) -> tuple[dict[str, Any], Engine]:
    """Return what a builder hears of the container that it asked for, and the engine."""
    replies: list[dict[str, Any]] = []

    def then(stdin: int, out: IO[bytes]) -> None:
        replies.append(reply_on(stdin))
        out.write(line_of(DELIVERED))

    engine = Engine(then, stage)
    assert ask(folder, engine, may=may) == DELIVERED
    return replies[0], engine


def complaining(code: int) -> Callable[[], Guest]:
    why = b"Error response from daemon: no space\n"
    return lambda: Guest(lambda _in, _out, err: err.write(why), [code])


@pytest.mark.parametrize(
    ("stage", "code", "why"),
    [
        (lambda: Guest(lambda *_: None, [7]), 7, ""),
        *((complaining(code), code, "Error response from daemon: no space") for code in (1, 125, 127)),
        (Mock(side_effect=EngineUnavailable("no engine answers")), 1, "no engine answers"),
        (Mock(side_effect=OSError("too many open files")), 1, "too many open files"),
    ],
)
def test_the_reply_tells_how_the_container_ended_or_why_there_is_none(
    tmp_path: Path, stage: Callable[[], Guest], code: int, why: str
) -> None:
    reply, engine = replied(tmp_path, stage)
    assert reply == {"id": "streams-a", "code": code, "why": why}
    assert [(spec.name, spec.command) for spec in engine.runs[1:]] == [("stage-in-anonymous", ("tool",))]


def test_a_builder_without_such_containers_starts_none(tmp_path: Path) -> None:
    reply, engine = replied(tmp_path, lambda: pytest.fail("a container was started"), may=False)
    assert reply["why"]
    assert len(engine.runs) == 1


@pytest.mark.parametrize(
    "event", [None, protocol.Failure(kind="DiskFull", error="full")], ids=["end", "failure"]
)
def test_a_builder_that_ends_releases_the_containers_that_run(
    tmp_path: Path, event: protocol.Event | None
) -> None:
    started, ended = threading.Event(), threading.Event()

    def stage(stdin: int, _out: IO[bytes], _err: IO[bytes]) -> None:
        started.set()
        until_end(stdin)
        ended.set()

    def then(_stdin: int, out: IO[bytes]) -> None:
        assert started.wait(SECONDS)
        if event:
            out.write(line_of(event))

    began = time.monotonic()
    with pytest.raises(DiskFull if event else ContainerLost):
        ask(tmp_path, Engine(then, lambda: Guest(stage)))
    assert ended.is_set(), "its lease ended before the command did"
    assert time.monotonic() - began < SECONDS


def test_foreign_code_gets_what_the_builder_may_do_and_none_of_its_folders(tmp_path: Path) -> None:
    settings, engine = project(tmp_path), FakeDocker()
    engine.add_image(BUILDER.tag(settings.project))
    made = builder_spec(Context(settings, engine, print), output=tmp_path / "out")
    wanted = dataclasses.replace(WANTED, mounts=(("root", "/synos/tree", True), ("streams-a", "/s", False)))
    one, two = (stage_spec(made, "volume", wanted) for _ in range(2))
    assert one.name != two.name != made.name
    assert one.name.startswith(f"{settings.project.id}-stage-")
    assert (one.binds, one.volumes, one.tmpfs) == ((), {}, {})
    assert one.anonymous_volumes == {"/work": ""}, "the image declares it; so it has labels"
    assert {(part.volume, part.folder, part.writable) for part in one.volume_folders} == {
        ("volume", "root", True), ("volume", "streams-a", False),
    }  # fmt: skip
    same = ("labels", "cpus", "memory_mb", "pids", "user", "privileged", "new_privileges", "devices")  # fmt: skip
    assert {name: getattr(one, name) for name in same} == {name: getattr(made, name) for name in same}
    assert set(one.capabilities) - set(made.capabilities) == {"SETPCAP"}  # which enter keeps for itself
    assert one.network == "none"
    assert stage_spec(made, "v", dataclasses.replace(wanted, network=True)).network == made.network
