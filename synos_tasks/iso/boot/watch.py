"""Start one machine, follow its serial port, judge what the guest reports there, take the picture.

The other end is docker/build/overlays/synos-base/usr/libexec/synos/selftest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.iso.boot.qemu import DEBUG, SERIAL, Booted, Machine, kvm_works, start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from synos_tasks.iso.boot.qemu import Boot

POLL_SECONDS = 0.2
# until the login prompt, or a desktop, is on the screen
DESKTOP_SECONDS = 15.0
PROMPT_SECONDS = 2.0
_REPORT = re.compile(r"SYNOS-REPORT (\{.*\}) ([0-9a-f]{8})")
_CONTROL = re.compile(
    r"\x1b\[[0-9;?=]*[ -/]*[@-~]"  # cursor, colour, modes
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles
    r"|\x1b[ -/]?[0-~]|[\x00-\x08\x0b-\x1f\x7f]"
)

HOPELESS = re.compile(
    "Kernel panic - not syncing|Unable to find a medium containing a live file system"
    "|BdsDxe: No bootable option or device was found|No bootable device"
    "|You are in emergency mode|error: you need to load the kernel first"
)
"""In lines after which no report can follow, so that nobody waits for the timeout."""
UNFINISHED = {"initializing", "starting"}
"""States of a guest that has more to say: its boot has not ended, well or not."""


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
        hopeless = [line for line in [*lines, *debug.lines()] if HOPELESS.search(line)]
        if report and report.get("state") not in UNFINISHED:
            why = verdict(report, request.firmware)
        elif hopeless or ended is not None or seconds >= request.timeout:
            late = f"no final report within {request.timeout} s"
            so_far = f"; so far: {verdict(report, request.firmware)}" if report else ""
            why = hopeless[0] if hopeless else ended or late + so_far
        else:
            time.sleep(POLL_SECONDS)
            continue
        return replace(outcome, ok=not why, why=why, seconds=round(seconds, 1), report=report)


def _picture(machine: Machine, request: Boot, outcome: Booted) -> Booted:
    if machine.ended() is not None:
        return outcome
    if outcome.report:
        time.sleep(DESKTOP_SECONDS if outcome.report.get("desktop") else PROMPT_SECONDS)
    return replace(outcome, screenshot=request.screenshot if machine.screenshot(request.screenshot) else None)


class Follower:
    """Reads the new lines of a growing file."""

    def __init__(self, path: Path) -> None:
        self._path, self._seen = path, 0

    def lines(self) -> list[str]:
        """Return the complete lines written since the last call, cleaned."""
        text = self._path.read_bytes() if self._path.exists() else b""
        lines = text.split(b"\n")[self._seen : -1]
        self._seen += len(lines)
        return [clean(line.decode(errors="replace")) for line in lines]


def clean(line: str) -> str:
    """Return a line without escape sequences and control characters."""
    return _CONTROL.sub("", line).rstrip()


def parse_report(line: str) -> dict[str, Any] | None:
    """Read a report out of a clean line; None where there is none, or where its digest does not match."""
    found = _REPORT.search(line)
    if not found or hashlib.sha256(found[1].encode()).hexdigest()[:8] != found[2]:
        return None
    with suppress(ValueError):
        return dict(json.loads(found[1]))
    return None


def verdict(report: Mapping[str, Any], firmware: str) -> str:
    """Say why a report is not good enough; '' if it is."""
    system, state, failed = report.get("os"), report.get("state"), report.get("failed")
    waiting = f", waiting for {', '.join(map(str, report['jobs']))}" if report.get("jobs") else ""
    checks = [
        (system not in {None, "", "debian"}, f"the system is {system!r}: its os-release is not the ISO's"),
        (failed == [], f"failed units: {', '.join(map(str, failed or ['not reported']))}"),
        (bool(report.get("target")), "the default target is not active"),
        (report.get("root") == "overlay", f"/ is {report.get('root')!r}, not an overlay"),
        (report.get("medium") is True, "/run/live/medium is not mounted"),
        (state == "running", f"the system is {state!r}, not 'running'{waiting}"),
        (_agent_is_well(report), f"synos-agent says {report.get('agent')}"),
        (firmware != "secure-boot" or report.get("secure_boot") is True, "Secure Boot is not on"),
    ]
    return "; ".join(why for good, why in checks if not good)


def _agent_is_well(report: Mapping[str, Any]) -> bool:
    """Tell whether synos-agent answers for this very build; true as well where it is not installed."""
    agent = report.get("agent")
    wanted = {"status": "ok", "build_id": report.get("build_id"), "state": report.get("state")}
    return agent is None or (isinstance(agent, dict) and wanted.items() <= agent.items())
