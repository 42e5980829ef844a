"""Every error a person can meet, each with an exit code of its own.

10-19 input, 20-29 the host or the engine is not fit, 30-39 the work failed, 40-49 a check found
something, 50-59 what machines share. 0, 1, 2, 130 and 141 are done, unexpected, wrong use, interrupted, and nobody reads the output.
The table in docs/exit-codes.md is made of the docstrings.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


# CSI sequences as a whole (colours), then whatever moves the cursor, ends a line or changes the direction of text:
# C0 but tab and newline, DEL, C1, marks and overrides of bidirectional text, separators; halves of surrogates
_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Return text of foreign origin as a terminal or a log may have it: without escape sequences, which could forge lines."""
    return _CONTROL.sub("\ufffd", _SEQUENCE.sub("", text))


class SynosError(Exception):
    """The base of all: what went wrong, where, why, and what to do about it.

    ``where`` is a place a person can go to: ``file:line:column``, a path, a container.
    """

    exit_code: ClassVar[int] = 1
    others: tuple[SynosError, ...] = ()
    """Further mistakes of the same file."""

    def __init_subclass__(cls, exit_code: int) -> None:
        """Set the exit code of a kind of error."""
        cls.exit_code = exit_code

    def __init__(self, what: str, *, where: str = "", why: str = "", hint: str = "") -> None:
        """Keep the four parts, made printable(): they may quote a container. Each but ``what`` may be empty."""
        self.what, self.where, self.why, self.hint = map(printable, (what, where, why, hint))
        super().__init__(self.what)

    def lines(self) -> list[tuple[str, str]]:
        """(label, text) for each part that is not empty, in reading order."""
        parts = [("error", self.what), ("where", self.where), ("why", self.why), ("hint", self.hint)]
        return [(label, text) for label, text in parts if text]

    def to_json(self) -> dict[str, Any]:
        """Return the parts as JSON-ready values, with the class name as ``kind``, and ``others``."""
        others = {"others": [one.to_json() for one in self.others]} if self.others else {}
        return {"kind": type(self).__name__, "exit_code": self.exit_code, **dict(self.lines()), **others}


class WrongUse(SynosError, exit_code=2):
    """Wrong use: an unknown verb or option, a missing argument, a value of the wrong kind, options that exclude each other."""


class ProfileError(SynosError, exit_code=10):
    """A profile has a mistake: unknown key, wrong type, impossible value."""


class ProfileNotFound(SynosError, exit_code=11):
    """No profile of that name."""


class SettingsError(SynosError, exit_code=12):
    """A setting or a configuration file has a mistake, or what an option names is missing, taken or not possible."""


class PackageNotFound(SynosError, exit_code=13):
    """A package of the profile is in none of its suites."""


class IsoNotFound(SynosError, exit_code=14):
    """The ISO to work on is not there."""


class LockError(SynosError, exit_code=15):
    """A lock has a mistake: it was edited by hand, or damaged."""


class LockDrift(SynosError, exit_code=16):
    """The lock file is out of date, and --locked or --offline forbids updating it."""


class PackageVanished(SynosError, exit_code=17):
    """--locked, and a locked version is no longer on the mirror."""


class ComponentError(SynosError, exit_code=18):
    """A component's recipe has a mistake, or there is no component of that name."""


class ComponentMissing(SynosError, exit_code=19):
    """A component was not compiled yet, and here it cannot be."""


class HostUnfit(SynosError, exit_code=20):
    """The machine lacks something (scripts/synos uses this code too)."""


class EngineUnavailable(SynosError, exit_code=21):
    """No Docker Engine answers, or it cannot be installed or started."""


class OutsideContainer(SynosError, exit_code=22):
    """The ISO engine was started outside its container."""


class EngineTooOld(SynosError, exit_code=23):
    """The Docker Engine, buildx or compose is missing or too old."""


class OutputNotWritable(SynosError, exit_code=24):
    """The output folder cannot be written."""


class CacheUnusable(SynosError, exit_code=25):
    """A volume, such as the store's, cannot be read or written."""


class PortTaken(SynosError, exit_code=26):
    """A port that a service publishes is taken."""


class SecretsDamaged(SynosError, exit_code=27):
    """A secrets file is damaged, or others can read it."""


class WrongSystem(SynosError, exit_code=28):
    """The command belongs to another of docker/build, docker/services and docker/dev."""


class DevContainerMissing(SynosError, exit_code=29):
    """The development container does not run."""


class StageFailed(SynosError, exit_code=30):
    """A stage of the build failed."""


class MirrorUnreachable(SynosError, exit_code=31):
    """A package mirror, or the proxy before it, does not answer or is not trusted."""


class BadSignature(SynosError, exit_code=32):
    """A signature or a checksum does not verify, or a mirror serves another suite, or files that are too old."""


class HookFailed(SynosError, exit_code=33):
    """A hook of a profile, or a lifecycle command of a development container, failed."""


