"""Every error a person can meet, each with an exit code of its own.

10-19 input, 20-29 the host or the engine is not fit, 30-39 the work failed, 40-49 a check found
something. 0, 1, 2 and 130 are done, unexpected, wrong use (Invoke's own) and interrupted.
The table in docs/exit-codes.md is made of the docstrings.
"""

from __future__ import annotations

from typing import ClassVar


class SynosError(Exception):
    """The base of all: what went wrong, where, why, and what to do about it.

    ``where`` is a place a person can go to: ``file:line:column``, a path, a container.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", why: str = "", hint: str = "") -> None:
        """Keep the four parts; each but ``what`` may be empty."""
        super().__init__(what)
        self.what, self.where, self.why, self.hint = what, where, why, hint

    def lines(self) -> list[tuple[str, str]]:
        """(label, text) for each part that is not empty, in reading order."""
        parts = [("error", self.what), ("where", self.where), ("why", self.why), ("hint", self.hint)]
        return [(label, text) for label, text in parts if text]

    def to_json(self) -> dict[str, str | int]:
        """Return the parts as JSON-ready values, with the class name as ``kind``."""
        return {"kind": type(self).__name__, "exit_code": self.exit_code, **dict(self.lines())}


class ProfileError(SynosError):
    """A profile has a mistake: unknown key, wrong type, impossible value."""

    exit_code = 10


class ProfileNotFound(SynosError):
    """No profile of that name."""

    exit_code = 11


class SettingsError(SynosError):
    """A setting or an option has a mistake."""

    exit_code = 12


class PackageNotFound(SynosError):
    """A package of the profile is in none of its suites."""

    exit_code = 13


class IsoNotFound(SynosError):
    """The ISO to work on is not there."""

    exit_code = 14


class LockError(SynosError):
    """A lock has a mistake: it was edited by hand, or damaged."""

    exit_code = 15


class LockDrift(SynosError):
    """The lock file is out of date, and --locked or --offline forbids updating it."""

    exit_code = 16


class PackageVanished(SynosError):
    """--locked, and a locked version is no longer on the mirror."""

    exit_code = 17


class ComponentError(SynosError):
    """A component's recipe has a mistake, or there is no component of that name."""

    exit_code = 18


class ComponentMissing(SynosError):
    """A component was not compiled yet, and here it cannot be."""

    exit_code = 19


class HostUnfit(SynosError):
    """The machine lacks something (scripts/synos uses this code too)."""

    exit_code = 20


class EngineUnavailable(SynosError):
    """No Docker Engine answers, or it cannot be installed or started."""

    exit_code = 21


class OutsideContainer(SynosError):
    """The ISO engine was started outside its container."""

    exit_code = 22


class EngineTooOld(SynosError):
    """The Docker Engine, buildx or compose is missing or too old."""

    exit_code = 23


class OutputNotWritable(SynosError):
    """The output folder cannot be written."""

    exit_code = 24


class CacheUnusable(SynosError):
    """A volume, such as the store's, cannot be read or written."""

    exit_code = 25


class PortTaken(SynosError):
    """A port that a service publishes is taken."""

    exit_code = 26


class SecretsDamaged(SynosError):
    """A secrets file is damaged, or others can read it."""

    exit_code = 27


class WrongSystem(SynosError):
    """Asked for in the wrong one of docker/build, docker/services and docker/dev."""

    exit_code = 28


class DevContainerMissing(SynosError):
    """The development container does not run."""

    exit_code = 29


class StageFailed(SynosError):
    """A stage of the build failed."""

    exit_code = 30


class MirrorUnreachable(SynosError):
    """A package mirror does not answer."""

    exit_code = 31


class BadSignature(SynosError):
    """A signature or a package's checksum does not verify."""

    exit_code = 32


class HookFailed(SynosError):
    """A hook of a profile, or a lifecycle command of a development container, failed."""

    exit_code = 33


class DiskFull(SynosError):
    """No space left on the disk or in memory."""

    exit_code = 34


class ImageBuildFailed(SynosError):
    """An image could not be built."""

    exit_code = 35


class ContainerLost(SynosError):
    """The container or the engine went away in the middle."""

    exit_code = 36


class ComponentFailed(SynosError):
    """A component does not compile, lacks a build dependency, or fails its own tests."""

    exit_code = 37


class ServiceUnhealthy(SynosError):
    """A service does not become healthy."""

    exit_code = 38


class ServiceFailed(SynosError):
    """An operation on a running service failed."""

    exit_code = 39


class BootFailed(SynosError):
    """The ISO did not reach its target in time, or with failed units."""

    exit_code = 40


class DoctorFound(SynosError):
    """Doctor found something that stops a build."""

    exit_code = 41


class TestsFailed(SynosError):
    """A test, type, lint or import check failed."""

    exit_code = 42


class Irreproducible(SynosError):
    """Two builds of one profile and lock differ in their bytes."""

    exit_code = 43


class ClaimFailed(SynosError):
    """`inv build.verify-caches` measured fewer cache hits than needed."""

    exit_code = 44


class BackupDamaged(SynosError):
    """A backup is damaged or incomplete: nothing was touched."""

    exit_code = 45


class ProjectCopied(SynosError):
    """The folder is a copy of another project, with its id."""

    exit_code = 46


class ProjectMissing(SynosError):
    """The folder is no project, or has no docker/."""

    exit_code = 47


class WouldOverwrite(SynosError):
    """`inv init` would overwrite a file."""

    exit_code = 48


def error_classes() -> list[type[SynosError]]:
    """Return every error class, by exit code."""
    return sorted(SynosError.__subclasses__(), key=lambda cls: cls.exit_code)


def exit_code_table() -> str:
    """Return the Markdown table of exit codes that docs/exit-codes.md holds."""
    rows = [(0, "", "done"), (1, "", "unexpected: a bug; the traceback is in the log"), (2, "", "wrong use")]
    rows += [(cls.exit_code, cls.__name__, (cls.__doc__ or "").rstrip(".")) for cls in error_classes()]
    rows.append((130, "", "interrupted"))
    body = "\n".join(f"| {code} | {f'`{name}`' if name else ''} | {text} |" for code, name, text in rows)
    return f"| code | error | meaning |\n|---|---|---|\n{body}\n"


def by_name(kind: str) -> type[SynosError]:
    """Return the error class of a name, as events from the container carry it; StageFailed if unknown."""
    return next((cls for cls in error_classes() if cls.__name__ == kind), StageFailed)
