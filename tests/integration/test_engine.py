"""The Docker client against the real engine."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest

from synos_tasks.engine.client import Docker
from synos_tasks.engine.compose import Compose
from synos_tasks.engine.failures import check_versions
from synos_tasks.engine.labels import LABEL_PROJECT, labels
from synos_tasks.engine.spec import Bind, ContainerSpec
from synos_tasks.errors import EngineUnavailable, ImageBuildFailed, ServiceFailed

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def client() -> Docker:
    """The real engine."""
    return Docker()


@pytest.fixture(scope="module")
def empty_image(client: Docker, own_label: str) -> str:
    """An image with nothing in it: enough to create containers, which are never started."""
    tag = f"{own_label}:empty"
    archive = io.BytesIO()
    tarfile.open(fileobj=archive, mode="w").close()
    archive.seek(0)
    argv = client.command("import", f"--change=LABEL {LABEL_PROJECT}={own_label}", "-", tag)
    subprocess.run(argv, input=archive.getvalue(), check=True, capture_output=True)
    return tag


def spec(name: str, project: str, image: str, *command: str) -> ContainerSpec:
    return ContainerSpec(
        name=name, image=image, command=command, labels=labels(project, "build"), network="none"
    )


def test_the_engine_and_its_plugins_fit(client: Docker) -> None:
    info = client.info()
    check_versions(info)
    assert info.n_cpu
    assert info.mem_total


# python-on-whales tells errors apart by words, which a name may have too: "network" and "not found" were a missing network
@pytest.mark.parametrize("context", ["nope", "network", "service"])
def test_a_context_that_is_not_there_is_no_empty_answer(
    monkeypatch: pytest.MonkeyPatch, context: str, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", context)
    lost = Docker()
    compose = Compose(project="synos-nobody", path=tmp_path / "none.yml")
    asked = (lost.containers, lost.networks, lost.info, compose.containers, lambda: lost.volume("x"))
    for ask in (*asked, lambda: lost.network("x"), lambda: lost.remove_network("x"), compose.down):
        with pytest.raises(EngineUnavailable) as caught:
            ask()
        assert "DOCKER_CONTEXT" in caught.value.hint


def test_things_are_found_by_label_name_and_id_and_by_nothing_else(
    client: Docker, own_label: str, empty_image: str
) -> None:
    ident = client.create(spec(f"{own_label}-left", own_label, empty_image, "/none"))
    (found,) = client.containers({LABEL_PROJECT: own_label})
    assert (found.id, found.name, found.state.status) == (ident, f"{own_label}-left", "created")
    assert client.containers({LABEL_PROJECT: f"{own_label}x"}) == []
    assert empty_image in (client.image(found.image).repo_tags if client.image(found.image) else ())  # type: ignore[union-attr]
    assert client.remove_container(ident) == ""
    assert client.remove_container(ident) == ""  # gone already
    assert client.container(ident) is None


def test_a_container_that_ends_while_containers_are_listed_is_left_out(
    client: Docker, own_label: str, empty_image: str
) -> None:
    done = threading.Event()
    failures: list[EngineUnavailable] = []

    def look() -> None:
        while not done.is_set():
            try:
                client.containers({LABEL_PROJECT: own_label})
            except EngineUnavailable as error:
                failures.append(error)

    looking = threading.Thread(target=look)
    looking.start()
    for number in range(10):
        client.remove_container(
            client.create(spec(f"{own_label}-{number}", own_label, empty_image, "/none")), force=True
        )
    done.set()
    looking.join()
    assert not failures


def test_what_is_in_use_is_not_removed_and_the_reason_comes_back(
    client: Docker, own_label: str, empty_image: str
) -> None:
    volume = f"{own_label}-used"
    client.create_volume(volume, labels(own_label, "cache"))
    client.create_volume(volume, {"other": "labels"})
    assert client.volume(volume).labels == labels(own_label, "cache")  # type: ignore[union-attr]
    used = ContainerSpec(
        name=f"{own_label}-user",
        image=empty_image,
        command=("/none",),
        labels=labels(own_label, "build"),
        volumes={volume: "/data"},
    )
    ident = client.create(used)
    assert "in use" in client.remove_volume(volume)
    assert "using" in client.remove_image(empty_image) or client.image(empty_image)
    client.remove_container(ident)
    assert client.remove_volume(volume) == ""
    assert client.volume(volume) is None


def test_a_container_is_a_filter_and_gone_afterwards(
    client: Docker, own_label: str, builder_image: str, tmp_path: Path
) -> None:
    copy = spec(f"{own_label}-copy", own_label, builder_image, "sh", "-c", "cat; echo warning >&2; exit 3")
    text, printed = b"a" * 3 * 2**20 + b"b", list[bytes]()
    (tmp_path / "text").write_bytes(text)
    with (tmp_path / "text").open("rb") as stream:
        assert client.pipe(copy, printed.append, stream) == (3, "warning")
    assert b"".join(printed) == text
    assert client.container(copy.name) is None


def test_a_folder_of_any_name_is_mounted(
    client: Docker, own_label: str, builder_image: str, tmp_path: Path
) -> None:
    names = ["a,b", 'a,readonly="', "a\nb\tc ", "ä:\x01"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "there").write_text(name)
    binds = tuple(Bind(source=tmp_path / name, target=f"/x/{number}") for number, name in enumerate(names))
    shown = spec(f"{own_label}-binds", own_label, builder_image, "sh", "-c", "cat /x/*/there")
    printed: list[bytes] = []
    assert client.pipe(dataclasses.replace(shown, binds=binds), printed.append) == (0, "")
    assert b"".join(printed).decode() == "".join(names)


def test_a_container_that_cannot_start_says_why(client: Docker, own_label: str, empty_image: str) -> None:
    lost = dataclasses.replace(
        spec(f"{own_label}-none", own_label, empty_image, "/none"), network=f"{own_label}-nowhere"
    )
    with pytest.raises(EngineUnavailable, match="could not be started") as caught:
        client.pipe(lost, print)
    assert f"{own_label}-nowhere" in caught.value.why
    assert client.container(lost.name) is None


def test_a_build_that_fails_is_an_error_of_ours(client: Docker, tmp_path: Path) -> None:
    with pytest.raises(ImageBuildFailed):
        client.build_image(tmp_path, print)


def test_a_step_that_fails_is_named_with_what_it_printed(client: Docker, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian:bookworm-slim\nRUN echo 'E: no such thing' && exit 3\n")
    with pytest.raises(ImageBuildFailed) as caught:
        client.build_image(tmp_path, print, cache=False)
    assert caught.value.where.startswith("[2/2] RUN echo")
    assert caught.value.why.splitlines()[0] == "E: no such thing"


def test_a_context_that_leads_nowhere_is_named(client: Docker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    with pytest.raises(EngineUnavailable, match="no Docker Engine answers") as caught:
        client.containers()
    assert "nowhere.sock" in caught.value.why


def test_compose_reads_the_project_s_variables_and_not_the_caller_s(
    tmp_path: Path, own_label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNOS_IMAGE", "the-caller-s")
    monkeypatch.setenv("COMPOSE_FILE", "/nowhere.yml")
    path = tmp_path / "compose.yml"
    path.write_text("services: {one: {image: '${SYNOS_IMAGE:-none}', profiles: [off]}}\n")
    assert Compose(project=own_label, path=path).config()["services"]["one"]["image"] == "none"
    given = Compose(project=own_label, path=path, environment={"SYNOS_IMAGE": "ours"})
    assert given.config()["services"]["one"]["image"] == "ours"
    assert given.containers() == {}
    path.write_text("services: {one: {image: [}}\n")
    with pytest.raises(ServiceFailed) as caught:
        given.config()
    assert str(path) in caught.value.where


def test_a_stale_snapshot_stays_as_it_was(client: Docker, own_label: str, empty_image: str) -> None:
    ident = client.create(spec(f"{own_label}-stale", own_label, empty_image, "/none"))
    found = client.container(ident)
    client.remove_container(ident)
    assert found is not None
    assert found.state.status == "created"
