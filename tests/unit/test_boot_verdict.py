"""What a booted system reports, and what we make of it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from synos_tasks.iso.boot.report import clean, is_final, is_hopeless, parse_report, verdict

GOOD: dict[str, Any] = {
    "os": "synos",
    "build_id": "b1",
    "target": "graphical.target",
    "failed": [],
    "jobs": [],
    "root": "overlay",
    "medium": True,
    "user": "live",
    "hostname": "synos",
    "secure_boot": False,
    "state": "running",
}


def line(report: dict[str, Any]) -> str:
    text = json.dumps(report)
    return f"SYNOS-REPORT {text} {hashlib.sha256(text.encode()).hexdigest()[:8]}"


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_a_good_report_is_fine(firmware: str) -> None:
    assert verdict(GOOD, firmware) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"os": "debian"}, "'debian', not 'synos'"),
        ({"failed": ["a.service", "b.mount"]}, "failed units: a.service, b.mount"),
        ({"failed": None}, "failed units: not reported"),
        ({"target": ""}, "target is not active"),
        ({"root": "ext4"}, "'ext4', not an overlay"),
        ({"medium": False}, "medium is not mounted"),
        ({"state": "degraded"}, "'degraded', not 'running'"),
        ({"state": "starting", "jobs": ["slow.service"]}, "waiting for slow.service"),
    ],
)
def test_each_flaw_is_named(change: dict[str, Any], words: str) -> None:
    assert words in verdict({**GOOD, **change}, "bios")


def test_an_empty_report_is_not_fine() -> None:
    assert verdict({}, "bios")


def test_secure_boot_must_be_on_where_it_was_asked_for() -> None:
    assert verdict(GOOD, "secure-boot") == "Secure Boot is not on"
    assert verdict({**GOOD, "secure_boot": True}, "secure-boot") == ""


def test_a_report_is_read_between_other_text() -> None:
    assert parse_report(f"synos login: {line(GOOD)} [   12.3] usb 1-1") == GOOD


def test_a_report_torn_by_a_kernel_message_is_refused() -> None:
    text = line(GOOD)
    assert parse_report(text[:60] + "[   12.3] usb 1-1: new" + text[60:]) is None
    assert parse_report(text[:-1]) is None
    assert parse_report("SYNOS-REPORT {} 00000000") is None
    assert parse_report("nothing") is None


def test_escapes_are_removed() -> None:
    assert clean("\x1b[0;32m OK \x1b[0m Reached\x1b[K \x1b]0;title\x07target\r") == " OK  Reached target"


def test_only_the_end_of_the_boot_is_final() -> None:
    assert [is_final({"state": s}) for s in ("starting", "initializing", "running", "degraded")] == [
        False,
        False,
        True,
        True,
    ]


def test_hopeless_lines() -> None:
    assert is_hopeless("[    2.1] Kernel panic - not syncing: VFS: Unable to mount root fs")
    assert not is_hopeless("[    2.1] Run /init as init process")


@pytest.mark.allow_process(reason="the shell function the guest runs")
def test_the_guest_quotes_as_json_does() -> None:
    script = Path(__file__).parents[2] / "docker/build/overlays/synos-base/usr/libexec/synos/selftest"
    text = script.read_text()
    function = text[text.index("quote() {") : text.index("# a JSON list")]
    shell = shutil.which("dash") or "sh"
    for value in ("plain", 'a"b', "dev-disk-by\\x2dlabel.mount", "a%sb", "tab\tgone", ""):
        done = subprocess.run(
            [shell, "-c", f'{function}\nquote "$1"', "sh", value], capture_output=True, check=True
        )
        assert json.loads(done.stdout) == value.replace("\t", "")
