"""From a profile's name to a plan, with the images that it needs and their tools."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from synos_tasks.errors import ComponentError, ProfileError, ProfileNotFound
from synos_tasks.images.building import ensure_image
from synos_tasks.images.catalog import BUILDER, TOOLCHAIN
from synos_tasks.images.recipe import tag_of
from synos_tasks.iso import inputs
from synos_tasks.iso import profile as profiles
from synos_tasks.iso.inputs import Tools
from synos_tasks.iso.scratch import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from synos_tasks.engine.client import Docker
    from synos_tasks.images.recipe import Recipe
    from synos_tasks.iso.lock import Lock
    from synos_tasks.iso.plan import Plan
    from synos_tasks.iso.profile import Profile
    from synos_tasks.settings import Settings

TOOLS = "/etc/synos-builder"
PROFILE_ERRORS = (ProfileError, ProfileNotFound, ComponentError)


def docker_build(settings: Settings) -> Path:
    """Return docker/build, where all is that ISOs are made from."""
    return settings.root / "docker/build"


def profile_folder(settings: Settings) -> Path:
    """Return the folder of profiles and their locks."""
    return docker_build(settings) / "profiles"


def read_profile(settings: Settings, name: str) -> Profile:
    """Read a profile; raises ProfileError, ProfileNotFound or ComponentError."""
    profile = profiles.load(profile_folder(settings), name)
    return dataclasses.replace(profile, distribution=settings.project.name, title=settings.project.title)


def plan_build(
    settings: Settings, profile: Profile, lock: Lock, tools: Tools, *, release: bool = False
) -> Plan:
    """Plan a build; raises ProfileError or ComponentError where a file that the profile names is missing."""
    return inputs.plan_build(docker_build(settings), profile, lock, tools, release=release)


def tools_for(settings: Settings, docker: Docker, profile: Profile, say: Callable[[str], None]) -> Tools:
    """Return the tools of the images that a profile needs; builds these where they are missing."""
    return _tools(
        profile, lambda recipe: tools_of(settings, docker, ensure_image(settings, docker, recipe, say))
    )


def known_tools_for(settings: Settings, docker: Docker, profile: Profile) -> Tools:
    """Return what tools_for() found before, without building or asking anything; empty where it never did."""
    known = _known(settings)
    return _tools(profile, lambda one: known.get(docker.image_id(tag_of(settings.project, one)) or "", ""))


def _tools(profile: Profile, tools_in: Callable[[Recipe], str]) -> Tools:
    return Tools(builder=tools_in(BUILDER), toolchain=tools_in(TOOLCHAIN) if profile.components else "")


def tools_of(settings: Settings, docker: Docker, image: str) -> str:
    """Return the digest of an image's tools with their versions; asked once for each image."""
    ident = docker.image_id(image) or image
    known = _known(settings)
    if not known.get(ident):
        known[ident] = Tools.digest_of(docker.output_of(ident, ["cat", TOOLS]))
        write_whole(_tools_path(settings), json.dumps(known))
    return known[ident]


def _known(settings: Settings) -> dict[str, str]:
    try:
        known = json.loads(_tools_path(settings).read_text())
        return {ident: tools for ident, tools in known.items() if isinstance(tools, str)}
    except (OSError, ValueError, AttributeError):
        return {}


def _tools_path(settings: Settings) -> Path:
    return settings.state_dir / "tools.json"
