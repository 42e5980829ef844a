"""`up`, `restart` and `heal`: what is done in which order, and what is said when it goes wrong in the middle."""

from __future__ import annotations

import dataclasses
import os
import shutil
import socket
from typing import TYPE_CHECKING

import pytest

from synos_tasks.errors import (
    ContainerLost,
    DiskFull,
    EngineTooOld,
    EngineUnavailable,
    PortTaken,
    SecretsDamaged,
    ServiceFailed,
    ServiceUnhealthy,
    SynosError,
)
from synos_tasks.images.base import TRIXIE
from synos_tasks.services import environment, health, prepare, starting
from synos_tasks.settings import ServicesSettings
from tests.unit.fake_compose import INSIDE, Scene, container, scene
from tests.unit.fakes import GOOD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from synos_tasks.engine.old_compose import ServiceContainer
    from synos_tasks.services.health import Progress
    from synos_tasks.services.starting import Started

UP = ("up", "--detach", "--no-build", "--no-deps")
APPLY = ("exec", "--no-TTY", "redis", "sh", "/etc/synos/apply", "--running")
NAMES = ("nats", "postgres", "redis")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "POLL", 0.001)


@pytest.fixture
def here(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def up(
    here: Scene, only: str = "", timeout: float = 10, show: Callable[[list[Progress]], None] = lambda _: None
) -> Started:
    return starting.up(here.session, here.session.stack.chosen(only), timeout, show)


def untouched(here: Scene) -> bool:
    return not (here.engine.built or here.engine.started or here.compose.asked or here.secrets.exists())


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_the_first_time_all_is_made_in_order(here: Scene) -> None:
    started = up(here)
    secrets = [f"{name}_password" for name in NAMES]
    assert started.secrets == secrets
    assert started.changed == list(NAMES)
    assert set(started.seconds) == set(NAMES)
    built = [word for words in here.engine.built for word in words if word.startswith("--tag=")]
    assert [tag.partition(":")[0] for tag in built] == [
        "--tag=synos-nats", "--tag=synos-postgres", "--tag=synos-redis", "--tag=synos-nats-box",
    ]  # fmt: skip
    assert here.compose.asked == [
        ("up", "--no-start", "--no-build", "--no-deps", *NAMES), (*UP, *NAMES)
    ]  # fmt: skip
    assert sorted(path.name for path in here.secrets.iterdir()) == secrets
    assert environment.path_of(here.session).is_file()


def test_a_second_time_nothing_is_changed(here: Scene) -> None:
    up(here)
    here.engine.built.clear()
    here.engine.started.clear()
    here.compose.asked.clear()
    started = up(here)
    assert (started.changed, started.secrets) == ([], [])
    assert set(started.seconds) == set(NAMES)
    assert (here.engine.built, here.engine.started) == ([], [])
    assert here.compose.asked == [(*UP, *NAMES)]


def test_only_some_are_started_but_the_tools_image_is_made(here: Scene) -> None:
    started = up(here, "redis")
    assert started.changed == ["redis"]
    assert here.compose.did("up --detach") == [(*UP, "redis")]
    tags = [tag.partition(":")[0] for tag in here.engine.images if tag != TRIXIE.tag]
    assert tags == ["synos-redis", "synos-nats-box"]
    assert len(list(here.secrets.iterdir())) == 3  # the others' too, for when they start


def test_what_has_a_new_container_is_changed(here: Scene) -> None:
    here.runs()
    up(here)
    here.compose.acts["up --detach"] = lambda _: setattr(
        here.compose, "here", [container("nats"), container("postgres", id="new"), container("redis")]
    )
    assert up(here).changed == ["postgres"]


def test_a_port_that_is_taken_stops_before_anything_is_made(tmp_path: Path, listening: int) -> None:
    here = scene(tmp_path, ServicesSettings(nats_port=0, postgres_port=0, redis_port=listening))
    holder = rf"port {listening} of redis is taken by .*\(process {os.getpid()}\)"
    with pytest.raises(PortTaken, match=holder) as caught:
        up(here)
    assert caught.value.why == "nothing was started"
    assert untouched(here)


def test_a_port_that_another_container_has_is_told_by_its_name(tmp_path: Path, listening: int) -> None:
    here = scene(tmp_path, ServicesSettings(nats_port=0, postgres_port=0, redis_port=listening))
    here.engine.published = {listening: "somebodys-redis"}
    with pytest.raises(PortTaken, match="is taken by container somebodys-redis"):
        up(here)
    assert untouched(here)


def test_ports_of_services_that_are_not_chosen_do_not_matter(tmp_path: Path, listening: int) -> None:
    here = scene(tmp_path, ServicesSettings(nats_port=0, postgres_port=0, redis_port=listening))
    assert up(here, "nats").changed == ["nats"]


def test_a_port_that_this_stack_has_itself_is_no_trouble(tmp_path: Path, listening: int) -> None:
    here = scene(tmp_path, ServicesSettings(nats_port=0, postgres_port=0, redis_port=listening))
    here.runs()
    here.engine.published = {listening: container("redis").name}
    assert up(here).changed == []


def test_a_disk_that_is_nearly_full_stops_before_anything_is_made(
    here: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.engine.known = dataclasses.replace(GOOD, root_dir=str(tmp_path))
    monkeypatch.setattr(starting, "free_disk_bytes", lambda _: starting.LEAST_FREE_BYTES - 1)
    with pytest.raises(DiskFull, match="nearly full") as caught:
        up(here)
    assert caught.value.where == str(tmp_path)
    assert "299 MB free, 300 MB needed; nothing was started" in caught.value.why
    assert untouched(here)
    here.runs()  # these have their data already
    assert up(here).changed == []


def test_an_engine_that_is_too_old_is_asked_for_nothing(here: Scene) -> None:
    here.engine.known = dataclasses.replace(GOOD, compose="1.29")
    with pytest.raises(EngineTooOld):
        up(here)
    assert untouched(here)


def test_damaged_secrets_stop_before_anything_is_started(here: Scene) -> None:
    up(here)
    (here.secrets / "redis_password").write_text("")
    here.compose.asked.clear()
    here.engine.started.clear()
    with pytest.raises(SecretsDamaged, match="a secret is damaged"):
        up(here)
    assert (here.compose.asked, here.engine.started) == ([], [])


def test_a_rotation_that_was_interrupted_is_finished(here: Scene) -> None:
    up(here)
    own = prepare.secrets_of(here.session)
    own.propose(["redis_password"])
    proposed = own.read_proposed("redis_password")
    assert up(here).changed == []
    assert own.pending() == []
    assert own.read("redis_password") == proposed == here.handed("redis")
    assert APPLY in here.compose.asked


def test_secrets_that_were_handed_out_anew_reach_those_that_ran_on(here: Scene) -> None:
    up(here)
    (here.settings.state_dir / "services/unified" / prepare.STAMP).unlink()
    here.compose.asked.clear()
    up(here, "redis")
    assert here.compose.did("apply") == [APPLY]


RESTART = ("restart", "--no-deps")


def lose(here: Scene, what: str) -> None:
    """Delete what a clean-up by hand deletes, while the services run on with what they have mounted."""
    shutil.rmtree(here.settings.state_dir / "services/unified" / what)
    here.compose.asked.clear()
    here.said.clear()


def test_services_that_cannot_see_secrets_made_anew_are_started_again(here: Scene) -> None:
    up(here)
    lose(here, "")
    started = up(here)
    assert started.secrets == [f"{name}_password" for name in NAMES]
    assert (started.changed, started.restarted) == ([], list(NAMES))
    assert here.compose.did("restart") == [(*RESTART, *NAMES)]
    assert here.compose.did("apply") == []  # their start did
    [said] = [line for line in here.said if "started again" in line]
    assert said.endswith(": nats, postgres, redis")
    assert up(here).restarted == []


def test_one_that_is_not_healthy_again_is_told_and_the_next_up_goes_on(here: Scene) -> None:
    up(here)
    lose(here, "mounted")
    here.compose.acts["restart"] = lambda _: setattr(
        here.compose, "here", [dataclasses.replace(one, health="unhealthy") for _, one in by_name(here)]
    )
    with pytest.raises(ServiceUnhealthy):
        up(here)
    here.compose.here = [dataclasses.replace(one, health="healthy") for one in here.compose.here]
    del here.compose.acts["restart"]
    assert up(here).restarted == list(NAMES)


def test_only_the_chosen_ones_are_started_again_and_the_others_told(here: Scene) -> None:
    up(here)
    lose(here, "")
    assert up(here, "redis").restarted == ["redis"]
    left = "still with passwords from before: nats, postgres; inv services.up lets them have the new ones"
    assert here.said[-1] == left
    assert up(here).restarted == ["nats", "postgres"]


def test_a_restart_by_hand_is_enough(here: Scene) -> None:
    up(here)
    lose(here, "")
    up(here, "redis")
    starting.restart(here.session, here.session.stack.running, 10, counted())
    assert up(here).restarted == []


def test_what_did_not_run_or_has_a_new_container_sees_them_anyway(here: Scene) -> None:
    up(here)
    lose(here, "")
    here.compose.here = [
        dataclasses.replace(one, state="exited") if name == "nats" else one for name, one in by_name(here)
    ]

    def starts(_: tuple[str, ...]) -> None:
        here.compose.here = [
            dataclasses.replace(one, state="running", id="new" if name == "postgres" else one.id)
            for name, one in by_name(here)
        ]

    here.compose.acts["up --detach"] = starts
    assert up(here).restarted == ["redis"]
    assert up(here).restarted == []


def test_what_is_made_anew_by_heal_sees_them_and_the_others_are_told(here: Scene) -> None:
    up(here)
    lose(here, "mounted")
    here.compose.here = [
        dataclasses.replace(one, health="unhealthy") if name == "redis" else one
        for name, one in by_name(here)
    ]
    assert starting.heal(here.session, 10, counted())[0] == ["redis"]
    assert here.said[-1].startswith("still with passwords from before: nats, postgres;")
    assert up(here).restarted == ["nats", "postgres"]


def test_secrets_that_are_made_anew_over_the_copies_are_taken_without_a_restart(here: Scene) -> None:
    up(here)
    lose(here, "secrets")
    started = up(here)
    assert started.secrets == [f"{name}_password" for name in NAMES]
    assert (started.restarted, here.compose.did("restart")) == ([], [])
    assert [words[2] for words in here.compose.did("apply")] == list(NAMES)


def test_those_that_were_not_told_are_told_by_the_next_up(here: Scene) -> None:
    """Killed in the middle, or for some services only: then what is handed out is handed out already."""
    up(here)
    lose(here, "secrets")
    up(here, "redis")
    assert [words[2] for words in here.compose.did("apply")] == ["redis"]
    assert here.said[-1].startswith("still with passwords from before: nats, postgres;")
    here.compose.asked.clear()
    here.compose.fails["exec --no-TTY postgres"] = ServiceFailed("docker compose failed")
    with pytest.raises(ServiceFailed):
        up(here)
    here.compose.fails.clear()
    here.compose.asked.clear()
    up(here)
    assert [words[2] for words in here.compose.did("apply")] == ["nats", "postgres"]
    here.compose.asked.clear()
    up(here)
    assert here.compose.did("apply") == []


def by_name(here: Scene) -> list[tuple[str, ServiceContainer]]:
    return [(one.service, one) for one in here.compose.here]


def test_services_that_were_just_made_are_not_told_their_secret_twice(here: Scene) -> None:
    up(here)
    assert here.compose.did("apply") == []


def counted(limit: int = 2000) -> Callable[[Sequence[object]], None]:
    """Look on, but not for ever."""
    left = [None] * limit

    def show(_: Sequence[object]) -> None:
        left.pop()

    return show


@pytest.mark.parametrize(
    "error",
    [
        PortTaken("a port was taken in the meantime", where="docker compose up", why="bind: in use"),
        ServiceFailed("docker compose failed", where="docker compose up", why="no such image"),
        DiskFull("no space left", where="docker compose up", why="no space", hint="look at it"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_compose_says_is_told_at_once_with_what_is_left(here: Scene, error: SynosError) -> None:
    up(here, "nats")
    here.compose.fails["up --detach"] = error
    with pytest.raises(type(error)) as caught:
        up(here, timeout=1000, show=counted())
    told = caught.value
    assert (told.what, told.where, told.why) == (error.what, error.where, error.why)
    left = "left as it is: nats is healthy, postgres is missing, redis is missing"
    assert left in told.hint
    assert told.hint.startswith(error.hint or left)


def test_a_compose_that_fails_is_told_though_all_are_healthy(here: Scene) -> None:
    up(here)
    here.compose.fails["restart"] = ServiceFailed("docker compose failed")
    with pytest.raises(ServiceFailed, match="docker compose failed"):
        starting.restart(here.session, here.session.stack.running, 10, counted())


def test_one_that_does_not_get_healthy_is_told_and_left(here: Scene) -> None:
    up(here)
    here.compose.here[0] = container("nats", health="unhealthy")
    with pytest.raises(ServiceUnhealthy, match="not healthy: nats"):
        up(here)
    assert here.compose.did("down") == []


def test_an_engine_that_goes_away_under_compose_is_told_as_lost(here: Scene) -> None:
    up(here)

    def goes(_: object) -> None:
        gone = EngineUnavailable("no Docker Engine answers", why="refused")
        here.compose.script = [gone] * 5
        raise EngineUnavailable("the Docker Engine went away")

    here.compose.acts["up --detach"] = goes
    with pytest.raises(ContainerLost) as caught:
        up(here, show=counted())
    assert "redis was " in caught.value.why


def test_without_an_engine_it_is_not_known_what_is_left(here: Scene) -> None:
    here.compose.script = [EngineUnavailable("no Docker Engine answers")]
    assert "not known what is left running" in starting._left(here.session, ["redis"])


def test_ctrl_c_stops_compose_and_says_how_things_are_left(here: Scene) -> None:
    up(here, "nats")
    here.compose.acts["up --detach"] = lambda _: None

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        up(here, show=interrupted)
    assert here.compose.stopped == 1
    left = "nats is healthy, postgres is missing, redis is missing"
    assert here.said[-1].startswith(f"left as it is: {left}; inv services.down")


def test_a_restart_waits_until_they_are_healthy_again(here: Scene) -> None:
    here.runs()
    chosen = here.session.stack.chosen("redis,nats")
    took = starting.restart(here.session, chosen, 10, counted())
    assert here.compose.asked == [("restart", "--no-deps", "nats", "redis")]
    assert set(took) == {"nats", "redis"}


def test_heal_makes_only_ill_ones_anew(here: Scene) -> None:
    up(here)
    here.compose.here = [
        container("nats", health="starting"),
        container("postgres", state="exited"),
        container("redis", health="unhealthy"),
    ]
    here.compose.asked.clear()
    assert starting.ill(here.session) == ["postgres", "redis"]
    healed, took = starting.heal(here.session, 10, counted())
    assert healed == ["postgres", "redis"]
    assert set(took) == {"postgres", "redis"}
    assert here.compose.asked == [(*UP, "--force-recreate", "postgres", "redis")]
    assert here.compose.here[0].health == "starting"


@pytest.mark.parametrize("running", [(), ("redis",), tuple(INSIDE)])
def test_heal_leaves_alone_what_is_healthy_or_was_never_started(
    here: Scene, running: tuple[str, ...]
) -> None:
    here.compose.here = [container(name) for name in running]
    assert starting.heal(here.session, 10, counted()) == ([], {})
    assert untouched(here)


def test_heal_lets_a_rotation_be_finished_later(here: Scene) -> None:
    up(here)
    own = prepare.secrets_of(here.session)
    own.propose(["redis_password"])
    here.compose.here = [container("redis", health="unhealthy")]
    starting.heal(here.session, 10, counted())
    assert here.handed("redis") == own.read_proposed("redis_password")
    assert own.pending() == ["redis_password"]
    up(here, "redis")
    assert own.pending() == []
