"""What to boot and how: the one line the container reads, as a checked, frozen value."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synos_tasks.errors import SettingsError

FIRMWARES = ("bios", "uefi", "secure-boot")
MEDIA = ("cdrom", "usb")


@dataclass(frozen=True, kw_only=True)
class BootRequest:
    """One boot. Paths are those in the container; the timeout in seconds, memory in MB."""

    iso: Path
    firmware: str
    media: str
    timeout: int
    memory_mb: int
    kvm: bool
    out: Path

    @property
    def screenshot(self) -> Path:
        """Where the picture of the screen goes."""
        return self.out / f"{self.iso.stem}-{self.firmware}-{self.media}.png"

    def to_json(self) -> dict[str, Any]:
        """Give the request as ``parse_request`` reads it from its line."""
        return {**self.__dict__, "iso": str(self.iso), "out": str(self.out)}


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise SettingsError, with the choices, unless ``value`` is one of them."""
    if value not in choices:
        raise SettingsError(f"there is no {name} {value!r}", hint=f"there are: {', '.join(choices)}")


def parse_request(line: str) -> BootRequest:
    """Read a request line; raises SettingsError on anything that is not exactly one."""
    try:
        fields: dict[str, Any] = json.loads(line)
        request = BootRequest(**{**fields, "iso": Path(fields["iso"]), "out": Path(fields["out"])})
    except (ValueError, TypeError, KeyError) as error:
        raise SettingsError(
            "the boot request cannot be read", why=f"{type(error).__name__}: {error}"
        ) from error
    check_choice("firmware", request.firmware, FIRMWARES)
    check_choice("media", request.media, MEDIA)
    return request
