"""The boot request, its QEMU command and container, what a booted system reports, and what we make of it."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

import pytest

from synos_tasks.build.boot import boot_spec, chosen_iso, firmware_of
from synos_tasks.build.planning import Context
from synos_tasks.engine.spec import Bind
from synos_tasks.errors import IsoNotFound
from synos_tasks.iso.boot import qemu, trouble, watch
from synos_tasks.iso.boot.qemu import FIRMWARES, MEDIA, Boot, qemu_argv
from synos_tasks.iso.boot.watch import Follower, boot, clean, parse_report, verdict
from tests.unit.fake_docker import FakeDocker
from tests.unit.projects import project, settings_in

REQUEST = Boot(
    iso=Path("/iso/a,b.iso"), firmware="bios", media="cdrom", timeout=9, memory_mb=512, kvm=True, screenshot=Path("/out/a.png")
)  # fmt: skip


@pytest.mark.parametrize(
    ("firmware", "media", "accelerator"), list(itertools.product(FIRMWARES, MEDIA, ["kvm", "tcg"]))
)
def test_every_machine_can_report_and_cannot_write(firmware: str, media: str, accelerator: str) -> None:
    request = dataclasses.replace(REQUEST, firmware=firmware, media=media)
    argv = " ".join(qemu_argv(request, accelerator, Path("/scratch")))
    assert "type=3,asset=synos-selftest" in argv
    assert "-serial chardev:serial0" in argv
    assert "-netdev user,id=net,restrict=on" in argv, "the guest reaches nothing"
    assert "readonly=on,file=/iso/a,,b.iso" in argv
    assert f"-accel {accelerator}" in argv


def test_the_follower_gives_complete_lines_once(tmp_path: Path) -> None:
    serial = tmp_path / "serial"
    follower = Follower(serial)
    assert follower.lines() == []
    text = "gr\u00fcn\r\nnext".encode()
    serial.write_bytes(text[:3])  # in the middle of a letter
    assert follower.lines() == []
    serial.write_bytes(text[:-2])
    assert follower.lines() == ["gr\u00fcn"]
    assert follower.tail == "ne"
    serial.write_bytes(text)
    assert follower.lines() == []
    assert follower.tail == "next"


@pytest.mark.parametrize(
    ("kvm", "tcg", "works"),
    [
        ([0.05] * 3, [0.1] * 3, True),
        ([1.9] * 3, [0.1] * 3, False),
        ([2.0] * 3, [9.0] * 3, True),  # emulation does not get that far
        ([9.0] * 3, [9.0] * 3, False),
        ([3.0, 2.0, 5.0], [1.5, 0.2, 0.9], False),  # the machine is busy
        ([0.9, 0.1, 0.5], [0.2, 0.9, 0.4], True),
    ],
)
def test_kvm_is_used_only_where_it_pays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kvm: list[float], tcg: list[float], works: bool
) -> None:
    times = {"kvm": iter(kvm), "tcg": iter(tcg)}
    monkeypatch.setattr(
        qemu, "seabios_seconds", lambda accelerator, _, limit: min(next(times[accelerator]), limit)
    )
    assert qemu.kvm_works(tmp_path) == works


def test_the_container_has_no_powers(tmp_path: Path) -> None:
    context = Context(project(tmp_path), FakeDocker(), print, dry=True)
    request = dataclasses.replace(REQUEST, kvm=False)
    out = Bind(source=tmp_path / "out", target="/out", writable=True)
    for ports, network in (((), "none"), ((2222,), None)):
        spec = boot_spec(context, request, tmp_path / "dist", more=(out,), ports=ports)
        assert not any((spec.privileged, spec.capabilities, spec.devices, spec.new_privileges))
        assert spec.network == network
        assert [bind.source for bind in spec.binds if bind.writable] == [tmp_path / "out"]
        published = spec.options().get("publish", [])
        assert published == [("127.0.0.1:", port) for port in ports]


def test_the_newest_iso(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, "p")
    with pytest.raises(IsoNotFound):
        chosen_iso(settings, "")
    settings.output_dir.mkdir()
    for age, name in enumerate(["new.iso", "old.iso"]):
        path = settings.output_dir / name
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    assert chosen_iso(settings, "").name == "new.iso"


# ---- the report

GOOD: dict[str, Any] = {
    "os": "synos", "build_id": "b1", "target": "graphical.target", "failed": [], "jobs": [], "root": "overlay",
    "medium": True, "user": "live", "hostname": "synos", "secure_boot": False, "state": "running",
}  # fmt: skip


def line(report: dict[str, Any]) -> str:
    text = json.dumps(report)
    return f"SYNOS-REPORT {text} {hashlib.sha256(text.encode()).hexdigest()[:8]}"


SELFTEST = Path(__file__).parents[2] / "docker/build/overlays/synos-base/usr/libexec/synos/selftest"
SHELL = shutil.which("dash") or "sh"


def _function(begin: str, end: str) -> str:
    """Give a part of what the guest runs."""
    text = SELFTEST.read_text()
    return text[text.index(f"\n{begin}") : text.index(f"\n{end}")]


AGENT = {"status": "ok", "build_id": "b1", "state": "running", "uptime_seconds": 12}


@pytest.mark.parametrize("more", [{}, {"agent": None}, {"agent": AGENT}], ids=["plain", "no agent", "agent"])
def test_a_good_report_is_fine(more: dict[str, Any]) -> None:
    for firmware in ("bios", "uefi"):
        assert verdict({**GOOD, **more}, firmware) == ""
    assert verdict({**GOOD, **more}, "secure-boot") == "Secure Boot is not on"
    assert verdict({**GOOD, **more, "secure_boot": True}, "secure-boot") == ""


OTHER_AGENTS = [
    *({**AGENT, **change} for change in ({"status": "degraded"}, {"build_id": "b0"}, {"state": "degraded"})),
    *({key: value for key, value in AGENT.items() if key != gone} for gone in ("status", "build_id")),
    *({"status": "silent"}, {}, "ok", True, []),
]
"""Answers that are not those of a well agent of this very boot."""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"os": "debian"}, "'debian': its os-release is not the ISO's"),
        ({"failed": ["a.service", "b.mount"]}, "failed units: a.service, b.mount"),
        (
            {"failed": ["a.service"], "words": ["a.service (timeout): no interface"]},
            "failed units: a.service\na.service (timeout): no interface",
        ),
        ({"failed": None}, "failed units: not reported"),
        ({"target": ""}, "target is not active"),
        ({"root": "ext4"}, "'ext4', not an overlay"),
        ({"medium": False}, "medium is not mounted"),
        ({"state": "degraded"}, "'degraded', not 'running'"),
        ({"state": "starting", "jobs": ["slow.service"]}, "waiting for slow.service"),
        *(({"agent": agent}, f"synos-agent says {agent}") for agent in OTHER_AGENTS),
    ],
)
def test_each_flaw_is_named(change: dict[str, Any], words: str) -> None:
    assert words in verdict({**GOOD, **change}, "bios")


@pytest.mark.allow_process(reason="the shell function the guest runs")
@pytest.mark.parametrize(
    ("agent", "told"),
    [
        (None, None),
        ("exit 1", {"status": "silent"}),
        ('echo \'{"status": "ok"}\'', {"status": "ok"}),
        ('echo \'{"status": "degraded"}\'; exit 1', {"status": "degraded"}),
    ],
    ids=["not installed", "silent", "well", "degraded"],
)
def test_the_guest_hands_on_what_the_agent_says(
    tmp_path: Path, agent: str | None, told: dict[str, str] | None
) -> None:
    program = tmp_path / "synos-agent"
    if agent is not None:
        program.write_text(f"#!/bin/sh\n{agent}\n")
        program.chmod(0o755)
    function = _function("agent_report() {", "# what the profile says").replace(
        "/usr/bin/synos-agent", str(program)
    )
    script = f'PATH="{tmp_path}:$PATH"\n{function}\nagent_report'
    done = subprocess.run([SHELL, "-c", script], capture_output=True, check=True)
    assert json.loads(done.stdout) == told


def test_a_report_torn_by_a_kernel_message_is_refused() -> None:
    text = line(GOOD)
    assert parse_report(text[:60] + "[   12.3] usb 1-1: new" + text[60:]) is None
    assert parse_report(text[:-1]) is None
    assert parse_report("SYNOS-REPORT {} 00000000") is None
    assert parse_report("nothing") is None


@pytest.mark.allow_process(reason="the shell function the guest runs")
def test_the_guest_quotes_as_json_does() -> None:
    function = _function("quote() {", "# a JSON list")
    for value in ("plain", 'a"b', "dev-disk-by\\x2dlabel.mount", "a%sb", "tab\tgone", ""):
        done = subprocess.run(
            [SHELL, "-c", f'{function}\nquote "$1"', "sh", value], capture_output=True, check=True
        )
        assert json.loads(done.stdout) == value.replace("\t", "")


def test_lines_of_the_console_are_understood() -> None:
    assert clean("\x1b[0;32m OK \x1b[0m Reached\x1b[K \x1b]0;title\x07target\r") == " OK  Reached target"


class FakeMachine:
    """A machine that writes the next piece of its console each time it is asked whether it runs; then it ends."""

    def __init__(self, serial: Path, console: Iterable[str], end: str | None) -> None:
        self._serial, self._console, self._end = serial, iter(console), end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def ended(self) -> str | None:
        text = next(self._console, None)
        with self._serial.open("a") as serial:
            serial.write(text or "")
        return self._end if text is None else None

    def screenshot(self, _: Path) -> bool:
        return True


Watched = Callable[..., qemu.Booted]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Boot a machine that prints what it is given, with no time between the pieces."""

    def run(*console: str, end: str | None = None, timeout: int = 9) -> qemu.Booted:
        request = dataclasses.replace(REQUEST, kvm=False, timeout=timeout)
        monkeypatch.setattr(
            watch, "start", lambda _request, _, folder: FakeMachine(folder / qemu.SERIAL, console, end)
        )
        return boot(request, lambda _: None)

    for name in ("POLL_SECONDS", "PROMPT_SECONDS"):
        monkeypatch.setattr(watch, name, 0)
    return run


