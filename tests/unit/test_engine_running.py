"""What is asked of the Docker CLI about containers that people work in."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.engine.running import DockerContainers, Inside, exec_argv, running_of
from synos_tasks.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

INSIDE = Inside(user="dev", folder="/a b", environment={"B": "2", "A": "x y"})
EXEC = ["--user=dev", "--workdir=/a b", "--env=A=x y", "--env=B=2", "id", "make", "it so"]
INSPECTED: dict[str, Any] = {
    "Id": "id", "Name": "/name", "Created": "c", "State": {"Status": "exited", "StartedAt": "s"},
    "Config": {"Image": "i", "Labels": {"a": "b"}}, "HostConfig": {"Privileged": True},
    "Mounts": [{"Type": "bind", "Source": "/x"}, {"Type": "volume", "Source": "/y"}, {"Type": "tmpfs"}],
}  # fmt: skip


@dataclass
class Docker:
    """Stands for the `docker` command."""

    printed: dict[str, str] = field(default_factory=dict)
    """By the first word."""
    fails: list[tuple[str, str]] = field(default_factory=list)
    """First words that fail once, with what they say."""
    asked: list[list[str]] = field(default_factory=list)
    streams: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, argv: list[str], **options: Any) -> subprocess.CompletedProcess[str]:  # noqa: ANN401
        assert argv[0] == "docker"
        assert options.pop("check") is False
        self.asked.append(argv[1:])
        self.streams.append(options)
        if self.fails and self.fails[0][0] == argv[1]:
            return subprocess.CompletedProcess(argv, 1, "", self.fails.pop(0)[1])
        return subprocess.CompletedProcess(argv, 0, self.printed.get(argv[1], ""), "")


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Docker:
    made = Docker()
    monkeypatch.setattr(subprocess, "run", made)
    return made


def test_what_the_engine_tells_of_a_container_is_read() -> None:
    found = running_of(INSPECTED)
    assert (found.id, found.name, found.image, found.state) == ("id", "name", "i", "exited")
    assert (found.created, found.started, found.labels) == ("c", "s", {"a": "b"})
    assert (found.privileged, found.sources) == (True, ("/x",))


def test_where_none_has_the_labels_none_is_inspected(docker: Docker) -> None:
    assert DockerContainers().find({"a": "b"}) == []
    assert docker.asked == [["ps", "--all", "--quiet", "--no-trunc", "--filter=label=a=b"]]


def test_the_order_is_the_engines(docker: Docker) -> None:
    two = [{**INSPECTED, "Id": ident} for ident in ("new", "old")]
    docker.printed = {"ps": "new\nold\n", "inspect": json.dumps(two)}
    assert [one.id for one in DockerContainers().find({})] == ["new", "old"]
    assert docker.asked[-1] == ["inspect", "new", "old"]


@pytest.mark.parametrize(
    "said", ["Error: No such object: id", "Error response from daemon: No such container: id"]
)
def test_one_that_goes_away_while_it_is_looked_at_is_looked_for_again(docker: Docker, said: str) -> None:
    docker.printed = {"ps": "id\n", "inspect": json.dumps([INSPECTED])}
    docker.fails = [("inspect", said)]
    assert [one.id for one in DockerContainers().find({})] == ["id"]
    assert [words[0] for words in docker.asked] == ["ps", "inspect", "ps", "inspect"]


@pytest.mark.parametrize(
    ("act", "asked"),
    [
        (lambda it: it.create(["docker", "run", "--detach", "x"]), ["run", "--detach", "x"]),
        (lambda it: it.start("id"), ["start", "id"]),
        (lambda it: it.remove("id"), ["rm", "--force", "--volumes", "id"]),
        (lambda it: it.output("id", INSIDE, ["make", "it so"]), ["exec", *EXEC]),
        (lambda it: it.told("id", INSIDE, ["make", "it so"]), ["exec", *EXEC]),
        (
            lambda it: it.give_volume("v", "image", (7, 8)),
            [
                "run", "--rm", "--pull=never", "--network=none", "--cap-drop=ALL", "--cap-add=CHOWN",
                "--mount=type=volume,source=v,target=/volume", "image", "chown", "7:8", "/volume",
            ],
        ),
    ],
)  # fmt: skip
def test_the_docker_cli_is_asked(
    docker: Docker, act: Callable[[DockerContainers], object], asked: list[str]
) -> None:
    act(DockerContainers())
    assert docker.asked == [asked]


def test_the_id_of_a_new_container_has_no_line_end(docker: Docker) -> None:
    docker.printed["run"] = "abc\n"
    assert DockerContainers().create(["docker", "run"]) == "abc"


def test_another_name_of_a_volume_is_a_bind_of_its_folder(docker: Docker) -> None:
    docker.printed["volume"] = "/var/lib/docker/volumes/v/_data\n"
    DockerContainers().alias_volume("name", "v", {"k": "l m"})
    assert docker.asked[-1] == [
        "volume", "create", "--driver=local", "--opt=type=none", "--opt=o=bind",
        "--opt=device=/var/lib/docker/volumes/v/_data", "--label=k=l m", "name",
    ]  # fmt: skip


@pytest.mark.parametrize(("told", "wanted"), [('["name=seccomp","name=rootless"]', True), ("[]", False)])
def test_a_rootless_engine_is_known_by_its_options(docker: Docker, told: str, wanted: bool) -> None:
    docker.printed["info"] = told
    assert DockerContainers().is_rootless() is wanted


@pytest.mark.parametrize(
    ("told", "wanted"), [("p-x_data\nx_data\n", True), ("p-x_data\n", False), ("", False)]
)
def test_a_network_is_known_by_its_whole_name(docker: Docker, told: str, wanted: bool) -> None:
    docker.printed["network"] = told  # the engine's filter gives all that have the name in theirs
    assert DockerContainers().network_exists("x_data") is wanted


@pytest.mark.parametrize(
    ("stdin", "stdout", "tty"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_a_terminal_is_handed_on_where_both_ends_are_one(
    docker: Docker, monkeypatch: pytest.MonkeyPatch, stdin: bool, stdout: bool, tty: bool
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: stdin)
    monkeypatch.setattr("sys.stdout.isatty", lambda: stdout)
    assert DockerContainers().attached("id", INSIDE, ["make", "it so"]) == 0
    assert docker.asked == [["exec", "--interactive", *(["--tty"] if tty else []), *EXEC]]
    assert docker.streams == [{}]  # the caller's own


def test_a_variable_that_is_to_be_taken_away_is_not_set_to_a_word() -> None:
    inside = Inside(user="u", folder="/", environment={"GONE": None, "A": ""})
    assert exec_argv("x", inside, ["y"]) == [
        "docker",
        "exec",
        "--user=u",
        "--workdir=/",
        "--env=A=",
        "x",
        "y",
    ]


def test_a_removal_of_what_is_gone_is_silent(docker: Docker) -> None:
    docker.fails = [("rm", "Error: No such container")]
    DockerContainers().remove("id")
    assert docker.streams[0]["capture_output"] is True


def test_an_error_has_the_command_and_the_engines_words(docker: Docker) -> None:
    docker.fails = [("start", "it says no\n")]
    with pytest.raises(EngineUnavailable) as caught:
        DockerContainers().start("id")
    assert (caught.value.where, caught.value.why) == ("docker start id", "it says no")


def test_without_docker_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("docker")

    monkeypatch.setattr(subprocess, "run", missing)
    with pytest.raises(EngineUnavailable, match="there is no `docker` command") as caught:
        DockerContainers().find({})
    assert caught.value.hint == "./scripts/synos installs it"
