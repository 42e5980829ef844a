"""How services are: read from the engine, over time, for people and for scripts."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.engine.old_compose import ComposeFile, Usage
from synos_tasks.errors import EngineUnavailable
from synos_tasks.services import status
from synos_tasks.services.status import Watcher, cpu_percent, to_json
from tests.unit.fake_compose import PROJECT, FakeCompose, container
from tests.unit.fake_time import Clock

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["nats", "postgres", "redis"]
MINUTE_AGO = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=60)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock(now=100)
    monkeypatch.setattr(status, "time", made)
    return made


@pytest.fixture
def compose(tmp_path: Path) -> FakeCompose:
    made = FakeCompose(file=ComposeFile(project=PROJECT, path=tmp_path / "x.yml", environment={}))
    made.here = [
        container("redis", started=MINUTE_AGO, ports=("127.0.0.1:6379->6379",), restarts=2, said="PONG"),
        container("nats", state="exited", said="old", started=MINUTE_AGO, exit_code=1),
    ]
    made.used = {"id-redis": usage(0), "id-nats": usage(0)}
    return made


def usage(cpu_seconds: float, memory: int = 5, limit: int = 10) -> Usage:
    return Usage(cpu_ns=int(cpu_seconds * 1e9), memory=memory, memory_limit=limit)


@pytest.mark.parametrize(
    ("before", "after", "seconds", "percent"),
    [
        (usage(1), usage(1), 1, 0.0),
        (usage(1), usage(2), 2, 50.0),
        (usage(0), usage(3), 1, 300.0),
        (usage(2), usage(1), 1, None),  # it was started anew
        (usage(1), usage(2), 0, None),
        (None, usage(1), 1, None),
        (usage(1), None, 1, None),
    ],
)
def test_cpu_use_is_a_part_of_one_processor(
    before: Usage | None, after: Usage | None, seconds: float, percent: float | None
) -> None:
    assert cpu_percent(before, after, seconds) == percent


@given(
    st.integers(0, 10**15), st.integers(0, 10**12), st.floats(0.001, 3600, allow_nan=False)
)  # fmt: skip
def test_cpu_use_is_never_negative(before: int, more: int, seconds: float) -> None:
    one, other = (Usage(cpu_ns=ns, memory=0, memory_limit=0) for ns in (before, before + more))
    percent = cpu_percent(one, other, seconds)
    assert percent is not None
    assert percent >= 0


def test_a_look_tells_of_every_service_in_the_order_of_the_stack(compose: FakeCompose, clock: Clock) -> None:
    watcher = Watcher(compose, NAMES)
    compose.used["id-redis"] = usage(status.WINDOW / 4)
    nats, postgres, redis = watcher.look()
    assert (nats.name, nats.state, nats.health, nats.step) == ("nats", "exited", "", "exited")
    assert (nats.uptime, nats.cpu_percent, nats.memory, nats.said) == (None, None, None, "")
    assert (postgres.name, postgres.state, postgres.step, postgres.ports) == (
        "postgres", "missing", "missing", (),
    )  # fmt: skip
    assert redis.uptime is not None
    assert 60 <= redis.uptime < 3600  # counted from when this file was read
    told = dataclasses.replace(redis, uptime=60)
    assert told == status.ServiceStatus(
        name="redis", state="running", health="healthy", uptime=60, cpu_percent=25.0, memory=5,
        memory_limit=10, ports=("127.0.0.1:6379->6379",), restarts=2, said="PONG",
    )  # fmt: skip
    assert clock.now == pytest.approx(100 + status.WINDOW)


def test_only_running_containers_are_measured(compose: FakeCompose) -> None:
    [nats, *_] = Watcher(compose, NAMES).look()
    assert nats.memory is None


def test_one_without_a_health_check_runs(compose: FakeCompose) -> None:
    compose.here = [container("redis", health="", started=None)]
    compose.used = {}
    [redis] = Watcher(compose, ["redis"]).look()
    assert (redis.step, redis.uptime, redis.memory, redis.cpu_percent) == ("running", None, None, None)


def test_the_next_look_is_on_what_there_is_then(compose: FakeCompose, clock: Clock) -> None:
    watcher = Watcher(compose, ["redis"])
    watcher.look()
    clock.now += 1
    compose.here = [container("redis", id="new", health="starting", started=MINUTE_AGO)]
    compose.used = {"new": usage(1)}
    [redis] = watcher.look()
    assert (redis.step, redis.cpu_percent) == ("starting", None)
    clock.now += 1
    compose.used = {"new": usage(1.5)}
    [redis] = watcher.look()
    assert redis.cpu_percent == 50.0
    compose.here = []
    clock.now += 1
    [redis] = watcher.look()
    assert redis.step == "missing"


def test_an_engine_that_goes_away_is_told(compose: FakeCompose, clock: Clock) -> None:
    watcher = Watcher(compose, NAMES)
    clock.now += 1
    compose.script = [EngineUnavailable("no Docker Engine answers")]
    with pytest.raises(EngineUnavailable):
        watcher.look()


def test_scripts_get_all_of_it(compose: FakeCompose) -> None:
    told = json.loads(json.dumps(to_json(Watcher(compose, NAMES).look())))
    assert [one["name"] for one in told] == NAMES
    keys = [field.name for field in dataclasses.fields(status.ServiceStatus)]
    assert all(list(one) == keys for one in told)
    assert told[2]["ports"] == ["127.0.0.1:6379->6379"]
