"""The texts that stages write, and what they clean; without any tool."""

from __future__ import annotations

from pathlib import Path

import pytest

from synos_tasks.errors import ProfileError, StageFailed
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.stages import bootfiles, customise, image, initramfs


def test_the_menu_has_a_normal_and_a_failsafe_entry() -> None:
    text = bootfiles.grub_config(Profile(name="x", kernel_arguments=("quiet", "a=b")), "0123456789ab")
    normal, safe = (line for line in text.splitlines() if line.startswith("    linux "))
    assert normal.split() == [
        "linux", "/live/vmlinuz", "boot=live", "components", "console=tty0", "console=ttyS0,115200", "quiet", "a=b"
    ]  # fmt: skip
    assert safe.startswith(normal)
    assert "nomodeset" in safe
    assert text.count("initrd /live/initrd.img") == 2
    assert text.count("{") == text.count("}")
    assert 'menuentry "SynOS x (0123456789ab)"' in text


def test_the_serial_port_is_grubs_on_bios_alone() -> None:
    lines = bootfiles.grub_config(Profile(name="x"), "0").splitlines()
    assert lines[0] == 'if [ "$grub_platform" = "pc" ]; then'
    assert lines.index("fi") > lines.index("    serial --unit=0 --speed=115200")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("minimal", "SYNOS_MINIMAL"), ("a-b-1", "SYNOS_A_B_1"), ("n" * 60, "SYNOS_" + "N" * 26)],
)
def test_the_volume_id_is_what_iso_9660_allows(name: str, expected: str) -> None:
    assert image.volume_id(name) == expected
    assert len(expected) <= 32


def _files(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def test_clutter_goes_and_the_rest_stays(tmp_path: Path) -> None:
    gone = [
        "etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub", "etc/passwd-", "etc/shadow-", "etc/resolv.conf",
        "var/lib/dpkg/status-old", "var/cache/debconf/config.dat-old", "var/cache/ldconfig/aux-cache", "tmp/a/b",
        "var/log/apt/history.log", "var/log/dpkg.log", "var/lib/apt/lists/deb_InRelease", "dev/null", "run/x/y",
        "usr/lib/python3/__pycache__/a.pyc", "var/cache/apt/archives/a.deb", "var/lib/dbus/machine-id",
    ]  # fmt: skip
    kept = [
        "etc/passwd",
        "etc/shadow",
        "etc/ssh/sshd_config",
        "var/lib/dpkg/status",
        "usr/bin/a",
        "home/a/tmp/b",
    ]
    _files(tmp_path, *gone, *kept, "etc/machine-id")
    customise.clean(tmp_path)
    assert [name for name in gone if (tmp_path / name).exists()] == []
    assert [name for name in kept if not (tmp_path / name).exists()] == []
    assert (tmp_path / "etc/machine-id").read_text() == ""
    assert (tmp_path / "var/log/journal").is_dir()


def test_a_link_among_the_clutter_is_not_followed(tmp_path: Path) -> None:
    _files(tmp_path, "keep/file", "root/etc/a")
    (tmp_path / "root/tmp").mkdir()
    (tmp_path / "root/tmp/link").symlink_to(tmp_path / "keep")
    customise.clean(tmp_path / "root")
    assert (tmp_path / "keep/file").exists()
    assert not (tmp_path / "root/tmp/link").is_symlink()


def test_dates_are_clamped_to_the_newest_release_file(tmp_path: Path) -> None:
    lists = tmp_path / "var/lib/apt/lists"
    lists.mkdir(parents=True)
    assert customise.epoch(tmp_path) == 0
    (lists / "a_InRelease").write_text("Origin: Debian\nDate: Sat, 07 Jun 2025 09:00:00 UTC\n")
    (lists / "b_Release").write_text("Date: Sat, 07 Jun 2025 09:00:01 UTC\nValid-Until: Sun, 08 Jun 2025\n")
    assert customise.epoch(tmp_path) == 1749286801


def test_installed_packages_are_read_from_dpkg(tmp_path: Path) -> None:
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    one = "Package: {}\nStatus: {}\nVersion: 1:2-3\nArchitecture: all\nDescription: a: b\n Status: no field\n"
    status.write_text(
        "\n".join([one.format("b", "install ok installed"), one.format("a", "install ok installed"),
                   one.format("c", "deinstall ok config-files"), one.format("d", "install ok unpacked")])
    )  # fmt: skip
    assert customise.installed(tmp_path) == [("a", "1:2-3", "all"), ("b", "1:2-3", "all")]


def test_an_overlay_replaces_files_and_links_and_keeps_the_rest(tmp_path: Path) -> None:
    overlay, root = tmp_path / "overlay", tmp_path / "root"
    _files(overlay, "etc/a", "usr/bin/run", "new/deep/file")
    (overlay / "usr/bin/run").chmod(0o700)
    (overlay / "etc/a").chmod(0o600)
    (overlay / "etc/link").symlink_to("a")
    _files(root, "etc/b", "outside")
    (root / "etc/a").symlink_to(root / "outside")
    (root / "outside").write_text("untouched")
    customise.copy_overlay(overlay, root)
    assert (root / "outside").read_text() == "untouched", (
        "a link in the root is replaced, not written through"
    )
    assert (root / "etc/a").stat().st_mode & 0o777 == 0o644
    assert (root / "usr/bin/run").stat().st_mode & 0o777 == 0o755
    assert (root / "etc/link").readlink() == Path("a")
    assert (root / "etc/b").exists()
    assert (root / "new/deep/file").exists()


@pytest.mark.parametrize(
    ("in_overlay", "in_root", "words"),
    [("etc", "etc/kept", "is a file, in the root it is a folder"),
     ("etc/a/b", "etc/a", "is a folder, in the root it is a file")],
)  # fmt: skip
def test_an_overlay_never_replaces_a_folder_or_hides_a_file(
    tmp_path: Path, in_overlay: str, in_root: str, words: str
) -> None:
    root, overlay = tmp_path / "root", tmp_path / "overlay"
    _files(root, in_root)
    _files(overlay, in_overlay)
    with pytest.raises(ProfileError) as caught:
        customise.copy_overlay(overlay, root)
    assert words in caught.value.what
    assert (root / in_root).exists()


def test_a_link_may_not_replace_a_folder(tmp_path: Path) -> None:
    _files(tmp_path, "root/etc/kept")
    (tmp_path / "overlay").mkdir()
    (tmp_path / "overlay/etc").symlink_to("elsewhere")
    with pytest.raises(ProfileError, match="is a link"):
        customise.copy_overlay(tmp_path / "overlay", tmp_path / "root")


def test_a_root_without_a_kernel_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(StageFailed) as caught:
        initramfs.kernel_version(tmp_path)
    assert "linux-image-amd64" in caught.value.hint


def test_the_kernel_of_the_root(tmp_path: Path) -> None:
    _files(tmp_path, "boot/vmlinuz-6.1.0-37-amd64", "usr/sbin/mkinitramfs")
    assert initramfs.kernel_version(tmp_path) == "6.1.0-37-amd64"
