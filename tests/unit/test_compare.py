"""What is shown of two files, and of two ISOs, that differ."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synos_tasks.iso import compare
from synos_tasks.iso.tools import BuildContext
from synos_tasks.iso.tree import WHITEOUT, walk
from tests.unit.contexts import EPOCH, build_context, fake_tools, files


def _file(path: Path, content: bytes = b"", mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    os.utime(path, (EPOCH, EPOCH))
    return path


def _shown(tmp_path: Path, one: bytes, two: bytes) -> list[str]:
    return compare.difference(_file(tmp_path / "one", one), _file(tmp_path / "two", two))


def test_a_long_diff_and_a_long_line_are_cut(tmp_path: Path) -> None:
    many = [b"".join(b"%d %s\n" % (number, letter) for number in range(99)) for letter in (b"a", b"b")]
    assert len(_shown(tmp_path, *many)) == compare.SHOWN_LINES
    assert max(map(len, _shown(tmp_path, b"a" * 9999, b"b" * 9999))) == 200


def test_what_is_no_text_is_shown_where_it_first_differs(tmp_path: Path) -> None:
    one, two = (b"\xff" + bytes(range(100)) + last + bytes(40) for last in (b"\x01", b"\x02"))
    rest = " 00" * (compare.SHOWN_BYTES - 1)
    assert _shown(tmp_path, one, two) == ["at byte 101 of 142 and 142", f"- 01{rest}", f"+ 02{rest}"]
    assert _shown(tmp_path, b"ab", b"a\xff") == ["at byte 1 of 2 and 2", "- 62", "+ ff"]


def test_a_mode_is_shown_before_any_content(tmp_path: Path) -> None:
    one, two = _file(tmp_path / "one", b"a"), _file(tmp_path / "two", b"b", 0o4755)
    shown = compare.difference(one, two)
    who = f"{os.getuid()}:{os.getgid()}"
    assert shown == [f"- -rw-r--r-- {who} {EPOCH}", f"+ -rwsr-xr-x {who} {EPOCH}"]


def test_links_are_shown_with_what_they_point_to_and_never_followed(tmp_path: Path) -> None:
    for name, target in (("one", "a"), ("two", "nowhere"), ("three", "a")):
        (tmp_path / name).symlink_to(target)
        os.utime(tmp_path / name, (EPOCH, EPOCH), follow_symlinks=False)
    shown = compare.difference(tmp_path / "one", tmp_path / "two")
    assert [line.partition(" -> ")[2] for line in shown] == ["a", "nowhere"]
    assert compare.difference(tmp_path / "one", tmp_path / "three") == []


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BuildContext]:
    """One whose ISOs are unpacked already: the contents of x.iso lie in x."""

    def contents(_context: BuildContext, iso: Path, _name: str) -> dict[str, tuple[str, int, Path]]:
        root = iso.with_suffix("")
        found = {f"/{path}": compare._fact(root / path, status) for path, status in walk(root)}
        return {path.replace("/ISO/", "ISO:"): fact for path, fact in found.items()}

    monkeypatch.setattr(compare, "_contents", contents)
    with build_context(tmp_path / "context") as made:
        yield made


def _iso(tmp_path: Path, name: str, **contents: bytes) -> Path:
    for path, content in contents.items():
        _file(tmp_path / name / path.replace("__", "/"), content)
    for folder in (tmp_path / name).rglob("*/"):
        os.utime(folder, (EPOCH, EPOCH))
    return _file(tmp_path / f"{name}.iso", name.encode())


def test_two_isos_are_compared_file_by_file(context: BuildContext, tmp_path: Path) -> None:
    one = _iso(tmp_path, "one", etc__a=b"a\n", etc__b=b"bb", etc__same=b"s", gone=b"1234")
    two = _iso(tmp_path, "second", etc__a=b"A\n", etc__b=b"b", etc__same=b"s", new__file=b"12345")
    result: dict[str, Any] = compare.compare(context, one, two)
    assert result == {
        "sizes": [3, 6],
        "added": [["/new", 0], ["/new/file", 5]],
        "removed": [["/gone", 4]],
        "changed": [["/etc/a", 2, 2], ["/etc/b", 2, 1]],
        "first": ["/etc/a", ["@@ -1 +1 @@", "-a", "+A"]],
    }


NOTHING: dict[str, Any] = {"sizes": [3, 3], "added": [], "removed": [], "changed": [], "first": None}


def test_a_layer_is_named_where_no_file_in_it_differs_and_else_the_byte_of_the_iso(
    context: BuildContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "CHUNK", 2)
    layer = "ISO__live__00-base.squashfs"
    one, two, three = (
        _iso(tmp_path, name, **{layer: content, "etc__a": own})
        for name, content, own in (("one", b"\xff", b"a"), ("two", b"\xfe", b"a"), ("six", b"\xfe", b"b"))
    )
    place = "ISO:live/00-base.squashfs"
    shown = [place, ["at byte 0 of 1 and 1", "- ff", "+ fe"]]
    assert compare.compare(context, one, two) == {**NOTHING, "changed": [[place, 1, 1]], "first": shown}
    assert compare.compare(context, one, three)["changed"] == [["/etc/a", 1, 1]], "the reason, not its trace"
    same = _iso(tmp_path, "ode", **{layer: b"\xff", "etc__a": b"a"})
    own = [compare.OUTSIDE_FILES, ["at byte 1 of 3 and 3", "- 6e 65", "+ 64 65"]]
    assert compare.compare(context, one, same) == {**NOTHING, "first": own}


def test_a_layer_is_laid_over_those_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, above = tmp_path / "root", tmp_path / "layer"
    files(root, "stays", "gone/deep/file", "folder/old", "was-file", "was-folder/a", "linked-to/kept")
    (root / "was-link").symlink_to("linked-to")

    def act(argv: list[str]) -> None:
        if argv[0] == "cp":
            shutil.copytree(above, root, symlinks=True, dirs_exist_ok=True)
            return
        files(above, "folder/new", "was-file/a", "was-folder", "was-link/a")
        os.mknod(above / "gone", stat.S_IFCHR, WHITEOUT)
        os.mknod(above / "folder/never-there", stat.S_IFCHR, WHITEOUT)

    fake_tools(monkeypatch, act)
    with build_context(tmp_path / "context") as context:
        compare._unpack(context, tmp_path / "00-base.squashfs", root)
    assert {path: stat.S_IFMT(status.st_mode) == stat.S_IFDIR for path, status in walk(root)} == {
        "stays": False, "folder": True, "folder/old": False, "folder/new": False, "was-file": True, "was-file/a": False,
        "was-folder": False, "was-link": True, "was-link/a": False, "linked-to": True, "linked-to/kept": False,
    }  # fmt: skip
    assert not above.exists()


@pytest.mark.parametrize(
    ("one", "two"),
    [(b"a\n", b"a"), (b"a\r\n", b"a\n"), (b"-- a\n", b"-- b\n"), (b"---\n", b""), (b"++ a", b"")],
)
def test_something_is_shown_of_any_texts_that_differ(tmp_path: Path, one: bytes, two: bytes) -> None:
    assert len(_shown(tmp_path, one, two)) >= 2 + (bool(one) and bool(two))
