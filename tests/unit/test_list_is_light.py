from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("python_on_whales", "pydantic", "rich", "hypothesis")


@pytest.mark.allow_process(reason="what a fresh interpreter imports shows in a fresh interpreter only")
def test_listing_the_verbs_imports_nothing_heavy() -> None:
    argv = [sys.executable, "-X", "importtime", "-m", "invoke", "--list"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "doctor" in done.stdout
    imported = set(re.findall(r"\|\s+([\w.]+)$", done.stderr, re.MULTILINE))
    assert "synos_tasks.namespace" in imported
    assert not {name for name in imported if name.partition(".")[0] in HEAVY}
