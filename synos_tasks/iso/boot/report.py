"""What the guest reports on its serial port, and whether it is good enough. Pure.

The other end is docker/build/overlays/synos-base/usr/libexec/synos/selftest.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK = "SYNOS-REPORT"
_REPORT = re.compile(MARK + r" (\{.*\}) ([0-9a-f]{8})")
_CONTROL = re.compile(
    r"\x1b\[[0-9;?=]*[ -/]*[@-~]"  # cursor, colour, modes
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles
    r"|\x1b[ -/]?[0-~]|[\x00-\x08\x0b-\x1f\x7f]"
)

# Lines after which no report can follow, so that nobody waits for the timeout.
_HOPELESS = (
    "Kernel panic - not syncing",
    "Unable to find a medium containing a live file system",
    "BdsDxe: No bootable option or device was found",
    "No bootable device",
    "You are in emergency mode",
    "error: you need to load the kernel first",
)


def clean(line: str) -> str:
    """Return a line without escape sequences and control characters."""
    return _CONTROL.sub("", line).rstrip()


def parse_report(line: str) -> dict[str, Any] | None:
    """Read a report out of a clean line; None where there is none, or where its digest does not match."""
    found = _REPORT.search(line)
    if not found or hashlib.sha256(found[1].encode()).hexdigest()[:8] != found[2]:
        return None
    try:
        report: dict[str, Any] = json.loads(found[1])
    except ValueError:
        return None
    return report


def is_final(report: Mapping[str, Any]) -> bool:
    """Tell whether the guest has nothing more to say: its boot has ended, well or not."""
    return report.get("state") not in {"initializing", "starting"}


def is_hopeless(line: str) -> bool:
    """Tell whether a line of the serial port says that the boot has failed."""
    return any(words in line for words in _HOPELESS)


def verdict(report: Mapping[str, Any], firmware: str) -> str:
    """Say why a report is not good enough; '' if it is."""
    failed = report.get("failed")
    checks = [
        (
            report.get("os") not in {None, "", "debian"},
            f"the system is {report.get('os')!r}: its os-release is not the ISO's",
        ),
        (failed == [], f"failed units: {', '.join(map(str, failed or ['not reported']))}"),
        (bool(report.get("target")), "the default target is not active"),
        (report.get("root") == "overlay", f"/ is {report.get('root')!r}, not an overlay"),
        (report.get("medium") is True, "/run/live/medium is not mounted"),
        (report.get("state") == "running", _state_text(report)),
        (_agent_is_well(report), f"synos-agent says {report.get('agent')}"),
        (firmware != "secure-boot" or report.get("secure_boot") is True, "Secure Boot is not on"),
    ]
    return "; ".join(why for good, why in checks if not good)


def _agent_is_well(report: Mapping[str, Any]) -> bool:
    """Tell whether synos-agent answers for this very build; true as well where it is not installed."""
    agent = report.get("agent")
    wanted = {"status": "ok", "build_id": report.get("build_id"), "state": report.get("state")}
    return agent is None or (isinstance(agent, dict) and wanted.items() <= agent.items())


def _state_text(report: Mapping[str, Any]) -> str:
    jobs = ", ".join(map(str, report.get("jobs") or []))
    return f"the system is {report.get('state')!r}, not 'running'" + (f", waiting for {jobs}" if jobs else "")
