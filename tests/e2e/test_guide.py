"""docs/your-own-distribution.md, as a newcomer types it: in a fresh clone, with the real engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.build_helpers import ROOT
from tests.conftest import remove_labelled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e
PAGE = (ROOT / "docs/your-own-distribution.md").read_text()
BLOCK = re.compile(r"^```(sh|yaml)\n(?:# (docker/\S+)\n)?(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Path]:
    """The files of this repository, and nothing that was set up."""
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name, follow_symlinks=False)
    yield tmp_path
    if (ident := tmp_path / ".synos/id").exists():
        remove_labelled(ident.read_text().splitlines()[0])


def test_the_way_from_nothing_to_a_released_iso(fresh: Path) -> None:
    """The first part of the page, word for word: commands are run, and what is to be edited is added to its file."""
    way = PAGE.partition("## What comes next")[0]
    script = "".join(
        f"cat >>{file} <<'END'\n{text}END\n" if kind == "yaml" else text
        for kind, file, text in BLOCK.findall(way)
    )
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if ".venv" not in part)
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script], cwd=fresh, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False, env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    assert "Ask at the desk for help.\n" in done.stdout
    assert re.search(r"^This system has \d+ packages\.$", done.stdout, re.MULTILINE)
    assert list((fresh / "dist").glob("kiosk-os-1.0-*.iso"))
    assert "booted on bios" in done.stderr
