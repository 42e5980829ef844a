"""Run an ISO for a person, in the container of build.boot with a network: serial console here, screen and ssh as local ports."""

from __future__ import annotations

import base64
import os
import secrets
import select
import shutil
import subprocess
import sys
import termios
import threading
import time
import tty
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.build.boot import KVM, boot_spec, checked_iso
from synos_tasks.engine.run import Leased
from synos_tasks.engine.spec import Bind
from synos_tasks.errors import BootFailed, SettingsError, WrongUse, writing
from synos_tasks.iso import codec, protocol
from synos_tasks.iso.boot.qemu import DISK_BYTES, SSH_PORT, VNC_PORT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from synos_tasks.build.planning import Context

ESCAPE = b"\x1d"
"""Ctrl-] ends a serial console, as that of telnet: Ctrl-C is for the guest."""
LEAST_MB = 64
VIEWERS = ("remote-viewer", "vncviewer")


@dataclass(frozen=True)
class Ended:
    """How a run ended: ``by`` is guest or person."""

    accelerator: str
    by: str
    seconds: float
    ssh_port: int
    vnc_port: int


def screen_of(*, vnc: bool, serial: bool, json: bool) -> str:
    """Return where the guest is shown: by default a window where this session has a display and a VNC viewer, else the console.

    With ``json`` standard output is not the console's: 'none'.
    """
    if vnc and serial:
        raise WrongUse("--vnc and --serial exclude each other", hint="leave one of the two out")
    if vnc:
        return "vnc"
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if display and _viewer() and not serial:
        return "window"
    return "none" if json else "serial"


def run_iso(
    context: Context,
    iso: Path,
    *,
    screen: str,
    firmware: str = "bios",
    media: str = "cdrom",
    memory_mb: int = 0,
    disk: Path | None = None,
) -> Ended:
    """Run an ISO until the guest switches off, or the person ends it: Ctrl-C, Ctrl-] in the console, or the window's end.

    Its memory is that of the settings where ``memory_mb`` is 0. Raises SettingsError, IsoNotFound, OutputNotWritable,
    ImageBuildFailed, ContainerLost and BootFailed.
    """
    iso, settings = checked_iso(iso), context.settings
    if memory_mb and memory_mb < LEAST_MB:
        raise SettingsError(f"no system runs in {memory_mb} MB", hint="--memory is in MB, as 2048")
    disks = (_disk(disk),) if disk else ()
    request = protocol.Run(
        iso=Path("/iso") / iso.name,
        firmware=firmware,
        media=media,
        memory_mb=memory_mb or settings.boot.memory_mb,
        kvm=KVM.exists(),
        disk=Path(disks[0].target) if disks else None,
        password=secrets.token_hex(4) if screen in {"window", "vnc"} else "",
    )
    ports = (SSH_PORT, *((VNC_PORT,) if request.password else ()))
    spec = boot_spec(context, request, iso.parent, more=disks, ports=ports)
    started = time.monotonic()
    with context.lease(spec.name), Leased(context.docker, spec, codec.encode(request)) as container:
        session = _Session(context, container, screen, request.password)
        with session.shown:
            for line in container.lines():
                session.hear(protocol.decode_event(line), spec.name)
                if session.left:
                    break
        if session.ran is None and not session.left:
            raise container.lost("the container of the guest went away", "`inv doctor` checks the engine")
    if session.ran and session.ran.why:
        raise BootFailed(f"QEMU could not run {iso.name}", why=session.ran.why)
    seconds = round(time.monotonic() - started, 1)
    by, found = "guest" if session.ran else "person", session.ports
    return Ended(session.accelerator, by, seconds, found.get(SSH_PORT, 0), found.get(VNC_PORT, 0))


