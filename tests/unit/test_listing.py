"""What stacked layers hold, as `unsquashfs -lln` prints it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from synos_tasks.iso.listing import Listing

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


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """Owners that folders were given: who is not root may give none, and so they are only noted."""
    noted: dict[str, tuple[int, int]] = {}
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: noted.update({str(path): (uid, gid)}))
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
