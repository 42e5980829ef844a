"""What foreign code tries on its way out of a container: one table, for the tests and for `scripts/bench attacks`.

Each is a shell expression that is true where the attack succeeded, and none does harm where it does: devices are opened
and not written to, settings are opened and not changed, calls get arguments that the kernel refuses after it has asked for the right.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.engine.labels import BUILDER_CAPABILITIES
from synos_tasks.iso import codec, protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DELIVERED = json.dumps(codec.encode(protocol.Delivered(build_id="1")))
"""The line that reports an ISO, as the engine writes it: foreign code forges it, and another line would attack nothing."""

# linux/capability.h
CAPABILITY_BITS = {
    "CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6, "SETUID": 7,
    "SYS_CHROOT": 18, "MKNOD": 27, "SETFCAP": 31,
}  # fmt: skip

DEVICES = {
    "disk": "device b @MAJOR@ @MINOR@",
    "memory": "device c 1 1",
    "ports": "device c 1 4",
    "kernel_log": "device c 1 11",
    "virtual_terminal": "device c 4 0",
    "serial_line": "device c 4 64",
    "loop_control": "device c 10 237",
    "loop": "device b 7 0",
    "fuse": "device c 10 229",
    "kvm": "device c 10 232",
    "device_mapper": "device c 10 236",
    "input": "device c 10 223",
    "vhost": "device c 10 238",
    "another_terminal": "device c 136 0",
    "network_tunnel": r"""node c 10 200 && perl -e 'open(F, "+<", $ARGV[0]) && ioctl(F, 0x400454ca, $_ = pack("a16Sx22", "t0", 1)) or exit 1' node""",
}
"""Devices of the machine that could be opened for reading and writing; not its console, which SECURITY.md promises not to."""

MOUNTS = {
    **{f"mount_{kind}": f"mounted {kind}" for kind in (
        "proc", "sysfs", "tmpfs", "devpts", "cgroup2", "debugfs", "tracefs", "securityfs", "bpf", "mqueue", "devtmpfs",
    )},
    "mount_disk": "node b @MAJOR@ @MINOR@ && call 165 node there ext4 1 0",
    "mount_overlay": "call 165 overlay there overlay 0 lowerdir=/usr:/etc",
    "bind": "call 165 / there NULL 20480 NULL",
    "writable_settings": "call 165 NULL /proc/sys NULL 4128 NULL",
    "shared_again": "call 165 NULL / NULL 1048576 NULL",
    "unmask_kcore": "call 166 /proc/kcore 2",
    "pivot_root": "call 155 there there",
    "fsopen": "call 430 tmpfs 0",
    "open_tree": "call 428 0 / 1",
}  # fmt: skip
"""Calls are by number, as perl-base has no names for them: see asm/unistd_64.h."""

NAMESPACES = {
    **{f"new_{kind}": f"unshare --{kind} true" for kind in ("user", "mount", "pid", "net", "ipc", "uts", "cgroup")},
    "user_with_mount": "unshare --user --map-root-user --mount true",
    "clone_as_user": "perl -e '$p = syscall(56, 0x10000011, 0, 0, 0, 0); exit($p == -1)'",
    "join_mount": """perl -e 'open(F, "<", "/proc/1/ns/mnt") && syscall(308, fileno(F), 0) == 0 or exit 1'""",
    "join_pid": """perl -e 'open(F, "<", "/proc/1/ns/pid") && syscall(308, fileno(F), 0) == 0 or exit 1'""",
}  # fmt: skip

KERNEL = {
    **{f"set_{path.replace('/', '.')}": f"writes /proc/sys/{path}" for path in (
        "vm/swappiness", "vm/drop_caches", "kernel/core_pattern", "kernel/hostname", "kernel/modprobe", "kernel/panic",
        "kernel/dmesg_restrict", "kernel/sysrq", "net/ipv4/ip_forward", "fs/suid_dumpable", "fs/binfmt_misc/register",
    )},
    "sysrq": "writes /proc/sysrq-trigger",
    "interrupts": "writes /proc/irq/default_smp_affinity",
    "power": "writes /sys/power/state",
    "uevent_helper": "writes /sys/kernel/uevent_helper",
    "huge_pages": "writes /sys/kernel/mm/transparent_hugepage/enabled",
    "network_name": "writes /sys/class/net/lo/ifalias",
    "kernel_memory": "reads /proc/kcore",
    "kernel_keys": "reads /proc/keys",
    "kernel_timers": "reads /proc/timer_list",
    "firmware": "ls /sys/firmware | grep .",
    "load_module": "allowed 175 NULL 0 NULL",
    "load_module_file": "allowed 313 -1 NULL 0",
    "kexec": "allowed 246 0 0 NULL 999999",
    "reboot": "allowed 169 1 2 3 NULL",
    "clock": "allowed 164 NULL NULL",
    "swap_on": "allowed 167 /nonexistent 0",
    "swap_off": "allowed 168 /nonexistent",
    "accounting": "allowed 163 /nonexistent",
    "host_name": 'call 170 "$(uname -n)" 3',
    "domain_name": "allowed 171 NULL 65",
    "io_privilege": "call 172 3",
    "io_ports": "call 173 128 1 1",
    "bpf": "allowed 321 5 NULL 0",
    "performance_events": "allowed 298 NULL 0 -1 -1 0",
    "page_faults": "call 323 0",
    "io_uring": "allowed 425 1 NULL",
    "fanotify": "call 300 0 0",
    "key_ring": "call 250 0 -3 1",
    "add_key": "allowed 248 user synos x 1 -3",
    "by_handle": "handle",
    "quota": "allowed 179 8388609 NULL 0 NULL",
    "hang_up": "call 153",
}  # fmt: skip

RIGHTS = {
    "capability_beyond": "caps=$((0x$(sed -n 's/^CapBnd:\\s*//p' /proc/self/status))); [ $((caps & ~@ALLOWED@)) != 0 ]",
    "capability_of_a_file": "cp /bin/grep g && perl -e '($f, $n, $v) = (@ARGV, pack(\"L5\", 0x02000001, 1 << 21, 0, 0, 0));"
    " exit(syscall(188, $f, $n, $v, 20, 0) != 0)' g security.capability && caps=$(./g ^CapEff /proc/self/status | cut -f2)"
    " && [ $((0x$caps & 1 << 21)) != 0 ]",
    "raise_nice": "perl -e 'setpriority(0, 0, -5) or exit 1; exit(getpriority(0, 0) != -5)'",
    "real_time": "perl -e '$p = pack(\"i\", 1); exit(syscall(144, 0, 1, $p) != 0)'",
    "raise_limit": "limit=$(ulimit -Hc) && [ $limit != unlimited ] && ulimit -Hc unlimited",
    "never_killed_for_memory": "echo -999 >/proc/self/oom_score_adj",
    "packet_socket": "perl -e 'socket(S, 17, 3, 768) or exit 1'",
    "raw_socket": "perl -e 'socket(S, 2, 3, 1) or exit 1'",
    "interface_flags": "perl -e 'socket(S, 2, 2, 0); $r = pack(\"a16x24\", \"lo\"); ioctl(S, 0x8913, $r) && ioctl(S, 0x8914, $r) or exit 1'",
    "more_memory": "for f in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do writes $f && exit 0; done; exit 1",
    "more_processes": "for f in /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max; do writes $f && exit 0; done; exit 1",
    "other_control_group": "for d in /sys/fs/cgroup/memory /sys/fs/cgroup; do [ -e $d/cgroup.procs ] && mkdir $d/synos && rmdir $d/synos && exit 0; done; exit 1",
    "release_agent": "for f in /sys/fs/cgroup/release_agent /sys/fs/cgroup/*/release_agent; do writes $f && exit 0; done; exit 1",
    "device_rules": "writes /sys/fs/cgroup/devices/devices.allow",
}  # fmt: skip

MARKS = ("SECRET", "LOG", "DIST", "STORE", "PROJECT", "COMPONENT")
"""Files of the project, and of the store, with a text that the script looks for."""
REACH = {
    "docker_socket": "ls -d /var/run/docker.sock /run/docker.sock /run/containerd/containerd.sock 2>/dev/null | grep .",
    "store": "filled /cache /proc/1/root/cache",
    "output": "filled /output /proc/1/root/output",
    "project": "filled /project/docker /project/synos_tasks /project/.synos /proc/1/root/project/docker",
    "pool": "find / -xdev -path '*/pool/*.deb' | grep .",
    "process_of_the_builder": "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep 'synos_task[s].iso'",
    "key_of_the_store": "perl -e '$k = reverse \"@KEY@\"; $/ = undef;"
    " for (glob \"/proc/[0-9]*/{environ,cmdline}\") { open(F, \"<\", $_) and $t = <F> and index($t, $k) >= 0 and exit 0 } exit 1'",
    **{f"file_{name}": f"holds '@{name.upper()}@'" for name in map(str.lower, MARKS)},
    "dotdot": "test -e /../../../../../../../../..@ROOT@/invoke.yaml",
    "host_path": "test -e @ROOT@/invoke.yaml || test -e /proc/1/root@ROOT@/invoke.yaml || test -e /proc/1/cwd@ROOT@/invoke.yaml",
    "chroot": """mkdir -p jail && perl -e 'chroot "jail" or exit 3; chdir ".." for 1..64; chroot "."; exit !-e $ARGV[0]' @ROOT@/invoke.yaml""",
    "chroot_by_descriptor": "mkdir -p jail && perl -e 'opendir(D, \"/\"); chroot \"jail\" or exit 3; chdir(D); chdir \"..\" for 1..64;"
    " chroot \".\"; exit !-e $ARGV[0]' @ROOT@/invoke.yaml",
    "port_of_this_machine": """perl -e 'use Socket; for (@ARGV) { socket(S, PF_INET, SOCK_STREAM, 0); exit 0 if connect(S, sockaddr_in(@PORT@, inet_aton($_))) } exit 1' 127.0.0.1 @GATEWAY@""",
}  # fmt: skip
"""What is of the host, of the project or of other stages. A marker is written backwards, or this script would be found."""

FIRST_PROCESS = {
    "trace": "call 101 16902 1 0 0",
    "write_its_memory": "writes /proc/1/mem",
    "take_its_descriptor": """perl -e '$p = syscall(434, 1, 0); exit($p < 0 || syscall(438, $p, 0, 0) < 0)'""",
    "speak_on_its_lease": "for f in 0 3; do [ -p /proc/1/fd/$f ] && writes /proc/1/fd/$f && exit 0; done; exit 1",
    "kill": "kill -9 1; sleep 0.2; [ -d /proc/self ] && [ ! -d /proc/1 ]",
    "stop": "kill -STOP 1; sleep 0.2; grep -q '^State:.T' /proc/1/status",
}
"""The first process of a container holds the lease: it must go on whatever happens in the container."""

TABLE: Mapping[str, Mapping[str, str]] = {
    "devices": DEVICES,
    "mounts": MOUNTS,
    "namespaces": NAMESPACES,
    "kernel": KERNEL,
    "rights": RIGHTS,
    "reach": REACH,
    "first process": FIRST_PROCESS,
}
ALL = {name: script for kind in TABLE.values() for name, script in kind.items()}

SCRIPT = r"""#!/bin/bash
# Usage: attacks MOMENT; prints for each attack: RESULT MOMENT NAME yes, or no.
moment=$1
work=$(mktemp -d)
cd "$work" || exit 0
# where it may, so that no mount of one is there for the next
apart=; ! unshare --mount true 2>/dev/null || apart="unshare --mount --propagation=private"
call() { perl -e '($n, @a) = map { /^-?\d+$/ ? $_ + 0 : $_ eq "NULL" ? 0 : "$_" } @ARGV; exit(syscall($n, @a) == -1)' "$@"; }
# refused for another reason than the lack of a right
allowed() { perl -e '($n, @a) = map { /^-?\d+$/ ? $_ + 0 : $_ eq "NULL" ? 0 : "$_" } @ARGV; exit(syscall($n, @a) == -1 && $!{EPERM} + $!{EACCES} + $!{ENOSYS})' "$@"; }
node() { rm -f node; mknod node "$@"; }
device() { node "$@" && perl -e 'use Fcntl; sysopen(F, "node", O_RDWR | O_NONBLOCK) or exit 1'; }
mounted() { mkdir -p there; call 165 "$1" there "$1" 0 NULL; }
writes() { perl -e 'use Fcntl; sysopen(F, $ARGV[0], O_WRONLY | O_NONBLOCK) or exit 1' "$1"; }
reads() { perl -e 'open(F, "<", $ARGV[0]) && sysread(F, $x, 1) or exit 1' "$1"; }
filled() { local path; for path; do [ -z "$(ls -A "$path" 2>/dev/null)" ] || return 0; done; return 1; }
holds() { grep -qF "$(echo "$1" | rev)" "$marks"; }
handle() { perl -e 'open(F, "<", "/etc/hostname"); $h = pack("LlQ", 8, 1, 2); exit(syscall(304, fileno(F), $h, 0) < 0)'; }
mkdir -p there
marks=$(mktemp)
rev <<'MARKS' | grep -raohF --devices=skip --exclude-dir=proc --exclude-dir=sys -f - / >"$marks" 2>/dev/null
@MARKS@
MARKS
export marks
export -f call allowed node device mounted writes reads filled holds handle
while IFS=$'\t' read -r name script; do
    if timeout --signal=KILL 10 $apart bash -c "$script" >said 2>&1 </dev/null; then found=yes; else found=no; fi
    echo "RESULT $moment $name $found"
