"""What is prepared before a container is made: its volumes, and what only this clone knows of a compose file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.dev import host, prepare, volumes
from synos_tasks.dev.variables import devcontainer_id
from synos_tasks.engine.spec import LABEL_PROJECT, LABEL_ROLE
from synos_tasks.errors import DevContainerMissing, MirrorUnreachable
from synos_tasks.images.base import BOOKWORM
from tests.unit.fake_dev import Scene, scene
from tests.unit.projects import tree

if TYPE_CHECKING:
    from pathlib import Path

COMPOSED: dict[str, Any] = {
    "build": None, "mounts": None, "dockerComposeFile": ["a.yml", "../../.synos/dev/full.yml"], "service": "dev",
}  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(host, "identity", lambda _root: "")
    monkeypatch.setattr(host, "ids", lambda: (1000, 1000))
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    made = scene(tmp_path / "costs $5")
    made.engine.images[BOOKWORM.tag] = "sha256:base"
    return made


def test_a_second_time_no_file_is_written(here: Scene) -> None:
    config = here.config()
    prepare.prepare(here.session, config)
    before = tree(here.session.state)
    prepare.prepare(here.session, config)
    assert tree(here.session.state) == before
    assert here.said == []


def test_volumes_have_labels_and_those_that_there_are_keep_their_owner(here: Scene) -> None:
    ident = devcontainer_id(here.config().labels)
    project = here.session.settings.project_id
    here.engine.volumes[f"{project}-ccache"] = {"whose": "docker/build's"}
    mounts = [f"type=volume,source=synos-{ident}-{kind},target=/{kind}" for kind in ("ccache", "history")]
    prepare.prepare(here.session, here.config(mounts=[*mounts, "type=bind,source=/x,target=/x"]))
    assert here.engine.volumes == {
        f"{project}-ccache": {"whose": "docker/build's"},
        f"synos-{ident}-history": {LABEL_PROJECT: project, LABEL_ROLE: "dev"},
    }
    assert here.containers.asked == [
        ("alias", f"synos-{ident}-ccache", f"{project}-ccache"),
        ("give", f"synos-{ident}-history", (1000, 1000)),
    ]


def test_under_an_engine_without_root_all_is_its_roots(here: Scene) -> None:
    here.containers.rootless = True
    prepare.prepare(here.session, here.config())
    project = here.session.settings.project_id
    assert (here.session.state / "host/owner").read_text() == "0 0\n"
    assert ("give", f"{project}-ccache-0", (0, 0)) in here.containers.asked


def test_without_a_base_image_no_volume_is_made(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise MirrorUnreachable("no answer")

    monkeypatch.setattr(prepare, "ensure_base", none)
    with pytest.raises(MirrorUnreachable):
        prepare.prepare(here.session, here.config())
    assert here.engine.volumes == {}


def test_the_one_that_is_joined_has_every_cache_and_no_variable_in_a_path(here: Scene) -> None:
    config = here.config("full", **COMPOSED)
    settings = here.session.settings
    here.containers.networks.add(f"{settings.project_id}-unified_data")
    prepare.prepare(here.session, config)
    model = json.loads((here.session.state / "full.yml").read_text())
    service, prefix = model["services"]["dev"], f"synos-{devcontainer_id(config.labels)}"
    kinds = [*volumes.WITH_BUILD, *volumes.BETWEEN, *volumes.OWN]
    assert model["volumes"] == {kind: {"name": f"{prefix}-{kind}", "external": True} for kind in kinds}
    assert [name for name, *_ in (one.split(":") for one in service["volumes"][2:])] == kinds
    escaped = str(settings.root).replace("$", "$$")
    assert service["working_dir"] == service["volumes"][0]["source"] == escaped
    assert service["volumes"][1]["source"].startswith(f"{escaped}/.synos/services/")
    assert service["labels"] == {LABEL_PROJECT: settings.project_id, LABEL_ROLE: "dev"}
    assert f"{prefix}-history" in here.engine.volumes


def test_services_that_ended_are_missed_and_the_file_is_as_it_was(here: Scene) -> None:
    config = here.config("full", **COMPOSED)
    path = here.session.state / "full.yml"
    path.parent.mkdir(parents=True)
    path.write_text("from before")
    with pytest.raises(DevContainerMissing, match="services that do not run") as caught:
        prepare.prepare(here.session, config)
    assert caught.value.where == f"network {here.session.settings.project_id}-unified_data"
    assert path.read_text() == "from before"
