"""components: what SynOS compiled itself, installed above all packages."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import ComponentError
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.stages import packages
from synos_tasks.iso.stagespec import StageSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from synos_tasks.iso.layers import StageInputs

STAGE = StageSpec(order=20, fields=("components",), is_wanted=lambda profile: bool(profile.components))
_UNMET = re.compile(r"^ *(?P<name>\S+) : Depends: (?P<needs>\S+)")


def make(inputs: StageInputs, root: Path) -> Mapping[str, Any]:
    """Install the components' packages; raises ComponentError where one needs what the profile does not have."""
    repository = inputs.context.work / "components"
    repository.mkdir()
    found = [(entry, package) for entry in inputs.compiled for package in entry.facts["packages"]]
    _refuse_twice([package["name"] for _, package in found])
    for entry, package in found:
        shutil.copyfile(entry.file(package["file"]), repository / f"{package['name']}.deb")
    packages.install(
        inputs.context, root, repository, inputs.stage.name, on_failure=lambda _, lines: _unmet(lines)
    )
    remove(repository)
    return {"installed": {package["name"]: package["installed_bytes"] for _, package in found}}


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
