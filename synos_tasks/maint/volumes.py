"""The volumes of this project: which there are, what they take, who uses them, and how one is named."""

from __future__ import annotations

import datetime as dt
import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks import archive
from synos_tasks.archive import CREATED
from synos_tasks.engine.old_compose import LABEL_COMPOSE_PROJECT
from synos_tasks.engine.once import ONCE
from synos_tasks.engine.spec import LABEL_PROJECT
from synos_tasks.errors import CacheUnusable, SettingsError
from synos_tasks.maint import exports, unfinished

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synos_tasks.engine.volumes import User, VolumeFacts
    from synos_tasks.maint.means import Means
    from synos_tasks.settings import Settings

PLACE = "/volume"
"""Where a volume is mounted."""
READING = ("DAC_READ_SEARCH",)
"""Files that their owner alone may read are read too."""
_CLONE = re.compile(r"synos-[0-9a-f]{10}-.*", re.ASCII)
_LOOK = (
    f"set -o pipefail; find {PLACE} -printf '%y %T@\\n' | awk '"
    '$1 == "d" { folders++ } $1 != "d" { files++ } $2 + 0 > newest + 0 { newest = $2 } '
    "END { print folders - 1, files + 0, newest }'"
)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One line of the listing. ``bytes`` is None where it cannot be told; ``created`` is ISO-8601 in UTC."""

    name: str
    short: str
    role: str
    bytes: int | None
    created: str
    users: tuple[str, ...]
    """Containers that have it, also under its other names; running ones are marked."""
    alias_of: str = ""
    """The volume, or the folder, that this is another name of; it takes no bytes of its own."""
    unfinished: bool = False
    """A command was killed while it filled this one."""


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """All of one volume. ``changed`` is the newest change of a file or folder in it, ISO-8601 in UTC."""

    volume: Listed
    files: int
    folders: int
    changed: str
    exports: tuple[str, ...]
    """Paths, newest first."""
    backups: tuple[str, ...]
    """Names of the backups of its stack of services, newest first."""


def listed(means: Means) -> list[Listed]:
    """Give all volumes of the project, by name; raises EngineUnavailable."""
    every = means.volumes.listing(means.settings.project_id)
    marked = unfinished.marked(means.settings)
    return [_listed(means.settings, one, every, marked) for one in every]


def total(volumes: Sequence[Listed]) -> int:
    """Give what they take together, in bytes: what has two names counts once."""
    return sum(one.bytes or 0 for one in volumes)


def inspect(means: Means, name: str) -> Inspected:
    """Look into one volume. Raises SettingsError where it is not ours, CacheUnusable where it cannot be read."""
    settings = means.settings
    every = means.volumes.listing(settings.project_id)
    volume = chosen(means, every, name)
    spec = means.container(("bash", "-c", _LOOK), capabilities=READING, reads={volume.name: PLACE})
    with means.volumes.stream(spec) as stream:
        told = stream.out.read().split()
        ended = stream.finish()
    if ended.code or len(told) != 3:
        raise CacheUnusable(f"volume {volume.name} cannot be read", where=volume.name, why=ended.said)
    return Inspected(
        volume=_listed(settings, volume, every, unfinished.marked(settings)),
        folders=int(told[0]),
        files=int(told[1]),
        changed=_moment(float(told[2])),
        exports=tuple(str(path) for path, _ in exports.known(settings, volume.name)),
        backups=tuple(_backups(settings, volume)),
    )


def find(means: Means, name: str) -> tuple[VolumeFacts, list[User]]:
    """Give a volume of ours by its full or short name, and the running containers that have it.

    Raises SettingsError where there is none, or it is not ours.
    """
    every = means.volumes.listing(means.settings.project_id)
    volume = chosen(means, every, name)
    return volume, _live(volume, every)


def live_users(means: Means, volume: VolumeFacts) -> list[User]:
    """Give the running containers that have a volume now; none where it is gone."""
    return _live(volume, means.volumes.listing(means.settings.project_id))


def chosen(means: Means, every: Sequence[VolumeFacts], name: str) -> VolumeFacts:
    """Give the one of that full or short name; raises SettingsError."""
    project = means.settings.project_id
    by_name = {one.name: one for one in every}
    for wanted in (name, f"{project}-{name}"):
        if wanted in by_name:
            return by_name[wanted]
    if exports.valid_volume(name) and means.volumes.find(name):
        raise SettingsError(
            f"volume {name} is not this project's: it is left alone",
            where=name,
            why=f"it does not carry the label {LABEL_PROJECT}={project}",
            hint="inv maint.volumes lists those that are",
        )
    short = [one.removeprefix(f"{project}-") for one in by_name]
    close = difflib.get_close_matches(name, [*short, *by_name], n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise SettingsError(
        f"there is no volume {name!r} of this project",
        hint=f"{hint}there are: {', '.join(short)}" if short else "this project has no volume",
    )


def new_name(settings: Settings, name: str) -> str:
    """Give the full name of a volume that is to be made; raises SettingsError.

    What begins with ``synos-`` is a full name, but those of other clones are not for this one to give.
    """
    full = name if name.startswith("synos-") else f"{settings.project_id}-{name}"
    if not exports.valid_volume(full):
        raise SettingsError(f"no volume can be named {name!r}", hint="letters, digits, . _ and -")
    if _CLONE.fullmatch(full) and not full.startswith(f"{settings.project_id}-"):
        raise SettingsError(
            f"{full} would be a volume of another clone",
            hint=f"this one's begin with {settings.project_id}-, which may be left out",
        )
    if ONCE in full:
        raise SettingsError(
            f"{full} would be taken for a volume that a killed command left, and removed",
            hint=f"give a name without {ONCE.strip('-')}-",
        )
    return full


def users_of(volume: VolumeFacts, every: Sequence[VolumeFacts]) -> list[User]:
    """Give the containers that have a volume, under whatever name."""
    place = volume.device or volume.place
    same = [one for one in every if one.name == volume.name or (place and place in {one.place, one.device})]
    return list({user.name: user for one in same for user in one.users}.values())


def _live(volume: VolumeFacts, every: Sequence[VolumeFacts]) -> list[User]:
    return [user for user in users_of(volume, every) if user.is_live]


def _listed(
    settings: Settings, volume: VolumeFacts, every: Sequence[VolumeFacts], marked: frozenset[str]
) -> Listed:
    users = [f"{user.name} (runs)" if user.is_live else user.name for user in users_of(volume, every)]
    return Listed(
        name=volume.name,
        short=volume.name.removeprefix(f"{settings.project_id}-"),
        role=volume.role,
        bytes=0 if volume.device else volume.bytes,
        created=_moment(volume.created),
        users=tuple(sorted(users)),
        alias_of=_behind(volume, every),
        unfinished=volume.name in marked,
    )


def _behind(volume: VolumeFacts, every: Sequence[VolumeFacts]) -> str:
    if not volume.device:
        return ""
    return next((one.name for one in every if one.place == volume.device), volume.device)


def _backups(settings: Settings, volume: VolumeFacts) -> list[str]:
    """Name the backups of the stack that a volume is of."""
    stack = volume.labels.get(LABEL_COMPOSE_PROJECT, "").removeprefix(f"{settings.project_id}-")
    if not stack or volume.role != "services":
        return []
    return [one.name for one in archive.listing(settings.state_dir / "backups" / stack) if not one.trouble]


def _moment(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime(CREATED)
