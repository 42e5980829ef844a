"""`inv services.enable` and `disable`: a systemd unit that brings a stack up when the machine starts."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.errors import HostUnfit, ServiceFailed
from synos_tasks.services.units import unit_name, unit_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synos_tasks.settings import Settings

SYSTEM_UNITS = Path("/etc/systemd/system")
BOOTED = Path("/run/systemd/system")
"""There when systemd runs the machine (sd_booted(3))."""


def enable(settings: Settings, stack: str) -> Path:
    """Write and enable the unit: of the system as root, else of the user, who then also lingers. Gives its path.

    Raises HostUnfit where systemd does not run, ServiceFailed where it refuses.
    """
    _check(stack)
    root = os.geteuid() == 0
    path = _folder() / unit_name(settings.project_id, stack)
    inv = Path(sys.executable).parent / "inv"
    text = unit_text(settings.root, stack, inv, None if root else getpass.getuser())
    if not root:
        # or the user's units start at the login, not with the machine; first, as it starts the manager that is asked below
        _run(["loginctl", "enable-linger"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    _systemctl("daemon-reload")
    _systemctl("enable", path.name)
    return path


def disable(settings: Settings, stack: str) -> Path | None:
    """Take the unit away; running services stay. Gives its path, None where there was none."""
    _check(stack)
    path = _folder() / unit_name(settings.project_id, stack)
    if not path.exists():
        return None
    _systemctl("disable", path.name)
    path.unlink()
    _systemctl("daemon-reload")
    return path


def _folder() -> Path:
    return SYSTEM_UNITS if os.geteuid() == 0 else Path.home() / ".config/systemd/user"


def _check(stack: str) -> None:
    if not BOOTED.is_dir():
        raise HostUnfit(
            "systemd does not run on this machine",
            where=str(BOOTED),
            why="only with it can a stack be started with the machine",
            hint=f"services start again with the engine by themselves; otherwise let the machine run `inv services.up --stack {stack}` at its start",
        )


def _systemctl(*words: str) -> None:
    _run(["systemctl", *([] if os.geteuid() == 0 else ["--user"]), *words])


def _run(argv: Sequence[str]) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise HostUnfit(f"there is no `{argv[0]}` command") from error
    if done.returncode:
        raise ServiceFailed("systemd refused", where=" ".join(argv), why=done.stderr.strip())
