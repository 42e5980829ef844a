"""What goes wrong with services is said: what, where, why, what to do, and what is left running."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from synos_tasks import settings
from synos_tasks.services.stack import open_stack
from tests.build_helpers import ROOT, Clone, docker, wait_until
from tests.conftest import remove_labelled
from tests.own_engine import own_engine
from tests.services_clones import (
    SERVICES,
    client,
    inspected,
    port_of,
    secret,
    secrets_folder,
    services_clone,
    set_setting,
    shell,
    take_down,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration
NEVER_HEALTHY = """
name: ${SYNOS_STACK:-synos-odd}
services:
  odd:
    image: IMAGE
    entrypoint: [sh, -c, "echo the last words of odd; exec sleep 1000"]
    init: true
    network_mode: none
    stop_grace_period: 1s
    labels: {io.synos.project: "${SYNOS_PROJECT:-synos-odd}"}
    healthcheck: {test: [CMD, sh, -c, "echo no database behind me; exit 1"], interval: 500ms, retries: 2}
"""


@pytest.fixture
def fresh(service_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone whose stack was never started."""
    clone = services_clone(tmp_path_factory.mktemp("fresh"))
    yield clone
    take_down(clone)
    remove_labelled(clone.settings.project.id)


def containers(clone: Clone) -> list[str]:
    return docker("ps", "--all", "--quiet", f"--filter=label={clone.label}").split()


def test_unknown_names_are_answered_with_a_suggestion(stack: Clone) -> None:
    for words, suggestion in (
        (("services.up", "--only", "redsi"), "did you mean 'redis'?"),
        (("services.up", "--stack", "unifed"), "did you mean 'unified'?"),
        (("services.restore", "nosuch"), "nosuch"),
    ):
        refused = stack.inv(*words, fails=True)
        assert refused.code == 12
        assert suggestion in refused.err
    said = shell(stack, "services.exec", "postgers", "--", "true")
    assert said.returncode == 12
    assert "did you mean 'postgres'?" in said.stderr


def test_a_port_that_a_process_has_is_told_before_anything_starts(fresh: Clone) -> None:
    with socket.create_server(("127.0.0.1", port_of(fresh, "redis"))):
        refused = fresh.inv("services.up", fails=True)
    assert refused.code == 26
    assert f"port {port_of(fresh, 'redis')} of redis is taken by another process" in refused.err
    assert "nothing was started" in refused.err
    assert containers(fresh) == []
    assert not secrets_folder(fresh).exists()


def test_a_port_that_a_container_has_is_told_by_its_name(stack: Clone, fresh: Clone) -> None:
    set_setting(fresh, "nats_port", str(port_of(stack, "nats")))
    refused = fresh.inv("services.up", fails=True)
    assert refused.code == 26
    assert inspected(stack, "nats")["Name"].lstrip("/") in refused.err
    assert containers(fresh) == []


def test_damaged_secrets_stop_everything_and_rotation_mends_them(stack: Clone) -> None:
    path = secrets_folder(stack) / "redis_password"
    before = path.read_text()
    path.write_text("")
    refused = stack.inv("services.up", fails=True)
    assert refused.code == 27
    assert str(path) in refused.err
    assert "services.secrets-rotate" in refused.err
    path.write_text(before)
    path.chmod(0o644)
    assert stack.inv("services.up", fails=True).code == 27
    path.chmod(0o600)
    path.write_text("half\0of it")
    stack.inv("services.secrets-rotate", "--only", "redis")
    assert {one["health"] for one in stack.inv("services.status").json["services"]} == {"healthy"}


@pytest.mark.parametrize("what", ["", "secrets"])
def test_after_secrets_were_deleted_up_lets_services_have_those_that_are_there(
    stack: Clone, what: str
) -> None:
    before = [inspected(stack, service)["Id"] for service in SERVICES]
    delete(secrets_folder(stack).parent / what)
    told = stack.inv("services.up")
    assert told.json["secrets"] == [f"{name}_password" for name in SERVICES]
    assert told.json["restarted"] == ([] if what == "secrets" else list(SERVICES))
    for service in SERVICES:
        client(stack, service).connect().close()
    after = [inspected(stack, service)["Id"] for service in SERVICES]
    assert (after == before) == (what == "secrets")  # the others have new containers, and their data
    assert stack.inv("services.up").json["restarted"] == []


def test_rotation_reaches_services_whose_copies_were_deleted(stack: Clone) -> None:
    delete(secrets_folder(stack).parent / "mounted")
    before = secret(stack, "redis")
    stack.inv("services.secrets-rotate", "--only", "redis")
    assert secret(stack, "redis") != before
    for service in SERVICES:
        client(stack, service).connect().close()


def delete(folder: Path) -> None:
    """Delete what a person deletes by mistake."""
    shutil.rmtree(folder)


