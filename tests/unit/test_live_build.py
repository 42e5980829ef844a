"""`inv build.import-live-build`: three kinds of configurations become profiles that load, and nothing is lost silently."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from invoke.collection import Collection

from synos_tasks.build import tasks as build
from synos_tasks.build.live_build import import_folder, script
from synos_tasks.build.live_build.draft import tables
from synos_tasks.errors import ProfileError, SettingsError, SynosError, WouldOverwrite
from synos_tasks.iso import profile as profiles
from synos_tasks.settings import Settings
from tests.unit.projects import NAME, project, tree
from tests.unit.verbs import answer, inv

pytestmark = pytest.mark.usefixtures("keep_signals")
MODELS = Path(__file__).parents[1] / "live_build"
KEY = "keys/lifeboat-vendor.asc"
VENDOR = {
    "name": "vendor",
    "url": "https://packages.vendor.example/debian",
    "suite": "bookworm",
    "components": ["main"],
}
SAID: dict[str, dict[str, Any]] = {
    "harbour": {
        "suite": "bookworm", "hostname": "harbour", "locale": "de_DE.UTF-8", "locales": ["en_GB.UTF-8"], "timezone": "Europe/Berlin",
        "keyboard": {"layout": "de,us", "variant": "nodeadkeys,"}, "mirrors": {"components": ["main", "contrib", "non-free-firmware"]},
        "users": [{"name": "kai", "full_name": "Kai", "groups": ["audio", "video", "plugdev"], "sudo": "nopasswd", "autologin": True}],
        "distribution": {"name": "Harbour", "iso_label": "HARBOUR_1", "grub_theme": "files/harbour/theme"}, "kernel_arguments": ["quiet", "splash"],
        "hooks": ["hooks/harbour/0300-stamp.hook.chroot", "hooks/harbour/0200-session.hook.chroot"],
        "overlays": ["overlays/harbour"], "compression": {"algorithm": "zstd"}, "repositories": ["backports"],
    },
    "lifeboat": {
        "hooks": ["hooks/lifeboat/0100-stamp.hook.chroot", "hooks/lifeboat/0050-copy.hook.chroot", "hooks/lifeboat/live-0100-stamp.hook.chroot"],
        "hostname": "lifeboat", "kernel_arguments": ["console=ttyS0,115200", "toram"], "mirrors": {"suites": ["release", "updates"]},
        "packages": ["linux-image-amd64", "ca-certificates", "gddrescue", "gdisk", "tzdata", "live-boot", "systemd-sysv", "initramfs-tools"],
        "boot": {"firmware": ["bios", "uefi", "secure-boot"]}, "overlays": ["overlays/lifeboat-before", "overlays/lifeboat"],
        "repositories": ["backports", {**VENDOR, "key": KEY, "pin": 400}],
        "debconf": ["tzdata tzdata/Areas select Etc"],
        "files": [{"path": "/etc/sudoers.d/lecture", "mode": "0440"}],
        "iso_files": [
            {"path": "/README.txt", "source": "iso/lifeboat/README.txt"}, {"path": "/docs", "source": "iso/lifeboat/docs"}
        ],
    },
    "workshop": {
        "hostname": "workshop", "hooks": ["hooks/workshop/010-vim", "hooks/workshop/020-nothing.chroot"], "timezone": "Europe/Lisbon",
        "kernel_arguments": ["persistent"], "boot": {"firmware": ["bios"]}, "mirrors": {"components": ["main"], "suites": ["release", "security"]},
        "users": [{"name": "guest", "full_name": "Workshop guest", "groups": ["audio", "cdrom", "dip", "floppy", "video", "plugdev"],
                   "sudo": "nopasswd", "autologin": True}],
    },
}  # fmt: skip
LEFT = {
    "harbour": ["lpadmin", "$(date +%Y%m%d)", "--firmware-chroot", "--debian-installer live", "Harbour people", "config.cfg", "wine32:i386",
                "grub.list.binary", "arm64", "the hook: it reads", "default/locale", "the password `live` of kai"],
    "lifeboat": ["x-session-manager", "nomodeset", "--interactive shell", "Priority required", "vendor.auth", "vendor.list.binary",
                 "nokey.example", "nginx.pref", "d-i netcfg", "select German", "seal.hook.binary", "isolinux.cfg", "includes.installer"],
    "workshop": ["squeeze", "i386", "usb-hdd", "$(date +%F)", "memtest86+", "standard-x11", "#include <base>", "tool_1.0_i386.deb",
                 "old.chroot", "installs packages", "binary_local-hooks/menu", "squashfs.sort", "isolinux.cfg", "preseed.cfg", "hooks=medium"],
}  # fmt: skip
OPTIONS = """apt apt-http-proxy apt-indices apt-options apt-pipeline apt-recommends apt-secure apt-source-archives aptitude-options architecture
archive-areas backports binary-filesystem binary-image bootappend-install bootappend-live bootappend-live-failsafe bootloaders bootstrap-qemu-arch
bootstrap-qemu-exclude bootstrap-qemu-static breakpoints build-with-chroot cache cache-indices cache-packages cache-stages checksums
chroot-filesystem chroot-squashfs-compression-level chroot-squashfs-compression-type clean color compression conffile config debconf-frontend
debconf-priority debian-installer debian-installer-distribution debian-installer-gui debian-installer-preseedfile debootstrap-options
debootstrap-script debug distribution distribution-binary distribution-chroot dm-verity dm-verity-fec dm-verity-sign dump firmware-binary
firmware-chroot force gzip-options hdd-label hdd-partition-start hdd-size help ignore-system-defaults image-name initramfs
initramfs-compression initsystem interactive iso-application iso-preparer iso-publisher iso-volume jffs2-eraseblock keyring-packages
linux-flavours linux-packages loadlin memtest mirror-binary mirror-binary-security mirror-bootstrap mirror-chroot mirror-chroot-security
mirror-debian-installer mode net-tarball no-color onie onie-kernel-cmdline parent-archive-areas parent-debian-installer-distribution
parent-distribution parent-distribution-binary parent-distribution-chroot parent-mirror-binary parent-mirror-binary-security
parent-mirror-bootstrap parent-mirror-chroot parent-mirror-chroot-security parent-mirror-debian-installer quiet security source source-images
swap-file-path swap-file-size system uefi-secure-boot updates usage utc-time validate verbose win32-loader zsync"""
SCRIPTS = {
    "lb config -d sid --cache=false \\\n  --mode debian \"${@}\"": {"distribution": "sid", "cache": "false", "mode": "debian"},
    "A='x y'; C=1\nB=\"$A\"\nlb config --iso-volume \"$B z\" noauto": {"iso-volume": "x y z"},
    "lb_config --iso-volume '$HOME' --debug": {"iso-volume": "$HOME", "debug": "true"},
    "cat >x <<'E'\nit's\nE\necho it's\nlb config --mode x \\\n  --cache y \\": {"mode": "x", "cache": "y"},
    "O=(--cache false)\nO+=( --mode\n debian )\nlh config \"${O[@]}\"": {"cache": "false", "mode": "debian"},
    ": ${D:=sid}\nexport E=${F:-none}\nlb config -d $D --memtest $E && lb build --x y": {"distribution": "sid", "memtest": "none"},
    "lb config --image-name \"a-$(date +\"%F\")\" -a $(dpkg --print-architecture)": {"image-name": "a-\0$(date +\"%F\")", "architecture": "amd64"},
}  # fmt: skip


def run(*words: str) -> int:
    return inv(Collection(build=build.namespace), "build.import-live-build", *words)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = project(tmp_path / "project")
    monkeypatch.chdir(settings.project.root)
    return settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = shutil.copytree(MODELS / "lifeboat", tmp_path / "lifeboat", symlinks=True)
    (copy / "config/includes.chroot_after_packages/etc/sudoers.d/lecture").chmod(
        0o440
    )  # which git does not keep
    return copy


@pytest.mark.parametrize("name", SAID)
def test_a_configuration_becomes_a_profile_that_loads(settings: Settings, folder: Path, name: str) -> None:
    folder = folder if name == "lifeboat" else MODELS / name
    made = import_folder(settings, folder)
    data = settings.project.build_data
    profiles.load(data / "profiles", name)
    found, left = (
        yaml.safe_load(made.text),
        "\n".join(f"{one.where}: {one.what}: {one.why}" for one in made.left),
    )
    known = profiles.keys()
    for key, value in SAID[name].items():
        if key in known:
            assert found[key] == value, key
        else:
            assert f"profiles have no key {key!r}" in left
    for words in LEFT[name]:
        assert words in left
        assert words in made.text
    # whatever is in the folder is copied, named, or of live-build itself
    without = {"config/common", "auto/config", "config/hooks/normal/8030-truncate-log-files.hook.chroot",
               "config/hooks/live/0010-disable-kexec-tools.hook.chroot", "config/archives/vendor.key.chroot",
               "config/archives/vendor.pref.chroot", "config/chroot_sources/old.chroot.gpg"}  # fmt: skip
    copied = [path.name for path in data.rglob("*")]
    lost = [path for path in folder.rglob("*") if not path.is_dir() and path.name not in copied]
    assert not [
        one
        for one in (str(path.relative_to(folder)) for path in lost)
        if one not in made.text and one not in without
    ]


def test_files_are_copied_as_they_are(settings: Settings, folder: Path) -> None:
    import_folder(settings, folder, "boat")
    import_folder(settings, MODELS / "harbour")
    data = settings.project.build_data
    assert os.access(data / "overlays/boat/usr/local/bin/parts", os.X_OK)
    assert (data / "iso/boat/docs/more.txt").read_text() == "More\n"
    assert (data / "overlays/harbour/usr/share/backgrounds/default.ppm").readlink() == Path("harbour.ppm")
    assert not list(data.glob(".import-*"))


def test_names_of_files_write_no_lines_of_their_own(settings: Settings, folder: Path) -> None:
    (folder / "config/package-lists/a\nsuite: sid\x1b[31m.list").write_text("hello\n")
    (folder / "config/includes.chroot_after_packages/\udcff").touch()
    (folder / "config/a\nb\x1b[31m").touch()
    made = import_folder(settings, folder)
    assert yaml.safe_load(made.text)["suite"] == "bookworm"
    assert not [one for one in made.left if "\n" in one.where or "\x1b" in one.where]


def test_every_option_of_live_build_is_known() -> None:
    known = {*tables()["options"], *" ".join(tables()["without_loss"]).split()}
    assert {*OPTIONS.split()} <= known


@pytest.mark.parametrize("text", SCRIPTS)
def test_scripts_are_read_and_not_run(text: str) -> None:
    assert {name: value for name, value, _ in script.script(text, "auto/config", lambda *_: None)} == SCRIPTS[
        text
    ]


@pytest.mark.parametrize(
    "harm", ["nothing", "empty", "name", "taken", "overlay", "huge", "link", "fifo", "unreadable"]
)
def test_what_cannot_be_imported_is_refused_and_nothing_is_written(
    settings: Settings, folder: Path, capfd: pytest.CaptureFixture[str], harm: str
) -> None:
    words, error, data = [str(folder)], ProfileError, settings.project.build_data
    lists = folder / "config/package-lists"
    refusals: dict[str, type[SynosError]] = {"nothing": SettingsError, "empty": SettingsError, "name": SettingsError,
                                             "taken": WouldOverwrite, "overlay": WouldOverwrite}  # fmt: skip
    if harm in {"nothing", "empty"}:
        words = [str(folder / harm)]
        (folder / "empty").mkdir()
    elif harm == "name":
        words += ["--name", "Two Words"]
    elif harm == "taken":
        words += ["--name", NAME]
    elif harm == "overlay":
        (data / "overlays/lifeboat").mkdir()
    elif harm == "huge":
        (lists / "all.list.chroot").write_text("a" * 2**21)
    elif harm == "link":
        (lists / "passwd.list.chroot").symlink_to("/etc/passwd")
    elif harm == "fifo":
        os.mkfifo(folder / "config/includes.binary/fifo")
    else:
        (lists / "tools.list.chroot").unlink()
        (lists / "tools.list.chroot").symlink_to("tools.list.chroot")  # no mode keeps root out
    before = tree(data)
    assert run(*words, "--json") == refusals.get(harm, error).exit_code
    assert json.loads(capfd.readouterr().out)["error"]["kind"] == refusals.get(harm, error).__name__
    assert tree(data) == before


def test_dry_shows_all_and_writes_nothing(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    before = tree(settings.project.build_data)
    namespace = Collection(build=build.namespace)
    assert inv(namespace, "--dry", "build.import-live-build", str(MODELS / "harbour"), "--json") == 0
    shown = answer(capfd, "build.import-live-build")
    assert shown["profile"] == "harbour"
    assert {"where", "what", "why", "hint"} == set(shown["left"][0])
    assert tree(settings.project.build_data) == before