done <<'ATTACKS'
@ATTACKS@
ATTACKS
rm "$marks"
echo "RESULT $moment control yes"
exit 0
"""
RESULT = re.compile(r"RESULT (\S+) (\w[\w.]*) (yes|no)\b")


def script(values: Mapping[str, str], names: Iterable[str] = ALL) -> str:
    """Return the script that tries them; ``values`` are what stands between two @ in it."""
    disks = [path for path in Path("/sys/block").iterdir() if (path / "device").exists()]
    major, minor = (disks[0] / "dev").read_text().strip().split(":") if disks else ("7", "0")
    allowed = sum(1 << CAPABILITY_BITS[name] for name in BUILDER_CAPABILITIES)
    known = {"MAJOR": major, "MINOR": minor, "ALLOWED": allowed, **values}
    listed = "\n".join(f"{name}\t{ALL[name]}" for name in names)
    text = SCRIPT.replace("@ATTACKS@", listed).replace("@MARKS@", "\n".join(values[name] for name in MARKS))
    return re.sub(r"@([A-Z]+)@", lambda found: str(known[found[1]]), text)


def results(text: str) -> dict[str, dict[str, bool]]:
    """Return of each moment whether its attacks succeeded, from what the script printed."""
    found: dict[str, dict[str, bool]] = {}
    for moment, name, said in RESULT.findall(text):
        found.setdefault(moment, {})[name] = said == "yes"
    return found
