"""Ray as a user runs it: up, healthy, locked down, open to nobody without the token, and more or fewer workers."""

from __future__ import annotations

import json
import subprocess
import time
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks import settings
from synos_tasks.images.catalog import BUILDER
from synos_tasks.services.stack import open_stack
from tests.build_helpers import ROOT, Clone, docker
from tests.conftest import remove_labelled
from tests.services_clones import services_clone, shell

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.integration
STACK = ("--stack", "ray")
WORKERS = ["ray-worker", "ray-worker-2"]
TASK = """
import os, time, ray
ray.init()

@ray.remote(num_cpus=1)
def where():
    time.sleep(1)
    return os.uname().nodename

print(*sorted(set(ray.get([where.remote() for _ in range(4)]))))
"""

OTHER_HEAD = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Head(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{\\"ray_version\\": \\"1.0\\"}")
HTTPServer(("", 8265), Head).serve_forever()
"""
KILL = """
for one in /proc/[0-9]*; do
    if [ "$(cat "$one/comm")" = raylet ]; then kill -9 "${one#/proc/}" && echo killed; fi
done
"""


@pytest.fixture(scope="module")
def cluster(builder_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone whose Ray runs, with ports that the engine chose."""
    open_stack(settings.load(ROOT, {"name": "synos"}), "ray", print).ensure_images(["ray-head"])
    clone = services_clone(tmp_path_factory.mktemp("ray"), ray_port="0", ray_dashboard_port="0")
    clone.inv("services.up", *STACK)
    yield clone
    remove_labelled(clone.settings.project.id)


def status(clone: Clone) -> dict[str, Any]:
    return clone.inv("services.status", *STACK).json


def containers(clone: Clone) -> dict[str, str]:
    """Names in the engine by those of `services.status`."""
    names = docker("ps", f"--filter=label={clone.label}", "--format={{.Names}}").split()
    return {name.partition("-ray-")[2].removesuffix("-1"): name for name in names}


def dashboard(clone: Clone) -> int:
    ports: list[dict[str, Any]] = status(clone)["services"][0]["ports"]
    [port] = [one["host_port"] for one in ports if one["container_port"] == 8265]
    assert isinstance(port, int)
    return port


def ask(port: int, path: str, token: str | None) -> int:
    """Status of the dashboard's answer."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
    code = connection.getresponse().status
    connection.close()
    return code


def token(clone: Clone) -> str:
    return (clone.settings.stack_dir("ray") / "secrets/ray_token").read_text().strip()


def execute(clone: Clone, name: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a container."""
    given = [f"--env={key}={value}" for key, value in variables.items()]
    argv = ["docker", "exec", *given, containers(clone)[name], *words]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def test_status_shows_the_nodes_and_what_they_offer(cluster: Clone) -> None:
    told = status(cluster)
    assert [one["name"] for one in told["services"]] == ["ray-head", *WORKERS]
    assert {(one["state"], one["health"], one["restarts"]) for one in told["services"]} == {
        ("running", "healthy", 0)
    }
    head, *workers = told["ray"]["nodes"]
    assert (head["head"], head["cpus"]) == (True, 0)
    assert len(workers) == 2
    assert all(one["cpus"] >= 1 and one["memory"] > 2**29 and one["object_store"] > 10**8 for one in workers)
    shown = shell(cluster, "services.status", *STACK).stdout
    assert f"Ray {told['ray']['version']}: 3 nodes" in shown
    again = cluster.inv("services.up", *STACK)
    assert again.json["changed"] == []
    assert "nothing to do" in again.err


def test_the_image_is_the_builders_with_ray_on_it(cluster: Clone) -> None:
    own = docker("exec", containers(cluster)["ray-head"], "cat", "/etc/synos-builder")
    assert own == docker(
        "run", "--rm", f"--label={cluster.label}", BUILDER.tag(cluster.settings.project), "cat", "/etc/synos-builder"
    )  # fmt: skip


def test_a_node_has_no_more_rights_than_it_needs(cluster: Clone) -> None:
    for told in json.loads(docker("inspect", *containers(cluster).values())):
        host = told["HostConfig"]
        assert (told["Config"]["User"], host["Privileged"], host["ReadonlyRootfs"]) == (
            "990:990",
            False,
            True,
        )
        assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], None)
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert (host["Init"], host["Devices"], host["IpcMode"]) == (True, None, "private")
        assert host["PidsLimit"] > 0
        assert host["Memory"] == host["MemorySwap"] > host["ShmSize"] > 0
        assert host["CpuQuota"] > 0
        assert host["LogConfig"]["Config"] == {"max-file": "5", "max-size": "10m"}
        assert host["RestartPolicy"]["Name"] == "always"
        assert {mount["Type"] for mount in told["Mounts"]} == {"bind"}  # nor a volume that nobody named
        assert not any(mount["RW"] for mount in told["Mounts"] if mount["Destination"] == "/etc/synos")
        published = [one["HostIp"] for binds in (host["PortBindings"] or {}).values() for one in binds]
        assert set(published) <= {"127.0.0.1"}
        assert token(cluster) not in json.dumps(told)
    assert execute(cluster, "ray-worker", "touch", "/usr/here").returncode != 0


