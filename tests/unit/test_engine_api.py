"""The engine's socket: where it is, and what is made of the answers that come over it."""

from __future__ import annotations

import http.server
import json
import socket
import socketserver
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from synos_tasks.engine import api
from synos_tasks.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an environment that says nothing of Docker."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path


def configure(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(text)


def test_without_anything_said_it_is_the_usual_one() -> None:
    assert api.socket_path() == "/var/run/docker.sock"


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("unix:///run/user/1000/docker.sock", "/run/user/1000/docker.sock"),
        ("tcp://10.0.0.1:2376", None),
        ("ssh://me@there", None),
        ("npipe:////./pipe/docker_engine", None),
        ("", "/var/run/docker.sock"),
    ],
)
def test_a_host_of_the_environment_is_a_socket_or_for_the_command(
    monkeypatch: pytest.MonkeyPatch, host: str, path: str | None
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    assert api.socket_path() == path


def test_a_context_is_for_the_command(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(home / ".docker", '{"currentContext": "there"}')
    assert api.socket_path() is None
    monkeypatch.setenv("DOCKER_HOST", "unix:///mine")  # goes before it, as the command has it
    assert api.socket_path() == "/mine"


def test_a_context_of_the_environment_is_for_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "there")
    assert api.socket_path() is None


def test_the_default_context_is_none(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "default")
    assert api.socket_path() == "/var/run/docker.sock"
    configure(home / ".docker", '{"currentContext": "there"}')  # the environment goes before it
    assert api.socket_path() == "/var/run/docker.sock"
    monkeypatch.setenv("DOCKER_CONTEXT", "")
    assert api.socket_path() is None


def test_a_configuration_at_an_empty_place_is_the_usual_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", "")
    configure(home / ".docker", '{"currentContext": "there"}')
    assert api.socket_path() is None


def test_a_configuration_elsewhere_is_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(home / "elsewhere", '{"currentContext": "there"}')
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "elsewhere"))
    assert api.socket_path() is None


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"currentContext": "default"}',
        '{"currentContext": ""}',
        '{"currentContext": null}',
        "",
        "{",
        "[]",
        "null",
        '"text"',
        '{"auths": {}}',
    ],
)
def test_a_configuration_that_names_no_context_means_the_usual_one(home: Path, text: str) -> None:
    configure(home / ".docker", text)
    assert api.socket_path() == "/var/run/docker.sock"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path; keeps what was asked."""

    answers: ClassVar[dict[str, tuple[int, bytes]]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Answer."""
        self.asked.append(self.path)
        status, body = self.answers[self.path.partition("?")[0]]
        if status == 0:
            self.wfile.write(body)
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        """Give none: a socket file has no address."""
        return ""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Handler]]:
    """Listen at a socket file whose path is short enough for one."""
    with tempfile.TemporaryDirectory(prefix="synos-api-") as folder:
        path = f"{folder}/d.sock"
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        monkeypatch.setattr(Handler, "answers", {})
        monkeypatch.setattr(Handler, "asked", [])
        with socketserver.ThreadingUnixStreamServer(path, Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            yield Handler
            server.shutdown()
            thread.join()


def test_an_answer_is_its_json(engine: type[Handler]) -> None:
    told = {"Id": "abc", "Name": "/ä"}
    engine.answers["/containers/abc/json"] = 200, json.dumps(told).encode()
    assert api.get("/containers/abc/json") == told
    assert engine.asked == ["/containers/abc/json"]


def test_a_query_is_encoded(engine: type[Handler]) -> None:
    engine.answers["/containers/json"] = 200, b"[]"
    assert api.get("/containers/json", {"all": "true", "filters": '{"label": ["a=b"]}'}) == []
    assert engine.asked == ["/containers/json?all=true&filters=%7B%22label%22%3A+%5B%22a%3Db%22%5D%7D"]


def test_what_the_engine_does_not_know_is_none(engine: type[Handler]) -> None:
    engine.answers["/x"] = 404, b'{"message": "No such container: x"}'
    assert api.get("/x") is None


@pytest.mark.parametrize(
    ("status", "body", "what", "why"),
    [
        (500, b'{"message": "broken"}', "refused a request", "broken"),
        (400, b"bad filters", "refused a request", "bad filters"),
        (500, b"\xff\xfe", "Docker Engine", ""),
        (200, b"<html>", "no Docker Engine answers", "Expecting value"),
        (200, b"", "no Docker Engine answers", "Expecting value"),
        (0, b"SSH-2.0-OpenSSH\r\n", "no Docker Engine answers", "SSH-2.0"),
        (0, b"", "no Docker Engine answers", "without response"),
    ],
)
def test_any_other_answer_is_told(
    engine: type[Handler], status: int, body: bytes, what: str, why: str
) -> None:
    engine.answers["/x"] = status, body
    with pytest.raises(EngineUnavailable, match=what) as caught:
        api.get("/x")
    assert why in caught.value.why


def test_an_answer_that_is_cut_off_is_told(engine: type[Handler]) -> None:
    engine.answers["/x"] = 0, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
    with pytest.raises(EngineUnavailable):
        api.get("/x")


def test_where_nobody_is_there_it_says_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(EngineUnavailable) as caught:
        api.get("/x")
    assert caught.value.where == "/nowhere/docker.sock"
    assert "No such file" in caught.value.why
    assert "./scripts/synos" in caught.value.hint


def test_a_socket_that_nobody_listens_at_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="synos-api-") as folder:
        path = f"{folder}/d.sock"
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(path)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        with pytest.raises(EngineUnavailable) as caught:
            api.get("/x")
        assert "refused" in caught.value.why


def test_one_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "TIMEOUT", 0.05)
    with tempfile.TemporaryDirectory(prefix="synos-api-") as folder:
        path = f"{folder}/d.sock"
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(path)
            silent.listen()
            monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
            with pytest.raises(EngineUnavailable, match="no Docker Engine answers"):
                api.get("/x")


def test_a_path_that_is_too_long_for_a_socket_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix:///{'x' * 200}")
    with pytest.raises(EngineUnavailable):
        api.get("/x")
