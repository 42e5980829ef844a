"""Ray's stack: its image, its variables, its scaled service, and what the head's dashboard says."""

from __future__ import annotations

import dataclasses
import json
import shutil
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import yaml
from invoke.collection import Collection

from synos_tasks.engine import cache
from synos_tasks.engine.compose import Compose
from synos_tasks.engine.labels import (
    LABEL_COMPOSE_NUMBER,
    LABEL_COMPOSE_PROJECT,
    LABEL_COMPOSE_SERVICE,
)
from synos_tasks.errors import SecretsDamaged, ServiceFailed, ServiceUnhealthy, SettingsError
from synos_tasks.images.catalog import BUILDER, every
from synos_tasks.services import damage, describe, health, lifecycle, ray, secrets, stack
from synos_tasks.services.secrets import Secrets
from synos_tasks.services.stack import Port, StackContext, open_stack, resolve
from synos_tasks.services.tasks import namespace
from tests.build_helpers import ROOT
from tests.unit.fake_compose import PROJECT, Scene, scene
from tests.unit.verbs import inv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from synos_tasks.settings import Settings

FOLDER = ROOT / "docker/services"
FILE = yaml.safe_load((FOLDER / "docker-compose.ray.yml").read_text())
BOTH = ("ray-head", "ray-worker")


@pytest.fixture
def mine(settings: Settings) -> Settings:
    """A project with Ray's stack."""
    target = settings.project.root / "docker/services"
    target.mkdir()
    for path in (FOLDER / "docker-compose.ray.yml", FOLDER / "Dockerfile.ray"):
        shutil.copy(path, target)
    for name in ("ray", *BOTH):
        shutil.copytree(FOLDER / name, target / name)
    return settings


def opened(settings: Settings, monkeypatch: pytest.MonkeyPatch, workers: int = 0) -> StackContext:
    monkeypatch.setattr(Compose, "config", lambda _: {"services": {}})
    return open_stack(settings, "ray", print, workers=workers)


# ---- the image and the files


def test_both_services_have_one_image_on_the_builders(mine: Settings) -> None:
    [recipe] = [one for one in every(mine) if one.role == "services"]
    assert (recipe.name, recipe.parent) == ("ray", BUILDER)
    before = recipe.tag(mine.project)
    (mine.project.root / "docker/build/image/sudoers").write_text("another builder\n")
    assert recipe.tag(mine.project) != before
    assert recipe.build_args(mine.project) == {"BUILDER": BUILDER.tag(mine.project)}


@pytest.mark.parametrize("name", BOTH)
def test_a_node_has_no_rights_but_its_users(name: str) -> None:
    told = FILE["services"][name]
    assert (told["cap_drop"], told["read_only"], told["init"]) == (["ALL"], True, True)
    assert told["security_opt"] == ["no-new-privileges:true"]
    assert all(int(number) > 0 for number in told["user"].split(":"))
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode"} & set(told)
    assert told["environment"]["RAY_AUTH_MODE"] == "token"
    assert told["secrets"] == ["ray_token"]
    assert all(port.startswith("127.0.0.1:") for port in told.get("ports", []))
    assert "docker.sock" not in str(told)


def test_no_service_of_another_stack_has_the_same_name() -> None:
    unified = yaml.safe_load((FOLDER / "docker-compose.unified.yml").read_text())
    assert not FILE["services"].keys() & unified["services"].keys()


# ---- variables