MENU = "GNU GRUB  version 2.06\n  before booting or `c' for\n a command-line.  *SynOS"
BUSYBOX = (
    "\nBusyBox v1.35.0 built-in shell (ash)\nEnter 'help' for a list of built-in commands.\n\n(initramfs) "
)
LIVE_BOOT = "  BOOT FAILED!\n  live-boot will now start a shell. The error message was:\n\n    {}\n" + BUSYBOX
PANIC = "[ 2.6] Kernel panic - not syncing: "


@pytest.mark.parametrize(
    ("console", "why", "hint"),
    [
        (LIVE_BOOT.format("No loop devices available"), "at its prompt: No loop devices available", "loop.max_loop"),
        (LIVE_BOOT.format("Unable to find a medium containing a live file system"), "Unable to find", "live-media"),
        (LIVE_BOOT.format("Something new"), "at its prompt: Something new", "debug"),
        ("run-init: can't execute '/x': No such file\n" + BUSYBOX, "can't execute '/x'", "init"),
        ("one\ntwo" + BUSYBOX, "two", ""),
        ("error: file `/live/initrd.img' not found.\n" + PANIC + "VFS: Unable to mount root fs", "/live/initrd.img", "not on"),
        (PANIC + "VFS: Unable to mount root fs on unknown-block(0,0)", "the kernel panicked", "no initramfs"),
        (PANIC + "Attempted to kill init! exitcode=0x100", "Attempted to kill init", "printed before"),
        ("error: file `/live/vmlinuz' not found.\nerror: you need to load the kernel first.", "/live/vmlinuz", "boot menu"),
        ("error: bad shim signature.\nerror: you need to load the kernel first.", "bad shim", "Secure Boot"),
        ("error: no such device: GONE.\nEntering rescue mode...\ngrub rescue> ", "no such device: GONE", "medium"),
        ("error: can't find command `menuentrx'.\n  Minimal BASH-like\ngrub> ", "menuentrx", "mistake"),
        (MENU, "GRUB waits at its menu", ""),
        ("[ TIME ] Timed out waiting for device /dev/x.\nYou are in emergency mode. After", "/dev/x", "nofail"),
        ("Cannot open access to console, the root account is locked.", "emergency", ""),
        ("systemd[1]: Freezing execution.", "systemd stopped", ""),
        ("dracut:/# ", "dracut", ""),
        ("[ 9.0] reboot: System halted", "switched itself off", ""),
    ],
)  # fmt: skip
def test_a_dead_guest_is_explained_without_waiting(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, console: str, why: str, hint: str
) -> None:
    monkeypatch.setattr(trouble, "MENU_SECONDS", 0)
    found = watched(console)
    assert not found.ok
    assert why in found.why
    assert hint in found.hint
    assert found.screenshot


