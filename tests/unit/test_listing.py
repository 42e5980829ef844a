"""What stacked layers hold, as `unsquashfs -lln` prints it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.iso.listing import Listing, permissions

if TYPE_CHECKING:
    from pathlib import Path

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
    return f"{kind} 0/0 1 2026-11-23 11:22 squashfs-root/{path}"


def test_a_later_layer_adds_and_replaces() -> None:
    above = "\n".join(
        [_line("-rw-r--r--", "bin"), _line("drwxr-xr-x", "etc"), _line("-rw-r--r--", "etc/new")]
    )
    listing = _listing((BASE, []), (above, ["bin"]))
    assert listing.kind("bin") == "a file"
    assert listing.kind("etc/new") == "a file"
    assert listing.kind("etc/shadow") == "a file"


def test_what_a_layer_removes_goes_with_all_below_it() -> None:
    whiteout = "c--------- 0/0             0,  0 2026-11-23 11:22 squashfs-root/etc/polkit-1"
    listing = _listing((BASE, []), (whiteout, ["etc/polkit-1", "su -> do"]))
    for path in ("etc/polkit-1", "etc/polkit-1/rules.d", "etc/polkit-1/rules.d/a", "su -> do"):
        assert listing.kind(path) == ""
    assert listing.kind("etc/shadow") == "a file"


def test_a_name_that_only_begins_alike_stays() -> None:
    text = "\n".join(
        [
            _line("drwxr-xr-x", "etc/ssl"),
            _line("drwxr-xr-x", "etc/ssl-more"),
            _line("-rw-r--r--", "etc/ssl/a"),
        ]
    )
    listing = _listing((text, []), ("", ["etc/ssl"]))
    assert [listing.kind(path) for path in ("etc/ssl", "etc/ssl/a", "etc/ssl-more")] == ["", "", "a folder"]


def test_a_folder_may_become_a_file_and_a_file_a_folder() -> None:
    above = "\n".join(
        [
            _line("-rw-r--r--", "etc/polkit-1"),
            _line("drwx------", "etc/shadow"),
            _line("-rw-r--r--", "etc/shadow/a"),
        ]
    )
    listing = _listing((BASE, []), (above, ["etc/polkit-1", "etc/shadow"]))
    assert listing.kind("etc/polkit-1") == "a file"
    assert listing.kind("etc/polkit-1/rules.d") == ""
    assert [listing.kind(path) for path in ("etc/shadow", "etc/shadow/a")] == ["a folder", "a file"]


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """Owners that folders were given: who is not root may give none, and so they are only noted."""
    noted: dict[str, tuple[int, int]] = {}
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: noted.update({str(path): (uid, gid)}))
    return noted


def test_parents_get_the_modes_and_owners_they_have_below(
    tmp_path: Path, owners: dict[str, tuple[int, int]]
) -> None:
    _listing((BASE, [])).make_parents(tmp_path, "etc/polkit-1/rules.d/new/file")
    modes = {
        path: (tmp_path / path).stat().st_mode & 0o7777
        for path in ("etc", "etc/polkit-1", "etc/polkit-1/rules.d")
    }
    assert modes == {"etc": 0o755, "etc/polkit-1": 0o750, "etc/polkit-1/rules.d": 0o711}
    assert (tmp_path / "etc/polkit-1/rules.d/new").stat().st_mode & 0o7777 == 0o755, "as there is none below"
    assert not (tmp_path / "etc/polkit-1/rules.d/new/file").exists()
    assert owners[str(tmp_path / "etc/polkit-1")] == (0, 101)
    assert owners[str(tmp_path / "etc/polkit-1/rules.d/new")] == (0, 0)


def test_a_sticky_group_stays(tmp_path: Path, owners: dict[str, tuple[int, int]]) -> None:
    _listing((BASE, [])).make_parents(tmp_path, "var-local/a")
    assert (tmp_path / "var-local").stat().st_mode & 0o7777 == 0o2775
    assert owners == {str(tmp_path / "var-local"): (0, 50)}


def test_the_uppermost_layer_decides_over_a_folders_mode(
    tmp_path: Path, owners: dict[str, tuple[int, int]]
) -> None:
    listing = _listing((BASE, []), (_line("drwx------", "etc/polkit-1"), []))
    listing.make_parents(tmp_path, "etc/polkit-1/a")
    assert (tmp_path / "etc/polkit-1").stat().st_mode & 0o7777 == 0o700
    assert owners[str(tmp_path / "etc/polkit-1")] == (0, 0)


def test_modes_of_folders_that_are_gone_are_forgotten(
    tmp_path: Path, owners: dict[str, tuple[int, int]]
) -> None:
    _listing((BASE, []), ("", ["etc/polkit-1"])).make_parents(tmp_path, "etc/polkit-1/rules.d/a")
    for path in ("etc/polkit-1", "etc/polkit-1/rules.d"):
        assert (tmp_path / path).stat().st_mode & 0o7777 == 0o755
        assert owners[str(tmp_path / path)] == (0, 0)


def _text(mode: int) -> str:
    """`rwxr-sr-t` of a mode, as ls(1) has it; the other way round from permissions()."""
    letters = [letter if mode & 1 << (8 - place) else "-" for place, letter in enumerate("rwxrwxrwx")]
    for bit, place, marks in ((0o4000, 2, "sS"), (0o2000, 5, "sS"), (0o1000, 8, "tT")):
        if mode & bit:
            letters[place] = marks[letters[place] == "-"]
    return "".join(letters)


@given(st.integers(0, 0o7777))
def test_every_mode_is_read_back(mode: int) -> None:
    assert permissions(_text(mode)) == mode
