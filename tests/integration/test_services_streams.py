"""Standard input and the end of what `inv services.*` runs in a container, on the real engine."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.build_helpers import docker
from tests.services_clones import container, shell

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.build_helpers import Clone

pytestmark = pytest.mark.integration
INV = (sys.executable, "-m", "synos_tasks")


@pytest.mark.parametrize("count", [3, pytest.param(100, marks=pytest.mark.long)])
def test_a_loop_over_lines_runs_once_for_each(stack: Clone, count: int) -> None:
    script = f'seq {count} | while read x; do "$@" -- SADD loop{count} "$x"; done; "$@" -- SCARD loop{count}'
    argv = ["bash", "-c", script, "bash", *INV, "services.redis-cli"]
    done = subprocess.run(
        argv, cwd=stack.root, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["1"] * count + [str(count)]


def test_words_do_not_wait_for_a_pipe_that_stays_open_and_without_words_the_pipe_is_the_input(
    stack: Clone,
) -> None:
    with subprocess.Popen(["sleep", "100"], stdout=subprocess.PIPE) as pipe:
        argv = [*INV, "services.redis-cli", "--", "PING"]
        done = subprocess.run(
            argv, cwd=stack.root, stdin=pipe.stdout, capture_output=True, check=True, timeout=60
        )
        pipe.kill()
    assert done.stdout == b"PONG\n"
    done = subprocess.run(
        [*INV, "services.psql"], cwd=stack.root, input=b"select 41 + 1", capture_output=True, check=True
    )
    assert b" 42\n" in done.stdout


def _in_container(service: str, word: str) -> Callable[[Clone], bool]:
    return lambda clone: word in docker("top", container(clone, service), "-eo", "pid,args")


def _in_nats_box(clone: Clone) -> bool:
    oneoff = "--filter=label=com.docker.compose.oneoff=True"
    return bool(docker("ps", "--quiet", oneoff, f"--filter=label={clone.label}"))


def _query(clone: Clone) -> bool:
    words = "select count(*) from pg_stat_activity where state = 'active' and query like '%(98)'"
    return shell(clone, "services.psql", "--superuser", "--", "-Atc", words).stdout.strip() != "0"


@pytest.mark.parametrize(
    ("words", "runs", "number"),
    [
        (["exec", "redis", "--", "sh", "-c", "sleep 99; echo"], _in_container("redis", "sleep 99"), signal.SIGTERM),
        (["exec", "redis", "--", "sleep", "97"], _in_container("redis", "sleep 97"), signal.SIGHUP),
        (["exec", "redis", "--", "sleep", "96"], _in_container("redis", "sleep 96"), signal.SIGKILL),
        (["psql", "--", "-c", "select pg_sleep(98)"], _query, signal.SIGTERM),
        (["nats", "--", "sub", "x"], _in_nats_box, signal.SIGKILL),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)  # fmt: skip
def test_what_runs_in_a_container_ends_with_the_command(
    stack: Clone, words: list[str], runs: Callable[[Clone], bool], number: signal.Signals
) -> None:
    argv = [*INV, f"services.{words[0]}", *words[1:]]
    with subprocess.Popen(
        argv, cwd=stack.root, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _wait(lambda: runs(stack))
        process.send_signal(number)
        assert process.wait(30) == (-9 if number == signal.SIGKILL else 130)
    _wait(lambda: not runs(stack))


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.2)
