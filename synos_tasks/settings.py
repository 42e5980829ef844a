"""Settings: what a person may edit in invoke.yaml, checked and frozen.

Nothing is read at import; cli.py loads them once a command.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synos_tasks import project
from synos_tasks.errors import SettingsError, guess

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from synos_tasks.project import Project


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """Section ``synos.build``. Sizes in MB (1,048,576 bytes), times in seconds."""

    profile: str = "standard"
    cpus: int = 4
    memory_mb: int = 8192
    pids: int = 2048
    work: str = "auto"
    work_mb: int = 0
    output: str = "dist"
    mirror: str = "http://deb.debian.org/debian"
    security_mirror: str = "http://deb.debian.org/debian-security"
    registry_timeout: int = 4
    store: str = ""
    """Address of a remote store: https://, s3:// or file://."""
    store_signing_key: str = ""
    """File of the private key that signs what is pushed."""
    store_push: str = "manual"


@dataclass(frozen=True, kw_only=True)
class BootSettings:
    """Section ``synos.boot``. Memory in MB, the timeout in seconds."""

    timeout: int = 420
    memory_mb: int = 1024


@dataclass(frozen=True, kw_only=True)
class ServicesSettings:
    """Section ``synos.services``. Ports on 127.0.0.1, 0 = a free one; times in seconds.

    An image that is not '' replaces ours, and is pulled where it is not there.
    """

    stack: str = "unified"
    nats_port: int = 4222
    postgres_port: int = 5432
    redis_port: int = 6379
    ray_port: int = 10001
    ray_dashboard_port: int = 8265
    nats_image: str = ""
    postgres_image: str = ""
    redis_image: str = ""
    offsite_repository: str = ""
    """A folder, or an address of SFTP or S3 as restic knows it."""
    wait_timeout: int = 90


@dataclass(frozen=True, kw_only=True)
class DevSettings:
    """Section ``synos.dev``. ``cli``: who makes the containers: official, docker, or auto for what is there."""

    name: str = "python"
    cli: str = "auto"


@dataclass(frozen=True, kw_only=True)
class MaintSettings:
    """Section ``synos.maint``: what is kept. Sizes in GB (10^9 bytes). 0 means no limit: everything is kept.

    Two exceptions: budget_seconds=0 disables cleanup after builds; backup_hours=0 trusts no backup.
    """

    store_max_gb: int = 20
    store_days: int = 30
    images_keep: int = 3
    isos_keep: int = 0
    logs_days: int = 30
    budget_seconds: int = 5
    """What cleaning up after a build may take."""
    backup_hours: int = 24
    """Age up to which a backup counts as fresh."""
    young_minutes: int = 10
    """What was made or used since stays: a command may be about to use it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything a verb may need to know besides its own options."""

    project: Project
    build: BuildSettings = field(default_factory=BuildSettings)
    boot: BootSettings = field(default_factory=BootSettings)
    services: ServicesSettings = field(default_factory=ServicesSettings)
    dev: DevSettings = field(default_factory=DevSettings)
    maint: MaintSettings = field(default_factory=MaintSettings)

    def stack_dir(self, stack: str) -> Path:
        """Secrets and state of a stack of services; its passwords are in secrets/, each a file."""
        return self.project.state_dir / "services" / stack

    @property
    def output_dir(self) -> Path:
        """Where ISOs land, absolute."""
        return (self.project.root / self.build.output).resolve()


def load(root: Path, values: Mapping[str, Any], *, record: bool = True) -> Settings:
    """Check the ``synos`` section of Invoke's configuration and freeze it; with ``record`` a new project gets its id.

    Raises SettingsError on an unknown key, a wrong type or an impossible value, ProjectCopied as project.load() does.
    """
    try:
        loaded = _checked(values)
    except SettingsError as error:  # which says where by the setting's name
        raise SettingsError(error.what, where=_place(root, error.where), hint=error.hint) from None
    return Settings(
        project=project.load(root, loaded.pop("name"), loaded.pop("title"), record=record), **loaded
    )


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the name, the title and each section."""
    sections: dict[str, Any] = {
        one.name: one.default_factory for one in dataclasses.fields(Settings) if one.name != "project"
    }
    _refuse_unknown(values, ["name", "title", *sections], "synos")
    loaded: dict[str, Any] = {key: values.get(key, "") for key in ("name", "title")}
    for key, value in loaded.items():
        if not isinstance(value, str):
            raise SettingsError(f"synos.{key} is {_shown(value)}, not a text", where=f"synos.{key}")
    loaded |= {name: _section(cls, values.get(name) or {}, f"synos.{name}") for name, cls in sections.items()}
    _refuse_other("synos.build.work", loaded["build"].work, ("auto", "volume", "tmpfs"))
    _refuse_other("synos.build.store_push", loaded["build"].store_push, ("manual", "always"))
    _refuse_other("synos.dev.cli", loaded["dev"].cli, ("auto", "official", "docker"))
    for name, value in vars(loaded["services"]).items():
        if name.endswith("_port") and value > 65535:
            where = f"synos.services.{name}"
            raise SettingsError(f"{where} is {value}", where=where, hint="0 to 65535")
    return loaded


def _place(root: Path, name: str) -> str:
    """Return where a setting is made: a variable, or a line of invoke.yaml."""
    import yaml  # noqa: PLC0415  (most settings are right)

    variable, path = f"INVOKE_{name.replace('.', '_').upper()}", root / "invoke.yaml"
    if variable in os.environ:
        return f"variable {variable}"
    line = 0
    try:
        node: Any = yaml.compose(path.read_text(encoding="utf-8"))
        for word in name.split("."):
            key, node = next((key, value) for key, value in node.value if key.value == word)
            line = key.start_mark.line + 1
    except (OSError, ValueError, AttributeError, StopIteration, yaml.YAMLError):
        return f"{path}, or another file of Invoke's configuration"
    return f"{path}:{line}"


def _section(cls: type[Any], values: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401
    fields = {f.name: f for f in dataclasses.fields(cls)}
    _refuse_unknown(values, fields, name)
    for key, value in values.items():
        wanted: type = type(fields[key].default)
        where = f"{name}.{key}"
        if type(value) is not wanted:
            what = f"{where} is {_shown(value)}, not a {'whole number' if wanted is int else 'text'}"
            raise SettingsError(what, where=where, hint=f"the default is {fields[key].default!r}")
        if isinstance(value, int) and value < 0:
            raise SettingsError(f"{where} is negative: {value}", where=where)
    return cls(**values)


def _shown(value: object) -> str:
    return "a list" if isinstance(value, list) else "a section" if isinstance(value, dict) else repr(value)


def _refuse_other(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingsError(f"{name} is {value!r}", where=name, hint=f"one of: {', '.join(known)}")


def _refuse_unknown(values: Mapping[str, Any], known: Collection[str], name: str) -> None:
    if not isinstance(values, dict):
        hint = f"write the settings below `{name.rpartition('.')[2]}:`, a line each, as in `name: value`"
        raise SettingsError(f"{name} is {_shown(values)}, not a section with names", where=name, hint=hint)
    for key in values:
        if key not in known:
            raise SettingsError(
                f"{name} has no setting {key!r}", where=f"{name}.{key}", hint=guess(str(key), known)
            )
