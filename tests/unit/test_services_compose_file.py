"""Each stack of the project as it is: no rights beyond need, limits, and nothing secret in plain sight."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from synos_tasks.images.catalog import PREFIX, SUFFIX
from synos_tasks.services.stack import TOOLS_PROFILE
from synos_tasks.settings import ServicesSettings

FOLDER = Path(__file__).resolve().parents[2] / "docker/services"
FILES = sorted(FOLDER.glob(f"{PREFIX}*{SUFFIX}"))
READ: dict[Path, dict[str, Any]] = {path: yaml.safe_load(path.read_text()) for path in FILES}
ALL = [
    pytest.param(name, told, id=f"{path.stem.removeprefix(PREFIX)}-{name}")
    for path, read in READ.items()
    for name, told in read["services"].items()
]
each_service = pytest.mark.parametrize(("name", "told"), ALL)
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
FORBIDDEN = {
    "privileged", "cap_add", "devices", "device_cgroup_rules", "group_add", "oom_kill_disable", "env_file", "deploy",
    "cpus", "network_mode", "pid", "ipc", "uts", "userns_mode", "cgroup", "cgroup_parent",
}  # fmt: skip
BYTES = re.compile(r"\d+[kmg]")

Told = dict[str, Any]


def is_tool(told: Told) -> bool:
    return TOOLS_PROFILE in told.get("profiles", ())


@each_service
def test_a_service_has_no_rights_but_its_users(name: str, told: Told) -> None:
    assert told["cap_drop"] == ["ALL"]
    assert not FORBIDDEN & set(told)
    assert told["security_opt"] == ["no-new-privileges:true"]
    assert told["read_only"] is True
    assert all(int(number) > 0 for number in told["user"].split(":"))
    assert set(told["networks"]) <= {"data", f"{name}-access"}


@each_service
def test_a_service_cannot_take_all_of_the_machine(name: str, told: Told) -> None:
    assert 0 < told["pids_limit"] <= 1024
    assert BYTES.fullmatch(told["mem_limit"])
    assert told["memswap_limit"] == told["mem_limit"]  # or it may have as much again in swap
    assert 0 < told["cpu_quota"] <= 4 * told["cpu_period"]
    assert told["logging"]["driver"] == "json-file"
    assert BYTES.fullmatch(told["logging"]["options"]["max-size"])
    assert 1 <= int(told["logging"]["options"]["max-file"]) <= 10


@each_service
def test_a_service_starts_again_by_itself_and_tells_whether_it_works(name: str, told: Told) -> None:
    if is_tool(told):
        assert told["restart"] == "no"
        assert not {"healthcheck", "ports"} & set(told)
        return
    assert told["restart"] == "always"
    assert told["healthcheck"]["test"] == ["CMD", "sh", "/etc/synos/health"]


@each_service
def test_ports_are_open_on_the_loopback_address_alone(name: str, told: Told) -> None:
    for port in told.get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{SYNOS_[A-Z_]+_PORT:-\d+\}:\d+", port)
        default = int(re.findall(r":-(\d+)\}", port)[0])
        assert default == getattr(ServicesSettings(), f"{name}_port")
        assert default > 1023


@each_service
def test_nothing_of_the_host_is_mounted_but_the_services_own_folder(name: str, told: Told) -> None:
    for mount in told.get("volumes", ()):
        source, target, *mode = mount.split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (source, target, mode) == (f"./{name}", "/etc/synos", ["ro"])
        else:
            assert re.fullmatch(r"[a-z-]+", source), "a volume, not a folder of the host"
    text = yaml.safe_dump(told)
    assert "docker.sock" not in text
    assert "/dev" not in text


@each_service
def test_a_service_shows_nothing_secret_and_has_its_own_password_alone(name: str, told: Told) -> None:
    shown = yaml.safe_dump([told.get(key) for key in ("environment", "labels", "command", "entrypoint")])
    assert not re.search(r"passw|secret|token|credential|_key", shown, re.IGNORECASE)
    assert told["secrets"] == [f"{name.removesuffix('-box')}_password"]


@each_file
def test_a_secret_is_a_file_of_the_closed_folder(path: Path) -> None:
    used = {secret for told in READ[path]["services"].values() for secret in told["secrets"]}
    assert used == set(READ[path]["secrets"])
    for secret, told in READ[path]["secrets"].items():
        assert set(told) == {"file"}
        assert re.fullmatch(rf"\$\{{SYNOS_SECRETS:-[\w./-]+/mounted\}}/{secret}", told["file"])


@each_service
def test_what_a_service_writes_besides_its_data_is_in_memory_and_small(name: str, told: Told) -> None:
    uid, gid = told["user"].split(":")
    assert told["tmpfs"], "the root file system is read-only"
    for mount in told["tmpfs"]:
        path, _, options = mount.partition(":")
        assert path.startswith(("/run/", "/tmp"))
        given = dict(option.split("=") for option in options.split(","))
        assert (given["uid"], given["gid"], given["mode"]) == (uid, gid, "0700")
        assert BYTES.fullmatch(given["size"])


@each_file
def test_a_file_names_its_project_and_its_networks_and_volumes_are_ours(path: Path) -> None:
    stack = path.name.removeprefix(PREFIX).removesuffix(SUFFIX)
    assert READ[path]["name"] == f"${{SYNOS_STACK:-synos-{stack}}}"
    networks, volumes = READ[path]["networks"], READ[path]["volumes"]
    assert networks["data"]["internal"] is True
    for one in (*networks.values(), *volumes.values()):
        assert not one.get("external")
        assert one["labels"]["io.synos.role"] == "services"
    options = networks["nats-access"]["driver_opts"]
    assert options["com.docker.network.bridge.enable_icc"] == "false"
    assert options["com.docker.network.bridge.enable_ip_masquerade"] == "false"
    mounts = [mount for told in READ[path]["services"].values() for mount in told.get("volumes", ())]
    assert set(volumes) == {mount.split(":")[0] for mount in mounts if not mount.startswith(".")}


def test_the_projects_own_stack_is_among_them() -> None:
    assert FOLDER / f"{PREFIX}{ServicesSettings().stack}{SUFFIX}" in FILES
