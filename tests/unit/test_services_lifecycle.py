"""`up` and `restart`: what is done in which order, and what is said when it goes wrong in the middle."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from synos_tasks.errors import (
    DiskFull,
    EngineTooOld,
    HostUnfit,
    ImageBuildFailed,
    PortTaken,
    ServiceFailed,
    ServiceUnhealthy,
)
from synos_tasks.images.catalog import TRIXIE
from synos_tasks.services import lifecycle
from synos_tasks.settings import ServicesSettings
from tests.unit.fake_compose import FREE, NAMES, UP, Scene, scene

if TYPE_CHECKING:
    from collections.abc import Callable

    from synos_tasks.services.lifecycle import Started


@pytest.fixture
def here(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def up(here: Scene, only: str = "") -> Started:
    return lifecycle.up(here.context, here.context.stack.chosen(only))


def untouched(here: Scene) -> bool:
    return not (here.engine.built or here.compose.asked or here.secrets.exists())


@pytest.mark.parametrize(
    "change",
    [
        lambda here: here.container("redis", state="exited"),
        lambda here: here.container("redis"),  # somebody recreated it by hand
        lambda here: here.engine.add_image(here.context.stack["redis"].image, ident="sha256:newer"),
        lambda here: here.engine.remove_image(here.context.stack["redis"].image),
        lambda here: (here.state / "started").write_text("half"),
        lambda here: (here.state / "started").unlink(),
        lambda here: setattr(
            here, "context", dataclasses.replace(
                here.context, stack=dataclasses.replace(here.context.stack, digest="edited")
            ),
        ),
    ],
    ids=["stopped", "recreated", "newer image", "no image", "damaged", "lost", "edited"],
)  # fmt: skip
def test_compose_is_asked_where_anything_may_have_changed(
    here: Scene, change: Callable[[Scene], object]
) -> None:
    up(here)
    change(here)
    here.forget()
    up(here)
    assert here.compose.asked == [(*UP, *NAMES)]
    assert (up(here, "redis").changed, up(here, "redis").started) == ([], [])
    assert here.compose.asked == [(*UP, *NAMES)]  # and no more, once it has done its work


def test_only_some_are_started_but_the_tools_image_is_made(here: Scene) -> None:
    assert up(here, "redis").changed == ["redis"]
    assert list(here.containers()) == ["redis"]
    images = sorted(tag.partition(":")[0] for tag in here.engine.names("image") if tag != TRIXIE)
    assert images == ["synos-nats-box", "synos-redis"]
    assert len(list(here.secrets.iterdir())) == 3  # the others' too, for when they start


def test_ports_that_are_taken_stop_it_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = scene(tmp_path, ServicesSettings(nats_port=1, postgres_port=2, redis_port=3))
    monkeypatch.setattr(lifecycle, "is_taken", lambda _address, port: port != 2)
    for name, port in (("somebodys-redis", 3), ("elsewhere", 2)):
        here.engine.add_container(name, ports={"6379/tcp": ("127.0.0.1", port)})
    taken = "port 1 of nats is taken by another process.*; port 3 of redis is taken by container somebodys"
    with pytest.raises(PortTaken, match=taken) as caught:
        up(here)
    assert caught.value.hint.endswith("invoke.yaml: synos.services.nats_port, synos.services.redis_port")
    assert untouched(here)
    assert up(here, "postgres").changed == ["postgres"]  # others' ports do not matter
    here.container("nats", ports={"4222/tcp": ("127.0.0.1", 1)})  # and what it has itself is no trouble
    up(here, "nats")


def test_two_services_on_one_port_are_told_before_anything_is_touched(tmp_path: Path) -> None:
    here = scene(tmp_path, ServicesSettings(nats_port=9, postgres_port=2, redis_port=9))
    with pytest.raises(PortTaken, match="port 9 is set for both nats and redis") as caught:
        up(here, "redis")
    assert "synos.services.nats_port, synos.services.redis_port" in caught.value.hint
    assert untouched(here)
    up(here, "postgres")  # which has neither


def test_a_port_that_another_service_of_the_stack_has_now_is_taken(tmp_path: Path) -> None:
    here = scene(tmp_path, ServicesSettings(nats_port=7, postgres_port=0, redis_port=0))
    here.container("redis", ports={"6379/tcp": ("127.0.0.1", 7)})
    with pytest.raises(PortTaken, match="port 7 of nats is taken by container synos-test-unified-redis"):
        up(here, "nats")


def test_a_disk_that_is_nearly_full_stops_before_anything_is_made(
    here: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.engine.root_dir = str(tmp_path)
    monkeypatch.setattr(lifecycle, "free_disk_bytes", lambda _: lifecycle.LEAST_FREE_BYTES - 1)
    with pytest.raises(DiskFull, match="nearly full") as caught:
        up(here)
    assert caught.value.where == str(tmp_path)
    assert "299 MB free, 300 MB needed; nothing was started" in caught.value.why
    assert untouched(here)
    here.runs()  # these have their data already
    up(here)


def test_an_old_engine_stops_before_anything_is_started(here: Scene) -> None:
    here.engine.compose_version = "1.29"
    with pytest.raises(EngineTooOld):
        up(here)
    assert untouched(here)


# ---- images


def test_an_image_of_the_settings_is_pulled_once_or_told_with_what_to_do(tmp_path: Path) -> None:
    theirs = "docker.io/library/redis:7"
    here = scene(tmp_path, dataclasses.replace(FREE, redis_image=theirs))
    with pytest.raises(ImageBuildFailed) as caught:
        up(here)
    assert caught.value.where == theirs
    assert "docker load" in caught.value.hint
    assert "synos.services.redis_image" in caught.value.hint
    here.engine.pullable, here.said[:] = {theirs}, []
    for _ in range(2):
        up(here, "redis")
    assert [line for line in here.said if line.startswith("pulling")] == [f"pulling {theirs}"]


def test_what_is_mounted_is_made_readable_for_the_users_of_containers(
    here: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = here.settings.project.root / "docker/services/redis"
    (folder / "start").chmod(0o700)
    (folder / "redis.conf").touch(0o600)
    folder.chmod(0o700)
    here.context.make_readable(here.context.stack.chosen("redis"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]}
    assert modes == {"redis": 0o755, "start": 0o744, "apply": 0o644, "redis.conf": 0o644}

    def refused(_self: Path, _mode: int) -> None:
        raise PermissionError

    (folder / "start").chmod(0o600)
    monkeypatch.setattr(Path, "chmod", refused)
    with pytest.raises(HostUnfit) as caught:
        here.context.make_readable(here.context.stack.long_running)
    assert caught.value.where == str(folder / "start")
    assert "mode 0600" in caught.value.why
    assert caught.value.hint == f"chmod a+rX {folder / 'start'}"


# ---- what goes wrong while they start


def test_ctrl_c_says_how_things_are_left(here: Scene) -> None:
    up(here, "nats")
    here.compose.fails["up --detach"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        up(here)
    left = "nats is healthy, postgres is missing, redis is missing"
    assert here.said[-1].startswith(f"left as it is: {left}; inv services.down")

    def goes(_: object) -> NoReturn:
        here.engine.answers = False
        raise KeyboardInterrupt

    here.compose.fails.clear()
    here.compose.acts["up --detach"] = goes
    with pytest.raises(KeyboardInterrupt):
        up(here)
    assert "not known what is left running" in here.said[-1]


# ---- restart


def test_a_restart_waits_until_they_are_healthy_again(here: Scene) -> None:
    up(here)
    here.forget()
    here.compose.acts["restart"] = lambda _: here.container("redis", health="starting")
    context = dataclasses.replace(here.context, timeout=0.01)
    with pytest.raises(ServiceUnhealthy, match="not healthy: redis"):
        lifecycle.restart(context, here.context.stack.chosen("redis,nats"))
    assert here.compose.asked == [("restart", "--no-deps", "nats", "redis")]


def test_a_restart_of_what_is_down_says_at_once_how_to_start_it(here: Scene) -> None:
    up(here, "nats")
    here.forget()
    with pytest.raises(ServiceFailed, match="not started: postgres, redis") as caught:
        lifecycle.restart(here.context, here.context.stack.long_running)
    assert "inv services.up" in caught.value.hint
    assert here.compose.asked == []


def test_up_tells_what_it_started_again(here: Scene) -> None:
    up(here)
    here.container("redis", state="exited")
    assert up(here).started == ["redis"]


def test_a_service_that_fails_is_told_with_what_is_damaged_of_it(here: Scene) -> None:
    up(here)
    here.container("redis", state="restarting", health="", restarts=9)
    here.compose.acts["up --detach"] = lambda _: here.container("redis", state="exited")
    here.compose.printed["--user=0:0"] = b"/data/x.aof\tis readable up to byte 3 of 9\n"
    with pytest.raises(ServiceUnhealthy) as caught:
        up(here)
    assert "redis: /data/x.aof is readable up to byte 3 of 9" in caught.value.why
    assert "inv services.heal --only redis --from-backup latest" in caught.value.hint
    assert not [words for words in here.compose.did("--user=0:0") if "nats" in words]
