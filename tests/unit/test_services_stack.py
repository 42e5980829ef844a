"""Stacks: which there are, what a resolved one says, and the variables its file is read with."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.engine.compose import Compose
from synos_tasks.services.stack import (
    Stack,
    open_stack,
    quoted,
    resolve,
)
from synos_tasks.settings import ServicesSettings, Settings
from tests.unit.fake_compose import NAMES, PROJECT, UIDS, Scene, model, scene


@pytest.fixture
def here(tmp_path: Path) -> Scene:
    return scene(tmp_path, ServicesSettings())


@pytest.fixture
def settings(here: Scene) -> Settings:
    return here.settings


def stack_of(settings: Settings, told: dict[str, Any] | None = None) -> Stack:
    return resolve("unified", told or model(settings), settings.stack_dir("unified") / "mounted")


def test_what_compose_resolved_is_read_whole(settings: Settings) -> None:
    stack = stack_of(settings)
    postgres = stack["postgres"]
    assert (postgres.user, postgres.image) == ("999:999", "synos-postgres:1")
    assert [(port.address, port.host_port, port.container_port) for port in postgres.ports] == [
        ("127.0.0.1", 5432, 5432)
    ]
    assert postgres.secrets == ("postgres_password",)
    assert postgres.volumes == {"/data": f"{PROJECT}_postgres"}
    assert not postgres.tool
    assert stack["nats-box"].tool
    assert [service.name for service in stack.long_running] == ["nats", "postgres", "redis"]


def test_a_dollar_in_the_path_of_a_clone_is_one(settings: Settings) -> None:
    """`docker compose config` prints $ as $$, so that it could read it again."""
    project = dataclasses.replace(settings.project, root=settings.project.root / "me$HOME$x")
    settings = dataclasses.replace(settings, project=project)
    told = model(settings)
    for secret in told["secrets"].values():
        secret["file"] = secret["file"].replace("$", "$$")
    assert stack_of(settings, told)["redis"].secrets == ("redis_password",)


@pytest.mark.parametrize("told", [{"file": "/home/me/own"}, {"environment": "OWN"}, {"external": True}])
def test_a_secret_that_is_somebodys_own_is_not_made(settings: Settings, told: dict[str, Any]) -> None:
    theirs = model(settings)
    theirs["secrets"]["redis_password"] = told
    assert stack_of(settings, theirs).secrets == ["nats_password", "postgres_password"]


def test_a_port_that_the_engine_chooses_is_0() -> None:
    """As compose prints ports: "127.0.0.1:0:80", "127.0.0.1::81", "9000-9005:90"."""
    ports: list[dict[str, Any]] = [
        {"host_ip": "127.0.0.1", "target": 80, "published": "0"},
        {"host_ip": "127.0.0.1", "target": 81},
        {"target": 90, "published": "9000-9005"},
    ]
    bare = {"services": {"web": {"command": None, "image": "web", "networks": None, "ports": ports}}}
    web = resolve("x", bare, Path("/m"))["web"]
    assert [(port.host_port, port.container_port) for port in web.ports] == [(0, 80), (0, 81), (0, 90)]
    assert (web.user, web.secrets, web.volumes, web.tool) == ("", (), {}, False)


def test_variables_have_images_ports_digests_and_names(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ServicesSettings(nats_port=0, redis_port=7000, redis_image="redis:8")
    settings = dataclasses.replace(settings, services=own)
    monkeypatch.setattr(Compose, "config", lambda _: model(settings))

    def variables() -> dict[str, str]:
        compose = open_stack(settings, "", print).compose
        assert compose.project == PROJECT == settings.project.resource("unified")
        return dict(compose.environment)

    told = variables()
    digests = {told.pop(f"SYNOS_{name.upper()}_FILES") for name in NAMES}
    (settings.project.root / "docker/services/redis/start").write_text("exec another\n")
    edited = variables()
    assert [name for name in NAMES if edited[f"SYNOS_{name.upper()}_FILES"] not in digests] == ["redis"]
    ports = {told.pop(f"SYNOS_{name.upper()}_PORT") for name in NAMES}
    assert ports == {"0", "5432", "7000"}
    images = {told.pop(f"SYNOS_{name}_IMAGE").partition(":")[0] for name in ("NATS", "NATS_BOX", "POSTGRES")}
    assert images == {"synos-nats", "synos-nats-box", "synos-postgres"}
    del told["SYNOS_NATS_BOX_FILES"]
    mounted = str(settings.project.root / ".synos/services/unified/mounted")
    names = {"SYNOS_STACK": PROJECT, "SYNOS_PROJECT": "synos-test", "SYNOS_SECRETS": mounted}
    assert told == {**names, "SYNOS_REDIS_IMAGE": "redis:8"}


@pytest.mark.parametrize("name", UIDS)
def test_a_service_of_the_projects_own_stack_has_no_rights_but_its_users(name: str) -> None:
    """Nor have the tools, whose containers no test on the engine looks at."""
    path = Path(__file__).resolve().parents[2] / "docker/services/docker-compose.unified.yml"
    told = yaml.safe_load(path.read_text())["services"][name]
    rights = (told["cap_drop"], told["security_opt"], told["read_only"])
    assert rights == (["ALL"], ["no-new-privileges:true"], True)
    assert all(int(number) > 0 for number in told["user"].split(":"))
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode"} & set(told)
    assert told["secrets"] == [f"{name.removesuffix('-box')}_password"]
    assert "docker.sock" not in str(told)


# ---- the file with the variables


def test_variables_are_written_over_the_old_ones(here: Scene) -> None:
    here.state.mkdir(parents=True)
    (here.state / "compose.env").write_text("OLD='1'\n")
    here.context.write_variables()
    assert [path.read_text() for path in here.state.glob("compose*")] == [f"SYNOS_STACK='{PROJECT}'\n"]


@given(
    st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="\\"), min_size=1)
)
def test_no_path_gets_out_of_its_quotes_or_is_changed_by_them(text: str) -> None:
    assert re.fullmatch(r"'([^'\\]|\\')*'", quoted(text))
    assert quoted(text)[1:-1].replace("\\'", "'") == text  # compose keeps all else between single quotes
