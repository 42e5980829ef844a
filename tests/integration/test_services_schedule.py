"""Scheduled backups on the real engine, with off-site copies by the real restic."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.errors import ServiceFailed
from tests.build_helpers import docker
from tests.rclone import S3, s3
from tests.services_clones import shell

if TYPE_CHECKING:
    from synos_tasks.engine.client import Docker
    from tests.build_helpers import Clone

pytestmark = pytest.mark.integration
SETTING = "INVOKE_SYNOS_SERVICES_OFFSITE_REPOSITORY"
TEXT = "a-value-that-nobody-may-read-off-site"


def test_a_copy_off_site_brings_back_what_was_lost_here(stack: Clone, tmp_path: Path) -> None:
    def done(*words: str) -> dict[str, Any]:
        answer = stack.try_inv(*words, **{SETTING: str(tmp_path / "copies")})
        assert answer.code == 0, answer.err
        return answer.json

    assert shell(stack, "services.redis-cli", "--", "SET", "offsite", TEXT).stdout == "OK\n"
    told = done("services.backup", "--offsite", "--keep=1")
    assert told["offsite"]["new_bytes"] > 0
    shutil.rmtree(told["path"])
    assert shell(stack, "services.redis-cli", "--", "SET", "offsite", "another").stdout == "OK\n"
    listed = done("services.backups", "--offsite")
    assert [one["name"] for one in listed["backups"]] == [told["name"]]
    stored = [path for path in (tmp_path / "copies").rglob("*") if path.is_file()]
    assert not any(TEXT.encode() in path.read_bytes() for path in stored)

    restore = ("services.restore", told["name"], "--offsite", "--yes", "--no-backup")
    assert done(*restore)["holds"] == told["holds"]
    assert shell(stack, "services.redis-cli", "--", "GET", "offsite").stdout == f"{TEXT}\n"

    where = {SETTING: str(tmp_path / "copies")}
    shutil.rmtree(told["path"])
    for path in stored:
        if path.is_relative_to(tmp_path / "copies/data"):
            path.chmod(0o600)
            path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    assert stack.try_inv(*restore, **where).code == ServiceFailed.exit_code
    assert not Path(told["path"]).exists()


@pytest.mark.long
def test_a_copy_in_s3(stack: Clone, engine: Docker, tmp_path: Path) -> None:
    """Against a server that checks signatures, at the address of this machine that containers reach."""
    network = engine.network("bridge")
    assert network
    [address] = [one["Gateway"] for one in network.ipam.config or []]
    (tmp_path / "root/bucket").mkdir(parents=True)
    with s3(tmp_path / "root", address) as url:
        where = {SETTING: f"s3:{url}/bucket/copies"}
        wrong = stack.try_inv("services.backup", "--offsite", **where, **{**S3, "AWS_SECRET_ACCESS_KEY": "x"})
        assert wrong.code == ServiceFailed.exit_code
        assert "signature" in wrong.err
        told = stack.try_inv("services.backup", "--offsite", **where, **S3).json
        shutil.rmtree(told["path"])
        [copy] = stack.try_inv("services.backups", "--offsite", **where, **S3).json["backups"]
        assert copy["name"] == told["name"]
        restore = ("services.restore", told["name"], "--offsite", "--yes", "--no-backup")
        back = stack.try_inv(*restore, **where, **S3)
    assert back.code == 0, back.err
    assert back.json["holds"] == told["holds"]


@pytest.mark.long
def test_a_copy_over_sftp(stack: Clone, tmp_path: Path) -> None:
    """Against an SSH server in a container, with a key of its own in a home of its own."""
    ssh = tmp_path / ".ssh"
    ssh.mkdir(mode=0o700)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(ssh / "id_ed25519")], check=True)
    key = (ssh / "id_ed25519.pub").read_text()
    script = (
        "apt-get update -qq && apt-get install -qq -y --no-install-recommends openssh-server >/dev/null &&"
        ' mkdir -p /run/sshd /root/.ssh && echo "$KEY" >/root/.ssh/authorized_keys && exec /usr/sbin/sshd -De'
    )
    apt = f"--volume={stack.root}/docker/build/image/apt.conf:/etc/apt/apt.conf.d/90synos:ro"
    trust = "--volume=/etc/ssl/certs/ca-certificates.crt:/synos/certificates.pem:ro"
    words = (
        "run",
        "--detach",
        "--rm",
        f"--label={stack.label}",
        "--network=bridge",
        f"--env=KEY={key}",
        apt,
        trust,
    )
    server = docker(*words, "debian:trixie-slim", "sh", "-c", script).strip()
    try:
        address = json.loads(docker("inspect", server))[0]["NetworkSettings"]["Networks"]["bridge"][
            "IPAddress"
        ]
        scan = f"for _ in $(seq 300); do ssh-keyscan {address} 2>/dev/null | grep . && exit; sleep 1; done; exit 1"
        hosts = subprocess.run(["sh", "-c", scan], capture_output=True, text=True, check=True).stdout
        (ssh / "known_hosts").write_text(hosts)
        where = {SETTING: f"sftp:root@{address}:/srv/copies", "HOME": str(tmp_path)}
        name = stack.try_inv("services.backup", "--offsite", **where).json["name"]
        [copy] = stack.try_inv("services.backups", "--offsite", **where).json["backups"]
        assert copy["name"] == name
    finally:
        docker("rm", "--force", server)
