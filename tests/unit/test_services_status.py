"""How services are: read from the engine, over time, for people and for scripts."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.engine import cache
from synos_tasks.engine.cache import Usage
from synos_tasks.errors import EngineUnavailable
from synos_tasks.services import health
from synos_tasks.services.health import ServiceStatus, Watcher, cpu_percent, duration
from tests.unit.fake_compose import NAMES, Scene, scene
from tests.unit.fake_time import Clock

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

SECONDS = {"d": 86400, "h": 3600, "min": 60, "s": 1}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock(now=100)
    monkeypatch.setattr(health, "time", made)
    return made


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> dict[str, Usage]:
    """What containers have used, by id."""
    told: dict[str, Usage] = {}

    def statistics(idents: Iterable[str]) -> dict[str, Usage]:
        return {ident: told[ident] for ident in idents if ident in told}

    monkeypatch.setattr(cache, "statistics", statistics)
    return told


@pytest.fixture
def here(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def minute_ago() -> str:
    return (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%SZ")


def watch(here: Scene, names: Sequence[str] = NAMES) -> Watcher:
    return Watcher(here.context.compose, names)


def usage(cpu_seconds: float, memory: int = 5, limit: int = 10) -> Usage:
    return Usage(cpu_ns=int(cpu_seconds * 1e9), memory=memory, memory_limit=limit)


@given(
    st.integers(0, 10**15), st.integers(0, 10**12), st.floats(0.001, 3600, allow_nan=False)
)  # fmt: skip
def test_cpu_use_is_never_negative(before: int, more: int, seconds: float) -> None:
    one, other = (Usage(cpu_ns=ns, memory=0, memory_limit=0) for ns in (before, before + more))
    percent = cpu_percent(one, other, seconds)
    assert percent is not None
    assert percent >= 0


def test_a_look_tells_of_every_service_in_the_order_of_the_stack(
    here: Scene, used: dict[str, Usage], clock: Clock
) -> None:
    ports = {"6379/tcp": ("127.0.0.1", 6379)}
    redis = here.container("redis", started=minute_ago(), ports=ports, restarts=2, health_output="PONG")
    nats = here.container("nats", state="exited", health_output="old", exit_code=1)
    used |= {redis: usage(0), nats: usage(0)}
    watcher = watch(here)
    used[redis] = usage(health.WINDOW / 4)
    found = {one.name: one for one in watcher.look()}
    assert list(found) == NAMES
    gone = ServiceStatus(name="nats", state="exited")
    assert found["nats"] == gone
    assert found["postgres"] == dataclasses.replace(gone, name="postgres", state="missing")
    assert 60 <= (found["redis"].uptime or 0) < 3600
    assert dataclasses.replace(found["redis"], uptime=60) == ServiceStatus(
        name="redis", state="running", health="healthy", uptime=60, cpu_percent=25.0, memory=5,
        memory_limit=10, ports=("127.0.0.1:6379->6379",), restarts=2, said="PONG",
    )  # fmt: skip
    assert clock.now == pytest.approx(100 + health.WINDOW)


def test_the_next_look_is_on_what_there_is_then(here: Scene, used: dict[str, Usage], clock: Clock) -> None:
    here.container("redis")
    watcher = watch(here, ["redis"])
    watcher.look()
    clock.now += 1
    used[here.container("redis", health="starting")] = usage(1)
    [redis] = watcher.look()
    assert (redis.health, redis.cpu_percent) == ("starting", None)
    clock.now += 1
    used[here.containers()["redis"].id] = usage(1.5)
    [redis] = watcher.look()
    assert redis.cpu_percent == 50.0
    here.remove()
    clock.now += 1
    assert [one.state for one in watcher.look()] == ["missing"]
    clock.now += 1
    here.engine.answers = False
    with pytest.raises(EngineUnavailable):
        watcher.look()


@given(st.integers(0, 10**9))
def test_a_duration_says_what_it_was_but_for_what_is_smaller_than_it_says(seconds: int) -> None:
    text = duration(seconds)
    assert re.fullmatch(r"\d+ (d|h|min|s)( \d+ (h|min|s))?", text)
    parts = [(int(count), unit) for count, unit in re.findall(r"(\d+) (\w+)", text)]
    said = sum(count * SECONDS[unit] for count, unit in parts)
    assert 0 <= seconds - said < SECONDS[parts[-1][1]]
    assert seconds == said or len(parts) == 2
    sizes = [SECONDS[unit] for _, unit in parts]
    assert sizes == sorted(sizes, reverse=True)
    limits = {"h": 24, "min": 60, "s": 60}
    assert all(count < limits.get(unit, count + 1) for count, unit in parts)
