"""Who has a TCP port: whether one can be listened on, and which process does. Changes nothing."""

from __future__ import annotations

import errno
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

LISTENING = "0A"  # TCP_LISTEN in the kernel's include/net/tcp_states.h
_SOCKET = re.compile(r"socket:\[(\d+)\]")


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A listening socket: its inode, and the user id of who opened it."""

    inode: int
    uid: int


def is_taken(address: str, port: int) -> bool:
    """Tell whether something listens at ``address`` (IPv4 or IPv6, a number) already.

    False too where this process may not listen (ports below 1024, addresses of other machines): that the
    engine finds out, which has other rights.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # as the engine does: connections that ended a moment ago do not keep a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address, port))
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def holder(port: int, proc: Path = Path("/proc")) -> str:
    """Say in words which process listens on a TCP port, at any address; empty when none does.

    As ``redis-server (process 1234)``, several with "and" between them. Ports that containers publish are
    held by ``docker-proxy``.
    """
    found = {
        one.inode: one for table in ("tcp", "tcp6") for one in listeners(_read(proc / "net" / table), port)
    }
    processes = _processes(proc, found)
    names = [
        f"{_name(proc / str(processes[inode]))} (process {processes[inode]})"
        if inode in processes
        else _unseen(one.uid)
        for inode, one in found.items()
    ]
    return " and ".join(dict.fromkeys(names))


def listeners(table: str, port: int) -> list[Listener]:
    """Pick the listeners on a port out of the text of /proc/net/tcp or tcp6 (format: proc_net_tcp(5))."""
    found = []
    for line in table.splitlines():
        fields = line.split()
        try:
            listens = fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port
            one = Listener(uid=int(fields[7]), inode=int(fields[9]))
        except (IndexError, ValueError):
            continue  # the heading
        if listens:
            found.append(one)
    return found


def _read(path: Path) -> str:
    """Give a file's text; empty without one, as tcp6 where IPv6 is off."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _processes(proc: Path, inodes: Collection[int]) -> dict[int, int]:
    """Find by inode the process that has a socket; of several the eldest, which opened it for the others."""
    if not inodes:
        return {}
    found: dict[int, int] = {}
    for pid in sorted(int(path.name) for path in proc.iterdir() if path.name.isdecimal()):
        for inode in _sockets(proc / str(pid) / "fd"):
            if inode in inodes:
                found.setdefault(inode, pid)
    return found


def _sockets(folder: Path) -> Iterator[int]:
    """Give the inodes of a process's sockets; none where it has ended, or is somebody else's."""
    try:
        links = list(folder.iterdir())
    except OSError:
        return
    for link in links:
        try:
            match = _SOCKET.fullmatch(str(link.readlink()))
        except OSError:
            continue
        if match:
            yield int(match[1])


def _name(process: Path) -> str:
    """Give a process's name, at most 15 characters; it may name itself anything, terminal controls too."""
    name = "".join(c if c.isprintable() else "?" for c in _read(process / "comm").strip())
    return name or "a process that has just ended"


def _unseen(uid: int) -> str:
    if uid == os.geteuid():
        return f"a process that cannot be seen from here (uid {uid})"
    return f"a process of another user (uid {uid})"
