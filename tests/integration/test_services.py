"""The services as a user runs them: up, healthy, locked down, and open to nobody without the password."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.build_helpers import Clone, docker
from tests.service_clients import Refused
from tests.services_clones import (
    SERVICES,
    client,
    container,
    inspected,
    port_of,
    secret,
    secrets_folder,
    shell,
)

pytestmark = pytest.mark.integration
PORTS = {"nats": 4222, "postgres": 5432, "redis": 6379}


def test_a_second_up_has_nothing_to_do(stack: Clone) -> None:
    before = [container(stack, service) for service in SERVICES]
    again = stack.inv("services.up")
    assert again.json["changed"] == []
    assert set(again.json["seconds"]) == set(SERVICES)
    assert "nothing to do" in again.err
    assert [container(stack, service) for service in SERVICES] == before


def test_status_tells_all_of_each_service(stack: Clone) -> None:
    told = stack.inv("services.status").json["services"]
    assert [one["name"] for one in told] == list(SERVICES)
    for one in told:
        assert (one["state"], one["health"], one["restarts"]) == ("running", "healthy", 0)
        assert one["uptime"] >= 0
        assert 0 <= one["cpu_percent"] < 1000
        assert 0 < one["memory"] < one["memory_limit"]
        [port] = one["ports"]
        assert (port["address"], port["protocol"]) == ("127.0.0.1", "tcp")
        assert (port["host_port"], port["container_port"]) == (
            port_of(stack, one["name"]),
            PORTS[one["name"]],
        )
        assert one["said"].startswith("wrote and read ")


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_has_no_more_rights_than_it_needs(stack: Clone, service: str) -> None:
    told = inspected(stack, service)
    host = told["HostConfig"]
    assert not host["Privileged"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["ReadonlyRootfs"]
    assert not host["Devices"]
    assert host["PidMode"] == host["UTSMode"] == ""
    assert host["IpcMode"] == "private"
    assert host["PidsLimit"] > 0
    assert host["Memory"] == host["MemorySwap"] > 0
    assert host["CpuQuota"] > 0
    assert host["LogConfig"]["Config"] == {"max-file": "5", "max-size": "10m"}
    assert host["RestartPolicy"]["Name"] == "always"
    sources = [mount["Source"] for mount in told["Mounts"]]
    assert not any(source.startswith("/dev") or "docker.sock" in source for source in sources)
    status = Path(f"/proc/{told['State']['Pid']}/status").read_text()
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in facts["Uid"].split()
    assert facts["CapEff"] == facts["CapPrm"] == facts["CapBnd"] == "0" * 16
    assert facts["NoNewPrivs"] == "1"


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_of_the_root_file_system_can_be_written(stack: Clone, service: str) -> None:
    said = shell(stack, "services.exec", service, "--", "touch", "/usr/here")
    assert said.returncode != 0
    assert "Read-only file system" in said.stderr + said.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_a_password_is_in_its_file_and_nowhere_else(stack: Clone, service: str) -> None:
    password = secret(stack, service)
    path = secrets_folder(stack) / f"{service}_password"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    everything = [
        docker("inspect", container(stack, service)),
        logged(stack, service),
        shell(stack, "services.config").stdout,
        (stack.settings.project.state_dir / "services/unified/compose.env").read_text(),
    ]
    assert not any(password in text for text in everything)
    assert not [pid for pid in pids() if password in of_process(pid)]


def pids() -> list[str]:
    return [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]


def of_process(pid: str) -> str:
    """Command line and environment of a process; '' of one that has just ended."""
    try:
        return "".join(
            Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
            for name in ("cmdline", "environ")
        )
    except OSError:
        return ""


def test_git_does_not_see_the_secrets() -> None:
    path = ".synos/services/unified/secrets/nats_password"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run(["git", "check-ignore", "--quiet", path], cwd=root, check=False).returncode == 0


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("password", ["", "wrong", "x" * 43])
def test_without_the_right_password_nobody_comes_in(stack: Clone, service: str, password: str) -> None:
    client(stack, service).connect().close()
    with pytest.raises(Refused):
        client(stack, service).connect(password=password)


def test_the_superuser_of_postgres_cannot_come_in_over_the_network(stack: Clone) -> None:
    words = ("psql", "--host=127.0.0.1", "--username=postgres", "--no-password", "--command=SELECT 1")
    said = shell(stack, "services.exec", "postgres", "--", *words)
    assert said.returncode != 0
    assert "pg_hba.conf rejects" in said.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_a_port_is_open_on_the_loopback_address_alone(stack: Clone, service: str) -> None:
    port = port_of(stack, service)
    assert opens("127.0.0.1", port)
    gateways = docker("network", "inspect", "--format={{range .IPAM.Config}}{{.Gateway}} {{end}}", "bridge")
    for address in gateways.split():  # an address of this machine, as its others are
        assert not opens(address, port)


@pytest.mark.parametrize("service", SERVICES)
def test_another_container_cannot_reach_a_service(stack: Clone, service: str) -> None:
    told = inspected(stack, service)
    inside = [one["IPAddress"] for one in told["NetworkSettings"]["Networks"].values()]
    gateway = docker("network", "inspect", "--format={{(index .IPAM.Config 0).Gateway}}", "bridge")
    tries = [*((address, PORTS[service]) for address in inside), (gateway, port_of(stack, service))]
    script = "; ".join(f"nc -z -w 1 {address} {port} && echo open" for address, port in tries)
    image = inspected(stack, "nats")["Image"]  # has nc
    label = f"--label={stack.label}"
    argv = [
        "docker",
        "run",
        "--rm",
        label,
        "--network=bridge",
        "--entrypoint=sh",
        image,
        "-c",
        f"{script}; echo asked",
    ]
    said = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["asked"]
    neighbour = [
        "docker",
        "exec",
        container(stack, "nats"),
        "nc",
        "-z",
        "-w",
        "2",
        service,
        str(PORTS[service]),
    ]
    assert subprocess.run(neighbour, check=False).returncode == 0  # the same question, from the data network


def test_the_data_network_has_no_way_out(stack: Clone) -> None:
    project = docker(
        "inspect", '--format={{index .Config.Labels "com.docker.compose.project"}}', container(stack, "nats")
    )
    networks = {
        name: json.loads(docker("network", "inspect", f"{project}_{name}"))[0]
        for name in ("data", "redis-access")
    }
    assert networks["data"]["Internal"]
    assert networks["redis-access"]["Options"]["com.docker.network.bridge.enable_icc"] == "false"
    assert networks["redis-access"]["Options"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"


def test_the_clients_have_the_password(stack: Clone) -> None:
    assert shell(stack, "services.psql", "--", "-Atc", "SELECT 'with spaces'").stdout == "with spaces\n"
    assert shell(stack, "services.psql", "--superuser", "--", "-Atc", "SHOW data_checksums").stdout == "on\n"
    assert shell(stack, "services.redis-cli", "--", "PING").stdout == "PONG\n"
    assert shell(stack, "services.nats", "--", "rtt").returncode == 0
    assert shell(stack, "services.exec", "redis", "--", "id", "-u").stdout == "999\n"
    assert shell(stack, "services.exec", "redis", "--", "false").returncode == 1
    assert "Ready to accept connections" in shell(stack, "services.logs", "--only", "redis").stdout


def test_what_was_acknowledged_is_on_the_disk(stack: Clone) -> None:
    show = "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')"
    told = shell(stack, "services.psql", "--superuser", "--", "-Atc", show).stdout
    assert told == "fsync=on full_page_writes=on synchronous_commit=on\n"
    script = "redis-cli --user operator --askpass CONFIG GET appendonly appendfsync </run/redis/operator"
    told = shell(stack, "services.exec", "redis", "--", "sh", "-c", script).stdout
    assert "appendonly\nyes\n" in told
    assert "appendfsync\nalways\n" in told
    log = logged(stack, "nats")
    assert 'Store Directory: "/data/jetstream"' in log


def test_a_snapshot_of_redis_is_not_kept_waiting(stack: Clone) -> None:
    began = time.monotonic()
    argv = ["docker", "exec", container(stack, "redis"), "sh", "/etc/synos/backup"]
    snapshot = subprocess.run(argv, capture_output=True, check=True).stdout
    assert time.monotonic() - began < 4  # by default a server waits 5 s for further replicas
    assert snapshot.startswith(b"REDIS")


def test_rotated_secrets_are_the_only_ones_that_open(stack: Clone) -> None:
    before = {service: secret(stack, service) for service in SERVICES}
    containers = [container(stack, service) for service in SERVICES]
    rotated = stack.inv("services.secrets-rotate")
    assert rotated.json["secrets"] == [f"{service}_password" for service in SERVICES]
    for service in SERVICES:
        assert secret(stack, service) != before[service]
        with pytest.raises(Refused):
            client(stack, service).connect(password=before[service])
        client(stack, service).connect().close()
    assert [container(stack, service) for service in SERVICES] == containers  # they ran on
    assert not any(value in rotated.err + json.dumps(rotated.json) for value in before.values())
    assert {one["health"] for one in stack.inv("services.status").json["services"]} == {"healthy"}


def logged(clone: Clone, service: str) -> str:
    """All that a service has said."""
    argv = ["docker", "logs", container(clone, service)]
    return subprocess.run(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    ).stdout


def opens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((address, port)) == 0