def test_workers_are_remembered_until_another_number_is_asked_for(
    mine: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = opened(mine, monkeypatch).compose.environment
    assert "SYNOS_RAY_WORKERS" not in told  # the compose file has its own number
    assert told["SYNOS_RAY_HEAD_IMAGE"] == told["SYNOS_RAY_WORKER_IMAGE"]
    assert (told["SYNOS_RAY_PORT"], told["SYNOS_RAY_DASHBOARD_PORT"]) == ("10001", "8265")
    three = opened(mine, monkeypatch, workers=3)
    assert three.compose.environment["SYNOS_RAY_WORKERS"] == "3"
    assert "SYNOS_RAY_WORKERS" not in opened(mine, monkeypatch).compose.environment  # nothing was started
    three.folder.mkdir(parents=True)
    three.write_variables()
    assert opened(mine, monkeypatch).compose.environment["SYNOS_RAY_WORKERS"] == "3"
    assert opened(mine, monkeypatch, workers=1).compose.environment["SYNOS_RAY_WORKERS"] == "1"


def test_a_stack_without_workers_says_so(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Compose, "config", lambda _: here.compose.model)
    with pytest.raises(SettingsError, match="stack unified has no workers") as caught:
        open_stack(here.settings, "unified", print, workers=2)
    assert "--stack ray" in caught.value.hint


def test_programs_get_the_variables_that_ray_reads() -> None:
    ports = tuple(
        Port(address="127.0.0.1", host_port=port + 1, container_port=port) for port in (10001, 8265)
    )
    head = describe.Access(
        name="ray-head", state="healthy", ports=ports, host="127.0.0.1", port=10002, scheme="ray", user="",
        database="", url="ray://127.0.0.1:10002", password_file="/secrets/ray_token",
    )  # fmt: skip
    plain = {
        "RAY_ADDRESS": "ray://127.0.0.1:10002",
        "RAY_API_SERVER_ADDRESS": "http://127.0.0.1:8266",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": "/secrets/ray_token",
    }
    assert head.variables() == plain
    assert head.variables("abc") == {**plain, "RAY_AUTH_TOKEN": "abc"}


# ---- a service with several containers; redis stands for it


@pytest.fixture
def here(tmp_path: Path) -> Scene:
    """A stack with two containers of redis, which are not there yet."""
    made = scene(tmp_path)
    made.compose.model["services"]["redis"]["scale"] = 2
    return scaled(made, 2)


def scaled(here: Scene, count: int) -> Scene:
    """Let compose make so many containers of redis, and the stack say so."""
    here.compose.model["services"]["redis"]["scale"] = count
    mounted = here.settings.stack_dir("unified") / "mounted"
    model = resolve("unified", here.compose.model, mounted)
    here.context = dataclasses.replace(here.context, stack=dataclasses.replace(model, digest=f"of {count}"))

    def up(words: tuple[str, ...]) -> None:
        wanted = next(one.containers for one in here.context.stack.chosen("redis"))
        again = "--force-recreate" in words
        if gone := [name for name in here.containers() if again or name not in wanted]:
            here.remove(*gone)
        for number, name in enumerate(wanted, 1):
            if name not in here.containers():
                replica(here, number)

    here.compose.acts["up --detach"] = up
    return here


def replica(here: Scene, number: int, health: str = "healthy") -> str:
    labels = {
        LABEL_COMPOSE_PROJECT: PROJECT,
        LABEL_COMPOSE_SERVICE: "redis",
        LABEL_COMPOSE_NUMBER: str(number),
    }
    return here.engine.add_container(
        f"{PROJECT}-redis-{number}-{next(here.numbers)}", health=health, labels=labels, image=here.image("redis"),
        started="2099-01-31T12:00:00Z",
    )  # fmt: skip


def up(here: Scene) -> lifecycle.Started:
    return lifecycle.up(here.context, here.context.stack.chosen("redis"))


def test_further_containers_are_numbered_in_their_order(here: Scene) -> None:
    second, fifth, third = (replica(here, number) for number in (2, 5, 3))
    found = {name: one.id for name, one in here.containers().items()}
    assert found == {"redis": second, "redis-2": third, "redis-3": fifth}


def test_all_containers_must_get_healthy(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "statistics", lambda _idents: {})
    replica(here, 1)
    replica(here, 2, "unhealthy")
    with pytest.raises(ServiceUnhealthy, match="not healthy: redis-2") as caught:
        health.wait(here.context, ["redis"])
    assert "services.logs --only redis tells more; left as it is: redis is healthy" in caught.value.hint
    assert health.failing(here.containers(), ["nats", "redis"]) == ["redis"]
    assert [one.name for one in next(health.watch(here.context.compose, ["nats", "redis"]))] == [
        "nats",
        "redis",
        "redis-2",
    ]


def test_up_starts_what_is_missing_of_them_and_removes_what_is_too_many(here: Scene) -> None:
    assert up(here).started == ["redis", "redis-2"]
    here.forget()
    assert (up(here).changed, here.compose.asked) == ([], [])
    here.remove("redis-2")
    assert up(here).started == ["redis-2"]
    assert up(scaled(here, 3)).started == ["redis-3"]
    fewer = up(scaled(here, 1))
    assert (fewer.changed, fewer.removed) == ([], ["redis-2", "redis-3"])


def test_a_service_that_cannot_take_a_new_secret_is_recreated_with_it(here: Scene) -> None:
    up(here)
    before = {one.id for one in here.containers().values()}
    (here.settings.project.root / "docker/services/redis/apply").unlink()
    here.forget()
    secrets.rotate(here.context, "redis")
    assert here.compose.asked == [("up", "--detach", "--force-recreate", "redis")]
    assert not before & {one.id for one in here.containers().values()}
    assert here.mounted("redis") == Secrets(here.state).read("redis_password")


def test_what_keeps_no_data_is_not_examined_for_damage(here: Scene) -> None:
    up(here)
    model = here.compose.model
    model["services"]["redis"]["volumes"] = []
    found = resolve("unified", model, here.state / "mounted")
    here.forget()
    assert damage.find(here.context, [found["redis"]]) == []
    assert here.compose.asked == []


# ---- what the head says


class Dashboard(BaseHTTPRequestHandler):
    """Answers as the dashboard of a cluster with a head and a worker does."""

    token = "0" * 64
    version: ClassVar[str]

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "")
        wrong = (401 if not given else 403) if given != f"Bearer {self.token}" else 0
        self.send_response(wrong or 200)
        self.end_headers()
        self.wfile.write(b"Forbidden: \x1b[31m" if wrong else json.dumps(self.told()).encode())

    def told(self) -> Any:  # noqa: ANN401
        if self.path == "/api/version":
            return {"version": "4", "ray_version": self.version}
        node = {"node_ip": "172.18.0.2", "is_head_node": False, "state": "ALIVE"}
        has = {"CPU": 2.0, "memory": 1e9, "object_store_memory": 2e8, "node:172.18.0.2": 1.0}
        nodes = [
            {**node, "node_name": "b", "resources_total": has},
            {**node, "node_name": "gone", "state": "DEAD", "resources_total": {}},
            {**node, "node_name": "z", "is_head_node": True, "resources_total": {"memory": 2e9}},
        ]
        return {"result": True, "data": {"result": {"result": nodes, "total": 3}}}

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def ports(mine: Settings) -> Iterator[list[Port]]:
    """What the head publishes; the project has the token."""
    folder = mine.stack_dir("ray") / "secrets"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "ray_token").write_text("0" * 64)
    (folder / "ray_token").chmod(0o600)
    Dashboard.version = ray._pinned(ROOT)
    with ThreadingHTTPServer(("127.0.0.1", 0), Dashboard) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield [Port(address="127.0.0.1", host_port=server.server_address[1], container_port=ray.DASHBOARD)]
        server.shutdown()


