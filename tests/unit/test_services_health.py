"""How services are: waiting until they are healthy, and `services.status` over time."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

from synos_tasks.engine import cache
from synos_tasks.engine.cache import Usage
from synos_tasks.errors import EngineUnavailable, ServiceUnhealthy
from synos_tasks.services import health
from synos_tasks.services.health import ServiceStatus, watch
from synos_tasks.services.stack import Port
from synos_tasks.services.tasks_clients import logs
from tests.unit.fake_compose import NAMES, PROJECT, Scene, scene

BOTH = ("postgres", "redis")


@dataclass
class Story:
    """A clock in the place of the module `time`, which goes on while somebody sleeps; one thing happens each time."""

    now: float = 0.0
    then: list[Callable[[], object]] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.then:
            self.then.pop(0)()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Story:
    monkeypatch.setattr(health, "POLL", 0.2)
    made = Story()
    monkeypatch.setattr(health, "time", made)
    return made


@pytest.fixture
def here(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def wait(here: Scene, *services: str, timeout: float = 10) -> dict[str, float]:
    return health.wait(dataclasses.replace(here.context, timeout=timeout), services or BOTH)


def fails(here: Scene, *services: str) -> ServiceUnhealthy:
    with pytest.raises(ServiceUnhealthy) as caught:
        wait(here, *services)
    return caught.value


def test_one_without_a_health_check_is_ready_when_it_runs(here: Scene, clock: Story) -> None:
    here.container("redis", state="created", health="")
    clock.then = [lambda: here.container("redis", health="")]
    assert wait(here, "redis") == {"redis": health.POLL}


def test_each_service_has_its_own_time_and_each_step_is_said_once(here: Scene, clock: Story) -> None:
    clock.then = [
        lambda: (here.container("postgres"), here.container("redis", health="starting")),
        lambda: here.container("redis", health="starting", health_output="loading"),
        lambda: here.container("redis"),
    ]
    assert wait(here) == {"postgres": 0.2, "redis": 0.6}
    assert here.said == [
        "postgres     missing      0.0 s",
        "redis        missing      0.0 s",
        "postgres     healthy      0.2 s",
        "redis        starting     0.2 s",
        "redis        healthy      0.6 s",
    ]


def test_an_unhealthy_one_is_told_with_its_words_and_how_the_others_are(here: Scene) -> None:
    here.container("postgres")
    here.container("nats", health="starting")
    redis = here.container("redis", health="unhealthy", health_output="NOAUTH\nwrong password")
    here.engine.log_text[redis] = "\n".join(f"line {number}" for number in range(30))
    error = fails(here, "nats", "postgres", "redis", "web")
    assert error.what == "not healthy: redis, web"
    assert error.where == f"compose project {PROJECT}, after 0 s"
    assert error.why.splitlines() == [
        "redis: unhealthy",
        "its health check says: NOAUTH",
        "wrong password",
        "its last lines:",
        *(f"  line {number}" for number in range(18, 30)),
        "web: has no container",
    ]
    left = "nats is starting, postgres is healthy, redis is unhealthy, web is missing"
    assert error.hint.startswith(f"inv services.logs --only redis tells more; left as it is: {left};")
    assert "only" in [argument.name for argument in logs.get_arguments()]
    assert "inv services.down" in error.hint


def restarting(here: Scene, restarts: int) -> Callable[[], object]:
    return lambda: here.container("redis", state="restarting", health="", restarts=restarts, exit_code=1)


def test_three_restarts_are_enough_and_two_are_not(here: Scene, clock: Story) -> None:
    restarting(here, 0)()
    clock.then = [lambda: here.container("redis", restarts=2)]
    assert wait(here, "redis") == {"redis": 0.2}
    first, *clock.then = (restarting(here, number) for number in (7, 8, 9, 10))
    first()
    why = fails(here, "redis").why
    assert clock.then == []
    assert why.splitlines()[0] == "redis: restarting, exit code 1, restarted 10 times"


def test_time_runs_out_for_those_that_are_slow_or_missing(here: Scene, clock: Story) -> None:
    here.container("postgres")
    here.container("redis", health="starting", health_output="loading")
    with pytest.raises(ServiceUnhealthy) as caught:
        wait(here, "nats", *BOTH, timeout=5)
    assert caught.value.what == "not healthy: redis, nats"
    assert caught.value.where.endswith("after 5 s")
    assert caught.value.why == "redis: starting\nits health check says: loading\nnats: has no container"
    assert 5 < clock.now < 5.5


def test_an_engine_that_does_not_give_the_log_does_not_hide_the_trouble(
    here: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_ident: str, _lines: int) -> NoReturn:
        raise EngineUnavailable("no Docker Engine answers")

    monkeypatch.setattr(here.engine, "logs", gone)
    here.container("redis", health="unhealthy", health_output="no")
    assert fails(here, "redis").why.splitlines() == ["redis: unhealthy", "its health check says: no"]


# ---- services.status


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> dict[str, Usage]:
    """What containers have used, by id."""
    told: dict[str, Usage] = {}

    def statistics(idents: Iterable[str]) -> dict[str, Usage]:
        return {ident: told[ident] for ident in idents if ident in told}

    monkeypatch.setattr(cache, "statistics", statistics)
    return told


def minute_ago() -> str:
    return (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%SZ")


def usage(cpu_seconds: float, memory: int = 5, limit: int = 10) -> Usage:
    return Usage(cpu_ns=int(cpu_seconds * 1e9), memory=memory, memory_limit=limit)


def test_a_look_tells_of_every_service_in_the_order_of_the_stack(
    here: Scene, used: dict[str, Usage], clock: Story
) -> None:
    ports = {"6379/tcp": ("127.0.0.1", 6379)}
    redis = here.container(
        "redis", started=minute_ago(), ports=ports, restarts=2, health_output="\x1b[31mPONG\x9b"
    )
    nats = here.container("nats", state="exited", health_output="old", exit_code=1)
    used |= {redis: usage(0), nats: usage(0)}
    clock.then = [lambda: used.update({redis: usage(health.WINDOW / 4)})]
    found = {one.name: one for one in next(watch(here.context.compose, NAMES))}
    assert list(found) == NAMES
    gone = ServiceStatus(name="nats", service="nats", state="exited")
    assert found["nats"] == gone
    assert found["postgres"] == dataclasses.replace(
        gone, name="postgres", service="postgres", state="missing"
    )
    assert 60 <= (found["redis"].uptime or 0) < 3600
    assert dataclasses.replace(found["redis"], uptime=60) == ServiceStatus(
        name="redis", service="redis", state="running", health="healthy", uptime=60, cpu_percent=25.0, memory=5,
        memory_limit=10, ports=(Port(address="127.0.0.1", host_port=6379, container_port=6379),), restarts=2, said="PONG\ufffd",
    )  # fmt: skip
    assert clock.now == pytest.approx(health.WINDOW)


def test_the_next_look_is_on_what_there_is_then(here: Scene, used: dict[str, Usage], clock: Story) -> None:
    here.container("redis")
    looks = watch(here.context.compose, ["redis"])
    next(looks)
    clock.now += 1
    used[here.container("redis", health="starting")] = usage(1)
    [redis] = next(looks)
    assert (redis.health, redis.cpu_percent) == ("starting", None)
    clock.now += 1
    used[here.containers()["redis"].id] = usage(1.5)
    [redis] = next(looks)
    assert redis.cpu_percent == 50.0
    here.remove()
    clock.now += 1
    assert [one.state for one in next(looks)] == ["missing"]
    clock.now += 1
    here.engine.answers = False
    with pytest.raises(EngineUnavailable):
        next(looks)