@pytest.mark.parametrize(
    "console",
    [
        MENU + "  executed automatically in 3s.",
        MENU
        + " 0s.  Booting `SynOS'\n\nerror: no suitable video mode found.\nPress any key to continue...\n",
        "[    2.1] Run /init as init process\n[FAILED] Failed to start x.\n[DEPEND] Dependency failed for y.\n",
        "synos login: ",
    ],
)
def test_a_guest_that_may_go_on_is_waited_for(watched: Watched, console: str) -> None:
    good = f"\n{line(GOOD)}\n"
    found = watched(console, " ", "\n", line({**GOOD, "state": "starting"}) + "\n", good)
    assert found.ok
    assert (found.login_seconds is not None) == (console == "synos login: ")
    assert "the console ends with: " + console.splitlines()[-1].strip() in watched(console, timeout=0).why
    assert watched(console, end="QEMU ended").why.startswith("QEMU ended")


def test_a_login_prompt_that_fails_after_the_first_report_counts(watched: Watched) -> None:
    later = {**GOOD, "restarting": ["getty@tty1.service"]}
    found = watched(line(GOOD) + "\n", *["\n" + line(later) + "\n"] * 2)
    assert (found.ok, found.why) == (False, "units that fail and are started again: getty@tty1.service")


def test_units_that_systemd_leaves_out_to_break_a_cycle_count(watched: Watched) -> None:
    found = watched(line({**GOOD, "cyclic": ["local-fs.target"]}) + "\n")
    assert (found.ok, found.why) == (
        False,
        "units not started, as their ordering is a cycle: local-fs.target",
    )


