"""What stages write, install, run and clean, and how they fail; without any tool."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.errors import ComponentError, ComponentMissing, HookFailed, ProfileError, StageFailed
from synos_tasks.iso import publish
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.protocol import Start
from synos_tasks.iso.root import clean
from synos_tasks.iso.run import Runner
from synos_tasks.iso.stages import bootfiles, components, hooks, initramfs, packages, system
from synos_tasks.iso.store import Entry, Store
from synos_tasks.iso.tools import BuildContext
from tests.unit.contexts import build_context, fake_tools, files, inputs_for, put_entry, sent
from tests.unit.plans import BASE, LOCK, planned, saying

PLAIN = Profile(name="x")
PLAN = planned(dataclasses.replace(BASE, components=("tool", "agent")))


def test_the_menu_is_what_the_profile_says() -> None:
    boot = {"timeout": 9, "entries": [{"title": "Kiosk", "arguments": ["kiosk"]}], "persistence": True}
    text = bootfiles.grub_config(saying(PLAIN, boot=boot), "0123456789ab", ["6.1-amd64"], 6)
    assert "set timeout=9\n" in text
    assert [shlex.split(line)[1] for line in text.splitlines() if line.startswith("menuentry")] == [
        "Kiosk", "SynOS x, changes are kept"
    ]  # fmt: skip
    assert [shlex.split(line)[-1] for line in text.splitlines() if line.startswith("    linux ")] == [
        "kiosk",
        "persistence",
    ]


def test_the_menu_has_a_normal_and_a_failsafe_entry_and_one_for_each_further_kernel() -> None:
    profile = saying(PLAIN, kernel_arguments=["quiet", 'a="b $c"'])
    text = bootfiles.grub_config(profile, "0123456789ab", ["6.1-amd64", "6.1-rt-amd64"], 6)
    normal, safe, further = (line for line in text.splitlines() if line.startswith("    linux "))
    assert shlex.split(normal) == [
        "linux", "/live/vmlinuz", "boot=live", "console=tty0", "console=ttyS0,115200", "quiet", "a=b $c"
    ]  # fmt: skip
    assert safe.startswith(normal)
    assert "nomodeset" in safe
    assert further == normal.replace("/live/vmlinuz", "/live/vmlinuz-6.1-rt-amd64")
    assert text.count("initrd /live/initrd.img\n") == 2
    assert text.count("initrd /live/initrd.img-6.1-rt-amd64\n") == 1
    assert text.count("{") == text.count("}")
    assert "menuentry 'SynOS x (0123456789ab)'" in text
    assert "menuentry 'SynOS x, Linux 6.1-rt-amd64'" in text


def test_a_menu_with_a_picture_is_on_the_serial_port_everywhere() -> None:
    profile = saying(PLAIN, distribution={**BASE.values["distribution"], "splash": "x.png"})
    text = bootfiles.grub_config(profile, "0123456789ab", ["6.1-amd64"], 1)
    _, *outputs = (line.split() for line in text.splitlines() if "terminal_output" in line)
    assert outputs == [["terminal_output", "gfxterm", "serial"]] * 2


@pytest.mark.parametrize(("count", "devices"), [(1, None), (6, None), (7, 15), (14, 22)])
def test_there_is_a_loop_device_for_each_layer(count: int, devices: int | None) -> None:
    text = bootfiles.grub_config(PLAIN, "0123456789ab", ["6.1-amd64"], count)
    assert text.count(f"loop.max_loop={devices}") == (2 if devices else 0)
    assert ("max_loop" in text) is bool(devices)


def test_clutter_goes_and_the_rest_stays(tmp_path: Path) -> None:
    gone = [
        "etc/passwd-", "etc/shadow-", "etc/resolv.conf",
        "var/lib/dpkg/status-old", "var/cache/debconf/config.dat-old", "var/cache/ldconfig/aux-cache", "tmp/a/b",
        "var/log/apt/history.log", "var/log/dpkg.log", "var/lib/apt/lists/deb_InRelease", "dev/null", "run/x/y",
        "usr/lib/python3/__pycache__/a.pyc", "var/cache/apt/archives/a.deb", "var/lib/dbus/machine-id",
        "usr/share/doc/a/changelog.gz", "usr/share/doc/a/deep/b", "usr/share/info/a.info.gz", "debootstrap/a",
    ]  # fmt: skip
    kept = [
        "etc/passwd", "etc/shadow", "etc/ssh/sshd_config", "var/lib/dpkg/status", "usr/bin/a",
        "usr/share/doc/a/copyright", "home/a/tmp/b",
    ]  # fmt: skip
    files(
        tmp_path,
        *gone,
        *kept,
        "etc/machine-id",
        "var/log/nginx/access.log",
        "var/log/owned",
        "var/lib/dpkg/info/a.list",
    )
    (tmp_path / "var/lib/dpkg/info/a.list").write_text(
        "/var/log\n/var/log/owned\n/usr/share/doc/a/changelog.gz\n"
    )
    (tmp_path / "var/log/nginx").chmod(0o2750)
    clean(tmp_path)
    assert [path.name for path in (tmp_path / "var/log/nginx").parent.iterdir() if path.is_file()] == [
        "owned"
    ]
    assert (tmp_path / "var/log/nginx").stat().st_mode & 0o7777 == 0o2750
    assert not list((tmp_path / "var/log/nginx").iterdir())
    assert [name for name in gone if (tmp_path / name).exists()] == []
    assert [name for name in kept if not (tmp_path / name).exists()] == []
    assert (tmp_path / "etc/machine-id").read_text() == ""
    assert (tmp_path / "var/log/journal").is_dir()


@pytest.mark.parametrize(("link", "stays"), [("tmp/link", False), ("dev", True)])
def test_no_link_is_cleaned_through(tmp_path: Path, link: str, stays: bool) -> None:
    files(tmp_path, "outside/kept", "root/etc/a", "root/tmp/a")
    (tmp_path / "root" / link).symlink_to(tmp_path / "outside")
    clean(tmp_path / "root")
    assert (tmp_path / "outside/kept").exists()
    assert (tmp_path / "root" / link).is_symlink() is stays


KEY = f"ssh-ed25519 {'A' * 68} ann@box"
VALUES = {
    "hostname": "box",
    "locale": "de_DE.UTF-8",
    "locales": ["fr_FR.UTF-8"],
    "keyboard": {"layout": "us,cz", "variant": ",bksl", "model": "pc104", "options": "grp:alt_shift_toggle"},
    "users": [
        {"name": "synos", "autologin": True, "sudo": "nopasswd"},
        {"name": "ann", "full_name": "Ann", "uid": 2000, "groups": ["sudo", "audio"], "password_hash": "$6$x", "ssh_keys": [KEY]},
    ],
    "services": {"enable": ["x"], "mask": ["y.timer"]},
}  # fmt: skip


@pytest.fixture
def context(tmp_path: Path) -> Iterator[BuildContext]:
    profile = Profile(
        name="x",
        mirror="http://a.example/debian",
        values={**PLAIN.values, **VALUES, "hooks": ["hooks/x"]},
        origins={
            "hooks/x": "x.yaml:2:5",
            "users[1].groups[1]": "x.yaml:9:9",
            "services.enable[0]": "x.yaml:8:8",
        },
    )
    with build_context(tmp_path, profile) as made:
        files(made.root, "etc/apt/sources.list", "etc/dpkg/dpkg.cfg.d/x", "usr/sbin/x", "var/cache/x", "usr/sbin/sshd",
              "usr/sbin/lightdm", "usr/lib/systemd/system/x.service")  # fmt: skip
        (made.root / "etc/passwd").write_text("root:x:0:0::/root:/bin/bash\n")
        (made.root / "etc/group").write_text("sudo:x:27:\naudio:x:29:\n")
        files(made.docker_build, "hooks/x")
        (made.docker_build / "hooks/x").write_text("#!/usr/sbin/x\n")
        yield made


def test_the_system_is_what_the_profile_says(context: BuildContext, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts: list[str] = []
    monkeypatch.setattr(BuildContext, "run_inside", lambda *_, stdin, **__: scripts.append(stdin))
    system.make(inputs_for(context, PLAN, "system"), context.root)
    etc = context.root / "etc"
    texts = {
        name: (etc / name).read_text().splitlines()
        for name in ("apt/sources.list", "hostname", "hosts", "default/locale", "locale.gen", "timezone", "default/keyboard",
                     "ssh/sshd_config.d/10-synos.conf")
    }  # fmt: skip
    assert texts["apt/sources.list"] == context.profile.sources
    assert texts["hostname"] == ["box"]
    assert "127.0.1.1\tbox" in texts["hosts"]
    assert texts["default/locale"] == ["LANG=de_DE.UTF-8"]
    assert texts["locale.gen"] == ["de_DE.UTF-8 UTF-8", "fr_FR.UTF-8 UTF-8"]
    assert texts["timezone"] == ["Etc/UTC"]
    assert {'XKBLAYOUT="us,cz"', 'XKBVARIANT=",bksl"', 'XKBOPTIONS="grp:alt_shift_toggle"'} <= set(
        texts["default/keyboard"]
    )
    assert "PasswordAuthentication no" in texts["ssh/sshd_config.d/10-synos.conf"]
    assert (etc / "localtime").readlink() == Path("/usr/share/zoneinfo/Etc/UTC")
    assert (
        "--autologin synos" in (etc / "systemd/system/getty@tty1.service.d/synos-autologin.conf").read_text()
    )
    assert "autologin-user=synos" in (etc / "lightdm/lightdm.conf.d/50-synos.conf").read_text()
    assert not (etc / "gdm3").exists()
    assert (etc / "sudoers.d/synos-synos").stat().st_mode & 0o777 == 0o440
    ran = [line for line in scripts[0].splitlines() if not line.startswith("echo ")]
    assert "useradd --create-home --user-group --shell=/bin/bash --comment=Ann --uid=2000 ann" in ran
    assert "usermod --append --groups=sudo,audio ann" in ran
    assert "printf %s '$6$x" not in scripts[0], "the name belongs in front"
    assert "printf %s 'ann:$6$x" in scripts[0]
    assert KEY in scripts[0]
    assert {"locale-gen", "systemctl enable x.service", "systemctl mask y.timer"} <= set(ran)


@pytest.mark.parametrize(
    ("values", "what", "place"),
    [
        ({"users": [{"name": "a"}, {"name": "b", "groups": ["sudo", "audoi"]}]}, "there is no group 'audoi'", "x.yaml:9:9"),
        ({"users": [{"name": "a", "shell": "/bin/fish"}]}, "there is no /bin/fish", "users[0].shell"),
        ({"services": {"enable": ["nginx"]}}, "there is no unit nginx.service", "x.yaml:8:8"),
        ({"timezone": "Europe/Berlin"}, "tzdata has no time zone 'Europe/Berlin'", "timezone"),
    ],
)  # fmt: skip
def test_what_only_the_system_can_tell_has_its_place_too(
    context: BuildContext, values: dict[str, Any], what: str, place: str
) -> None:
    profile = dataclasses.replace(context.profile, values={**context.profile.values, **values})
    with pytest.raises(ProfileError) as caught:
        system.make(inputs_for(dataclasses.replace(context, profile=profile), PLAN, "system"), context.root)
    assert (caught.value.what, caught.value.where) == (what, place)
    assert caught.value.hint


def test_a_group_that_no_package_makes_is_made_once(
    context: BuildContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts: list[str] = []
    monkeypatch.setattr(BuildContext, "run_inside", lambda *_, stdin, **__: scripts.append(stdin))
    users = [{"name": "a", "groups": ["netdev", "audio"]}, {"name": "b", "groups": ["netdev", "a"]}]
    profile = dataclasses.replace(context.profile, values={**context.profile.values, "users": users})
    system.make(inputs_for(dataclasses.replace(context, profile=profile), PLAN, "system"), context.root)
    lines = scripts[0].splitlines()
    assert lines.count("groupadd --system netdev") == 1
    assert lines.index("groupadd --system netdev") < lines.index("usermod --append --groups=netdev,audio a")
    assert not any("groupadd" in line and "audio" in line for line in lines)


def test_a_command_that_fails_is_blamed_on_its_key(
    context: BuildContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_inside(*_: object, on_failure: Callable[[int, Sequence[str]], Exception], **__: object) -> None:
        raise on_failure(9, ["synos-step 0", "synos-step 1", "useradd: UID 2000 is not unique"])

    monkeypatch.setattr(BuildContext, "run_inside", run_inside)
    with pytest.raises(ProfileError) as caught:
        system.make(inputs_for(context, PLAN, "system"), context.root)
    assert caught.value.why == "useradd: UID 2000 is not unique"


def test_the_initramfs_is_made_of_a_copy_of_the_system_with_links_below_usr_alone(tmp_path: Path) -> None:
    root, copy = tmp_path / "root", tmp_path / "copy"
    names = ["boot/vmlinuz-6", "etc/a", "usr/lib/a", "usr/share/plymouth/a", "var/lib/dpkg/status", "root/a"]
    files(root, *names, "home/a")
    (root / "lib").symlink_to("usr/lib")
    os.mkfifo(root / "etc/pipe")
    initramfs.prepare(root, copy)
    assert (copy / "root/lib").readlink() == Path("usr/lib")
    for name in names:
        usr = name.startswith("usr/")
        assert (copy / name if usr else copy / "root" / name).samefile(root / name) is usr
    assert not list((copy / "root/usr").iterdir())
    assert [path.name for path in (copy / "root/etc").iterdir()] == ["a"]


def _cpio(*names: str) -> bytes:
    headers = (b"070701" + b"0" * 104 + name.encode() + b"\0" for name in (*names, "TRAILER!!!"))
    return b"".join(headers).ljust(512, b"\0")


@pytest.mark.parametrize("before", [(), ("kernel/x86/microcode/AuthenticAMD.bin",), ("a.ko.xz", "init.d/x")])
def test_what_is_before_init_stays_uncompressed(tmp_path: Path, before: tuple[str, ...]) -> None:
    early = _cpio(*before) if before else b""
    archive = tmp_path / "initrd.cpio"
    archive.write_bytes(early + _cpio("bin/init", "init") + _cpio("later"))
    assert initramfs.start_of_init(archive) == len(early)
    archive.write_bytes(_cpio("bin/init"))
    with pytest.raises(StageFailed, match="/init"):
        initramfs.start_of_init(archive)


def test_an_initramfs_without_what_live_boot_needs_is_refused() -> None:
    modules = ["a/loop.ko", "a/squashfs.ko", "a/overlay.ko"]
    names = ["init", "scripts/live", "usr/lib/live/boot/9990-main.sh", *modules]
    initramfs._refuse_incomplete(names)
    for missing in range(len(names)):
        with pytest.raises(StageFailed, match="the initramfs has no"):
            initramfs._refuse_incomplete([*names[:missing], *names[missing + 1 :]])


def test_the_newest_kernel_is_the_first_and_none_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(StageFailed) as caught:
        initramfs.kernel_versions(tmp_path)
    assert "linux-image-amd64" in caught.value.hint
    kernels = ["6.12.3-amd64", "6.1.0-37-amd64", "6.1.0-37-rt-amd64", "6.1.0-37-cloud-amd64", "6.1.0-9-amd64"]
    files(tmp_path, *(f"boot/vmlinuz-{kernel}" for kernel in sorted(kernels)), "usr/sbin/mkinitramfs")
    assert initramfs.kernel_versions(tmp_path) == [*kernels[:2], *sorted(kernels[2:4], key=len), kernels[4]]
    names = initramfs.files_of(kernels)
    assert names[kernels[0]] == ("vmlinuz", "initrd.img")
    assert names[kernels[1]] == (f"vmlinuz-{kernels[1]}", f"initrd.img-{kernels[1]}")


# ---- packages and hooks


STATUS = "Package: {}\nStatus: install ok {}\nInstalled-Size: 2\nArchitecture: amd64\nVersion: 1\n"


def test_a_hook_leaves_nothing_of_itself(context: BuildContext, monkeypatch: pytest.MonkeyPatch) -> None:
    status = context.root / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "\n".join(STATUS.format(*one) for one in [("kept", "installed"), ("purged", "installed")])
    )

    def act(argv: list[str]) -> None:
        hook = context.root / argv[-1].lstrip("/")
        assert os.access(hook, os.X_OK)
        assert (context.root / "usr/sbin/policy-rc.d").read_text() == "#!/bin/sh\nexit 101\n"
        files(context.root, "usr/lib/made", "var/log/by-the-hook")
        new = [("kept", "installed"), ("new", "installed"), ("half", "half-configured")]
        status.write_text("\n".join(STATUS.format(*one) for one in new))

    ran = fake_tools(monkeypatch, act)
    made = hooks.make(inputs_for(context, PLAN, "hook-x"), context.root)
    assert [(one["name"], one["installed_bytes"]) for one in made["hooks_installed"]] == [("new", 2048)]
    assert made["hooks_removed"] == ["purged"]
    assert not (context.root / "usr/sbin/policy-rc.d").exists()
    assert ran == [["chroot", str(context.root), "/tmp/synos-hook-x"]]
    assert list((context.root / "tmp").iterdir()) == []
    assert not (context.root / "etc/resolv.conf").exists(), "that of the builder's network"
    assert (context.root / "usr/lib/made").exists()
    assert not (context.root / "var/log/by-the-hook").exists()


@pytest.mark.allow_process(reason="the kernel tells what still runs")
@pytest.mark.parametrize("left", ["sleep 300 &", "sleep 300 >/dev/null 2>&1 &"])
def test_what_a_tool_leaves_running_ends_with_it(context: BuildContext, left: str) -> None:
    began = time.monotonic()
    [process] = context.run("hooks", ["sh", "-c", f"{left} echo $!"])
    while time.monotonic() < began + 60:
        with suppress(FileNotFoundError):
            if Path(f"/proc/{process}/stat").read_text().split()[2] != "Z":
                continue
        break
    assert time.monotonic() < began + 60


@pytest.mark.parametrize(
    ("text", "why", "hint"),
    [
        ("", "does not name a program", "#!/bin/sh"),
        ("echo a\n", "does not name a program", "#!/bin/sh"),
        ("#!\n", "does not name a program", "#!/bin/sh"),
        ("#!/bin/sh\r\necho a\r\n", "CRLF", r"sed -i 's/\r$//' docker/build/hooks/x"),
        ("#!/bin/sh", "", ""),
        ("\x7fELF", "", ""),
    ],
)
def test_a_hook_that_no_system_can_start_is_refused(tmp_path: Path, text: str, why: str, hint: str) -> None:
    (tmp_path / "x").write_bytes(text.encode())
    if not why:
        hooks.refuse_unrunnable(tmp_path / "x", "hooks/x", "x.yaml:2:5")
        return
    with pytest.raises(ProfileError) as caught:
        hooks.refuse_unrunnable(tmp_path / "x", "hooks/x", "x.yaml:2:5")
    assert caught.value.where == "x.yaml:2:5"
    assert why in caught.value.why
    assert hint in caught.value.hint


def test_a_hook_whose_interpreter_is_missing_says_which(
    context: BuildContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = fake_tools(monkeypatch)
    (context.docker_build / "hooks/x").write_text("#!/usr/bin/env python3\n")
    with pytest.raises(HookFailed, match="hooks/x needs /usr/bin/env") as caught:
        hooks.make(inputs_for(context, PLAN, "hook-x"), context.root)
    assert caught.value.where == "x.yaml:2:5"
    assert ran == []


@pytest.mark.parametrize(
    ("touched", "laid", "hidden"),
    [
        (["etc/a", "etc/new/"], {"etc/a": "x/etc/a"}, "etc/a"),
        (["etc/a"], {"etc/a": "", "etc/b": "x/etc/b", "etc/": "x/etc"}, ""),
        (["etc/a"], {"etc/a": "read/etc/a"}, ""),
        (["etc/a"], {"etc/a": "readable/a"}, "etc/a"),
        (
            ["opt/a/b/c"],
            {"opt/a": "x/opt/a"},
            "opt/a",
        ),  # a link of an overlay, through which the hook would have written
        (["opt"], {"opt/a/b": "x/opt/a/b"}, "opt/a/b"),  # a folder that the hook removed
        (["opt/", "opt/a"], {"opt/": "x/opt", "opt/b": "x/opt/b"}, "opt"),
        (["opt/a"], {"opt/": "x/opt", "opt/b": "x/opt/b", "op": "x/op"}, ""),
    ],
)
def test_a_hook_hides_nothing_of_an_overlay_that_it_does_not_read(
    touched: list[str], laid: dict[str, str], hidden: str
) -> None:
    profile = saying(PLAIN, hooks=[{"script": "hooks/x", "inputs": ["./read/"]}])
    with pytest.raises(ProfileError) if hidden else nullcontext() as caught:
        hooks.refuse_overlaid(profile, "hook-x", touched, laid)
    if caught is not None:
        assert caught.value.what.startswith(f"hook hooks/x changes /{hidden}, ")
        assert (laid.get(hidden) or laid[f"{hidden}/"]) in caught.value.hint


def _failing(monkeypatch: pytest.MonkeyPatch, status: int, lines: list[str]) -> None:
    """Let every tool fail with some last words."""

    def run(
        *_: object, on_failure: Callable[[int, Sequence[str]], Exception | None], **_more: object
    ) -> None:
        raise on_failure(status, lines) or StageFailed("what the lines say")

    monkeypatch.setattr(BuildContext, "run", run)


def test_a_failed_hook_is_named_with_its_place_and_its_last_lines(
    context: BuildContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    _failing(monkeypatch, 7, [f"line {number}" for number in range(20)])
    with pytest.raises(HookFailed) as caught:
        hooks.make(inputs_for(context, PLAN, "hook-x"), context.root)
    assert (caught.value.what, caught.value.where) == ("hook hooks/x ended with 7", "x.yaml:2:5")
    assert caught.value.why.splitlines() == [f"line {number}" for number in range(10, 20)]


def test_packages_are_installed_without_starting_services(
    context: BuildContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, "repository/vim.deb", "repository/acl.deb", "repository/Packages")

    def act(_argv: list[str]) -> None:
        assert (context.root / "usr/sbin/policy-rc.d").read_text().endswith("exit 101\n")
        assert os.access(context.root / "usr/sbin/policy-rc.d", os.X_OK)
        assert "force-confold" in (context.root / "etc/dpkg/dpkg.cfg.d/99synos").read_text().splitlines()
        assert (context.root / "var/cache/synos/acl.deb").read_text() == "x"

    ran = fake_tools(monkeypatch, act)
    asked = {**context.profile.values, "debconf": ["vim a/b string c", "nano a/b string c"]}
    context = dataclasses.replace(context, profile=dataclasses.replace(context.profile, values=asked))
    inputs = inputs_for(context, PLAN, "packages-x", folder=tmp_path / "repository")
    assert packages.make(inputs, context.root) == {"installed": {"acl": 7, "vim": 7}}
    assert [argv[-2:] for argv in ran] == [["/var/cache/synos/acl.deb", "/var/cache/synos/vim.deb"]]
    assert "--no-install-recommends" in ran[0]
    assert 'debconf-set-selections && exec "$@"' in ran[0]
    for left in ("usr/sbin/policy-rc.d", "etc/dpkg/dpkg.cfg.d/99synos", "var/cache/synos"):
        assert not (context.root / left).exists()


# ---- components: found in the store or told, installed above all, in the manifest

UNMET = [
    "Some packages could not be installed. This may mean that you have",
    "The following packages have unmet dependencies:",
    " synos-agent : Depends: libsystemd-extra (>= 2) but it is not installable",
    "               Depends: other but it is not going to be installed",
    " synos-tool : Depends: less but it is not installable",
    "E: Unable to correct problems, you have held broken packages.",
]


def _package(name: str, **more: object) -> dict[str, Any]:
    return {
        "name": name, "version": "1.0", "architecture": "amd64", "sha256": "d" * 64,
        "file": f"{name}_1.0_amd64.deb", "bytes": 3, "installed_bytes": 4096, **more,
    }  # fmt: skip


def _compiled(store: Store, name: str, *packages: dict[str, Any]) -> Entry:
    """Put a component into the store, as its compilation does."""
    facts = {"packages": list(packages or [_package(name)]), "caches": {}}
    content = {package["file"]: package["name"].encode() for package in facts["packages"]}
    return put_entry(store, PLAN.stage(f"component-{name}").key, content, facts)


@pytest.mark.parametrize("there", [(), ("tool",), ("agent",)])
def test_what_is_not_compiled_is_named_before_any_work(
    context: BuildContext, store: Store, monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...]
) -> None:
    ran = fake_tools(monkeypatch)
    for name in there:
        _compiled(store, name)
    before = sorted(context.work.rglob("*"))
    missing = [name for name in PLAN.profile.components if name not in there]
    with pytest.raises(ComponentMissing) as caught:
        Runner(context, PLAN, store).run()
    assert caught.value.what == f"not compiled yet: {', '.join(missing)}"
    assert ran == []
    assert sorted(context.work.rglob("*")) == before
    assert list(context.output.iterdir()) == []
    assert not any(isinstance(event, Start) for event in sent(context))


def test_the_manifest_lists_packages_of_the_lock_then_those_of_components_and_of_hooks(
    context: BuildContext, store: Store
) -> None:
    hooked = {"name": "by-hook", "version": "1", "architecture": "all", "sha256": "", "layer": "hooks",
              "bytes": 0, "installed_bytes": 1}  # fmt: skip
    facts = {"hooks_installed": [hooked], "hooks_removed": ["vim"]}
    layer = Entry("k", context.work, {"installed": {"sudo": 5000}, "removed": [], **facts})
    two = _compiled(store, "tool", _package("tool"), _package("tool-data", installed_bytes=7))
    (context.output / publish.ISO).write_bytes(b"iso")
    publish.deliver(context, PLAN, [layer, two, _compiled(store, "agent")], {}, [])
    packages = json.loads((context.output / publish.MANIFEST).read_text())["packages"]
    locked = [package.name for package in LOCK.packages if package.name != "vim"]
    assert [package["name"] for package in packages] == [*locked, "tool", "tool-data", "agent", "by-hook"]
    assert packages[-3] == {
        "name": "tool-data", "version": "1.0", "architecture": "amd64", "sha256": "d" * 64,
        "layer": "components", "bytes": 3, "installed_bytes": 7,
    }  # fmt: skip
    # whoever reads the manifest need not know where a package comes from
    assert {tuple(sorted(package)) for package in packages} == {tuple(sorted(packages[0]))}


def test_a_dependency_that_the_profile_lacks_is_named(
    context: BuildContext, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    _failing(monkeypatch, 100, UNMET)
    with pytest.raises(ComponentError) as caught:
        components.make(
            inputs_for(context, PLAN, "components", compiled=[_compiled(store, "agent")]), context.root
        )
    assert caught.value.what == "synos-agent needs libsystemd-extra, which the profile does not have"
    assert "synos-agent : Depends: libsystemd-extra (>= 2)" in caught.value.why
    assert "synos-tool : Depends: less" in caught.value.why
    assert "`depends:`" in caught.value.hint


DEBIAN = st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,15}", fullmatch=True)


@given(DEBIAN, DEBIAN, st.sampled_from(["", " (= 1.2-3)", " (>= 2:1~rc1)"]), st.integers(1, 4))
def test_whatever_is_unmet_is_named_whole(name: str, needs: str, version: str, indent: int) -> None:
    line = f"{' ' * indent}{name} : Depends: {needs}{version} but it is not installable"
    error = components._unmet(["Reading package lists...", line])
    assert error is not None
    assert error.what == f"{name} needs {needs}, which the profile does not have"
    assert f"add {needs} " in error.hint
    assert components._unmet(UNMET[:2]) is None, "any other failure is explained as those of other stages"
