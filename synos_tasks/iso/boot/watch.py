"""Start one machine, follow its serial port, judge what the guest reports there, take the picture.

The other end is docker/build/overlays/synos-base/usr/libexec/synos/selftest.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.iso.boot.qemu import DEBUG, SERIAL, Booted, accelerator_of, start
from synos_tasks.iso.boot.trouble import Trouble, at_menu, ending, explain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from synos_tasks.iso.boot.qemu import Boot, Machine

POLL_SECONDS = 0.2
# until the login prompt, or a desktop, is on the screen, and a prompt that fails has failed
DESKTOP_SECONDS = 15.0
PROMPT_SECONDS = 2.5
_REPORT = re.compile(r"SYNOS-REPORT (\{.*\}) ([0-9a-f]{8})")
_LOGIN = re.compile(r"^\S+ login:")
_CONTROL = re.compile(
    r"\x1b\[[0-9;?=]*[ -/]*[@-~]"  # cursor, colour, modes
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles
    r"|\x1b[ -/]?[0-~]|[\x00-\x08\x0b-\x1f\x7f]"
)

UNFINISHED = {"initializing", "starting"}
"""States of a guest that has more to say: its boot has not ended, well or not."""


def boot(request: Boot, on_line: Callable[[str], None]) -> Booted:
    """Boot as the request says until the guest has reported, can do so no more, QEMU ends or the time is over."""
    with tempfile.TemporaryDirectory(prefix="boot-") as name:
        folder = Path(name)
        outcome = Booted(accelerator=accelerator_of(request.kvm, folder))
        try:
            with start(request, outcome.accelerator, folder) as machine:
                return _Watch(machine, request, folder, on_line).follow(outcome)
        except OSError as error:
            return replace(outcome, why=f"QEMU could not be started: {error}")


class _Watch:
    """One machine, and what its serial port and its firmware have said so far."""

    def __init__(self, machine: Machine, request: Boot, folder: Path, on_line: Callable[[str], None]) -> None:
        self._machine, self._request, self._on_line = machine, request, on_line
        self._serial, self._debug = Follower(folder / SERIAL), Follower(folder / DEBUG)
        self._lines: list[str] = []
        self._firmware: list[str] = []
        self._report: dict[str, Any] = {}
        self._login: float | None = None
        self._started = time.monotonic()

    def follow(self, outcome: Booted) -> Booted:
        """Return how the boot went, with a picture of its end."""
        while True:
            gone = self._machine.ended()  # asked before reading, so that the last words are read
            new = self._read()
            seconds = time.monotonic() - self._started
            final = bool(self._report) and self._report.get("state") not in UNFINISHED
            trouble = None if final else self._trouble(new, gone, late=seconds >= self._request.timeout)
            if final or trouble:
                break
            time.sleep(POLL_SECONDS)
        picture = self._picture()
        self._read()  # what came meanwhile: the rest of a panic, a newer report
        why = trouble.why if trouble else verdict(self._report, self._request.firmware)
        for line in [self._serial.tail, *self._firmware[-5:]] if trouble else []:
            self._on_line(line)
        outcome = replace(outcome, ok=not why, why=why, hint=trouble.hint if trouble else "")
        outcome = replace(outcome, seconds=round(seconds, 1), login_seconds=self._login)
        return replace(outcome, screenshot=picture, report=self._report)

    def _read(self) -> list[str]:
        """Pass on what is new and return it, with the line that is not finished yet."""
        lines, firmware = self._serial.lines(), self._debug.lines()
        for line in lines:
            self._on_line(line)
            self._report = parse_report(line) or self._report
        if self._login is None and any(map(_LOGIN.search, [*lines, self._serial.tail])):
            self._login = round(time.monotonic() - self._started, 1)
        self._lines += lines
        self._firmware += firmware
        return [*lines, self._serial.tail, *firmware]

    def _trouble(self, new: list[str], gone: str | None, *, late: bool) -> Trouble | None:
        """Return why no report can follow; None where one may."""
        lines = [*self._lines, self._serial.tail]
        if what := ending(new) or gone:
            return explain(what, lines)
        if menu := at_menu(lines, self._serial.silent()):
            return menu
        if not late:
            return None
        so_far = self._report and verdict(self._report, self._request.firmware)
        last = next((line for line in (self._serial.tail, *reversed(self._lines)) if line.strip()), "nothing")
        why = f"no final report within {self._request.timeout} s; "
        return Trouble(
            why + (f"so far: {so_far}" if so_far else f"the console ends with: {last.strip()}"), ""
        )

    def _picture(self) -> Path | None:
        if self._machine.ended() is not None:
            return None
        if self._report:
            time.sleep(DESKTOP_SECONDS if self._report.get("desktop") else PROMPT_SECONDS)
        path = self._request.screenshot
        return path if self._machine.screenshot(path) else None


class Follower:
    """Reads the new lines of a growing file; ``tail`` is the last one, as far as it was written."""

    def __init__(self, path: Path) -> None:
        self._path, self._seen, self._bytes = path, 0, 0
        self._grew = time.monotonic()
        self.tail = ""

    def lines(self) -> list[str]:
        """Return the complete lines written since the last call, cleaned."""
        text = self._path.read_bytes() if self._path.exists() else b""
        if len(text) > self._bytes:
            self._bytes, self._grew = len(text), time.monotonic()
        *lines, tail = text.split(b"\n")
        lines = lines[self._seen :]
        self._seen += len(lines)
        self.tail = clean(tail.decode(errors="replace"))
        return [clean(line.decode(errors="replace")) for line in lines]

    def silent(self) -> float:
        """Return for how many seconds nothing was written."""
        return time.monotonic() - self._grew


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
    words = map(str, report.get("words") or [])
    waiting = f", waiting for {', '.join(map(str, report['jobs']))}" if report.get("jobs") else ""
    checks = [
        (system not in {None, "", "debian"}, f"the system is {system!r}: its os-release is not the ISO's"),
        (
            failed == [],
            "\n".join([f"failed units: {', '.join(map(str, failed or ['not reported']))}", *words]),
        ),
        (
            not report.get("restarting"),
            f"units that fail and are started again: {', '.join(map(str, report.get('restarting') or []))}",
        ),
        (
            not report.get("cyclic"),
            f"units not started, as their ordering is a cycle: {', '.join(map(str, report.get('cyclic') or []))}",
        ),
        (bool(report.get("target")), "the default target is not active"),
        (report.get("root") == "overlay", f"/ is {report.get('root')!r}, not an overlay"),
        (report.get("medium") is True, "/run/live/medium is not mounted"),
        (state == "running", f"the system is {state!r}, not 'running'{waiting}"),
        (_agent_is_well(report), f"synos-agent says {report.get('agent')}"),
        (firmware != "secure-boot" or report.get("secure_boot") is True, "Secure Boot is not on"),
    ]
    return "\n".join([*(why for good, why in checks if not good), *_differences(report)])


def _differences(report: Mapping[str, Any]) -> list[str]:
    """Say what the system has otherwise than the profile says, a line each."""
    listed = report.get("different") or []
    lines = [
        f"{one['what']}: the profile says {one['said'] or 'nothing'}, the system has {one['runs'] or 'nothing'}"
        for one in listed
    ]
    more = report.get("differing", 0) - len(lines)
    return [*lines, f"and {more} more"] if more > 0 else lines


def _agent_is_well(report: Mapping[str, Any]) -> bool:
    """Tell whether synos-agent answers for this very build; true as well where it is not installed."""
    agent = report.get("agent")
    wanted = {"status": "ok", "build_id": report.get("build_id"), "state": report.get("state")}
    return agent is None or (isinstance(agent, dict) and wanted.items() <= agent.items())
