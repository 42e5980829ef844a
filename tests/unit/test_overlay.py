"""Overlays become a layer over what the layers below hold, as `unsquashfs -lln` lists it: none of their folders is replaced."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, cast

import pytest

from synos_tasks.errors import ProfileError
from synos_tasks.iso import distribution
from synos_tasks.iso.layers import Listing, settle_files
from synos_tasks.iso.pool import Pool
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.stages import identity, overlay
from synos_tasks.iso.tools import BuildContext
from tests.unit.contexts import EPOCH, Laid, build_context, files, inputs_for, warnings
from tests.unit.plans import planned, saying

BASE = """\
drwxr-xr-x 0/0                92 2026-11-23 11:22 squashfs-root
drwxr-xr-x 0/0                60 2026-11-23 11:22 squashfs-root/etc
-rw-r----- 0/42              512 2026-11-23 11:22 squashfs-root/etc/shadow
-rw-r--r-- 0/0                 7 2026-11-23 11:22 squashfs-root/etc/a name with  spaces
drwxr-x--- 0/101              30 2026-11-23 11:22 squashfs-root/etc/polkit-1
drwx--x--x 0/101              30 2026-11-23 11:22 squashfs-root/etc/polkit-1/rules.d
-rw-r--r-- 0/0                30 2026-11-23 11:22 squashfs-root/etc/polkit-1/rules.d/a
drwxrwsr-x 0/50                3 2026-11-23 11:22 squashfs-root/var-local
lrwxrwxrwx 0/0                 7 2026-11-23 11:22 squashfs-root/bin -> usr/bin
lrwxrwxrwx 0/0                 9 2026-11-23 11:22 squashfs-root/a link -> to somewhere else
-rwsr-xr-x 0/0            281624 2026-11-23 11:22 squashfs-root/su -> do
crw-rw-rw- 0/0             1,  3 2026-11-23 11:22 squashfs-root/null
brw-rw---- 0/6           254,  0 2026-11-23 11:22 squashfs-root/vda
c--------- 0/0             0,  0 2026-11-23 11:22 squashfs-root/hidden
prw-r--r-- 0/0                 0 2026-11-23 11:22 squashfs-root/pipe
srwxr-xr-x 1000/1000           0 2026-11-23 11:22 squashfs-root/socket
"""


def _listing(*layers: tuple[str, list[str]]) -> Listing:
    listing = Listing()
    for text, removed in layers:
        listing.add(text.splitlines(), removed)
    return listing


@pytest.mark.parametrize(
    ("path", "kind"),
    [("", "a folder"), ("etc", "a folder"), ("etc/shadow", "a file"), ("etc/a name with  spaces", "a file"),
     ("bin", "a link"), ("a link", "a link"), ("su -> do", "a file"), ("null", "a file"), ("vda", "a file"),
     ("pipe", "a file"), ("socket", "a file"), ("hidden", ""), ("nowhere", ""), ("etc/a", ""), ("bin/a", "")],
)  # fmt: skip
def test_each_line_tells_what_a_path_is(path: str, kind: str) -> None:
    assert _listing((BASE, [])).kind(path) == kind


def _line(kind: str, path: str) -> str:
    return f"{kind} 0/0 {'0,  0' if kind[0] == 'c' else 1} 2026-11-23 11:22 squashfs-root/{path}"


@pytest.mark.parametrize(
    ("above", "removed", "kinds"),
    [
        (["-rw-r--r-- bin", "drwxr-xr-x etc", "-rw-r--r-- etc/new"], ["bin"],
         {"bin": "a file", "etc/new": "a file", "etc/shadow": "a file"}),
        (["c--------- etc/polkit-1"], ["etc/polkit-1", "su -> do"],
         {"etc/polkit-1": "", "etc/polkit-1/rules.d/a": "", "su -> do": "", "etc/shadow": "a file"}),
        (["drwxr-xr-x etc/pol", "-rw-r--r-- etc/pol/a"], ["etc/polkit-1"],
         {"etc/polkit-1/rules.d": "", "etc/pol": "a folder", "etc/pol/a": "a file"}),
        (["-rw-r--r-- etc/polkit-1", "drwx------ etc/shadow", "-rw-r--r-- etc/shadow/a"], ["etc/polkit-1", "etc/shadow"],
         {"etc/polkit-1": "a file", "etc/polkit-1/rules.d": "", "etc/shadow": "a folder", "etc/shadow/a": "a file"}),
        ([], ["etc/pol", "et"], {"etc/polkit-1": "a folder", "etc": "a folder"}),
    ],
    ids=["adds and replaces", "hides with all below", "begins alike", "folder and file change places", "prefix"],
)  # fmt: skip
def test_a_layer_is_laid_over_those_below(
    above: list[str], removed: list[str], kinds: dict[str, str]
) -> None:
    lines = "\n".join(_line(*line.split(" ")) for line in above)
    listing = _listing((BASE, []), (lines, removed))
    assert {path: listing.kind(path) for path in kinds} == kinds


@pytest.fixture(autouse=True)
def owners(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """Owners that folders were given: who is not root may give none, and so they are only noted."""
    noted: dict[str, tuple[int, int]] = {}
    monkeypatch.setattr(os, "chown", lambda path, uid, gid, **_: noted.update({str(path): (uid, gid)}))
    return noted


def test_parents_get_the_modes_and_owners_they_have_below(
    tmp_path: Path, owners: dict[str, tuple[int, int]]
) -> None:
    listing = _listing((BASE, []), (_line("drwx------", "etc"), []))
    listing.make_parents(tmp_path, "etc/polkit-1/rules.d/new/file")
    listing.make_parents(tmp_path, "var-local/a")
    wanted = {
        "etc": (0o700, (0, 0)),  # the uppermost layer decides
        "etc/polkit-1": (0o750, (0, 101)),
        "etc/polkit-1/rules.d": (0o711, (0, 101)),
        "etc/polkit-1/rules.d/new": (0o755, (0, 0)),  # there is none below
        "var-local": (0o2775, (0, 50)),
    }
    found = {str(path): (tmp_path / path).stat().st_mode & 0o7777 for path in wanted}
    assert {path: (found[path], owners[str(tmp_path / path)]) for path in wanted} == wanted
    assert not (tmp_path / "etc/polkit-1/rules.d/new/file").exists()


def test_modes_of_folders_that_are_gone_are_forgotten(
    tmp_path: Path, owners: dict[str, tuple[int, int]]
) -> None:
    _listing((BASE, []), ("", ["etc/polkit-1"])).make_parents(tmp_path, "etc/polkit-1/rules.d/a")
    for path in ("etc/polkit-1", "etc/polkit-1/rules.d"):
        assert (tmp_path / path).stat().st_mode & 0o7777 == 0o755
        assert owners[str(tmp_path / path)] == (0, 0)


# ---- overlays

PROFILE = Profile(name="x", suite="bookworm")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def _below(**kinds: str) -> Listing:
    """Layers with these paths: ``d`` a folder, ``l`` a link, ``-`` a file; two underscores stand for a slash."""
    lines = [_line(f"{letter}rwxr-x---", path.replace("__", "/")) for path, letter in kinds.items()]
    return _listing(("\n".join(lines), []))


def test_an_overlay_adds_and_replaces_files_and_links(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "overlay"
    files(source, "etc/a", "usr/bin/run", "new/deep/file")
    (source / "usr/bin/run").chmod(0o700)
    (source / "etc/a").chmod(0o600)
    (source / "etc/link").symlink_to("a")
    overlay.copy(source, _below(etc="d", etc__a="-", etc__link="-"), target)
    modes = {"etc/a": 0o644, "usr/bin/run": 0o755, "etc": 0o750, "new": 0o755}  # etc's is what it is below
    assert {path: (target / path).stat().st_mode & 0o777 for path in modes} == modes
    assert (target / "etc/link").readlink() == Path("a")
    assert (target / "new/deep/file").read_text() == "x"


def test_a_link_below_is_replaced_and_not_written_through(tmp_path: Path, target: Path) -> None:
    files(tmp_path, "overlay/etc/a", "outside")
    (tmp_path / "outside").write_text("untouched")
    (target / "etc").mkdir()
    (target / "etc/a").symlink_to(tmp_path / "outside")
    overlay.copy(tmp_path / "overlay", _below(etc="d", etc__a="l"), target)
    assert (tmp_path / "outside").read_text() == "untouched"
    assert not (target / "etc/a").is_symlink()


@pytest.mark.parametrize(
    ("in_overlay", "below", "words"),
    [("etc", {"etc": "d", "etc__kept": "-"}, "/etc is a file, in the root it is a folder"),
     ("etc/a/b", {"etc": "d", "etc__a": "-"}, "/etc/a is a folder, in the root it is a file"),
     ("opt/a", {"opt": "l"}, "/opt is a folder, in the root it is a link")],
)  # fmt: skip
def test_an_overlay_never_replaces_a_folder_or_hides_a_file(
    tmp_path: Path, target: Path, in_overlay: str, below: dict[str, str], words: str
) -> None:
    files(tmp_path / "overlay", in_overlay)
    with pytest.raises(ProfileError) as caught:
        overlay.copy(tmp_path / "overlay", _below(**below), target)
    assert words in caught.value.what
    assert caught.value.where.startswith(str(tmp_path / "overlay"))
    assert caught.value.hint


def test_what_lies_below_lib_goes_behind_the_link_of_a_merged_usr(tmp_path: Path, target: Path) -> None:
    files(tmp_path / "overlay", "lib/udev/a", "sbin/b")
    overlay.copy(tmp_path / "overlay", _below(lib="l", usr="d", usr__lib="d"), target)
    assert (target / "usr/lib/udev/a").is_file()
    assert not (target / "lib").exists()
    assert (target / "sbin/b").is_file()  # no link there, so no merged /usr


def test_the_later_overlay_wins_and_all_win_over_what_the_system_says_it_is(
    tmp_path: Path, target: Path
) -> None:
    profile = saying(PROFILE, overlays=["overlays/one", "overlays/two"])
    with build_context(tmp_path, profile) as context:
        files(context.docker_build / "overlays", "synos-base/b", "one/etc/issue", "one/a", "two/a")
        (context.docker_build / "overlays/two/a").write_text("two")
        overlay.make_files(inputs_for(context, planned(), "overlay"), Listing(), target)
    assert (target / "a").read_text() == "two"
    assert (target / "etc/issue").read_text() == "x"
    assert 'ID="synos"' in (target / "usr/lib/os-release").read_text().splitlines()


class Passwd(Laid):
    """A system with two users, and a program of a package."""

    def read(self, path: str) -> str:
        return {"etc/passwd": "root:x:0:0::/root:/bin/sh\nann:x:1000:1001::/home/ann:/bin/sh\n"
                "www:x:33:34::/var/www:/bin/sh\n", "etc/group": "root:x:0:\nann:x:1001:\nssl:x:44:ann\n"}[path]  # fmt: skip

    def bring(self, path: str, target: Path) -> None:
        target.write_text(f"of a package: {path}")


def _laid(tmp_path: Path, **values: Any) -> tuple[dict[str, str], BuildContext]:  # noqa: ANN401
    """Lay two overlays and what a profile says into tmp_path/target; gives the sources and the context."""
    profile = saying(
        PROFILE,
        overlays=["overlays/one", "overlays/two"],
        users=[{"name": "ann"}, {"name": "root"}],
        **values,
    )
    profile = dataclasses.replace(
        profile, origins={"files[0].path": "x.yaml:1:1", "files[0].owner": "x.yaml:2:2"}
    )
    with build_context(tmp_path, profile) as context:
        files(context.docker_build / "overlays", "synos-base/b", "one/etc/skel/.profile", "one/home/ann/mine", "two/home/ann/.profile",
              "two/etc/run", "one/opt/new/a", "../secret")  # fmt: skip
        (context.docker_build / "overlays/two/etc/run").chmod(0o750)
        (context.docker_build / "overlays/two/home/ann/.profile").write_text("two")
        plan = planned()
        inputs = Passwd(context, plan, plan.stage("overlay"), cast("Pool", None), ())
        below = _below(etc="d", home="d", home__ann="d", usr="d", usr__prog="-", etc__link="l", bin="l")
        return overlay.make_files(inputs, below, tmp_path / "target")["laid"], context


def test_what_is_in_a_home_is_its_users_and_skel_reaches_it(
    tmp_path: Path, target: Path, owners: dict[str, tuple[int, int]]
) -> None:
    laid, _ = _laid(tmp_path)
    assert (target / "home/ann/.profile").read_text() == "two", "that of the user, not of skel"
    for path in ("home/ann/.profile", "home/ann/mine"):
        assert owners[str(target / path)] == (1000, 1001)
    assert owners[str(target / "home/ann")] == (0, 0), "as the layers below have it"
    assert {laid[path] for path in ("home/ann/mine", "opt/new/", "usr/lib/os-release")} == {
        "overlays/one/home/ann/mine", "overlays/one/opt/new", ""
    }  # fmt: skip


def test_files_have_owners_and_modes(
    tmp_path: Path, target: Path, owners: dict[str, tuple[int, int]]
) -> None:
    said = [
        {"path": "/etc/key", "content": "a", "owner": "ann", "mode": "0400"},
        {"path": "/etc/run", "source": "secret", "group": "ssl", "mode": "2750"},
        {"path": "/home/ann/new/b", "content": "b"},
        {"path": "/usr/prog", "mode": "4755"},
        {"path": "/etc/new", "content": "\u20ac", "owner": "root", "group": "ann"},
        {"path": "/opt/new/a", "mode": "0600"},
        {"path": "/etc", "mode": "0711"},
        {"path": "/bin/x", "content": "x"},
    ]
    laid, context = _laid(tmp_path, files=said)
    wanted = {"etc/key": ("a", 0o400, (1000, 1001)), "etc/run": ("x", 0o2750, (os.getuid(), 44)), "home/ann/new/b": ("b", 0o644, (1000, 1001)),
              "usr/prog": ("of a package: usr/prog", 0o4755, None), "etc/new": ("\u20ac", 0o644, (0, 1001)), "usr/bin/x": ("x", 0o644, None)}  # fmt: skip
    found = {
        path: (
            (target / path).read_text(),
            (target / path).stat().st_mode & 0o7777,
            owners.get(str(target / path)),
        )
        for path in wanted
    }
    assert found == wanted
    assert owners[str(target / "home/ann/new")] == (1000, 1001)
    assert (target / "etc").stat().st_mode & 0o7777 == 0o711
    sources = laid["etc/run"], laid["etc/key"], laid["opt/new/a"]
    assert sources == ("secret", "", "overlays/one/opt/new/a"), (
        "what is in them decides over hooks that change them"
    )
    plan = planned()
    expected = [*overlay.expect(Passwd(context, plan, plan.stage("identity"), cast("Pool", None), ()))]
    assert [(one.what, one.value) for one in expected][:3] == [
        ("/etc/key: owner, mode", "ann 400"), ("/etc/key: content", "ca978112ca1bbdca"), ("/etc/run: group, mode", "ssl 2750")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "what", "place"),
    [
        ({"path": "/etc/a", "content": "", "owner": "kim"}, "there is no user 'kim'", "x.yaml:2:2"),
        (
            {"path": "/etc/none", "mode": "0600"},
            "there is no /etc/none in a package or overlay",
            "x.yaml:1:1",
        ),
        ({"path": "/etc/link", "mode": "0600"}, "/etc/link is a link", "x.yaml:1:1"),
        ({"path": "/etc/link/a", "content": ""}, "/etc/link is a link", "x.yaml:1:1"),
        ({"path": "/opt/new/a/b", "content": ""}, "/opt/new/a is a file", "x.yaml:1:1"),
        ({"path": "/opt/new", "content": ""}, "/opt/new is a folder", "x.yaml:1:1"),
    ],
)
def test_a_file_that_cannot_be_laid_has_its_place(
    tmp_path: Path, target: Path, said: dict[str, str], what: str, place: str
) -> None:
    assert target.is_dir()
    with pytest.raises(ProfileError) as caught:
        _laid(tmp_path, files=[said])
    assert (caught.value.what, caught.value.where) == (what, place)
    assert caught.value.hint


def test_modes_that_no_overlay_keeps_are_named_once(tmp_path: Path, target: Path) -> None:
    odd = {"a": 0o4755, "b": 0o600, "closed": 0o700, "closed/c": 0o600, "d": 0o600, "e": 0o755}
    for path, mode in odd.items():
        full = tmp_path / "docker_build/overlays/one/srv" / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.mkdir() if path == "closed" else full.write_text("x")
        full.chmod(mode)
    assert target.is_dir()
    _, context = _laid(tmp_path, files=[{"path": "/srv/d", "mode": "0600"}])
    [warning] = warnings(context)
    assert "are lost: /srv/a, /srv/b, /srv/closed, /etc/run: set" in warning


@pytest.mark.parametrize(("suite", "version"), [("bookworm", "12"), ("trixie", "13"), ("sid", "sid")])
def test_the_system_says_what_it_is(suite: str, version: str) -> None:
    release = distribution.os_release(Profile(name="x", suite=suite))
    # as of Debian's own: tools would take a number for that of a release
    assert release.get("VERSION_ID") == (version if version.isdigit() else None)
    wanted = {
        "VERSION_CODENAME": suite,
        "VARIANT_ID": "x",
        "ID_LIKE": "debian",
        "ID": "synos",
    }
    assert wanted.items() <= release.items()
    assert release["PRETTY_NAME"] == f"SynOS {version} (x)"
    assert "BUILD_ID" not in release, "a new id must not change this layer"
    assert (
        distribution.files(Profile(name="x", suite=suite))["etc/issue"] == f"SynOS {version} (x) \\n \\l\n\n"
    )


def test_a_distribution_bears_its_own_name() -> None:
    said = {
        "id": "kiosk-os",
        "name": "Kiosk OS",
        "version": "1.0",
        "codename": "otter",
        "url": "https://a.example",
    }
    profile = saying(Profile(name="x"), distribution=said)
    assert distribution.os_release(profile) == {
        "PRETTY_NAME": "Kiosk OS 1.0 (otter)", "NAME": "Kiosk OS", "ID": "kiosk-os", "ID_LIKE": "debian", "VERSION_ID": "1.0",
        "VERSION": "1.0 (otter)", "VERSION_CODENAME": "otter", "DEBIAN_CODENAME": "trixie", "VARIANT_ID": "x",
        "HOME_URL": "https://a.example",
    }  # fmt: skip
    assert (distribution.menu_title(profile), distribution.iso_name(profile)) == (
        "Kiosk OS 1.0",
        "kiosk-os-x",
    )
    said |= {"iso_name": "Kiosk_1.0", "iso_label": "KIOSK", "grub_title": "Start"}
    found = (
        distribution.iso_name(profile),
        distribution.iso_label(profile),
        distribution.menu_title(profile),
    )
    assert found == ("Kiosk_1.0", "KIOSK", "Start")


@pytest.mark.parametrize(
    ("project", "name", "label"),
    [("synos", "minimal", "SYNOS_MINIMAL"), ("a.b", "c-1", "A_B_C_1"), ("n" * 60, "x", "N" * 32)],
)
def test_the_label_is_what_iso_9660_allows(project: str, name: str, label: str) -> None:
    assert distribution.iso_label(Profile(name=name, project=project)) == label


def test_the_build_id_is_added_once(tmp_path: Path, target: Path) -> None:
    class Below(Laid):
        def read(self, path: str) -> str:
            return "NAME=SynOS\nBUILD_ID=old\nID=synos\n"

    plan = planned()
    with build_context(tmp_path) as context:
        inputs = Below(context, plan, plan.stage("identity"), cast("Pool", None), ())
        identity.make_files(inputs, Listing(), target)
    text = (target / identity.OS_RELEASE).read_text()
    assert text == f"NAME=SynOS\nID=synos\nBUILD_ID={plan.build_id}\n"


def test_the_layer_tells_what_it_replaces_and_all_in_it_has_one_date(target: Path) -> None:
    files(target, "etc/a", "etc/new", "usr/lib/b")
    (target / "etc/link").symlink_to("nowhere")
    delta = settle_files(target, _below(etc="d", etc__a="-", etc__link="l", usr="d"), EPOCH)
    assert sorted(delta.changed) == ["etc", "etc/a", "etc/link", "etc/new", "usr", "usr/lib", "usr/lib/b"]
    assert sorted(delta.removed) == ["etc/a", "etc/link"]
    assert {path.lstat().st_mtime for path in (target, *target.rglob("*"))} == {EPOCH}
