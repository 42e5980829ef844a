"""From a profile's name to a plan: what is on this disk is read, and the builder's tools are asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from synos_tasks import errors
from synos_tasks.iso import digests
from synos_tasks.iso import plan as planning
from synos_tasks.iso import profile as profiles
from synos_tasks.iso.scratch import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.engine.gateway import Engine
    from synos_tasks.iso.lock import Lock
    from synos_tasks.iso.plan import Plan
    from synos_tasks.iso.profile import Profile
    from synos_tasks.settings import Settings

TOOLS = "/etc/synos-builder"


def profile_folder(settings: Settings) -> Path:
    """Where profiles and their locks are: docker/build/profiles."""
    return settings.root / "docker/build/profiles"


def read_profile(settings: Settings, name: str) -> Profile:
    """Read a profile; raises ProfileError or ProfileNotFound."""
    return profiles.load(profile_folder(settings), name)


def plan_build(
    settings: Settings, profile: Profile, lock: Lock, tools: str, *, release: bool = False
) -> Plan:
    """Plan a build; raises ProfileError where an overlay or hook is missing."""
    folder = settings.root / "docker/build"
    paths = (planning.BASE_OVERLAY, *profile.overlays, *profile.hooks)
    files = {path: _digest_input(folder, path, profile) for path in paths}
    return planning.make(profile, lock, files=files, tools=tools, release=release)


def tools_of(settings: Settings, engine: Engine, image: str) -> str:
    """Digest of the builder's tools with their versions; asked once for each image."""
    ident = engine.image_id(image)
    tools = known_tools(settings, ident)
    if not tools:
        tools = digests.digest(engine.output_of(image, ["cat", TOOLS]))
        write_whole(_tools_path(settings), json.dumps({ident: tools}))
    return tools


def known_tools(settings: Settings, image_id: str | None) -> str:
    """Give what tools_of() found before, without asking; empty where it never did."""
    try:
        return str(json.loads(_tools_path(settings).read_text())[image_id])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _tools_path(settings: Settings) -> Path:
    return settings.state_dir / "tools.json"


def _digest_input(folder: Path, path: str, profile: Profile) -> str:
    target = folder / path
    if not target.exists():
        raise errors.ProfileError(
            f"there is no {path}", where=profile.origins.get(path, ""), why=f"looked for {target}"
        )
    return digests.of_folder(target) if target.is_dir() else digests.of_file(target)
