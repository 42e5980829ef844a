from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from python_on_whales.exceptions import NoSuchContainer

from synos_tasks.engine.gateway import ContainerFacts, DockerEngine


class Gone:
    """A container that went away after the list of containers was made."""

    id = "2"

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        raise NoSuchContainer(["docker", "inspect", "2"], 1, b"", b"No such container: 2")


def listed(*containers: object) -> DockerEngine:
    engine = DockerEngine()
    engine._client = cast(
        "Any", SimpleNamespace(container=SimpleNamespace(list=lambda **_: list(containers)))
    )
    return engine


def container(name: str) -> SimpleNamespace:
    config = SimpleNamespace(labels={"io.synos.role": "build"})
    return SimpleNamespace(id="1", name=name, state=SimpleNamespace(status="exited"), config=config)


def test_one_that_ended_after_it_was_listed_is_not_there() -> None:
    found = listed(Gone(), container("synos-1-build-a")).containers("synos-1")
    assert found == [ContainerFacts(id="1", name="synos-1-build-a", state="exited", role="build")]


def test_one_that_somebody_started_from_our_image_is_not_ours() -> None:
    assert listed(container("mine"), container("synos-12-build")).containers("synos-1") == []
