"""Start one machine, follow its serial port, judge its report, take the picture."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.iso.boot.qemu import Machine, Scratch, kvm_works, prepare, qemu_argv
from synos_tasks.iso.boot.report import clean, is_final, is_hopeless, parse_report, verdict
from synos_tasks.iso.boot.request import Booted

if TYPE_CHECKING:
    from collections.abc import Callable

    from synos_tasks.iso.boot.request import Boot

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
        """Return the complete lines written since the last call, cleaned."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._position)
            new = file.read()
        self._position += len(new)
        *complete, self._rest = (self._rest + new.decode("latin-1")).split("\n")
        return [clean(line.encode("latin-1").decode(errors="replace")) for line in complete]


def boot(request: Boot, on_line: Callable[[str], None]) -> Booted:
    """Boot as the request says and wait for the report, a hopeless line, QEMU's end or the timeout."""
    with tempfile.TemporaryDirectory(prefix="boot-") as folder:
        scratch = Scratch(folder=Path(folder))
        kvm = request.kvm and os.access("/dev/kvm", os.R_OK | os.W_OK) and kvm_works(scratch)
        accelerator = "kvm" if kvm else "tcg"
        try:
            prepare(request, scratch)
            with Machine(qemu_argv(request, accelerator, scratch), scratch) as machine:
                outcome = _follow(machine, request, scratch, Booted(accelerator=accelerator), on_line)
                outcome = _picture(machine, request, outcome)
                for line in Follower(scratch.debug).lines()[-5:] if not outcome.report else []:
                    on_line(f"SeaBIOS: {line}")
                return outcome
        except OSError as error:
            return Booted(accelerator=accelerator, why=f"QEMU could not be started: {error}")


def _follow(
    machine: Machine, request: Boot, scratch: Scratch, outcome: Booted, on_line: Callable[[str], None]
) -> Booted:
    started = time.monotonic()
    serial, debug = Follower(scratch.serial), Follower(scratch.debug)
    report: dict[str, Any] = {}
    while True:
        ended = machine.ended()  # asked before reading, so that the last words are read
        seconds = time.monotonic() - started
        lines = serial.lines()
        for line in lines:
            on_line(line)
            report = parse_report(line) or report
        hopeless = [line for line in [*lines, *debug.lines()] if is_hopeless(line)]
        if report and is_final(report):
            why = verdict(report, request.firmware)
        elif hopeless or ended is not None or seconds >= request.timeout:
            why = hopeless[0] if hopeless else ended or _late(request, report)
        else:
            time.sleep(POLL_SECONDS)
            continue
        return replace(outcome, ok=not why, why=why, seconds=round(seconds, 1), report=report)


def _late(request: Boot, report: dict[str, Any]) -> str:
    late = f"no final report within {request.timeout} s"
    return f"{late}; so far: {verdict(report, request.firmware)}" if report else late


def _picture(machine: Machine, request: Boot, outcome: Booted) -> Booted:
    if machine.ended() is not None:
        return outcome
    if outcome.report:
        time.sleep(DESKTOP_SECONDS if outcome.report.get("desktop") else PROMPT_SECONDS)
    return (
        replace(outcome, screenshot=request.screenshot) if machine.screenshot(request.screenshot) else outcome
    )
