"""Waiting for services: who is ready and when, what is what is said of one that never is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import pytest

from synos_tasks.errors import EngineUnavailable, ServiceUnhealthy
from synos_tasks.services import health
from synos_tasks.services.tasks import logs
from tests.unit.fake_compose import PROJECT, Scene, scene
from tests.unit.fake_time import Clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BOTH = ("postgres", "redis")


@dataclass
class Story(Clock):
    """What happens while somebody sleeps, one thing each time."""

    then: list[Callable[[], object]] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self.then:
            self.then.pop(0)()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Story:
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
    assert error.hint.startswith(f"left as it is: {left}; inv services.logs --only redis tells more")
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
    assert caught.value.why.splitlines() == [
        "redis: starting",
        "its health check says: loading",
        "nats: has no container",
    ]
    assert 5 < clock.now < 5.5


def test_an_engine_that_does_not_give_the_log_does_not_hide_the_trouble(
    here: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_ident: str, _lines: int) -> NoReturn:
        raise EngineUnavailable("no Docker Engine answers")

    monkeypatch.setattr(here.engine, "logs", gone)
    here.container("redis", health="unhealthy", health_output="no")
    assert fails(here, "redis").why.splitlines() == ["redis: unhealthy", "its health check says: no"]
