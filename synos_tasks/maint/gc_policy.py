"""`inv maint.gc-policy`: by which rules the engine drops build cache, and a policy under which cache mounts stay."""

from __future__ import annotations

import difflib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks.engine import daemon as daemons
from synos_tasks.errors import SettingsError
from synos_tasks.images.dockerfile import steps_of
from synos_tasks.maint import daemon_file, gc_rules
from synos_tasks.maint.session import dockerfiles

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.engine.daemon import Daemon
    from synos_tasks.maint.daemon_file import DaemonFile
    from synos_tasks.maint.gc_rules import Rule
    from synos_tasks.settings import Settings

PREFIX = "synos-"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What was found, and what we propose."""

    daemon: Daemon
    file: DaemonFile
    disk_bytes: int
    """Size of the disk that the engine's files are on."""
    in_force: list[Rule]
    """What the running engine goes by; none where it drops nothing."""
    proposed: list[Rule]
    mounts: list[str]
    """Ids of the cache mounts in our Dockerfiles."""

    @property
    def config(self) -> dict[str, Any]:
        """``builder.gc`` as we propose it."""
        return gc_rules.to_config(self.proposed)

    @property
    def is_written(self) -> bool:
        """Tell whether the engine has the proposal from its next start on."""
        return bool(self.file.gc == self.config)

    @property
    def is_in_force(self) -> bool:
        """Tell whether the running engine goes by the proposal."""
        return self.in_force == self.proposed

    @property
    def turns_on(self) -> bool:
        """Tell whether writing it makes an engine drop build cache that has dropped none: whosever it is."""
        return not self.in_force and not self.is_written

    @property
    def dropping(self) -> list[int]:
        """Numbers of the rules in force by which cache mounts may go."""
        return [number for number, rule in enumerate(self.in_force) if rule.drops_mounts]

    def to_json(self) -> dict[str, Any]:
        """Give it as the verb's JSON object has it."""
        return {
            "engine": self.daemon.version,
            "file": str(self.file.path),
            "disk_bytes": self.disk_bytes,
            "cache_mounts": self.mounts,
            "in_force": [rule.to_json() for rule in self.in_force],
            "written": self.file.gc,
            "proposed": self.config,
            "proposed_rules": [rule.to_json() for rule in self.proposed],
            "is_written": self.is_written,
            "is_in_force": self.is_in_force,
        }


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is to be written, and the lines that differ."""

    text: str
    diff: list[str]


def look(settings: Settings) -> Policy:
    """Look at the engine and its configuration; changes nothing.

    Raises EngineUnavailable, HostUnfit where the engine's files are not this machine's, SettingsError where its
    configuration is damaged, OutputNotWritable where this user cannot read it.
    """
    daemon = daemons.look()
    disk = _disk_bytes(daemon.root_dir)
    return Policy(
        daemon=daemon,
        file=daemon_file.read(daemon.config),
        disk_bytes=disk,
        in_force=gc_rules.parse(daemons.inspect_builder()),
        proposed=gc_rules.proposal(gc_rules.limit_gib(disk)),
        mounts=mounts_of(settings),
    )


def change(policy: Policy) -> Change:
    """Say what writing the proposal would change; writes nothing.

    Raises SettingsError where dockerd would not take the file, OutputNotWritable where it cannot be written.
    """
    file = policy.file
    file.refuse_unwritable()
    text = file.with_gc(policy.config)
    if refused := daemons.refusal(text):
        raise SettingsError(
            "dockerd would refuse the engine's configuration: nothing was written",
            where=str(file.path),
            why=refused,
            hint="if it names something else than builder, that is in the file already: mend it first",
        )
    lines = difflib.unified_diff(
        (file.text or "").splitlines(), text.splitlines(), str(file.path), "with the policy", lineterm=""
    )
    return Change(text=text, diff=list(lines))


def write(policy: Policy, wanted: Change) -> Path | None:
    """Write a change, whole or not at all; gives the copy of the file before, None where there was none.

    Raises SettingsError where the file was changed meanwhile, OutputNotWritable where it cannot be written.
    """
    return policy.file.write(wanted.text)


def mounts_of(settings: Settings) -> list[str]:
    """Give the ids of the cache mounts in the Dockerfiles of this project."""
    steps = {step for path in dockerfiles(settings) for step in steps_of(path.read_text())}
    ids = {step.split()[2] for step in steps if step.startswith("mount ")}
    return sorted(one for one in ids if one.startswith(PREFIX))


def _disk_bytes(folder: Path) -> int:
    """Give the size of a folder's disk; of its nearest parent's where this user may not look at it."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).total
        except OSError:
            continue
    return 0