@pytest.mark.allow_process(reason="the shell function the guest runs")
def test_the_guest_finds_them_in_the_journal(tmp_path: Path) -> None:
    unit = "sysinit.target: Job {}/start deleted to break ordering cycle starting with sysinit.target/start"
    journal = "\n".join(
        ["Started x.", *map(unit.format, ("local-fs.target", "a@b.service", "local-fs.target"))]
    )
    functions = _function("quote() {", "# a JSON list") + _function("quote_lines() {", "os_release")
    functions += _function("cyclic_units() {", "# how long")
    script = f"journalctl() {{ cat <<'END'\n{journal}\nEND\n}}\n{functions}\ncyclic_units"
    done = subprocess.run(["sh", "-uc", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["a@b.service", "local-fs.target"]


@pytest.mark.parametrize(("platform", "firmware"), [(0, "bios"), (0xEF, "uefi"), (None, "bios")])
def test_an_iso_boots_on_the_firmware_that_it_has(
    tmp_path: Path, platform: int | None, firmware: str
) -> None:
    record = b"\0CD001\1EL TORITO SPECIFICATION".ljust(71, b"\0") + (19).to_bytes(4, "little")
    sectors = [b""] * 17 + ([record, b"", bytes([1, platform])] if platform is not None else [b"\xffCD001\1"])
    iso = tmp_path / "x.iso"
    iso.write_bytes(b"".join(sector.ljust(2048, b"\0") for sector in sectors))
    assert firmware_of(iso) == firmware
    with pytest.raises(FileNotFoundError):
        firmware_of(tmp_path / "gone.iso")


# ---- what the profile says, compared in the guest


@pytest.mark.allow_process(reason="the shell function the guest runs")
def test_the_guest_compares_what_the_profile_says(tmp_path: Path) -> None:
    long = "\u00e4" * 500
    rows = [
        ("timezone", "Etc/UTC", "echo Etc/UTC"),
        ("empty", "", "true"),
        ("nothing", "x", "exit 3"),
        ('quotes "and" \\', "it's", "printf '%s\\n' '\"'"),
        ("lines", "a", "printf 'a\\nb\\n'"),
        ("long", long, f"printf %s {long}"),
        ("cut", long, "echo other"),
    ]
    expected = tmp_path / "expected"
    expected.write_text("\n".join("\t".join(row) for row in rows))  # no newline at the end
    functions = _function("quote() {", "# a JSON list") + _function("compare() {", "# units that")
    script = f'tab=$(printf "\\t")\nexpected="{expected}"\n{functions}\nprintf "{{%s}}" "$(compare)"'

    def compare() -> dict[str, Any]:
        done = subprocess.run([SHELL, "-c", script], capture_output=True, check=True)
        return dict(json.loads(done.stdout))

    found = compare()
    assert (found["checked"], found["differing"]) == (7, 4)
    assert found["different"] == [
        {"what": "nothing", "said": "x", "runs": ""},
        {"what": 'quotes "and" \\', "said": "it's", "runs": '"'},
        {"what": "lines", "said": "a", "runs": "a b"},
        {"what": "cut", "said": long[:100], "runs": "other"},
    ]
    expected.write_text("one\ta\techo b\n" * 30)
    found = compare()
    assert (found["checked"], found["differing"], len(found["different"])) == (30, 30, 20)
    words = verdict({**GOOD, **found}, "bios").splitlines()
    assert words[0] == "one: the profile says a, the system has b"
    assert words[-1] == "and 10 more"


@pytest.mark.allow_process(reason="the shell function the guest runs")
@pytest.mark.parametrize(
    ("init", "system", "finish", "told"),
    [
        ("0.931245", 4_500_000, 9_750_000, [931, 3569, 5250]),
        ("12.040000", 13_000_000, 13_000_000, [12040, 960, 0]),
    ],
)
def test_the_guest_tells_how_long_each_phase_took(
    init: str, system: int, finish: int, told: list[int]
) -> None:
    script = f"""dmesg() {{ echo "[    {init}] Run /init as init process"; }}
systemctl() {{ case $* in *Userspace*) echo {system} ;; *) echo {finish} ;; esac; }}
{_function("phases() {", "# what takes long")}
printf '{{%s}}' "$(phases)"
"""
    done = subprocess.run([SHELL, "-c", script], capture_output=True, check=True)
    assert list(json.loads(done.stdout)["milliseconds"].values()) == told
    silent = script.replace("echo", ": ")
    done = subprocess.run([SHELL, "-c", silent], capture_output=True, check=True)
    assert list(json.loads(done.stdout)["milliseconds"].values()) == [0, 0, 0]
