"""Profiles that are not ours: each builds, boots and is what it says, or is refused with a place and a hint."""

from __future__ import annotations

import json
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
from hypothesis import strategies as st

from scripts.benchmarks.workbench import report, workbench
from synos_tasks.iso import profile as profiles

if TYPE_CHECKING:
    from tests.build_helpers import Clone

FOLDER = Path(__file__).parent / "stranger-profiles"
"""Profiles as public configurations of live systems have them, with their hooks and overlays."""
AT_ONCE = 2
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxLhKp5ExyYmfHhLTWAN7ZpPzJo0Dp5xdUc7GFsCFkd somebody"
HASH = "$6$abcdefgh$Qm9b0OSEQH0pFMNHyqJmrkKQnmRCSJgc3mQWbLxSRt5f3VJ0qEoFdVOyBNBKqLwMtT8mEPnxGO2q8BrwSQ1cG/"
USERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["kim", "ann", "root", "a-b_c", "x"])},
        optional={
            "full_name": st.sampled_from(["Kim Kiosk", "Émilie É.", "x"]),
            "groups": st.lists(st.sampled_from(["audio", "video", "dialout", "disk", "adm"]), unique=True, max_size=3),
            "password_hash": st.just(HASH), "ssh_keys": st.just([KEY]), "shell": st.sampled_from(["/bin/sh", "/bin/dash"]),
            "sudo": st.sampled_from(["none", "password", "nopasswd"]),
        },
    ),
    min_size=1, max_size=3, unique_by=lambda user: user["name"],
)  # fmt: skip
SENSIBLE: dict[str, st.SearchStrategy[Any]] = {
    "description": st.sampled_from(["A system", "Ein System für alle", "x" * 200]),
    "inherits": st.just("minimal"),
    "suite": st.sampled_from(["trixie", "trixie", "bookworm"]),
    "architecture": st.just("amd64"),
    "bootstrapper": st.sampled_from(["mmdebstrap", "debootstrap"]),
    "mirrors": st.sampled_from([{"components": ["main", "contrib"]}, {"suites": ["release"]}, {"components": ["main", "non-free-firmware"]}]),
    "distribution": st.fixed_dictionaries({}, optional={
        "id": st.sampled_from(["kiosk-os", "x1", "a.b_c"]), "name": st.sampled_from(["Kiosk OS", "Größe & Co.", "it's"]),
        "version": st.sampled_from(["1.0", "2026~rc1", "7"]), "codename": st.sampled_from(["otter", "v2"]),
        "iso_label": st.sampled_from(["A", "KIOSK_1"]), "iso_name": st.sampled_from(["Kiosk_1.0", "x"]),
        "grub_title": st.sampled_from(["Start", "Los geht's", "100 %"]), "url": st.just("https://kiosk.example/"),
    }),
    "packages": st.lists(st.sampled_from(["nano", "htop", "tmux", "tree", "ncdu", "openssh-server", "less", "file"]), unique=True, max_size=4),
    "recommends": st.booleans(),
    "components": st.just(["synos-welcome"]),
    "hostname": st.sampled_from(["box", "a", "kiosk-7", "x" * 63]),
    "locale": st.sampled_from(["C.UTF-8", "de_DE.UTF-8", "ja_JP.UTF-8", "pt_BR.UTF-8", "sr_RS@latin"]),
    "locales": st.lists(st.sampled_from(["fr_FR.UTF-8", "cs_CZ.UTF-8", "eo"]), unique=True, max_size=2),
    "timezone": st.sampled_from(["Etc/UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Asia/Kolkata"]),
    "keyboard": st.sampled_from([{"layout": "de"}, {"layout": "us,cz", "variant": ",bksl"}, {"options": "grp:alt_shift_toggle"}, {"model": "pc104"}]),
    "users": USERS,
    "ssh": st.sampled_from([{"password_login": True}, {"password_login": False}]),
    "services": st.sampled_from([{"mask": ["apt-daily.timer"]}, {"enable": ["fstrim.timer"]}, {"disable": ["getty@tty1"]}]),
    "debconf": st.just(["base-passwd base-passwd/user-move boolean true"]),
    "plymouth": st.sampled_from(["spinner", "bgrt"]),
    "kernel_arguments": st.lists(st.sampled_from(["quiet", "acpi_osi=!", 'a="b c"', "panic=10", "x.y=1,2"]), unique=True, max_size=3),
    "boot": st.fixed_dictionaries({}, optional={
        "firmware": st.sampled_from([["bios"], ["bios", "uefi"], ["bios", "secure-boot"]]), "timeout": st.integers(0, 2),
        "persistence": st.booleans(), "entries": st.just([{"title": "A $b {c}", "arguments": ["d=e"]}, {"title": "F"}]),
    }),
    "compression": st.sampled_from([{"algorithm": "xz"}, {"level": 1}, {"algorithm": "zstd", "level": 19}]),
}  # fmt: skip
"""Values that make sense, by key. What only a file beside the profile makes whole is in FOLDER."""
NEEDS_FILES = {"overlays", "hooks", "files", "iso_files", "debs", "repositories"}


