"""Foreign code has containers of its own: with no store, no output folder and no project, and it cannot outlive the build."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from synos_tasks.images.catalog import BUILDER
from synos_tasks.iso.proxies import CERTIFICATES
from tests.build_helpers import docker, wait_until

if TYPE_CHECKING:
    from tests.build_helpers import Clone

pytestmark = pytest.mark.integration

HOOK = r"""#!/bin/bash
check() { local name=$1; shift; if "$@" >/tmp/said 2>&1; then echo "CHECK $name yes"; else echo "CHECK $name no: $(head -c 200 /tmp/said)"; fi; }
empty() { for path; do [ -z "$(ls -A "$path" 2>/dev/null)" ] || { ls -A "$path"; return 1; }; done; }
own_root() { [ ! -e /usr/bin/mksquashfs ] && [ ! -e /proc/1/root/etc ]; }
link() { rm /etc/resolv.conf && ln -s ../run/resolver /etc/resolv.conf; }
data() { mkdir /data && echo kept >/data/file && ln -s usr/bin/true /vmlinuz-new && ln -s data /gone-later; }
hosts() { echo "127.0.0.9 marked" >>/etc/hosts; }
check own_root own_root
check nothing_else empty /cache /output /project /proc/1/root/cache /proc/1/root/output /proc/1/root/project
check substitution test "$(cat <(echo x))" = x
check daemon_reload systemctl daemon-reload
check hosts hosts
check resolver link
check data data
cat >/usr/share/initramfs-tools/hooks/zz-look <<'END'
#!/bin/sh
[ "$1" != prereqs ] || exit 0
if echo >>/usr/bin/true; then echo CHECK links no; else echo CHECK links yes; fi
[ -d /usr/share/base-files ] && [ -s /var/lib/dpkg/status ] && echo CHECK initramfs_hook yes
END
chmod 755 /usr/share/initramfs-tools/hooks/zz-look
setsid sleep 86399 &
setsid sleep 86398 >/dev/null 2>&1 </dev/null &
kill -STOP 1
kill -STOP -1
kill -9 1
echo CHECK ended yes
"""
AFTER = r"""#!/bin/bash
rm /gone-later
[ "$(cat /data/file)" = kept ] && grep -q marked /etc/hosts && [ -e /etc/resolv.conf ] && echo CHECK next_hook yes
grep -lza 8639 /proc/[0-9]*/cmdline || echo CHECK daemons_gone yes
"""
CHECKS = {
    "own_root", "nothing_else", "substitution", "daemon_reload", "hosts", "resolver", "data", "ended", "next_hook",
    "daemons_gone", "links", "initramfs_hook",
}  # fmt: skip
STUBBORN = r"""#!/bin/bash
trap '' HUP INT TERM
(trap '' HUP INT TERM; setsid sleep 86397) &
sleep 2 # the child has its name by then
perl -e 'syscall(101, 16, 1, 0, 0)' # PTRACE_ATTACH: with it 1 would be stopped
(while sleep 1; do echo; done >/proc/1/fd/3) &
rm /synos/busybox; printf '#!/bin/sleep 86396\n' >/synos/busybox; chmod 755 /synos/busybox; echo 'sleep 86396' >/synos/enter
kill -STOP 1
kill -STOP -1
kill -9 1
while :; do sleep 1; done
"""
PRIVATE = ("/cache", "/output", "/project", ".synos")
"""What no foreign code may reach."""
FOREIGN = {
    "mmdebstrap", "debootstrap", "chroot", "dpkg", "perl", "bash", "mkinitramfs", "useradd", "systemctl", "setsid", "sleep",
}  # fmt: skip
"""Programs of a root, or that start some; the builder's own APT resolves a lock, so its programs are no sign."""


