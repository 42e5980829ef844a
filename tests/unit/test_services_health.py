"""Waiting for services: who is ready and when, and what is said of one that never is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from synos_tasks.engine.old_compose import ComposeFile
from synos_tasks.errors import ContainerLost, DiskFull, EngineUnavailable, ServiceUnhealthy
from synos_tasks.services import health
from synos_tasks.services.access_tasks import logs
from synos_tasks.services.health import Progress, step_of
from tests.unit.fake_compose import PROJECT, FakeCompose, Look, container
from tests.unit.fake_time import Clock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from synos_tasks.errors import SynosError

GONE = EngineUnavailable("no Docker Engine answers", where="/var/run/docker.sock", why="refused")
BOTH = ("postgres", "redis")
STARTING = container("redis", health="starting")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(health, "time", made)
    return made


@pytest.fixture
def compose(tmp_path: Path) -> FakeCompose:
    return FakeCompose(file=ComposeFile(project=PROJECT, path=tmp_path / "x.yml", environment={}))


def looks(compose: FakeCompose, *seen: Look | SynosError) -> None:
    """Let the looks see that; the last one stays."""
    compose.script = list(seen)
    if isinstance(seen[-1], list):
        compose.here = seen[-1]


def wait(
    compose: FakeCompose,
    *services: str,
    timeout: float = 10,
    doing: Callable[[], bool] = lambda: False,
    shown: list[list[Progress]] | None = None,
) -> dict[str, float]:
    kept: list[list[Progress]] = [] if shown is None else shown
    return health.wait(compose, services or BOTH, timeout, kept.append, doing=doing)


def for_looks(count: int) -> Callable[[], bool]:
    """Be at it for so many looks."""
    left = [True] * count
    return lambda: bool(left and left.pop())


def test_what_is_ready_takes_no_time(compose: FakeCompose) -> None:
    looks(compose, [container("postgres"), container("redis")])
    assert wait(compose) == {"postgres": 0, "redis": 0}


def test_nothing_to_wait_for_is_ready(compose: FakeCompose) -> None:
    assert health.wait(compose, [], 0, lambda _: None) == {}


def test_one_that_cannot_tell_is_ready_when_it_runs(compose: FakeCompose) -> None:
    looks(compose, [container("redis", state="created", health="")], [container("redis", health="")])
    assert wait(compose, "redis") == {"redis": health.POLL}


def test_each_service_has_its_own_time(compose: FakeCompose) -> None:
    ready = container("postgres")
    looks(compose, [], [ready, STARTING], [ready, STARTING], [ready, container("redis")])
    shown: list[list[Progress]] = []
    assert wait(compose, shown=shown, doing=for_looks(1)) == {"postgres": 0.2, "redis": 0.6}
    assert [[one.step for one in look] for look in shown] == [
        ["missing", "missing"], ["healthy", "starting"], ["healthy", "starting"], ["healthy", "healthy"],
    ]  # fmt: skip
    assert [look[0].seconds for look in shown] == [0, 0.2, 0.2, 0.2]
    assert [look[1].seconds for look in shown] == [0, 0.2, 0.4, 0.6]
    assert [look[1].ready for look in shown] == [False, False, False, True]


def test_what_a_check_says_is_handed_on_its_last_line(compose: FakeCompose) -> None:
    looks(compose, [container("redis", health="starting", said="one\ntwo")], [container("redis")])
    shown: list[list[Progress]] = []
    wait(compose, "redis", shown=shown)
    assert [look[0].said for look in shown] == ["two", ""]


def test_containers_of_other_services_are_not_looked_at(compose: FakeCompose) -> None:
    looks(compose, [container("redis"), container("nats", health="unhealthy")])
    assert set(wait(compose, "redis")) == {"redis"}


def test_while_they_are_being_started_a_missing_one_is_no_failure(compose: FakeCompose, clock: Clock) -> None:
    looks(compose, [], [], [], [container("redis")])
    assert wait(compose, "redis", timeout=0.1, doing=for_looks(3)) == {"redis": 0.6}


def test_one_that_is_ready_before_it_is_started_anew_is_waited_for(compose: FakeCompose) -> None:
    looks(compose, [container("redis")], [STARTING], [STARTING], [container("redis")])
    assert wait(compose, "redis", doing=for_looks(2)) == {"redis": 0.6}


@pytest.mark.parametrize(
    "before",
    [
        container("redis", health="unhealthy"),
        container("redis", state="exited", health="unhealthy"),
        container("redis", state="dead", health=""),
    ],
    ids=step_of,
)
def test_one_that_was_ill_before_it_is_started_anew_is_no_failure(compose: FakeCompose, before: Look) -> None:
    after = container("redis", id="new")
    looks(compose, [before], [before], [STARTING], [after])  # type: ignore[list-item]
    assert wait(compose, "redis", doing=for_looks(2)) == {"redis": 0.6}


def test_an_unhealthy_one_is_told_with_its_words_and_how_the_others_are(compose: FakeCompose) -> None:
    ill = container("redis", health="unhealthy", said="NOAUTH\nwrong password")
    looks(compose, [container("postgres"), container("nats", health="starting"), ill])
    compose.logs = {"id-redis": "\n".join(f"line {number}" for number in range(30))}
    with pytest.raises(ServiceUnhealthy) as caught:
        wait(compose, "nats", "postgres", "redis", "web")
    error = caught.value
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
    assert error.hint.startswith(f"left as it is: {left}; ")
    assert "inv services.down" in error.hint


def test_the_hint_names_an_option_that_there_is(compose: FakeCompose) -> None:
    looks(compose, [container("redis", health="unhealthy")])
    with pytest.raises(ServiceUnhealthy) as caught:
        wait(compose, "redis")
    assert "inv services.logs --only redis" in caught.value.hint
    assert "only" in [argument.name for argument in logs.get_arguments()]


def test_one_that_ended_is_told_with_its_exit_code(compose: FakeCompose) -> None:
    looks(
        compose,
        [container("redis", state="exited", health="unhealthy", exit_code=137, killed_for_memory=True)],
    )
    with pytest.raises(ServiceUnhealthy) as caught:
        wait(compose, "redis")
    first = caught.value.why.splitlines()[0]
    assert first == "redis: exited, exit code 137, killed because it took more memory than its limit"


def test_three_restarts_are_enough(compose: FakeCompose) -> None:
    def again(restarts: int) -> Look:
        return [container("redis", state="restarting", health="", restarts=restarts, exit_code=1)]

    looks(compose, again(7), again(8), again(9), again(10))
    shown: list[list[Progress]] = []
    with pytest.raises(ServiceUnhealthy) as caught:
        wait(compose, "redis", shown=shown)
    assert len(shown) == 4
    assert caught.value.why.splitlines()[0] == "redis: restarting, exit code 1, restarted 10 times"


def test_restarts_of_the_container_before_do_not_count(compose: FakeCompose) -> None:
    def again(restarts: int) -> Look:
        return [container("redis", id="new", state="restarting", health="", restarts=restarts)]

    looks(compose, [container("redis", restarts=7)], again(0), again(1), again(2), again(3))
    shown: list[list[Progress]] = []
    with pytest.raises(ServiceUnhealthy):
        wait(compose, "redis", shown=shown, doing=for_looks(1))
    assert len(shown) == 5


def test_two_restarts_are_not_enough(compose: FakeCompose) -> None:
    looks(compose, [container("redis", state="restarting", health="")], [container("redis", restarts=2)])
    assert wait(compose, "redis") == {"redis": 0.2}


def test_time_runs_out_for_those_that_are_slow_or_missing(compose: FakeCompose, clock: Clock) -> None:
    looks(compose, [container("postgres"), container("redis", health="starting", said="loading")])
    with pytest.raises(ServiceUnhealthy) as caught:
        wait(compose, "nats", *BOTH, timeout=5)
    assert caught.value.what == "not healthy: redis, nats"
    assert caught.value.where.endswith("after 5 s")
    assert caught.value.why.splitlines() == [
        "redis: starting",
        "its health check says: loading",
        "nats: has no container",
    ]
    assert 5 < clock.now < 5.5


@pytest.mark.parametrize("where", ["said", "log"])
def test_a_full_disk_is_told_as_one(compose: FakeCompose, where: str) -> None:
    text = "could not write: No space left on device"
    looks(compose, [container("redis", health="unhealthy", said=text if where == "said" else "")])
    compose.logs = {"id-redis": text if where == "log" else ""}
    with pytest.raises(DiskFull) as caught:
        wait(compose, "redis")
    assert caught.value.what == "redis: no space left for its data"
    assert text in caught.value.why
    assert "left as it is: redis is unhealthy" in caught.value.hint


def test_an_engine_that_goes_away_is_told_with_what_was_seen_last(compose: FakeCompose) -> None:
    looks(compose, [STARTING], GONE)
    with pytest.raises(ContainerLost) as caught:
        wait(compose)
    assert caught.value.where == GONE.where
    assert caught.value.why == "refused; postgres was missing, redis was starting"
    assert "run the same command" in caught.value.hint
    assert caught.value.__cause__ is GONE


def test_an_engine_that_does_not_give_the_log_does_not_hide_the_trouble(
    compose: FakeCompose, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_ident: str, _lines: int) -> str:
        raise GONE

    monkeypatch.setattr(compose, "log", gone)
    looks(compose, [container("redis", health="unhealthy", said="no")])
    with pytest.raises(ServiceUnhealthy) as caught:
        wait(compose, "redis")
    assert caught.value.why.splitlines() == ["redis: unhealthy", "its health check says: no"]


@pytest.mark.parametrize(
    ("state", "told", "step"),
    [
        ("running", "healthy", "healthy"),
        ("running", "", "running"),
        ("restarting", "unhealthy", "restarting"),
        ("exited", "healthy", "exited"),
    ],
)
def test_a_step_is_the_health_of_what_runs_and_else_the_state(state: str, told: str, step: str) -> None:
    assert step_of(container("redis", state=state, health=told)) == step
    assert step_of(None) == "missing"
