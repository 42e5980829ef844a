"""Every error a person can meet, each with an exit code of its own.

10-19 input, 20-29 the host or the engine is not fit, 30-39 the work failed, 40-49 a check found
something. 0, 1, 2 and 130 are done, unexpected, wrong use (Invoke's own) and interrupted.
The table in docs/exit-codes.md is generated from this file.
"""

from __future__ import annotations

from typing import ClassVar


class SynosError(Exception):
    """Base: says what went wrong, where, why, and what to do about it.

    ``where`` is a place a person can go to: ``file:line:column``, a path, a container.
    """

    exit_code: ClassVar[int] = 1
    summary: ClassVar[str] = "unexpected"

    def __init__(self, what: str, *, where: str = "", why: str = "", hint: str = "") -> None:
        """Keep the four parts; each but ``what`` may be empty."""
        super().__init__(what)
        self.what, self.where, self.why, self.hint = what, where, why, hint

    def lines(self) -> list[tuple[str, str]]:
        """(label, text) for each part that is not empty, in reading order."""
        parts = [("error", self.what), ("where", self.where), ("why", self.why), ("hint", self.hint)]
        return [(label, text) for label, text in parts if text]

    def to_json(self) -> dict[str, str | int]:
        """Give the parts as JSON-ready values, with the class name as ``kind``."""
        return {"kind": type(self).__name__, "exit_code": self.exit_code, **dict(self.lines())}


class ProfileError(SynosError):
    """A profile has a mistake."""

    exit_code = 10
    summary = "a profile has a mistake: unknown key, wrong type, impossible value"


class ProfileNotFound(SynosError):
    """No profile of that name."""

    exit_code = 11
    summary = "no profile of that name"


class SettingsError(SynosError):
    """invoke.yaml or an option has a mistake."""

    exit_code = 12
    summary = "a setting or an option has a mistake"


class PackageNotFound(SynosError):
    """The profile names a package that its suites do not have."""

    exit_code = 13
    summary = "a package of the profile is in none of its suites"


class IsoNotFound(SynosError):
    """The ISO to work on is not there."""

    exit_code = 14
    summary = "the ISO to work on is not there"


class LockError(SynosError):
    """A lock has a mistake, or does not belong to what it names."""

    exit_code = 15
    summary = "a lock has a mistake: it was edited by hand, or damaged"


class LockDrift(SynosError):
    """The lock no longer fits, and it was asked that it must."""

    exit_code = 16
    summary = "--locked or --offline, and the lock fits neither the profile nor what can be had"


class PackageVanished(SynosError):
    """The mirror no longer has a locked version, and the pool does not have it either."""

    exit_code = 17
    summary = "--locked, and a locked version is no longer on the mirror"


class ComponentError(SynosError):
    """A component's recipe has a mistake, or there is none."""

    exit_code = 18
    summary = "a component's recipe has a mistake, or there is no component of that name"


class ComponentMissing(SynosError):
    """A component is in no store, and here it cannot be compiled."""

    exit_code = 19
    summary = "a component was not compiled yet, and here it cannot be"


class HostUnfit(SynosError):
    """The machine lacks something."""

    exit_code = 20
    summary = "the machine lacks something (scripts/synos uses this code too)"


class EngineUnavailable(SynosError):
    """No Docker Engine answers."""

    exit_code = 21
    summary = "no Docker Engine answers, or it cannot be installed or started"


class OutsideContainer(SynosError):
    """The ISO engine was started where it could harm the host."""

    exit_code = 22
    summary = "the ISO engine was started outside its container"


class EngineTooOld(SynosError):
    """The engine or one of its plugins is missing or too old."""

    exit_code = 23
    summary = "the Docker Engine, buildx or compose is missing or too old"


class OutputNotWritable(SynosError):
    """The output folder cannot be written."""

    exit_code = 24
    summary = "the output folder cannot be written"


class CacheUnusable(SynosError):
    """The store, or another volume, cannot be read or written."""

    exit_code = 25
    summary = "a volume, as that of the store, cannot be read or written"


class PortTaken(SynosError):
    """Something else listens where a service is to be reached."""

    exit_code = 26
    summary = "a port that a service publishes is taken"


