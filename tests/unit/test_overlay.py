"""Overlays become a layer over what the layers below hold, which stay packed: no folder of theirs is replaced."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from synos_tasks.errors import ProfileError
from synos_tasks.iso.layers import settle_files
from synos_tasks.iso.listing import Listing
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.stages import identity, overlay
from tests.unit.contexts import EPOCH, Laid, build_context, files, inputs_for
from tests.unit.plans import planned

if TYPE_CHECKING:
    from synos_tasks.iso.pool import Pool

PROFILE = Profile(name="x", suite="bookworm")


@pytest.fixture(autouse=True)
def no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders belong to root: who is not root may not say so."""
    monkeypatch.setattr(os, "chown", lambda *_: None)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def _below(**kinds: str) -> Listing:
    """Layers with these paths: ``d`` a folder, ``l`` a link, ``-`` a file; two underscores stand for a slash."""
    listing = Listing()
    lines = [
        f"{letter}rwxr-x--- 0/0 1 2026-01-01 00:00 squashfs-root/{path.replace('__', '/')}"
        for path, letter in kinds.items()
    ]
    listing.add(lines, [])
    return listing


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
    profile = dataclasses.replace(PROFILE, overlays=("overlays/one", "overlays/two"))
    with build_context(tmp_path, profile) as context:
        files(context.docker_build / "overlays", "synos-base/b", "one/etc/issue", "one/a", "two/a")
        (context.docker_build / "overlays/two/a").write_text("two")
        overlay.make_files(inputs_for(context, planned(), "overlay"), Listing(), target)
    assert (target / "a").read_text() == "two"
    assert (target / "etc/issue").read_text() == "x"
    assert "ID=synos" in (target / "usr/lib/os-release").read_text().splitlines()


@pytest.mark.parametrize(("suite", "version"), [("bookworm", "12"), ("trixie", "13")])
def test_the_system_says_what_it_is(suite: str, version: str) -> None:
    texts = overlay.identity(Profile(name="x", suite=suite))
    lines = texts["usr/lib/os-release"].splitlines()
    assert {f'VERSION_ID="{version}"', f"VERSION_CODENAME={suite}", "VARIANT_ID=x", "ID_LIKE=debian"} <= set(
        lines
    )
    assert f'PRETTY_NAME="SynOS {version} (x)"' in lines
    assert not [line for line in lines if line.startswith("BUILD_ID")], "a new id must not change this layer"
    assert texts["etc/issue"] == f"SynOS {version} x \\n \\l\n\n"
    assert texts["etc/issue.net"] == f"SynOS {version}\n"


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
