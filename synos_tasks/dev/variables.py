"""The variables of devcontainer.json, as ``${localWorkspaceFolder}``: https://containers.dev/implementors/json_reference/#variables-in-devcontainerjson."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLE = re.compile(r"\$\{([^}]*)\}")


def devcontainer_id(labels: Mapping[str, str]) -> str:
    """Give ``${devcontainerId}``: the hash of the labels by which a container is found, in base 32."""
    text = json.dumps(dict(sorted(labels.items())), separators=(",", ":"), ensure_ascii=False)
    number = int.from_bytes(hashlib.sha256(text.encode()).digest())
    digits = ""
    while number:
        number, digit = divmod(number, 32)
        digits = "0123456789abcdefghijklmnopqrstuv"[digit] + digits
    return digits.rjust(52, "0")


def known(root: str, labels: Mapping[str, str], inside: str = "") -> dict[str, str]:
    """Give the variables by name. ``root``: the project's folder; ``inside``: the same in the container."""
    found = {
        "localWorkspaceFolder": root,
        "localWorkspaceFolderBasename": PurePosixPath(root).name,
        "devcontainerId": devcontainer_id(labels),
    }
    if inside:
        found["containerWorkspaceFolder"] = inside
        found["containerWorkspaceFolderBasename"] = PurePosixPath(inside).name
    return found


def filled(value: Any, variables: Mapping[str, str], environment: Mapping[str, str]) -> Any:  # noqa: ANN401
    """Fill variables in all texts of a value. Raises SettingsError on one that cannot be had."""
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: _one(found[1], variables, environment), value)
    if isinstance(value, list):
        return [filled(item, variables, environment) for item in value]
    if isinstance(value, dict):
        return {key: filled(item, variables, environment) for key, item in value.items()}
    return value


def _one(name: str, variables: Mapping[str, str], environment: Mapping[str, str]) -> str:
    if name in variables:
        return variables[name]
    kind, _, rest = name.partition(":")
    if kind in {"localEnv", "env"}:
        variable, _, default = rest.partition(":")
        return environment.get(variable, default)
    raise SettingsError(
        f"a variable that is not known here: ${{{name}}}",
        hint=f"there are: localEnv:NAME, {', '.join(sorted(variables))}; the official CLI knows containerEnv:NAME too",
    )
