"""The time zone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.iso.key import Expected, Key, Said, mistake
from synos_tasks.iso.keys.locale import near
from synos_tasks.iso.root import within
from synos_tasks.iso.schema import text
from synos_tasks.iso.scratch import remove

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from synos_tasks.errors import ProfileError
    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.system import System

UTC = "Etc/UTC"
ZONES = "usr/share/zoneinfo"


def _unknown(said: Said) -> Iterator[ProfileError]:
    value = said.value("timezone")
    if value.data in {None, UTC}:
        return
    import zoneinfo  # noqa: PLC0415  (slow to import, and most profiles do without)

    zones = zoneinfo.available_timezones()  # none where the host has no tzdata: then apply() tells
    if zones and value.data not in zones:
        hint = near(str(value.data), zones, "/usr/share/zoneinfo")
        yield mistake(value, f"there is no time zone {value.data!r}", hint)


def apply(system: System, zone: str) -> None:
    """Link /etc/localtime to it."""
    if zone != UTC and not system.has(f"{ZONES}/{zone}"):
        hint = "zones that tzdata calls old are in tzdata-legacy from Debian 13 on"
        raise system.mistake("timezone", f"tzdata has no time zone {zone!r}", hint)
    localtime = within(system.root, "etc/localtime")
    remove(localtime)
    localtime.symlink_to(f"/{ZONES}/{zone}")
    system.write("etc/timezone", f"{zone}\n")


def expect(_profile: Profile, zone: str) -> Iterable[Expected]:
    """Expect that it is the one that programs use."""
    yield Expected("timezone", f"/{ZONES}/{zone}", "readlink /etc/localtime")


KEY = Key(
    kind=text(
        r"[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}",
        "a zone such as Europe/Berlin",
        "Time zone, such as Europe/Berlin.",
        allowed="Region/City, as `ls /usr/share/zoneinfo` has them",
    ),
    default=UTC,
    check=_unknown,
    packages=lambda zone: [] if zone == UTC else ["tzdata"],
    apply=apply,
    expect=expect,
    aliases=("tz", "zone"),
    example="Europe/Berlin",
)