class DiskFull(SynosError, exit_code=34):
    """No space left on the disk or in memory."""


class ImageBuildFailed(SynosError, exit_code=35):
    """An image could not be built."""


class ContainerLost(SynosError, exit_code=36):
    """The container or the engine went away in the middle."""


class ComponentFailed(SynosError, exit_code=37):
    """A component does not compile, lacks a build dependency, or fails its own tests."""


class ServiceUnhealthy(SynosError, exit_code=38):
    """A service does not become healthy, or its data is damaged."""


class ServiceFailed(SynosError, exit_code=39):
    """An operation on a running service failed."""


class BootFailed(SynosError, exit_code=40):
    """An ISO does not boot, differs from its profile, or QEMU cannot run it."""


class DoctorFound(SynosError, exit_code=41):
    """`inv doctor` found something that stops a build."""


class TestsFailed(SynosError, exit_code=42):
    """A test, type, lint or import check failed."""


class Irreproducible(SynosError, exit_code=43):
    """Two builds of one profile and lock differ in their bytes."""


class ClaimFailed(SynosError, exit_code=44):
    """`inv build.verify-caches` measured fewer cache hits than needed."""


class BackupDamaged(SynosError, exit_code=45):
    """A backup is damaged, incomplete, missing or too old: nothing was touched."""


class ProjectCopied(SynosError, exit_code=46):
    """The folder is a copy of another project, with its id."""


class ProjectMissing(SynosError, exit_code=47):
    """The folder is no project, or has no docker/."""


class WouldOverwrite(SynosError, exit_code=48):
    """`inv init`, `inv build.new` or an import would overwrite a file."""


class SecretFound(SynosError, exit_code=49):
    """The secret of a service, or of a proxy, is in what a build made."""


class RemoteStoreFailed(SynosError, exit_code=50):
    """The remote store cannot be read or written."""


@contextmanager
def writing(what: str, where: Path, hint: str = "") -> Iterator[None]:
    """Turn an OSError into DiskFull or OutputNotWritable, with ``what`` as its sentence."""
    try:
        yield
    except OSError as error:
        raise not_written(error, what, str(where), hint) from error


def not_written(error: OSError, what: str, where: str, hint: str = "") -> DiskFull | OutputNotWritable:
    """Return the error for what could not be written, with ``what`` as its sentence."""
    why = error.strerror or str(error)
    if is_disk_full(error):
        return DiskFull(what, where=where, why=why, hint="free some space there")
    return OutputNotWritable(what, where=where, why=why, hint=hint or owner_hint(Path(where)))


def refused_by_host(error: OSError) -> SynosError | None:
    """Return the error for a path that this user may not use, or a disk without space; None for any other reason."""
    if is_disk_full(error) or (error.filename and error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}):
        where = str(error.filename or "")
        return not_written(error, f"{where} cannot be used" if where else "no space is left", where)
    return None


def owner_hint(path: Path) -> str:
    """Return how a path gets writable that another user has made, as root does in a user's clone; '' where it is one's own."""
    place = next(one for one in (path.absolute(), *path.absolute().parents) if os.path.lexists(one))
    owner, own = place.lstat().st_uid, os.geteuid()
    if os.access(place, os.W_OK):
        return ""
    if owner == own:
        return f"see its mode, and whether its file system is read-only: ls -ld {quote(str(place))}"
    while place.parent != place and place.parent.lstat().st_uid == owner:
        place = place.parent
    if place.parent.lstat().st_uid == own:
        return f"{place} belongs to uid {owner}: sudo chown -R {own}:{os.getegid()} {quote(str(place))}"
    return f"{place} belongs to uid {owner}, and this is uid {own}: run the command as that user, or in a clone of your own"


def is_disk_full(error: OSError) -> bool:
    """Tell whether a disk is full, or what a user may have of it."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


def error_classes() -> list[type[SynosError]]:
    """Return every error class, by exit code."""
    return sorted(SynosError.__subclasses__(), key=lambda cls: cls.exit_code)


def by_name(kind: str) -> type[SynosError]:
    """Return the error class of a name, as events from the container carry it; StageFailed if unknown."""
    return next((cls for cls in error_classes() if cls.__name__ == kind), StageFailed)


def raise_all(found: Sequence[SynosError]) -> None:
    """Raise the first of some errors with the rest as its ``others``; nothing where there is none."""
    if found:
        first, *others = found
        first.others = (*first.others, *others)
        raise first


def guess(word: str, known: Iterable[str]) -> str:
    """Return a hint: what was probably meant, or else what there is."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names) or 'none'}"


def slip_of(word: str, known: Iterable[str]) -> str:
    """Return the name of which a word is probably a slip; '' for none. It is stricter than guess(): work may end on it."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.75)), "")


def unknown(kind: str, name: str, known: Iterable[str], where: object) -> SettingsError:
    """Return the error for a name that is none of those known."""
    return SettingsError(f"there is no {kind} {name!r}", where=str(where), hint=guess(name, known))