class _Session:
    """What a person has of a running guest: messages, and a console or a window."""

    def __init__(self, context: Context, container: Leased, screen: str, password: str) -> None:
        self._context, self._container, self._screen, self._password = context, container, screen, password
        self._window: subprocess.Popen[bytes] | None = None
        self.shown = ExitStack()
        """Closes window and console."""
        self.ports: dict[int, int] = {}
        self.accelerator = ""
        self.ran: protocol.Ran | None = None
        self.left = False

    def hear(self, event: protocol.Event, name: str) -> None:
        """Show an event of the container of that name."""
        if isinstance(event, protocol.Running):
            self.accelerator = event.accelerator
            self.ports = self._context.docker.host_ports(name)
            self._show()
        elif isinstance(event, protocol.Console) and self._screen == "serial":
            _write(base64.b64decode(event.data))
        elif isinstance(event, protocol.Log):
            self._context.say(event.line)
        elif isinstance(event, protocol.Ran):
            self.ran = event
        if self._window and self._window.poll() is not None:
            self._leave()

    def _show(self) -> None:
        say, ssh, vnc = self._context.say, self.ports.get(SSH_PORT), self.ports.get(VNC_PORT)
        say("QEMU runs" + ("" if self.accelerator == "kvm" else " without KVM, so it is slow"))
        say(f"ssh: ssh -o NoHostAuthenticationForLocalhost=yes -p {ssh} USER@127.0.0.1")
        if vnc:
            say(f"screen: VNC at 127.0.0.1:{vnc}, password {self._password}")
        if self._screen == "window":
            self._window = self.shown.enter_context(_window(vnc or 0, self._password))
        if self._screen == "serial" and sys.stdin.isatty() and sys.stdout.isatty():
            # boot menus clear the screen: what is above stays where a person can scroll to
            say("serial console: Ctrl-] ends it and the guest" + "\n" * shutil.get_terminal_size().lines)
            self.shown.enter_context(_raw_terminal())
            self.shown.enter_context(self._typing())
        else:
            say("Ctrl-C ends it" + (", as does closing the window" if self._window else ""))

    def _leave(self) -> None:
        self.left = True
        self._container.release()

    @contextmanager
    def _typing(self) -> Iterator[None]:
        """Send what is typed, until Ctrl-] or the end of the input."""
        over = threading.Event()

        def read() -> None:
            while not over.is_set():
                if select.select([sys.stdin], [], [], 0.2)[0]:
                    keys = os.read(sys.stdin.fileno(), 4096)
                    if not keys or ESCAPE in keys:
                        self._leave()
                        return
                    self._container.send({"keys": base64.b64encode(keys).decode()})

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(1)


def _write(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


@contextmanager
def _raw_terminal() -> Iterator[None]:
    """Let each key go to the guest as it is."""
    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
        _write(b"\x1b[0m\x1b[?25h\n")  # colours and cursor as they were


def _viewer() -> str:
    """Return the path of a VNC viewer of this machine; '' where it has none."""
    return next(filter(None, map(shutil.which, VIEWERS)), "")


@contextmanager
def _window(port: int, password: str) -> Iterator[subprocess.Popen[bytes]]:
    """Show the screen in the viewer of this machine: for a window of QEMU's own, the container would need the whole display."""
    viewer = _viewer()
    if Path(viewer).name == "remote-viewer":
        argv, text = (
            [viewer, "-"],
            f"[virt-viewer]\ntype=vnc\nhost=127.0.0.1\nport={port}\npassword={password}\n",
        )
    else:
        argv, text = [viewer, f"127.0.0.1::{port}"], ""
    window = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "VNC_PASSWORD": password},
    )
    try:
        window.stdin.write(text.encode())  # type: ignore[union-attr]
        window.stdin.close()  # type: ignore[union-attr]
        yield window
    finally:
        window.terminate()
        window.wait()


def _disk(path: Path) -> Bind:
    """Return the mount of a disk that is kept, made empty where there is none; raises SettingsError, OutputNotWritable."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise SettingsError("a disk is a file", where=str(path))
    if not path.exists():
        if path.suffix == ".qcow2":
            raise SettingsError(
                "a new disk is raw", where=str(path), hint="`qemu-img create -f qcow2` makes one"
            )
        with writing("the disk cannot be made", path), path.open("xb") as disk:
            disk.truncate(DISK_BYTES)
    return Bind(source=path, target=f"/disk{'.qcow2' if path.suffix == '.qcow2' else ''}", writable=True)
