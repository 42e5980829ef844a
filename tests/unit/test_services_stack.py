"""Stacks: which there are, what a resolved one says, and the variables its file is read with."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from synos_tasks.engine.old_compose import raw_services
from synos_tasks.errors import SettingsError
from synos_tasks.services import images
from synos_tasks.services.secrets import Secrets
from synos_tasks.services.stack import (
    Port,
    SecretFile,
    compose_file,
    file_of,
    files_digest,
    resolve,
    started_services,
    state_folder,
    variable,
)
from synos_tasks.settings import ServicesSettings, Settings
from tests.unit.fake_compose import PROJECT, lay_services, model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(root=tmp_path, project_id="synos-test")
    lay_services(made)
    return made


def test_a_stack_is_a_compose_file(settings: Settings) -> None:
    path = settings.root / "docker/services/docker-compose.unified.yml"
    assert file_of(settings, "unified") == path


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("unifed", "did you mean 'unified'? there are: small, unified"),
        ("qqq", "there are: small, unified"),
        ("", "there are: small, unified"),
        ("../services/docker-compose.unified", "there are: small, unified"),
    ],
)
def test_a_stack_that_is_not_there_is_answered_with_those_that_are(
    settings: Settings, name: str, hint: str
) -> None:
    folder = settings.root / "docker/services"
    (folder / "docker-compose.small.yml").touch()
    (folder / "docker-compose.folder.yml").mkdir()
    (folder / "compose.other.yml").touch()
    with pytest.raises(SettingsError) as caught:
        file_of(settings, name)
    assert caught.value.what == f"there is no stack {name!r}"
    assert caught.value.hint.endswith(hint)
    assert caught.value.where == str(folder)


def test_without_any_stack_it_says_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        file_of(Settings(root=tmp_path, project_id="x"), "unified")
    assert caught.value.hint == "there are: none"


@pytest.mark.parametrize(
    "text",
    [
        "services: [",
        "",
        "[]",
        "a: b",
        "services: {}",
        "services: [a]",
        "services: nats",
        "services: {nats: }",
        "services: {nats: [image]}",
        "services: {1: {image: x}}",
        b"\xff\xfe",
    ],
    ids=repr,
)
def test_a_mistake_in_a_compose_file_has_its_place(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "docker-compose.x.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SettingsError) as caught:
        raw_services(path)
    assert caught.value.where == str(path)


def test_yaml_says_the_line_of_its_mistake(tmp_path: Path) -> None:
    path = tmp_path / "docker-compose.x.yml"
    path.write_text("services:\n  nats: {\n")
    with pytest.raises(SettingsError, match="cannot be read") as caught:
        raw_services(path)
    assert "line 3" in caught.value.why


def test_a_compose_file_that_is_gone_is_a_mistake_too(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        raw_services(tmp_path / "docker-compose.x.yml")


def test_tools_are_not_started_and_the_order_is_the_files(settings: Settings) -> None:
    path = file_of(settings, "unified")
    assert started_services(path) == ["nats", "postgres", "redis"]
    path.write_text(
        "services: {z: {image: z}, b: {image: b, profiles: [tools]}, a: {image: a, profiles: [x]}}"
    )
    assert started_services(path) == ["z", "a"]


def test_what_compose_resolved_is_read_whole(settings: Settings) -> None:
    stack = resolve("unified", model(settings))
    assert [service.name for service in stack.services] == ["nats", "nats-box", "postgres", "redis"]
    postgres = stack["postgres"]
    assert (postgres.uid, postgres.gid, postgres.image) == (999, 999, "synos-postgres:1")
    assert postgres.ports == (Port(address="127.0.0.1", published=5432, target=5432),)
    file = state_folder(settings, "unified") / "mounted/999/postgres_password"
    assert postgres.secrets == (SecretFile(name="postgres_password", file=file, uid=999, gid=999),)
    assert postgres.volumes == (f"{PROJECT}_postgres",)
    assert not postgres.tool
    assert stack["nats-box"].tool
    assert [service.name for service in stack.running] == ["nats", "postgres", "redis"]


def test_a_dollar_in_the_path_of_a_clone_is_one(settings: Settings) -> None:
    """`docker compose config` prints $ as $$, so that it could read it again."""
    settings = dataclasses.replace(settings, root=settings.root / "me$HOME$x")
    told = model(settings)
    for secret in told["secrets"].values():
        secret["file"] = secret["file"].replace("$", "$$")
    [secret] = resolve("unified", told)["redis"].secrets
    assert secret.file == state_folder(settings, "unified") / "mounted/999/redis_password"


def test_two_services_may_have_one_secret(settings: Settings) -> None:
    stack = resolve("unified", model(settings))
    assert stack["nats"].secrets == stack["nats-box"].secrets


@pytest.mark.parametrize(
    ("user", "owner"),
    [
        ("999:998", (999, 998)),
        ("999", (999, 999)),
        ("", (0, 0)),
        ("postgres", (0, 0)),
        ("5:staff", (5, 5)),
        (None, (0, 0)),
    ],
)
def test_a_user_is_its_numbers(settings: Settings, user: str | None, owner: tuple[int, int]) -> None:
    told = model(settings)
    told["services"]["redis"]["user"] = user
    if user is None:
        del told["services"]["redis"]["user"]
    redis = resolve("unified", told)["redis"]
    assert (redis.uid, redis.gid) == owner


def test_a_service_may_have_nothing_but_an_image() -> None:
    bare = {"services": {"web": {"command": None, "entrypoint": None, "image": "web", "networks": None}}}
    web = resolve("x", bare)["web"]
    assert (web.image, web.ports, web.secrets, web.volumes, web.tool) == ("web", (), (), (), False)


def test_a_port_that_the_engine_chooses_is_0() -> None:
    """As compose prints ports: "127.0.0.1:0:80", "127.0.0.1::81", "82", "9000-9005:90"."""
    ports = [
        {"mode": "ingress", "host_ip": "127.0.0.1", "target": 80, "published": "0", "protocol": "tcp"},
        {"mode": "ingress", "host_ip": "127.0.0.1", "target": 81, "protocol": "tcp"},
        {"mode": "ingress", "target": 82, "protocol": "tcp"},
        {"mode": "ingress", "target": 90, "published": "9000-9005", "protocol": "tcp"},
    ]
    web = resolve("x", {"services": {"web": {"image": "web", "ports": ports}}})["web"]
    assert [(port.address, port.published, port.target) for port in web.ports] == [
        ("127.0.0.1", 0, 80), ("127.0.0.1", 0, 81), ("", 0, 82), ("", 0, 90),
    ]  # fmt: skip


def test_anonymous_volumes_and_folders_are_no_volumes_of_a_service(settings: Settings) -> None:
    told = model(settings)
    told["services"]["redis"]["volumes"] += [
        {"type": "volume", "target": "/anonymous", "volume": {}}, {"type": "tmpfs", "target": "/tmp"}
    ]  # fmt: skip
    assert resolve("unified", told)["redis"].volumes == (f"{PROJECT}_redis",)


@pytest.mark.parametrize(
    ("only", "names"),
    [
        ("", ["nats", "postgres", "redis"]),
        (" , ", ["nats", "postgres", "redis"]),
        ("redis", ["redis"]),
        (" redis , nats,", ["nats", "redis"]),
        ("redis,redis", ["redis"]),
    ],
)
def test_services_are_chosen_in_the_order_of_the_stack(
    settings: Settings, only: str, names: list[str]
) -> None:
    assert [one.name for one in resolve("unified", model(settings)).chosen(only)] == names


@pytest.mark.parametrize("only", ["redsi", "nats,redsi", "nats-box"])
def test_one_that_cannot_be_chosen_is_answered_with_a_suggestion(settings: Settings, only: str) -> None:
    stack = resolve("unified", model(settings))
    with pytest.raises(SettingsError) as caught:
        stack.chosen(only)
    assert caught.value.what == f"there is no service {only.rpartition(',')[2]!r}"
    assert caught.value.where == "stack unified"
    assert caught.value.hint.startswith("did you mean ")
    assert caught.value.hint.endswith("there are: nats, postgres, redis")


def test_a_service_is_found_by_its_name_tools_too(settings: Settings) -> None:
    stack = resolve("unified", model(settings))
    assert stack["nats-box"].name == "nats-box"
    with pytest.raises(SettingsError, match="there is no service 'postgers'") as caught:
        stack["postgers"]
    assert caught.value.hint.startswith("did you mean 'postgres'?")


def test_a_service_has_variables_of_its_own() -> None:
    assert variable("nats-box") == "SYNOS_NATS_BOX"
    assert variable("Redis") == "SYNOS_REDIS"


def test_the_file_is_read_with_images_ports_digests_and_names(settings: Settings) -> None:
    settings = dataclasses.replace(settings, services=ServicesSettings(nats_port=0, redis_port=7000))
    tags = images.tags(settings, "unified")
    file = compose_file(settings, "unified", tags)
    assert (file.project, file.path) == (PROJECT, file_of(settings, "unified"))
    assert file.project == settings.compose_project("unified")
    folder = settings.root / "docker/services"
    assert file.environment == {
        "SYNOS_STACK": PROJECT,
        "SYNOS_PROJECT": "synos-test",
        "SYNOS_SECRETS": str(settings.root / ".synos/services/unified/mounted"),
        "SYNOS_NATS_IMAGE": tags["nats"],
        "SYNOS_NATS_FILES": files_digest(folder / "nats"),
        "SYNOS_NATS_PORT": "0",
        "SYNOS_POSTGRES_IMAGE": tags["postgres"],
        "SYNOS_POSTGRES_FILES": files_digest(folder / "postgres"),
        "SYNOS_POSTGRES_PORT": "5432",
        "SYNOS_REDIS_IMAGE": tags["redis"],
        "SYNOS_REDIS_FILES": files_digest(folder / "redis"),
        "SYNOS_REDIS_PORT": "7000",
        "SYNOS_NATS_BOX_IMAGE": tags["nats-box"],
        "SYNOS_NATS_BOX_FILES": "",
    }


def test_no_variable_is_a_secret(settings: Settings) -> None:
    own = Secrets(state_folder(settings, "unified") / "secrets")
    own.ensure(["nats_password", "redis_password"])
    values = compose_file(settings, "unified", {}).environment.values()
    assert not [
        one for one in values if own.read("nats_password") in one or own.read("redis_password") in one
    ]


def test_the_digest_of_files_changes_with_any_of_them(tmp_path: Path) -> None:
    assert files_digest(tmp_path / "nothing") == ""
    seen = {files_digest(tmp_path)}
    for name, text in (("a", "1"), ("a", "2"), ("b", "2"), ("b", "")):
        (tmp_path / name).write_text(text)
        seen.add(files_digest(tmp_path))
    (tmp_path / "b").rename(tmp_path / "c")
    seen.add(files_digest(tmp_path))
    assert len(seen) == 6
    before = files_digest(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "a").touch()
    assert files_digest(tmp_path) == before


def test_the_digest_tells_where_one_file_ends(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, parts in ((one, ("xb 1\ny", "")), (other, ("x", "y"))):
        folder.mkdir()
        for name, text in zip("ab", parts, strict=True):
            (folder / name).write_text(text)
    assert files_digest(one) != files_digest(other)
