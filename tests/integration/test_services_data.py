"""What services hold survives crashes, comes back from backups on another machine, and is nobody else's."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.build_helpers import Clone, docker, wait_until
from tests.conftest import running_services
from tests.service_clients import NatsClient
from tests.services_clones import (
    SERVICES,
    client,
    container,
    crash,
    inspected,
    secrets_folder,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration
COUNT = 2000
SUPERUSER = "psql -h /run/postgresql -U postgres -d postgres -v ON_ERROR_STOP=1 -qAt -f -"
NAMES = (
    "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname NOT IN ('postgres', 'synos_health')"
)


@pytest.fixture(scope="module")
def filled(stack: Clone) -> Clone:
    """The stack with rows, messages, consumers half-way through, and keys."""
    for service in SERVICES:
        with client(stack, service, "kept") as one:
            one.write_many(COUNT)
            if isinstance(one, NatsClient):
                one.consume("half", COUNT // 2)
                one.consume("some", 7, subject="1")
    return stack


@pytest.fixture(scope="module")
def other(stack: Clone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """Another clone's stack on the same machine."""
    with running_services(tmp_path_factory.mktemp("other")) as clone:
        yield clone


def contents(clone: Clone) -> dict[str, str]:
    """Digest of all content by service."""
    found = {}
    for service in SERVICES:
        with client(clone, service, "kept") as one:
            found[service] = one.digest()
            if isinstance(one, NatsClient):
                found["consumers"] = json.dumps(one.consumers(), sort_keys=True)
    return found


def healthy(clone: Clone) -> bool:
    told = clone.inv("services.status").json["services"]
    return all(one["health"] == "healthy" for one in told)


@pytest.mark.parametrize("service", SERVICES)
def test_a_crash_loses_nothing_that_was_acknowledged(stack: Clone, service: str) -> None:
    acknowledged: set[int] = set()
    with client(stack, service, "crash") as one:
        one.write(range(300), acknowledged.add)
        crash(stack, service)
    assert wait_until(lambda: healthy(stack), 30)
    with client(stack, service, "crash") as one:
        assert one.ids() >= acknowledged == set(range(300))
    told = {one["name"]: one["restarts"] for one in stack.inv("services.status").json["services"]}
    assert told[service] >= 1


def test_heal_makes_anew_what_was_killed(stack: Clone) -> None:
    before = {service: container(stack, service) for service in SERVICES}
    docker("kill", before["redis"])  # as a person does it: the engine does not start it again
    assert not healthy(stack)
    assert stack.inv("services.heal").json["healed"] == ["redis"]
    assert healthy(stack)
    after = {service: container(stack, service) for service in SERVICES}
    assert {service for service in SERVICES if after[service] != before[service]} == {"redis"}
    assert stack.inv("services.heal").json["healed"] == []


def test_two_clones_side_by_side_do_not_touch_each_other(filled: Clone, other: Clone) -> None:
    before = contents(filled)
    containers = [container(filled, service) for service in SERVICES]
    for service in SERVICES:
        with client(other, service, "kept") as one:
            one.write([1])
        assert secrets_folder(other) != secrets_folder(filled)
    other.inv("services.restart")
    other.inv("services.down", "--volumes", "--yes", "--no-backup")
    assert docker("ps", "--all", "--quiet", f"--filter=label={other.label}") == ""
    assert docker("volume", "ls", "--quiet", f"--filter=label={other.label}") == ""
    assert [container(filled, service) for service in SERVICES] == containers
    assert contents(filled) == before
    other.inv("services.up")


def test_a_backup_comes_back_on_another_machine(filled: Clone, other: Clone, tmp_path: Path) -> None:
    expected = contents(filled)
    made = filled.inv("services.backup", "--name", "kept").json
    assert Path(made["path"]).stat().st_mode & 0o077 == 0
    [listed] = [one for one in filled.inv("services.backups").json["backups"] if one["name"] == "kept"]
    assert (listed["trouble"], listed["bytes"]) == ("", made["bytes"])
    elsewhere = tmp_path / "brought"
    shutil.copytree(made["path"], elsewhere)
    # written after the backup: gone after the restore
    for service in SERVICES:
        with client(other, service, "kept") as one:
            one.write([COUNT + 1])
    restored = other.inv("services.restore", str(elsewhere), "--yes").json
    assert contents(other) == expected
    assert restored["before"].startswith("before-restore-")
    assert healthy(other)
    # and back to what was there before the restore
    other.inv("services.restore", restored["before"], "--yes", "--no-backup")
    assert contents(other) != expected


def test_a_backup_while_messages_come_and_go_lacks_none_and_repeats_none(filled: Clone, other: Clone) -> None:
    """nats-server 2.10 saves consumers after messages: those that got newer ones must not be ahead after a restore."""
    acknowledged: set[int] = set()
    ended = threading.Event()

    def write() -> None:
        with client(filled, "nats", "busy") as one:
            one.write(itertools.takewhile(lambda _: not ended.is_set(), itertools.count()), acknowledged.add)

    def follow() -> None:
        with client(filled, "nats", "busy") as one:
            assert isinstance(one, NatsClient)
            while not ended.is_set():
                one.consume("following", 1)

    with ThreadPoolExecutor() as threads:
        try:
            working = [threads.submit(write)]
            assert wait_until(lambda: len(acknowledged) > 200 or working[0].done(), 30)
            working.append(threads.submit(follow))
            before = set(acknowledged)
            saved = filled.inv("services.backup", "--name", "busy").json
            assert len(acknowledged) > len(before)
        finally:
            ended.set()
        for one in working:
            one.result(60)
    other.inv("services.restore", saved["path"], "--yes", "--no-backup")
    with client(other, "nats", "busy") as restored:
        assert isinstance(restored, NatsClient)
        assert restored.ids() >= before
        [follower] = restored.consumers().values()
        last = restored.stream()["state"]["last_seq"]
        assert follower["delivered"]["stream_seq"] <= last
        restored.write([10**6])
        assert restored.stream()["state"]["last_seq"] == last + 1
        [follower_then] = restored.consumers().values()
        assert follower_then["num_pending"] == follower["num_pending"] + 1


