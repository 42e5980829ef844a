"""components: what SynOS compiled itself, installed above all packages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from synos_tasks.errors import ComponentError
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.stages import packages

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synos_tasks.iso.store import Entry
    from synos_tasks.iso.tools import Workshop

STAGE = "components"
_UNMET = re.compile(r"^ *(?P<name>\S+) : Depends: (?P<needs>\S+)")


def make(shop: Workshop, root: Path, compiled: Sequence[Entry]) -> dict[str, int]:
    """Install the components' packages in ``root``; gives the unpacked size of each, in bytes.

    Raises ComponentError where one needs a package that the profile does not have.
    """
    repository = shop.work / "components"
    repository.mkdir()
    found = [(entry, package) for entry in compiled for package in entry.facts["packages"]]
    _refuse_twice([package["name"] for _, package in found])
    for entry, package in found:
        (repository / f"{package['name']}.deb").symlink_to(entry.file(package["file"]))
    packages.make(shop, root, repository, STAGE, on_failure=lambda _, lines: _unmet(lines))
    remove(repository)
    return {package["name"]: package["installed_bytes"] for _, package in found}


def _refuse_twice(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ComponentError(
            f"two components have a package {twice[0]}",
            where="docker/build/components",
            hint="name it under `packages:` of one of them only",
        )


def _unmet(lines: Sequence[str]) -> ComponentError | None:
    found = next((found for line in lines if (found := _UNMET.match(line))), None)
    if found is None:
        return None
    return ComponentError(
        f"{found['name']} needs {found['needs']}, which the profile does not have",
        where="docker/build/components",
        why="\n".join(line.strip() for line in lines if _UNMET.match(line)),
        hint=f"add {found['needs']} to `depends:` of its recipe, or to the profile's packages",
    )
