"""Plan from a profile on this disk: read the files that it names. On the host and in a container alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.errors import ProfileError
from synos_tasks.iso import digests, plan
from synos_tasks.iso.components import recipe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synos_tasks.iso.components.recipe import Component
    from synos_tasks.iso.lock import Lock
    from synos_tasks.iso.plan import Plan
    from synos_tasks.iso.profile import Profile


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Digests of what the images hold, by version; ``toolchain`` matters only where something is compiled."""

    builder: str
    toolchain: str = ""

    @staticmethod
    def digest_of(text: str) -> str:
        """Return the digest of an image's list of tools; how it was read decides over the newline at its end."""
        return digests.digest(text.strip())


def plan_build(
    docker_build: Path, profile: Profile, lock: Lock, tools: Tools, *, release: bool = False
) -> Plan:
    """Plan a build; raises ProfileError or ComponentError where an overlay, hook, folder or patch is missing."""
    files = {path: _digest_input(docker_build, path, profile) for path in plan.files_of(profile)}
    folder = recipe.folder_of(docker_build)
    components = {
        component.name: recipe.inputs_of(component, folder, tools.toolchain)
        for component in components_of(docker_build, profile.components)
    }
    return plan.make(profile, lock, files=files, tools=tools.builder, components=components, release=release)


def components_of(docker_build: Path, names: Sequence[str]) -> list[Component]:
    """Read recipes by name; raises ComponentError."""
    return [recipe.load(recipe.folder_of(docker_build), name) for name in names]


def _digest_input(folder: Path, path: str, profile: Profile) -> str:
    target = folder / path
    if not target.exists():
        raise ProfileError(
            f"there is no {path}", where=profile.origins.get(path, ""), why=f"looked for {target}"
        )
    return digests.of_folder(target) if target.is_dir() else digests.of_file(target)