class SecretsDamaged(SynosError):
    """A secrets file cannot be relied on; its content is never quoted."""

    exit_code = 27
    summary = "a secrets file is damaged, or others can read it"


class WrongSystem(SynosError):
    """Something was asked for in the wrong one of the three Docker systems."""

    exit_code = 28
    summary = "asked for in the wrong one of docker/build, docker/services and docker/dev"


class DevContainerMissing(SynosError):
    """The development container does not run."""

    exit_code = 29
    summary = "the development container does not run"


class StageFailed(SynosError):
    """A stage of the build failed."""

    exit_code = 30
    summary = "a stage of the build failed"


class MirrorUnreachable(SynosError):
    """The package mirror does not answer."""

    exit_code = 31
    summary = "a package mirror does not answer"


class BadSignature(SynosError):
    """The mirror's signature is not by a trusted key, or a package is not the one that was signed."""

    exit_code = 32
    summary = "a signature or a package's checksum does not verify"


class HookFailed(SynosError):
    """A hook of the profile, or a lifecycle command of a development container, failed."""

    exit_code = 33
    summary = "a hook of a profile, or a command of a development container's lifecycle, failed"


class DiskFull(SynosError):
    """No space is left."""

    exit_code = 34
    summary = "no space left on the disk or in memory"


class ImageBuildFailed(SynosError):
    """An image of ours could not be built."""

    exit_code = 35
    summary = "an image of ours could not be built"


class ContainerLost(SynosError):
    """The container or the engine went away in the middle."""

    exit_code = 36
    summary = "the container or the engine went away in the middle"


class ComponentFailed(SynosError):
    """A component could not be compiled, or its own tests fail."""

    exit_code = 37
    summary = "a component does not compile, lacks a build dependency, or fails its own tests"


class ServiceUnhealthy(SynosError):
    """A service was started and does not do its work."""

    exit_code = 38
    summary = "a service does not get healthy"


class ServiceFailed(SynosError):
    """A service runs, and what was asked of it failed."""

    exit_code = 39
    summary = "an operation on a running service failed"


class BootFailed(SynosError):
    """The ISO did not boot as it should."""

    exit_code = 40
    summary = "the ISO did not reach its target in time, or with failed units"


class DoctorFound(SynosError):
    """`inv doctor` found something that stops a build."""

    exit_code = 41
    summary = "doctor found something that stops a build"


class TestsFailed(SynosError):
    """A test, type or lint check failed."""

    exit_code = 42
    summary = "a test, type, lint or import check failed"


class Irreproducible(SynosError):
    """Two builds of the same gave different bytes."""

    exit_code = 43
    summary = "two builds of one profile and lock are not the same bytes"


class ClaimFailed(SynosError):
    """The compilers' caches answer too few calls."""

    exit_code = 44
    summary = "`inv build.verify-caches` measured fewer cache hits than needed"


class BackupDamaged(SynosError):
    """A backup is not, byte for byte, what was backed up."""

    exit_code = 45
    summary = "a backup is damaged or incomplete: nothing was touched"


class ProjectCopied(SynosError):
    """The folder was copied with its state, and two projects have one id."""

    exit_code = 46
    summary = "the folder is a copy of another project, with its id"


class ProjectMissing(SynosError):
    """The folder is no project, or lacks what every project has."""

    exit_code = 47
    summary = "the folder is no project, or has no docker/"


def error_classes() -> list[type[SynosError]]:
    """Every concrete error class, by exit code."""
    return sorted(SynosError.__subclasses__(), key=lambda cls: cls.exit_code)


def exit_code_table() -> str:
    """Give the Markdown table of exit codes that docs/exit-codes.md holds."""
    rows = [(0, "", "done"), (1, "", "unexpected: a bug; the traceback is in the log"), (2, "", "wrong use")]
    rows += [(cls.exit_code, cls.__name__, cls.summary) for cls in error_classes()]
    rows.append((130, "", "interrupted"))
    body = "\n".join(f"| {code} | {f'`{name}`' if name else ''} | {text} |" for code, name, text in rows)
    return f"| code | error | meaning |\n|---|---|---|\n{body}\n"


def by_name(kind: str) -> type[SynosError]:
    """Find an error class by its name, as events from the container carry it; StageFailed if unknown."""
    return next((cls for cls in error_classes() if cls.__name__ == kind), StageFailed)