def test_a_service_that_never_gets_healthy_is_told_with_its_own_words(stack: Clone) -> None:
    image = inspected(stack, "redis")["Config"]["Image"]
    stack.add("docker/services/docker-compose.odd.yml", NEVER_HEALTHY.replace("IMAGE", image))
    try:
        failed = stack.inv("services.up", "--stack", "odd", fails=True)
        assert failed.code == 38
        assert "no database behind me" in failed.err
        assert "the last words of odd" in failed.err
        assert "odd is unhealthy" in failed.err
        assert {one["health"] for one in stack.inv("services.status").json["services"]} == {"healthy"}
    finally:
        stack.inv("services.down", "--stack", "odd")
        (stack.root / "docker/services/docker-compose.odd.yml").unlink()


def test_a_full_disk_is_told_as_such(fresh: Clone) -> None:
    path = fresh.root / "docker/services/docker-compose.unified.yml"
    small = "  postgres:\n    driver_opts: {type: tmpfs, device: tmpfs, o: size=16m}\n    labels: *labels\n"
    path.write_text(path.read_text().replace("  postgres:\n    labels: *labels\n", small))
    failed = fresh.inv("services.up", "--only", "postgres", fails=True)
    assert failed.code == 34
    assert "No space left on device" in failed.err
    assert "postgres is" in failed.err


def test_an_image_that_takes_the_place_of_ours_and_the_way_back_from_a_bad_one(
    service_images: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clone = services_clone(tmp_path_factory.mktemp("replaced"))
    ours = open_stack(settings.load(ROOT, {"name": "synos"}), "unified", print).stack["redis"].image
    theirs = f"{clone.settings.project.id}-redis:test"
    # as an official image: root by default, and no folder that our user could write
    build = f"FROM {ours}\nUSER 0\nRUN rm -r /data\nLABEL {clone.label}\n"
    bad = f"{build}RUN rm /usr/bin/redis-server\n"
    for dockerfile, tag in ((build, theirs), (bad, f"{theirs}-bad")):
        argv = ["docker", "buildx", "build", "--quiet", f"--tag={tag}", "-"]
        subprocess.run(argv, input=dockerfile, text=True, check=True, capture_output=True)
    set_setting(clone, "redis_image", theirs)
    try:
        clone.inv("services.up", "--only", "redis")
        assert inspected(clone, "redis")["Config"]["Image"] == theirs
        assert inspected(clone, "redis")["Config"]["User"] == "999:999"
        good = inspected(clone, "redis")["Image"]
        unchanged = clone.inv("services.upgrade", "--only", "redis", "--no-backup").json
        assert [one["changed"] for one in unchanged["services"]] == [False]
        docker("tag", f"{theirs}-bad", theirs)  # what a pull would have brought
        failed = clone.inv("services.upgrade", "--only", "redis", "--no-backup", fails=True)
        assert failed.code == 38
        assert "runs its old image again, healthy" in failed.err
        assert inspected(clone, "redis")["Image"] == good
        told = {one["name"]: one["health"] for one in clone.inv("services.status").json["services"]}
        assert told["redis"] == "healthy"
    finally:
        take_down(clone)
        remove_labelled(clone.settings.project.id)


def test_addresses_that_are_used_up_are_told(fresh: Clone) -> None:
    if os.geteuid() != 0:
        pytest.skip("an engine of one's own needs root")
    image = open_stack(settings.load(ROOT, {"name": "synos"}), "unified", print).stack["redis"].image
    odd = NEVER_HEALTHY.replace("IMAGE", image).replace("    network_mode: none\n", "")
    fresh.add("docker/services/docker-compose.odd.yml", odd)
    with own_engine(image, networks=True) as engine:
        for number in range(100):
            argv = ["docker", "network", "create", f"taken-{number}"]
            environment = {**os.environ, **engine.environment}
            if subprocess.run(argv, env=environment, capture_output=True, check=False).returncode:
                break
        refused = subprocess.run(
            [sys.executable, "-m", "invoke", "services.up", "--stack", "odd"],
            cwd=fresh.root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert refused.returncode == 39, refused.stderr
    assert "no addresses left for another network" in refused.stderr
    assert "default-address-pools" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_engine_that_dies_in_the_middle_is_told_with_what_was_started(fresh: Clone) -> None:
    if os.geteuid() != 0:
        pytest.skip("an engine of one's own needs root")
    image = open_stack(settings.load(ROOT, {"name": "synos"}), "unified", print).stack["redis"].image
    fresh.add(
        "docker/services/docker-compose.odd.yml",
        NEVER_HEALTHY.replace("IMAGE", image).replace("retries: 2", "retries: 900"),
    )
    with own_engine(image) as engine:
        process = subprocess.Popen(
            [sys.executable, "-m", "invoke", "services.up", "--stack", "odd", "--json"],
            cwd=fresh.root,
            env={**os.environ, **engine.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

        def runs() -> bool:
            return bool(docker("ps", "--quiet", environment=engine.environment))

        assert wait_until(runs, 20)
        engine.kill()
        out, err = process.communicate(timeout=20)
    assert process.returncode == 36, err
    assert "odd was" in err
    assert "Traceback" not in err
    assert json.loads(out)["error"]["kind"] == "ContainerLost"