def test_only_who_has_the_token_comes_in_and_others_learn_why(cluster: Clone) -> None:
    port = dashboard(cluster)
    paths = ("/api/version", "/api/jobs/", "/api/v0/nodes")
    assert {ask(port, path, None) for path in paths} == {401}
    assert {ask(port, path, "0" * 64) for path in paths} == {403}
    assert {ask(port, path, token(cluster)) for path in paths} == {200}
    for wrong, said in (
        ("/etc/hostname", "the head refuses this worker's token"),
        ("/nowhere", "is empty, or"),
    ):
        began = time.monotonic()
        done = execute(cluster, "ray-worker", "bash", "/etc/synos/start", RAY_AUTH_TOKEN_PATH=wrong)
        assert (done.returncode, said in done.stderr) == (1, True)
        assert time.monotonic() - began < 5
    file = cluster.settings.stack_dir("ray") / "secrets/ray_token"
    right = file.read_text()
    file.write_text("0" * 64)
    began = time.monotonic()
    refused = cluster.try_inv("services.status", *STACK)
    assert time.monotonic() - began < 5
    file.write_text(right)
    assert (refused.code, len(refused.json["services"])) == (27, 3)
    assert "Ray refuses the token" in refused.err


def test_a_worker_of_another_version_says_so_at_once(cluster: Clone) -> None:
    """In a container that is its own head."""
    start = cluster.root / "docker/services/ray-worker"
    image = docker("inspect", "--format={{.Image}}", containers(cluster)["ray-worker"]).strip()
    done = subprocess.run(
        [
            "docker", "run", "--rm", "--network=none", "--add-host=ray-head:127.0.0.1", f"--label={cluster.label}",
            f"--volume={start}:/etc/synos:ro", "--env=RAY_AUTH_TOKEN_PATH=/etc/hostname", "--entrypoint=bash", image,
            "-c", f"python3 -c '{OTHER_HEAD}' & exec bash /etc/synos/start",
        ],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "the head has 1.0: inv services.up --stack ray gives both the same" in done.stderr


def test_a_program_on_this_machine_computes_on_the_workers(cluster: Clone) -> None:
    values = cluster.inv("services.env", *STACK).json["variables"]
    assert values["RAY_API_SERVER_ADDRESS"] == f"http://127.0.0.1:{dashboard(cluster)}"
    inside = "/run/secrets/ray_token"
    given = {**values, "RAY_AUTH_TOKEN_PATH": inside}
    image = docker("inspect", "--format={{.Image}}", containers(cluster)["ray-head"]).strip()
    done = subprocess.run(
        [
            "docker", "run", "--rm", "--network=host", "--user=0:0", f"--label={cluster.label}",
            f"--volume={values['RAY_AUTH_TOKEN_PATH']}:{inside}:ro",
            *(f"--env={key}={value}" for key, value in given.items() if key.startswith("RAY_")),
            image, "/opt/ray/bin/python", "-c", TASK,
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    hosts = {
        docker("inspect", "--format={{.Config.Hostname}}", containers(cluster)[name]).strip()
        for name in WORKERS
    }
    assert (done.returncode, set(done.stdout.split())) == (0, hosts), done.stderr[-3000:]


def test_rays_command_line_has_the_token(cluster: Clone) -> None:
    done = shell(cluster, "services.ray", "--", "status")
    assert done.returncode == 0, done.stderr
    assert " CPU" in done.stdout
    program = "import ray; ray.init(); print('on', ray.__version__)"
    words = ("job", "submit", "--", "python3", "-c", program)
    assert f"on {status(cluster)['ray']['version']}\n" in shell(cluster, "services.ray", "--", *words).stdout
    assert shell(cluster, "services.ray", "--", "nonsense").returncode == 2


def test_verbs_for_data_say_that_there_is_none(cluster: Clone) -> None:
    for verb in (("services.backup",), ("services.backups", "--check")):
        said = cluster.inv(*verb, *STACK, fails=True)
        assert "stack ray has no service that keeps data" in said.err
    assert cluster.inv("services.heal", *STACK).json["healed"] == []
    assert [one["changed"] for one in cluster.inv("services.upgrade", *STACK).json["services"]] == [
        False,
        False,
    ]


def test_a_worker_whose_raylet_dies_comes_back(cluster: Clone) -> None:
    before = {one["name"] for one in status(cluster)["ray"]["nodes"]}
    assert execute(cluster, "ray-worker", "bash", "-c", KILL).stdout.strip() == "killed"
    end = time.monotonic() + 30
    while True:
        told = status(cluster)
        [worker] = [one for one in told["services"] if one["name"] == "ray-worker"]
        if (worker["restarts"], worker["health"]) == (1, "healthy"):
            break  # Ray counts the dead node for a while
        assert time.monotonic() < end, told
        time.sleep(0.5)
    assert {one["name"] for one in told["ray"]["nodes"]} == before


def test_a_new_token_is_the_only_one_that_opens(cluster: Clone) -> None:
    old = token(cluster)
    assert cluster.inv("services.secrets-rotate", *STACK).json["secrets"] == ["ray_token"]
    assert len(token(cluster)) == 64
    assert token(cluster) != old
    port = dashboard(cluster)
    assert [ask(port, "/api/version", one) for one in (old, token(cluster))] == [403, 200]
    assert len(status(cluster)["ray"]["nodes"]) == 3


def test_workers_are_more_or_fewer_and_down_leaves_nothing(cluster: Clone) -> None:
    fewer = cluster.inv("services.up", *STACK, "--workers", "1")
    assert fewer.json["removed"] == ["ray-worker-2"]
    assert set(containers(cluster)) == {"ray-head", "ray-worker"}
    assert cluster.inv("services.up", *STACK).json["removed"] == []  # it is remembered
    assert "has no workers" in cluster.inv("services.up", "--workers", "3", fails=True).err
    volumes = docker("volume", "ls", "--quiet").split()
    assert cluster.inv("services.down", *STACK, "--volumes", "--yes").json["containers"] == 2
    assert containers(cluster) == {}
    assert docker("volume", "ls", "--quiet").split() == volumes
    assert {one["state"] for one in status(cluster)["services"]} == {"missing"}
