"""Opens VS Code in a development container."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import quote

from synos_tasks.errors import HostUnfit

if TYPE_CHECKING:
    from synos_tasks.dev.config import DevContainer
    from synos_tasks.engine.running import Running

EDITORS = ("code", "code-insiders")


def uri(config: DevContainer, container: Running) -> str:
    """Give the address by which VS Code attaches to a running container, in the project's folder.

    Where the form comes from: the extension Dev Containers writes it into VS Code's list of recent folders.
    """
    authority = json.dumps({"containerName": f"/{container.name}"}, separators=(",", ":")).encode().hex()
    return f"vscode-remote://attached-container+{authority}{quote(config.inside.folder)}"


def open_editor(config: DevContainer, container: Running) -> str:
    """Have VS Code open the container, and give the command that did it. Raises HostUnfit where there is none."""
    address = uri(config, container)
    editor = next((path for name in EDITORS if (path := shutil.which(name))), None)
    if editor is None:
        raise HostUnfit(
            "there is no `code` command",
            where="PATH",
            why=f"development container {config.name} runs, and VS Code is to be opened by hand",
            hint=(
                f"in VS Code, with the extension Dev Containers: open {config.root}, then the command "
                f"'Dev Containers: Reopen in Container' and there '{config.values.get('name', config.name)}'.\n"
                f"Or where `code` is: code --folder-uri {address}"
            ),
        )
    argv = [editor, "--folder-uri", address]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode:
        raise HostUnfit("VS Code could not be opened", where=" ".join(argv), why=done.stderr.strip())
    return " ".join(argv)
