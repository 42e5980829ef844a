"""Opening VS Code: the address, and an editor that fails."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from synos_tasks.dev import code
from synos_tasks.errors import HostUnfit
from tests.unit.fake_dev import container, scene

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("folder", ["/a/b", "/a b", "/c#", "/100%20", "/why?", "/é"])
def test_the_address_has_the_whole_folder(tmp_path: Path, folder: str) -> None:
    config = scene(tmp_path).config(workspaceFolder=folder)
    found = urlsplit(code.uri(config, container({}, name="it")))
    assert unquote(found.path) == folder
    assert bytes.fromhex(found.netloc.removeprefix("attached-container+")) == b'{"containerName":"/it"}'


def test_an_editor_that_fails_is_told_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 1, "", "no display\n")
    monkeypatch.setattr(shutil, "which", {"code-insiders": "/bin/code-insiders"}.get)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    config = scene(tmp_path).config()
    with pytest.raises(HostUnfit, match="could not be opened") as caught:
        code.open_editor(config, container(config.labels))
    assert caught.value.why == "no display"
    assert caught.value.where.startswith("/bin/code-insiders --folder-uri vscode-remote://")