@dataclass
class Watch:
    """Records the containers of one project, and the programs of its builders, while a build runs."""

    label: str
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    programs: set[str] = field(default_factory=set)
    places: set[tuple[str, str]] = field(default_factory=set)
    """Root folder and executable of each process of the builders, as far as this user may see them."""
    missed: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        argv = [
            "docker",
            "events",
            f"--filter=label={self.label}",
            "--filter=event=create",
            "--format={{.ID}}",
        ]
        self._events = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self._threads = [threading.Thread(target=one) for one in (self._inspect, self._look)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._events.terminate()
        for thread in self._threads:
            thread.join()
        self._events.communicate()

    @property
    def foreign(self) -> list[dict[str, Any]]:
        return [one for one in self.containers.values() if one["Path"] == "/synos/enter"]

    @property
    def trusted(self) -> list[dict[str, Any]]:
        return [one for one in self.containers.values() if one["Path"] != "/synos/enter"]

    def _inspect(self) -> None:
        assert self._events.stdout is not None
        for line in self._events.stdout:
            try:
                [self.containers[line.strip()]] = json.loads(docker("inspect", line.strip()))
            except subprocess.CalledProcessError:
                self.missed.append(line.strip())

    def _look(self) -> None:
        while not self._over.wait(0.2):
            for one in self.trusted:
                with suppress(subprocess.CalledProcessError):  # it has ended
                    words = docker("top", one["Id"], "-eo", "pid,comm").split()[2:]
                    self.programs |= set(words[1::2])
                    for process in words[::2]:
                        with suppress(OSError):
                            links = (Path(f"/proc/{process}", name) for name in ("root", "exe"))
                            root, program = (str(link.readlink()) for link in links)
                            self.places.add((root, program))


@dataclass(frozen=True)
class Built:
    iso: str
    log: str
    seen: Watch


@pytest.fixture(scope="module")
def project(clone: Clone) -> Clone:
    """The clone with two profiles on top of `minimal`: one that looks around, and one whose hook never ends."""
    for name, hooks in {"apart": {"one": HOOK, "two": AFTER}, "stubborn": {"stubborn": STUBBORN}}.items():
        for hook, text in hooks.items():
            clone.add(f"docker/build/hooks/{hook}.sh", text)
        listed = "".join(f"  - hooks/{hook}.sh\n" for hook in hooks)
        clone.add(f"docker/build/profiles/{name}.yaml", f"inherits: minimal\nhooks:\n{listed}")
    return clone


@pytest.fixture(scope="module")
def built(project: Clone) -> Built:
    with Watch(project.label) as seen:
        answer = project.inv("build.iso", "--profile", "apart")
    return Built(answer.json["iso"], project.newest_log(), seen)


def test_a_hook_has_its_own_system_and_what_a_hook_needs(built: Built) -> None:
    found = dict(re.findall(r"CHECK (\w+) (.*)", built.log))
    assert found == dict.fromkeys(CHECKS, "yes")


def test_no_container_has_both_foreign_code_and_what_is_ours(built: Built, project: Clone) -> None:
    assert built.seen.missed == []
    stores = project.settings.project.store_volume
    commands = [" ".join(one["Args"]) for one in built.seen.foreign]
    for expected in ("mmdebstrap", "apt-get install", "synos-hook-one", "synos-hook-two", "mkinitramfs"):
        assert any(expected in command for command in commands), f"{expected} ran elsewhere: {commands}"
    for one in built.seen.foreign:
        assert not one["HostConfig"]["Binds"]
        assert not one["HostConfig"]["Privileged"]
        for mount in one["HostConfig"]["Mounts"]:
            if mount["Target"] == str(CERTIFICATES):  # what the host trusts
                assert mount["ReadOnly"], mount
                continue
            assert mount["Type"] == "volume", mount
            if "Source" not in mount:  # a new one, which the image declares; its label tells whose it is
                assert project.settings.project.id in mount["VolumeOptions"]["Labels"].values()
                continue
            assert mount["Source"] != stores, mount
            assert mount["VolumeOptions"]["Subpath"], "the whole work folder"
            assert not mount["Target"].startswith(PRIVATE), mount
            assert not mount["VolumeOptions"]["Subpath"].startswith((".", "output", "cache")), mount


def test_containers_with_the_store_or_the_output_run_the_engine_alone(built: Built) -> None:
    assert built.seen.trusted
    assert {one["Path"] for one in built.seen.trusted} <= {"python3"}
    assert "python3" in built.seen.programs
    assert built.seen.programs & FOREIGN == set()
    strange = {place for place in built.seen.places if place[0] != "/" or place[1].startswith("/work")}
    assert strange == set(), "a program of the root"
    assert os.geteuid() != 0 or any("python" in program for _, program in built.seen.places)


def test_what_a_hook_made_is_in_the_iso(built: Built, project: Clone) -> None:
    script = """\
xorriso -osirrox on -indev /image.iso -extract /live /tmp/live 2>/dev/null
chmod -R u+w /tmp/live
for file in /tmp/live/*.squashfs; do unsquashfs -q -n -f -d /tmp/root "$file" data vmlinuz-new etc/hosts >/dev/null 2>&1 || true; done
cat /tmp/root/data/file /tmp/root/etc/hosts; unsquashfs -ls /tmp/live/*hook-one*; readlink /tmp/root/vmlinuz-new
"""
    bind = f"--volume={project.root / built.iso}:/image.iso:ro"
    image = BUILDER.tag(project.settings.project)
    text = docker(
        "run", "--rm", f"--label={project.label}", "--network=none", bind, image, "sh", "-euc", script
    )
    assert text.splitlines()[0] == "kept"
    assert "127.0.0.9 marked" in text.splitlines()
    assert text.splitlines()[-1] == "usr/bin/true"
    layer = set(re.findall(r"^squashfs-root/([^/\n]+)$", text, re.MULTILINE))
    assert layer >= {"data", "vmlinuz-new", "etc"}
    assert layer & {"bin", "lib", "lib64", "sbin", "vmlinuz", "initrd.img"} == set(), "no hook touched it"


def test_nothing_of_a_build_runs_on_and_its_volumes_are_gone(built: Built, project: Clone) -> None:
    assert built.iso
    assert project.running() == []
    volumes = docker("volume", "ls", "--quiet", f"--filter=label={project.label}")
    assert volumes == project.settings.project.store_volume


def test_a_hook_that_no_signal_ends_dies_with_the_killed_command(built: Built, project: Clone) -> None:
    assert built.iso  # so that all but the hook is in the store
    process = project.start("stubborn")
    try:
        assert wait_until(lambda: _has_stopped_all(project), 120), _names(project)
    finally:
        process.kill()
        process.communicate(timeout=10)
    assert wait_until(lambda: not project.running(), 60), _names(project)


ENTER = [sys.executable, "-m", "invoke", "build.shell", "--in", "apart"]
LOOK = """\
cat /data/file; find /cache /output /project -mindepth 1; ls /marked; touch /marked
getent hosts deb.debian.org >/dev/null && echo network; exit 7
"""


def test_a_shell_is_in_what_the_iso_holds_and_keeps_nothing(built: Built, project: Clone) -> None:
    assert built.iso
    for _ in range(2):
        done = subprocess.run(
            [*ENTER, "--command", LOOK], cwd=project.root, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout.split()) == (7, ["kept", "network"]), done.stderr
    assert project.running() == []


class Terminal:
    """A terminal with `inv build.shell --in` in it."""

    def __init__(self, project: Clone) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            ENTER, cwd=project.root, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def type(self, text: str, wanted: str, seconds: float = 60) -> None:
        """Type, and wait until what follows on the screen matches."""
        os.write(self._ours, text.encode())
        said, end = "", time.monotonic() + seconds
        while not re.search(wanted, said):
            ready, _, _ = select.select([self._ours], [], [], max(0, end - time.monotonic()))
            assert ready, said
            said += os.read(self._ours, 4096).decode(errors="replace")


def test_an_interactive_shell_has_job_control_and_its_exit_code(built: Built, project: Clone) -> None:
    assert built.iso
    with Terminal(project) as terminal:
        terminal.type("", "root@synos:/# $", 120)
        terminal.type("sleep 86395\n", "86395\r\n")
        time.sleep(1)  # until it is in the foreground
        terminal.type("\x03", "# $")
        terminal.type("echo code $?\n", "code 130\r\n")
        terminal.type("sleep 86395 &\n", r"\[1\] \d+\r\n")
        terminal.type("jobs; exit 5\n", "Running +sleep")
        assert terminal.process.wait(20) == 5
        assert project.running() == []


def test_nothing_of_a_shell_is_left_when_its_command_is_killed(built: Built, project: Clone) -> None:
    assert built.iso
    with Terminal(project) as terminal:
        terminal.type("", "root@synos:/# $", 120)
        terminal.type("trap '' HUP TERM; (sleep 86394) & kill -STOP 1; sleep 86394\n", r"\[1\] \d+")
    gone = ("ps", "--all", "--quiet", f"--filter=label={project.label}")
    assert wait_until(lambda: not docker(*gone), 60), _names(project)
    # the work folder stays where the builder ended before the shell that had it too: it goes with the next command
    subprocess.run(
        [*ENTER, "--command", "true"],
        cwd=project.root,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    volumes = ("volume", "ls", "--quiet", f"--filter=label={project.label}")
    assert wait_until(lambda: docker(*volumes) == project.settings.project.store_volume, 60), docker(*volumes)


def _names(project: Clone) -> list[str]:
    return docker("ps", "--format={{.Names}}", f"--filter=label={project.label}").split()


def _has_stopped_all(project: Clone) -> bool:
    """Tell whether the hook's child is stopped: then the hook has tried all that it tries."""
    found = ""
    for name in _names(project):
        with suppress(subprocess.CalledProcessError):  # it has ended
            found += docker("top", name, "-eo", "pid,stat,args")
    return re.search(r" T\S* .*sleep 86397", found) is not None
