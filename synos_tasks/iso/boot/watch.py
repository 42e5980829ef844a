"""Start one machine, follow its serial port, judge its report, take the picture."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.iso.boot.qemu import Machine, Scratch, kvm_works, prepare, qemu_argv
from synos_tasks.iso.boot.report import clean, is_final, is_hopeless, parse_report, verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from synos_tasks.iso.boot.request import BootRequest

POLL_SECONDS = 0.2
# until the login prompt, or a desktop, is on the screen
DESKTOP_SECONDS = 15.0
PROMPT_SECONDS = 2.0


@dataclass
class Follower:
    """Reads the new lines of a growing file."""

    path: Path
    _position: int = 0
    _rest: str = ""

    def lines(self) -> list[str]:
        """Give the complete lines written since the last call, cleaned."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._position)
            new = file.read()
        self._position += len(new)
        *complete, self._rest = (self._rest + new.decode("latin-1")).split("\n")
        return [clean(line.encode("latin-1").decode(errors="replace")) for line in complete]


@dataclass
class Outcome:
    """How a boot went; becomes the last event."""

    accelerator: str
    seconds: float = 0.0
    report: dict[str, Any] | None = None
    why: str = ""
    screenshot: Path | None = None

    def event(self) -> dict[str, Any]:
        """Give the ``booted`` event."""
        return {
            "event": "booted",
            "ok": not self.why,
            "seconds": round(self.seconds, 1),
            "accelerator": self.accelerator,
            "report": self.report,
            "why": self.why,
            "screenshot": str(self.screenshot) if self.screenshot else None,
        }


def boot(request: BootRequest, on_line: Callable[[str], None]) -> Outcome:
    """Boot as the request says and wait for the report, a hopeless line, QEMU's end or the timeout."""
    with tempfile.TemporaryDirectory(prefix="boot-") as folder:
        scratch = Scratch(folder=Path(folder))
        kvm = request.kvm and os.access("/dev/kvm", os.R_OK | os.W_OK) and kvm_works(scratch)
        outcome = Outcome(accelerator="kvm" if kvm else "tcg")
        try:
            prepare(request, scratch)
            with Machine(qemu_argv(request, outcome.accelerator, scratch), scratch) as machine:
                _follow(machine, request, scratch, outcome, on_line)
                _picture(machine, request, outcome)
                for line in Follower(scratch.debug).lines()[-5:] if outcome.report is None else []:
                    on_line(f"SeaBIOS: {line}")
        except OSError as error:
            outcome.why = f"QEMU could not be started: {error}"
    return outcome


def _follow(
    machine: Machine, request: BootRequest, scratch: Scratch, outcome: Outcome, on_line: Callable[[str], None]
) -> None:
    started = time.monotonic()
    serial, debug = Follower(scratch.serial), Follower(scratch.debug)
    while True:
        ended = machine.ended()  # asked before reading, so that the last words are read
        outcome.seconds = time.monotonic() - started
        lines = serial.lines()
        for line in lines:
            on_line(line)
            outcome.report = parse_report(line) or outcome.report
        if outcome.report is not None and is_final(outcome.report):
            outcome.why = verdict(outcome.report, request.firmware)
            return
        hopeless = [line for line in [*lines, *debug.lines()] if is_hopeless(line)]
        if hopeless or ended is not None or outcome.seconds >= request.timeout:
            outcome.why = hopeless[0] if hopeless else ended or _late(request, outcome)
            return
        time.sleep(POLL_SECONDS)


def _late(request: BootRequest, outcome: Outcome) -> str:
    late = f"no final report within {request.timeout} s"
    return f"{late}; so far: {verdict(outcome.report, request.firmware)}" if outcome.report else late


def _picture(machine: Machine, request: BootRequest, outcome: Outcome) -> None:
    if machine.ended() is not None:
        return
    if outcome.report is not None:
        time.sleep(DESKTOP_SECONDS if outcome.report.get("desktop") else PROMPT_SECONDS)
    if machine.screenshot(request.screenshot):
        outcome.screenshot = request.screenshot