def test_the_nodes_that_are_alive_are_told_the_head_first(mine: Settings, ports: list[Port]) -> None:
    cluster = ray.look(mine, "ray", ports)
    assert cluster is not None
    assert str(cluster) == f"Ray {Dashboard.version}: 2 nodes, 2 CPUs for tasks"
    assert [(one.name, one.head, one.cpus, one.memory) for one in cluster.nodes] == [
        ("z", True, 0, 2 * 10**9),
        ("b", False, 2, 10**9),
    ]
    assert cluster.rows()[1] == ["b", "172.18.0.2", "2", "954 MB", "191 MB"]
    assert ray.look(mine, "ray", []) is None


def test_a_refused_token_is_told_by_its_file(mine: Settings, ports: list[Port]) -> None:
    (mine.stack_dir("ray") / "secrets/ray_token").write_text("1" * 64)
    with pytest.raises(SecretsDamaged, match="Ray refuses the token") as caught:
        ray.look(mine, "ray", ports)
    assert caught.value.where.endswith("secrets/ray_token")
    assert "403" in caught.value.why
    assert "\x1b" not in caught.value.why
    assert "1" * 64 not in str(caught.value.lines())
    (mine.stack_dir("ray") / "secrets/ray_token").unlink()
    with pytest.raises(SecretsDamaged):
        ray.look(mine, "ray", ports)


def test_another_version_is_told_and_so_is_a_head_that_does_not_answer(
    mine: Settings, ports: list[Port]
) -> None:
    Dashboard.version = "2.59.1"
    with pytest.raises(ServiceFailed, match=r"the head runs Ray 2\.59\.1, and this project has 2\."):
        ray.look(mine, "ray", ports)
    with pytest.raises(ServiceFailed, match="does not answer"):
        ray.look(mine, "ray", [dataclasses.replace(ports[0], host_port=1)])


# ---- the verb


def test_rays_command_line_is_the_heads(
    here: Scene, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    here.compose.model["services"]["ray-head"] = {"image": "ray"}
    found = resolve("ray", here.compose.model, here.state)
    opened: list[str] = []

    def opens(_settings: object, name: str, *_: object) -> StackContext:
        opened.append(name)
        return dataclasses.replace(here.context, stack=found)

    monkeypatch.setattr(stack, "open_stack", opens)
    monkeypatch.chdir(here.settings.project.root)
    assert inv(Collection(services=namespace), "--dry", "services.ray", "--", "job", "list") == 0
    assert "would docker compose exec --no-TTY ray-head sh /etc/synos/cli job list" in capfd.readouterr().err
    assert opened == ["ray"]