def test_what_a_killed_restore_left_is_in_no_backup_and_put_right(filled: Clone) -> None:
    """Made as the kill leaves it: one database was closed for its swap, of another the swap was just done."""
    before = contents(filled)
    as_superuser(
        filled,
        "CREATE DATABASE swapped OWNER synos",
        'CREATE DATABASE "swapped~before" OWNER synos',
        'ALTER DATABASE "swapped~before" WITH ALLOW_CONNECTIONS false',
        'CREATE DATABASE "synos~restoring" OWNER synos',
        "ALTER DATABASE synos WITH ALLOW_CONNECTIONS false",
    )
    saved = Path(filled.inv("services.backup").json["path"])
    dumps = sorted(path.name for path in saved.glob("postgres/*.dump"))
    assert dumps == ["swapped.dump", "synos.dump"]
    as_superuser(filled, "DROP DATABASE swapped")
    assert contents(filled) == before


def test_a_restore_that_is_killed_is_put_right_by_the_next_up(filled: Clone) -> None:
    before = contents(filled)
    name = filled.inv("services.backup").json["name"]
    argv = [sys.executable, "-m", "invoke", "services.restore", name, "--yes"]
    with held_back(filled):
        process = subprocess.Popen(
            argv, cwd=filled.root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            waits = (
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND application_name = 'synos-restore'"  # autovacuum waits too
            )
            while as_superuser(filled, waits) == "0\n":  # however long it takes to come so far
                assert process.poll() is None
                time.sleep(0.2)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            print(process.communicate()[0].decode())
        assert "synos~restoring" in as_superuser(filled, NAMES)
        told = filled.inv("services.up")
    assert "was interrupted; `inv services.restore before-restore-" in told.err
    assert as_superuser(filled, NAMES) == "synos\n"
    assert contents(filled)["postgres"] == before["postgres"]
    assert "interrupted" not in filled.inv("services.up").err
    filled.inv("services.restore", name, "--yes")
    assert contents(filled) == before


@contextmanager
def held_back(clone: Clone) -> Iterator[None]:
    """Let a restore come as far as the swap of database `synos`, and wait there."""
    argv = ["docker", "exec", "--interactive", container(clone, "postgres"), *SUPERUSER.split()]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("BEGIN; SELECT datname FROM pg_database WHERE datname = 'synos' FOR UPDATE;\n")
        process.stdin.flush()
        assert process.stdout.readline() == "synos\n"
        yield


def as_superuser(clone: Clone, *statements: str) -> str:
    """What PostgreSQL prints; connected to none of the databases that a restore is about."""
    argv = ["docker", "exec", "--interactive", container(clone, "postgres"), *SUPERUSER.split()]
    sql = "".join(f"{statement};\n" for statement in statements)
    return subprocess.run(argv, input=sql, capture_output=True, text=True, check=True).stdout


def test_a_damaged_backup_is_refused_before_anything_is_touched(filled: Clone) -> None:
    made = Path(filled.inv("services.backup", "--name", "damaged").json["path"])
    path = made / "redis/redis.rdb"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    before = contents(filled)
    started = [
        json.loads(docker("inspect", container(filled, service)))[0]["State"]["StartedAt"]
        for service in SERVICES
    ]
    refused = filled.inv("services.restore", "damaged", "--yes", fails=True)
    assert refused.code == 45
    assert "redis/redis.rdb" in refused.err
    assert contents(filled) == before
    assert started == [
        json.loads(docker("inspect", container(filled, service)))[0]["State"]["StartedAt"]
        for service in SERVICES
    ]


def test_volumes_are_removed_only_when_agreed_to_and_after_a_backup(filled: Clone, other: Clone) -> None:
    refused = other.inv("services.down", "--volumes", fails=True)
    assert refused.code == 12
    assert "nothing was removed" in refused.err
    assert healthy(other)
    saved = Path(other.inv("services.down", "--volumes", "--yes").json["backup"])
    assert saved.is_dir()
    assert docker("volume", "ls", "--quiet", f"--filter=label={other.label}") == ""
    other.inv("services.restore", saved.name, "--yes")  # into nothing: it starts the stack first
    assert healthy(other)


def test_down_keeps_the_data(other: Clone) -> None:
    before = contents(other)
    assert other.inv("services.down").json["volumes"] == []
    other.inv("services.up")
    assert contents(other) == before


def test_a_stack_is_the_same_after_its_folder_was_moved(other: Clone) -> None:
    before = contents(other)
    moved = Clone(other.root.rename(other.root.with_name("moved")))
    try:
        assert healthy(moved)
        moved.inv("services.up")
        assert contents(moved) == before
        mounts = (mount for service in SERVICES for mount in inspected(moved, service)["Mounts"])
        assert all(Path(one["Source"]).is_relative_to(moved.root) for one in mounts if one["Type"] == "bind")
    finally:
        moved.root.rename(other.root)
