"""Plan: what will be done, as frozen stages with content keys. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks.iso.profile import Profile, User

if TYPE_CHECKING:
    from collections.abc import Mapping

STAGES = ("rootfs", "customise", "initramfs", "squashfs", "bootfiles", "iso")

# What of a profile each stage depends on, besides its parent's key.
_PROFILE_KEYS = {
    "rootfs": ("suite", "architecture", "bootstrapper", "mirror", "security_mirror", "suites", "components", "packages"),
    "customise": ("name", "users", "hostname", "locale", "timezone", "keyboard"),
    "initramfs": (),
    "squashfs": ("compression", "compression_level"),
    "bootfiles": ("name", "boot", "kernel_arguments"),
    "iso": ("name",),
}  # fmt: skip
_PARENT = {"customise": "rootfs", "initramfs": "customise", "squashfs": "customise", "bootfiles": "customise"}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step. ``key`` is the SHA-256 of all it depends on: inputs, parent, code and tools."""

    name: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A profile and the stages that make its ISO."""

    profile: Profile
    stages: tuple[Stage, ...]
    owner: tuple[int, int] = (0, 0)
    """User and group id that results belong to on the host."""

    def to_json(self) -> dict[str, Any]:
        """Give the plan as the container gets it."""
        return dataclasses.asdict(self)

    @property
    def stage_names(self) -> list[str]:
        """Names of the stages, in order."""
        return [stage.name for stage in self.stages]

    @property
    def key(self) -> str:
        """Key of the last stage: what the ISO is, as far as the plan knows."""
        return self.stages[-1].key


def make(profile: Profile, *, files: Mapping[str, str], tools: str, owner: tuple[int, int]) -> Plan:
    """Plan a build.

    ``files`` maps each overlay and hook to its digest, ``tools`` identifies engine code and builder image.
    """
    keys: dict[str, str] = {}
    for name in STAGES:
        inputs: dict[str, Any] = {key: getattr(profile, key) for key in _PROFILE_KEYS[name]}
        inputs |= {"stage": name, "tools": tools, "parent": keys.get(_PARENT.get(name, ""), "")}
        if name == "customise":
            inputs["files"] = [(path, files[path]) for path in (*profile.overlays, *profile.hooks)]
        if name == "iso":
            inputs["parent"] = [keys[other] for other in STAGES if other != "iso"]
        keys[name] = digest(inputs)
    return Plan(profile=profile, stages=tuple(Stage(name=n, key=keys[n]) for n in STAGES), owner=owner)


def from_json(data: Mapping[str, Any]) -> Plan:
    """Read back what to_json gave."""
    raw: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data["profile"].items()
    }
    raw["users"] = tuple(User(**{**user, "groups": tuple(user["groups"])}) for user in raw["users"])
    return Plan(
        profile=Profile(**raw),
        stages=tuple(Stage(**stage) for stage in data["stages"]),
        owner=(data["owner"][0], data["owner"][1]),
    )


def digest(value: object) -> str:
    """SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=dataclasses.asdict)
    return hashlib.sha256(text.encode()).hexdigest()
