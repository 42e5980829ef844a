from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from synos_tasks import host
from synos_tasks.host import Mount
from synos_tasks.root import doctor
from tests.unit.fake_docker import FakeDocker
from tests.unit.projects import settings_in


@pytest.fixture(autouse=True)
def command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/docker")


def examine(folder: Path, docker: FakeDocker) -> dict[str, host.Check]:
    found = doctor.examine(settings_in(folder, "synos-1"), docker)
    assert len({check.name for check in found}) == len(found)
    assert all(check.hint for check in found if check.status != "ok")
    return {check.name: check for check in found}


def test_an_engine_that_does_not_answer_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = FakeDocker()
    docker.answers = False
    found = examine(tmp_path, docker)
    assert (found["docker engine"].status, found["docker engine"].detail) == ("fail", "connection refused")
    assert not {"leftovers", "buildx", "engine at boot"} & set(found)
    monkeypatch.setattr("shutil.which", lambda _: None)
    found = examine(tmp_path, docker)
    assert found["docker command"].status == "fail"
    assert "docker engine" not in found  # without a command nothing else is guessed


@pytest.mark.parametrize(
    ("variable", "value"), [("DOCKER_CONTEXT", "nope"), ("DOCKER_HOST", "tcp://10.0.0.1:1")]
)
def test_a_wrong_address_is_told_with_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    docker = FakeDocker()
    docker.answers = False
    found = examine(tmp_path, docker)
    assert found["docker socket"].status == "warn"
    assert value in found["docker socket"].detail
    for name in ("docker socket", "docker engine"):
        assert variable in found[name].hint


def test_without_an_engine_nobody_is_told_to_unmount_what_containers_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = Mount("/var/lib/docker/volumes/synos-1-redis/_data", "ext4", "/dev/sda", "/")
    monkeypatch.setattr(host, "mount_table", lambda: (volume,))
    docker = FakeDocker()
    docker.answers = False
    found = examine(tmp_path, docker)["mounts"]
    assert (found.status, "unknown" in found.detail, "sudo umount" in found.hint) == ("warn", True, False)
    own = Mount(f"{tmp_path}/root/dev", "devtmpfs", "udev", "/")
    monkeypatch.setattr(host, "mount_table", lambda: (volume, own))
    found = examine(tmp_path, docker)["mounts"]
    assert (found.status, found.hint.endswith(f"sudo umount {own.point}")) == ("fail", True)


def test_an_old_part_fails_alone(tmp_path: Path) -> None:
    docker = FakeDocker()
    docker.buildx = "0.9.1"
    found = examine(tmp_path, docker)
    others = ("docker command", "docker engine", "docker socket", "engine version", "compose", "leftovers")
    assert {found[name].status for name in others} == {"ok"}
    assert found["buildx"].status == "fail"
    assert "0.9.1, needed: 0.13" in found["buildx"].detail


def test_a_socket_without_permission_names_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    socket = tmp_path / "docker.sock"
    socket.touch()
    monkeypatch.setattr("os.access", lambda *_: False)
    found = host.check_socket(f"unix://{socket}", "permission denied")
    assert found.status == "fail"
    assert "usermod" in found.hint


def test_a_missing_socket_fails_and_a_remote_engine_only_warns(tmp_path: Path) -> None:
    for where, wanted in ((f"unix://{tmp_path}/none", "fail"), ("tcp://10.0.0.1:2375", "warn")):
        assert host.check_socket(where, "no answer").status == wanted


def test_what_cannot_be_examined_is_neither_missing_nor_elsewhere(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)  # which root cannot follow either
    socket, disk = host.check_socket(f"unix://{loop}", "no answer"), host.check_disk("disk: engine", loop)
    assert (socket.status, socket.detail.partition(": ")[0]) == ("fail", f"{loop} cannot be examined")
    assert (disk.status, disk.detail) == ("warn", f"not known: {loop}: Too many levels of symbolic links")
    assert socket.hint
    assert disk.hint
    (tmp_path / "dev").write_text("no folder")
    problems = host.dev_problems(tmp_path / "dev")
    assert [line for line in problems if "missing" in line or "no link" in line] == []
    assert f"{tmp_path}/dev/null cannot be examined: Not a directory" in problems
    assert f"{tmp_path}/dev/fd cannot be examined: Not a directory" in problems


@pytest.mark.parametrize(("gigabytes", "wanted"), [(3.9, "fail"), (4, "warn"), (9.9, "warn"), (10, "ok")])
def test_disk_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gigabytes: float, wanted: str) -> None:
    monkeypatch.setattr(host, "free_disk_bytes", lambda _: int(gigabytes * 1e9))
    assert host.check_disk("disk: project", tmp_path).status == wanted
    assert "not measured" in host.check_disk("disk: engine", tmp_path / "remote").detail


@pytest.mark.parametrize(
    ("total", "available", "wanted"),
    [(1800, 1700, "fail"), (1960, 1500, "warn"), (3900, 3000, "ok"), (8000, 1000, "warn")],
)
def test_memory_limits(tmp_path: Path, total: int, available: int, wanted: str) -> None:
    sizes = {"MemTotal": total, "MemFree": 1, "MemAvailable": available}
    lines = (f"{name}:  {megabytes * 1024} kB\n" for name, megabytes in sizes.items())
    (tmp_path / "meminfo").write_text("".join(lines))
    found = host.check_memory(tmp_path / "meminfo")
    assert found.status == wanted
    assert f"{total} MB, {available} MB available" in found.detail


def test_a_stale_devtmpfs_fails_and_the_deepest_goes_first() -> None:
    stale = [Mount("/p/r/dev", "devtmpfs", "udev", "/"), Mount("/p/r/dev/pts", "devpts", "devpts", "/")]
    found = host.check_mounts(stale)
    assert found.status == "fail"
    assert found.hint.endswith("sudo umount /p/r/dev/pts /p/r/dev")
    assert [host.check_dev(problems).status for problems in ([], ["/dev/null is a file"])] == ["ok", "fail"]


def test_kvm_is_a_device_that_can_be_opened_and_never_stops_a_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for name in ("file", "none"):
        found = host.check_kvm(tmp_path / name)
        assert (found.status, "there is no" in found.detail, "group" in found.hint) == ("warn", True, False)
    assert host.check_kvm(Path("/dev/null")).status == "ok"
    monkeypatch.setattr("os.open", mock.Mock(side_effect=PermissionError(13, "Permission denied")))
    found = host.check_kvm(Path("/dev/null"))
    assert (found.status, "group kvm" in found.hint) == ("warn", True)
    assert "Permission denied" in found.detail


@pytest.mark.parametrize(
    ("link", "status"),
    [
        ("systemd/system/multi-user.target.wants/docker.service", "ok"),
        ("systemd/system/sockets.target.wants/docker.socket", "ok"),
        ("rc3.d/S01docker", "ok"),
        ("rc3.d/K01docker", "warn"),
        ("systemd/system/docker.service", "warn"),
    ],
)
def test_an_engine_that_does_not_start_at_boot_is_a_warning(tmp_path: Path, link: str, status: str) -> None:
    (tmp_path / link).parent.mkdir(parents=True)
    (tmp_path / link).touch()
    found = host.check_boot(tmp_path)
    assert found.status == status
    assert bool(found.hint) == (status == "warn")
