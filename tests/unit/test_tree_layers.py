"""A tree is unpacked only as far as it must be, and what a layer of it shares or hides is known."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks.iso.store import Entry
from synos_tasks.iso.tree import (
    SQUASHFS,
    UNKNOWN,
    WHITEOUT,
    Delta,
    Tree,
    difference,
    freeze,
    is_whiteout,
    walk,
)
from tests.unit.contexts import EPOCH, build_context, fake_tools, files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from synos_tasks.iso.tools import BuildContext


@pytest.fixture
def context(tmp_path: Path) -> Iterator[BuildContext]:
    with build_context(tmp_path / "context") as made:
        yield made


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let folders stand for squashfs files; gives the names of the layers as they are unpacked."""
    names: list[str] = []

    def act(argv: list[str]) -> None:
        source, target = Path(argv[-1]), Path(argv[argv.index("-dest") + 1])
        names.append(source.parent.name)
        for path, status in walk(source):
            if is_whiteout(source / path):
                os.mknod(target / path, stat.S_IFCHR, WHITEOUT)
            elif stat.S_ISDIR(status.st_mode):
                (target / path).mkdir(exist_ok=True)
            else:
                shutil.copy2(source / path, target / path, follow_symlinks=False)

    fake_tools(monkeypatch, act)
    return names


def _layer(tmp_path: Path, name: str, *names: str, removed: tuple[str, ...] = ()) -> Entry:
    """Give a layer with files; what is removed and not there again has a whiteout."""
    folder = tmp_path / "objects" / name
    content = folder / SQUASHFS
    content.mkdir(parents=True)
    files(content, *names)
    for path in removed:
        if not (content / path).exists():
            (content / path).parent.mkdir(parents=True, exist_ok=True)
            os.mknod(content / path, stat.S_IFCHR, WHITEOUT)
    return Entry(name, folder, {"removed": list(removed)})


def _paths(tree: Tree) -> list[str]:
    return sorted(path for path, status in walk(tree.root) if not stat.S_ISDIR(status.st_mode))


def test_layers_are_unpacked_over_each_other_and_what_they_remove_goes(
    context: BuildContext, tmp_path: Path, unpacked: list[str]
) -> None:
    base = _layer(tmp_path, "base", "etc/a", "etc/b/c", "etc/d", "usr/e")
    above = _layer(tmp_path, "above", "etc/d/f", removed=("etc/b", "etc/d", "usr/e"))
    tree = Tree(context)
    tree.bring_to([base, above])
    assert _paths(tree) == ["etc/a", "etc/d/f"]
    assert unpacked == ["base", "above"]


def test_only_what_is_missing_is_unpacked(context: BuildContext, tmp_path: Path, unpacked: list[str]) -> None:
    layers = [_layer(tmp_path, name, name) for name in ("one", "two", "three")]
    tree = Tree(context)
    for count in (1, 3, 3):
        tree.bring_to(layers[:count])
    assert unpacked == ["one", "two", "three"]
    assert tree.applied == ["one", "two", "three"]
    tree.bring_to([layers[0], _layer(tmp_path, "other", "other")])
    assert _paths(tree) == ["one", "other"], "it is begun again where the layers are others"
    tree.bring_to(layers[:1])
    assert _paths(tree) == ["one"], "more layers than asked for are too many"
    assert unpacked[3:] == ["one", "other", "one"]


def test_a_tree_that_a_stage_worked_in_is_known_only_when_it_says_so(
    context: BuildContext, tmp_path: Path, unpacked: list[str]
) -> None:
    one = _layer(tmp_path, "one", "one")
    tree = Tree(context)
    for _ in range(2):
        tree.bring_to([one])
        assert _paths(tree) == ["one"]
        tree.applied = UNKNOWN
        files(tree.root, "half-done")
    assert unpacked == ["one", "one"]


def test_a_tree_is_walked_parents_first_whatever_the_disk_says(tmp_path: Path) -> None:
    files(tmp_path, "b/c", "a/z/y", "a/b", "c")
    (tmp_path / "d").symlink_to("a")
    order = [path for path, _ in walk(tmp_path)]
    assert sorted(order) == ["a", "a/b", "a/z", "a/z/y", "b", "b/c", "c", "d"]
    assert all(order.index(path) > order.index(path.rpartition("/")[0]) for path in order if "/" in path)
    assert order == [path for path, _ in walk(tmp_path)]


def _change(context: BuildContext, change: Callable[[Path], object]) -> tuple[Path, Delta, Path]:
    """Give a tree that was changed, what changed, and the layer of it."""
    tree = Tree(context)
    files(tree.root, "etc/a", "etc/b", "usr/a", "usr/b", "var/deep/down/a", "var/deep/b")
    tree.settle()
    before = tree.snapshot()
    change(tree.root)
    delta = difference(before, tree.snapshot())
    tree.settle()
    layer = context.work / "layer"
    freeze(tree.root, delta, layer, context.epoch)
    return tree.root, delta, layer


def test_a_file_that_was_written_into_is_told_from_one_that_was_replaced(context: BuildContext) -> None:
    def change(root: Path) -> None:
        for folder in ("etc", "usr"):
            with (root / folder / "a").open("a") as stream:
                stream.write("more")
            (root / folder / "new").write_text("new")
            (root / folder / "new").replace(root / folder / "b")

    root, delta, layer = _change(context, change)
    assert delta.changed == ["etc/a", "etc/b", "usr/a", "usr/b"]
    assert delta.written == ("usr/a",), "outside usr/ there are copies, which nothing writes into"
    assert [(layer / path).samefile(root / path) for path in delta.changed] == [False, False, True, True]


@pytest.mark.parametrize(
    ("path", "touches"),
    [("boot", True), ("boot/vmlinuz-6", True), ("usr/lib/modules/6/a.ko", True), ("etc/modprobe.d/a.conf", True),
     ("usr/share/initramfs-tools/hooks/a", True), ("etc/initramfs-tools", True), ("bootx", False),
     ("usr/lib/modules-load.d/a", False), ("etc/a", False), ("usr/boot/a", False)],
)  # fmt: skip
def test_a_layer_tells_whether_the_initramfs_depends_on_it(path: str, touches: bool) -> None:
    assert Delta([path], []).touches_initramfs is touches
    assert Delta([], [path]).touches_initramfs is touches


def test_what_is_written_with_an_old_date_is_a_change(context: BuildContext) -> None:
    def change(root: Path) -> None:
        (root / "etc/a").write_text("y")
        os.utime(root / "etc/a", (EPOCH, EPOCH))

    assert _change(context, change)[1].changed == ["etc/a"]