def bench_strangers(count: int, seed: int, only: str) -> None:
    """Build and boot ``count`` profiles: those of FOLDER, and generated ones of all keys."""
    missing = profiles.keys().keys() - SENSIBLE.keys() - NEEDS_FILES
    assert not missing, f"no sensible values for {missing}"
    wanted = {path.stem: path.read_text() for path in sorted((FOLDER / "profiles").glob("*.yaml"))}
    generated = _generated(max(0, count - len(wanted)), seed)
    wanted |= {f"made-{index}": text for index, text in enumerate(generated)}
    with workbench() as bench:
        data = bench.clone.root / "docker/build"
        for name in ("hooks", "overlays"):
            shutil.copytree(FOLDER / name, data / name, dirs_exist_ok=True)
        chosen = {
            name: text for name, text in wanted.items() if name in (only.split(",") if only else wanted)
        }
        with ThreadPoolExecutor(AT_ONCE) as pool:
            well = pool.map(lambda one: _is_well(bench.clone, *one), chosen.items())
            bad = [name for name, good in zip(chosen, well, strict=True) if not good]
    report("strangers' profiles that did not do as they say", 0, len(bad), of=len(chosen), bad=bad)


def _generated(count: int, seed: int) -> list[str]:
    """Return profiles that say something of each key now and then."""
    found: list[str] = []
    required = {"inherits": SENSIBLE["inherits"], "users": USERS}
    optional = {key: values for key, values in SENSIBLE.items() if key not in required}

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count, database=None, phases=[hypothesis.Phase.generate], deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(st.fixed_dictionaries(required, optional=optional))
    def keep(profile: dict[str, Any]) -> None:
        found.append(f"{json.dumps(profile, ensure_ascii=False)}\n")  # YAML, too

    if count:
        keep()
    return found[:count]


def _is_well(clone: Clone, name: str, text: str) -> bool:
    """Build and boot one; True where it is what it says, or was refused with a place and a hint before any download."""
    clone.add(f"docker/build/profiles/{name}.yaml", text)
    began = time.monotonic()
    built = clone.try_inv("build.iso", "--profile", name)
    error = built.json.get("error", {})
    refused = built.code == 10 and error.get("where") and error.get("hint") and "started" not in built.err
    outcome, report_of = "refused" if refused else "not built", {}
    if not built.code:
        booted = clone.try_inv("build.boot", "--iso", built.json["iso"], "--timeout", "1800")
        error, report_of = booted.json.get("error", {}), booted.json.get("report", {})
        outcome = "not well" if booted.code else "well"
        for path in clone.output.glob(f"{Path(built.json['iso']).name}*"):
            path.unlink()
    seconds = round(time.monotonic() - began, 1)
    found = {
        "profile": name,
        "outcome": outcome,
        "seconds": seconds,
        "checked": report_of.get("checked", 0),
        "error": error,
    }
    print(json.dumps(found), flush=True)
    print(f"{name}: {outcome}, {seconds} s {error.get('error', '')}", file=sys.stderr)
    if outcome.startswith("not"):
        print(text, file=sys.stderr)
    return not outcome.startswith("not")
