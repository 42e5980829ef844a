"""Units of systemd that start at boot, that do not, and that cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.iso.key import Expected, Key, Said, adds_each, mistake
from synos_tasks.iso.schema import list_of, mapping, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from synos_tasks.errors import ProfileError
    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.system import System

_UNIT = text(
    r"[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\-]*)?",
    "a unit such as ssh or fstrim.timer",
    allowed="the name of a unit; without an ending it is a service",
)
FOLDERS = ("etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
STATES = {"enable": "enabled", "disable": "disabled", "mask": "masked"}
_TYPES = ("service", "socket", "timer", "target", "path", "mount", "automount", "swap", "slice", "device")


def _contradictions(said: Said) -> Iterator[ProfileError]:
    seen: dict[str, str] = {}
    for verb in STATES:
        for one in said.value("services", verb).items:
            unit = unit_of(str(one.data))
            if seen.setdefault(unit, verb) != verb:
                what = f"{unit} is under both `{seen[unit]}` and `{verb}`"
                yield mistake(one, what, "leave it in one of them")


def unit_of(name: str) -> str:
    """Return the full name of a unit."""
    return name if name.rpartition(".")[2] in _TYPES else f"{name}.service"


def apply(system: System, services: dict[str, list[str]]) -> None:
    """Enable, disable and mask units; raise ProfileError for one that is not there."""
    for verb, names in services.items():
        for index, unit in enumerate(map(unit_of, names)):
            place, file = f"services.{verb}[{index}]", unit
            if "@" in unit:
                file = f"{unit.partition('@')[0]}@.{unit.rpartition('.')[2]}"
            if verb != "mask" and not any(system.has(f"{folder}/{file}") for folder in FOLDERS):
                hint = "the package that has it must be under `packages`"
                raise system.mistake(place, f"there is no unit {unit}", hint)
            system.run(["systemctl", verb, unit], key=place)


def expect(_profile: Profile, services: dict[str, list[str]]) -> Iterable[Expected]:
    """Expect each unit's state."""
    for verb, names in services.items():
        for unit in map(unit_of, names):
            yield Expected(unit, STATES[verb], f"systemctl is-enabled '{unit}' 2>&1")


KEY = Key(
    kind=mapping(
        {
            "enable": list_of(_UNIT, "Units that start at boot."),
            "disable": list_of(_UNIT, "Units that a person or another unit may start."),
            "mask": list_of(_UNIT, "Units that nothing can start."),
        },
        "Units of systemd.",
    ),
    merge=adds_each,
    check=_contradictions,
    apply=apply,
    expect=expect,
    aliases=("systemd", "units", "enable", "disable", "mask", "enable_services"),
    example="{enable: [ssh], mask: [apt-daily.timer]}",
)
