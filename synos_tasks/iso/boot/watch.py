"""Start one machine, follow its serial port, judge its report, take the picture."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.iso.boot.qemu import DEBUG, SERIAL, Machine, kvm_works, start
from synos_tasks.iso.boot.report import clean, is_final, is_hopeless, parse_report, verdict
from synos_tasks.iso.boot.request import Booted

if TYPE_CHECKING:
    from collections.abc import Callable

    from synos_tasks.iso.boot.request import Boot

POLL_SECONDS = 0.2
# until the login prompt, or a desktop, is on the screen
DESKTOP_SECONDS = 15.0
PROMPT_SECONDS = 2.0


class Follower:
    """Reads the new lines of a growing file."""

    def __init__(self, path: Path) -> None:
        self._path, self._position, self._rest = path, 0, b""

    def lines(self) -> list[str]:
        """Return the complete lines written since the last call, cleaned."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._position)
            new = file.read()
        self._position += len(new)
        *complete, self._rest = (self._rest + new).split(b"\n")
        return [clean(line.decode(errors="replace")) for line in complete]


def boot(request: Boot, on_line: Callable[[str], None]) -> Booted:
    """Boot as the request says and wait for the report, a hopeless line, QEMU's end or the timeout."""
    with tempfile.TemporaryDirectory(prefix="boot-") as name:
        folder = Path(name)
        kvm = request.kvm and os.access("/dev/kvm", os.R_OK | os.W_OK) and kvm_works(folder)
        outcome = Booted(accelerator="kvm" if kvm else "tcg")
        try:
            with start(request, outcome.accelerator, folder) as machine:
                outcome = _picture(machine, request, _follow(machine, request, folder, outcome, on_line))
        except OSError as error:
            return replace(outcome, why=f"QEMU could not be started: {error}")
        for line in Follower(folder / DEBUG).lines()[-5:] if not outcome.report else []:
            on_line(f"SeaBIOS: {line}")
        return outcome


def _follow(
    machine: Machine, request: Boot, folder: Path, outcome: Booted, on_line: Callable[[str], None]
) -> Booted:
    started = time.monotonic()
    serial, debug = Follower(folder / SERIAL), Follower(folder / DEBUG)
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
    return replace(outcome, screenshot=request.screenshot if machine.screenshot(request.screenshot) else None)
