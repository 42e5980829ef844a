"""What a stage changes in a tree, laid over the tree as it was, is the tree as it is; only what is missing is unpacked."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from synos_tasks.iso.initramfs_inputs import named_by_hooks, touched
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.store import Entry
from synos_tasks.iso.tools import BuildContext
from synos_tasks.iso.tree import (
    SHARED,
    SQUASHFS,
    UNKNOWN,
    WHITEOUT,
    Delta,
    Node,
    Tree,
    difference,
    freeze,
    is_whiteout,
    walk,
)
from tests.unit.contexts import EPOCH, build_context, fake_tools, files

# few names, so that operations meet; some begin alike, and those outside usr/ and below it are treated differently
PATHS = [
    "etc", "etc/a", "etc/b", "etc/b/c", "etc-more", "usr", "usr/a", "usr/b", "usr/b/c", "usr/b/c/d", "var/x", "var/x/y",
]  # fmt: skip
FOLDER_MODES = [0o755, 0o700, 0o2775, 0o1777]
FILE_MODES = [0o644, 0o600, 0o755, 0o4755]


class Operation(NamedTuple):
    """Something that a stage may do; where it cannot be done, nothing happens."""

    what: str
    path: str
    detail: int = 0


OPERATIONS = st.builds(
    Operation,
    st.sampled_from(
        [
            "create",
            "write",
            "backdate",
            "replace",
            "chmod",
            "delete",
            "folder",
            "symlink",
            "attribute",
            "link",
        ]
    ),
    st.sampled_from(PATHS),
    st.integers(0, 3),
)


def _do(root: Path, operation: Operation) -> None:
    """Do it; whatever is in the way goes, as when a package replaces a file by a folder."""
    what, detail = operation.what, operation.detail
    path = root / operation.path
    if any(
        parent.is_symlink() or not parent.is_dir() for parent in path.parents if parent.is_relative_to(root)
    ):
        return
    is_folder = path.is_dir() and not path.is_symlink()
    is_file = path.is_file() and not path.is_symlink()
    if what in {"create", "symlink", "link", "delete"} or (what == "folder" and not is_folder):
        remove(path)
    if what == "create":
        path.write_text(f"created {detail}")
    elif what == "folder":
        path.mkdir(exist_ok=True)
        path.chmod(FOLDER_MODES[detail])
    elif what == "symlink":
        path.symlink_to(["a", "b", "nowhere", "../usr"][detail])
    elif what == "link":
        other = root / ["etc/a", "etc/b/c", "usr/a", "usr/b/c"][detail]
        if other.is_file() and not other.is_symlink():
            os.link(other, path)
    elif what == "chmod" and not path.is_symlink() and path.exists():
        path.chmod((FOLDER_MODES if is_folder else FILE_MODES)[detail])
    elif what == "write" and is_file:
        with path.open("a") as stream:
            stream.write(f"written {detail}")
    elif what == "backdate" and is_file:
        path.write_text(str(detail))
        os.utime(path, (EPOCH, EPOCH))
    elif what == "replace" and is_file:
        new = path.with_name("replacement")
        new.write_text(f"replaced {detail}")
        new.replace(path)
    elif what == "attribute" and is_file:
        _set_attribute(path, b"%d" % detail)


def _set_attribute(path: Path, value: bytes) -> None:
    try:
        os.setxattr(path, "user.x", value)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise


def _start(root: Path, operations: list[Operation]) -> None:
    for folder in ("etc", "usr/b", "var"):
        (root / folder).mkdir(parents=True)
    files(root, "etc/a", "usr/a", "usr/b/c", "var/x")
    for operation in operations:
        _do(root, operation)


Look = dict[str, tuple[object, ...]]


def _look(root: Path) -> Look:
    """Give kind, mode and owner of all there is, with contents and attributes of files and what links point to."""
    found: Look = {}
    for path, status in walk(root):
        here = root / path
        content: object = None
        attributes: list[tuple[str, bytes]] = []
        if stat.S_ISLNK(status.st_mode):
            content = here.readlink()
        elif stat.S_ISREG(status.st_mode):
            content = here.read_bytes()
            attributes = [(name, os.getxattr(here, name)) for name in os.listxattr(here)]
        found[path] = (status.st_mode, status.st_uid, status.st_gid, content, attributes)
    return found


@dataclass(frozen=True)
class Worked:
    """A tree in which a stage worked."""

    root: Path
    old: Path
    """A copy of the tree as it was."""
    layer: Path
    delta: Delta
    before: Mapping[str, Node]
    after: Mapping[str, Node]


def _work(folder: Path, before: list[Operation], after: list[Operation]) -> Worked:
    with build_context(folder) as context:
        tree = Tree(context)
        _start(tree.root, before)
        tree.settle()
        first = tree.snapshot()
        shutil.copytree(tree.root, folder / "old" / SQUASHFS, symlinks=True)
        for operation in after:
            _do(tree.root, operation)
        second = tree.snapshot()
        delta = difference(first, second)
        tree.settle()
        layer = folder / "new" / SQUASHFS
        layer.parent.mkdir()
        freeze(tree.root, delta, layer, context.epoch)
    return Worked(tree.root, folder / "old" / SQUASHFS, layer, delta, first, second)


def _unsquash(argv: list[str]) -> None:
    """Stand for unsquashfs: the squashfs files of a test are folders."""
    packed, root = Path(argv[-1]), Path(argv[argv.index("-dest") + 1])
    for path, status in walk(packed):
        source, target = packed / path, root / path
        if stat.S_ISDIR(status.st_mode):
            target.mkdir(exist_ok=True)
            shutil.copystat(source, target)
        elif is_whiteout(source):
            os.mknod(target, stat.S_IFCHR, WHITEOUT)
        else:
            target.unlink(missing_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)


def _stacked(old: Look, layer: Look, whiteouts: set[str]) -> Look:
    """Lay a layer over the old tree as overlayfs does when the system runs: with nothing but the whiteouts."""
    found = dict(old)
    for path in sorted(layer):
        if not (_is_folder(layer, path) and _is_folder(found, path)):
            found = {other: look for other, look in found.items() if not f"{other}/".startswith(f"{path}/")}
        if path not in whiteouts:
            found[path] = layer[path]
    return found


HISTORIES = st.tuples(st.lists(OPERATIONS, max_size=4), st.lists(OPERATIONS, max_size=8))


@example(([], [Operation("backdate", "etc/a")]))
@example(([], [Operation("write", path) for path in ("etc/a", "usr/a")]))
@example(([], [Operation("link", path, 2) for path in ("etc/b", "usr/b/c")]))
@example(([], [Operation("replace", path) for path in ("etc/a", "usr/a")]))
@given(HISTORIES)
def test_a_layer_over_the_old_tree_is_the_new_tree(history: tuple[list[Operation], list[Operation]]) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        made = _work(Path(name), *history)
        old, new = _look(made.old), _look(made.root)
        order = list(new)
        assert all(order.index(str(Path(path).parent)) < order.index(path) for path in order if "/" in path)
        _check_delta(made, old, new)
        _check_layer(made, old, new)
        fake_tools(patch, _unsquash)
        with build_context(Path(name) / "again") as context:
            tree = Tree(context)
            tree.bring_to([_entry(made.old, []), _entry(made.layer, made.delta.removed)])
        assert _look(tree.root) == new


def _entry(content: Path, removed: list[str]) -> Entry:
    """Return the entry of a layer."""
    return Entry(content.parent.name, content.parent, {"removed": removed})


def _is_folder(look: Look, path: str) -> bool:
    mode = look[path][0] if path in look else 0
    return isinstance(mode, int) and stat.S_ISDIR(mode)


def _check_delta(made: Worked, old: Look, new: Look) -> None:
    """What is told of the tree is what happened to it."""
    touched = {
        path
        for path, node in made.after.items()
        if not _is_folder(new, path)
        and path in old
        and (node.status.st_ino, node.status.st_mtime) != (made.before[path].status.st_ino, EPOCH)
    }
    changed = touched | {path for path in new if new[path] != old.get(path)}
    # a rewrite with the old date cannot be told from a chmod that changes nothing: both count
    perhaps = {path for path in old.keys() & new.keys() if not _is_folder(new, path)}
    assert changed <= set(made.delta.changed) <= changed | perhaps
    assert made.delta.changed == sorted(made.delta.changed)
    changed = set(made.delta.changed)
    replaced = {
        path for path in changed & old.keys() if not (_is_folder(old, path) and _is_folder(new, path))
    }
    gone = old.keys() - new.keys()
    assert set(made.delta.removed) <= gone | replaced
    assert replaced <= set(made.delta.removed)
    for path in gone:  # with what it was in, or by itself
        assert {path, *map(str, Path(path).parents)} & set(made.delta.removed)
    stayed = {path for path in replaced if made.after[path].status.st_ino == made.before[path].status.st_ino}
    assert list(made.delta.written) == sorted(path for path in stayed if path.startswith(SHARED))


def _check_layer(made: Worked, old: Look, new: Look) -> None:
    """What is laid out is what changed, the folders it lies in, and whiteouts for what is gone."""
    layer, root = _look(made.layer), made.root
    whiteouts = {path for path in layer if is_whiteout(made.layer / path)}
    assert whiteouts <= old.keys() - new.keys()
    assert _stacked(old, layer, whiteouts) == new
    changed = set(made.delta.changed)
    parents = {str(parent) for path in changed | whiteouts for parent in Path(path).parents} - {"."}
    assert layer.keys() == changed | whiteouts | parents
    assert {(made.layer / path).lstat().st_mtime for path in layer} <= {EPOCH}
    names = Counter(node.status.st_ino for node in made.after.values())
    for path in layer.keys() - whiteouts:
        assert layer[path] == new[path]
        if stat.S_ISREG((made.layer / path).lstat().st_mode):
            # a stage that reads a shared file changes its access time: mksquashfs would split files of several names
            one_name = names[made.after[path].status.st_ino] == 1
            shared = (made.layer / path).samefile(root / path)
            assert shared is (path.startswith(SHARED) and one_name)
    regular = [path for path in changed if stat.S_ISREG((root / path).lstat().st_mode)]
    for one, two in itertools.combinations(regular, 2):
        linked = (root / one).samefile(root / two)
        assert (made.layer / one).samefile(made.layer / two) is linked


# ---- layers are unpacked


@pytest.fixture
def context(tmp_path: Path) -> Iterator[BuildContext]:
    with build_context(tmp_path / "context") as made:
        yield made


@pytest.fixture
def unpacked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the layers as they are unpacked."""
    names: list[str] = []

    def act(argv: list[str]) -> None:
        names.append(Path(argv[-1]).parent.name)
        _unsquash(argv)

    fake_tools(monkeypatch, act)
    return names


def _layer(tmp_path: Path, name: str) -> Entry:
    """Return a layer with one file, named as the layer."""
    content = tmp_path / "objects" / name / SQUASHFS
    files(content, name)
    return _entry(content, [])


def _paths(tree: Tree) -> list[str]:
    return sorted(path for path, status in walk(tree.root) if not stat.S_ISDIR(status.st_mode))


def test_only_what_is_missing_is_unpacked(context: BuildContext, tmp_path: Path, unpacked: list[str]) -> None:
    layers = [_layer(tmp_path, name) for name in ("one", "two", "three")]
    tree = Tree(context)
    for count in (1, 3, 3):
        tree.bring_to(layers[:count])
    assert unpacked == ["one", "two", "three"]
    assert tree.applied == ["one", "two", "three"]
    tree.bring_to([layers[0], _layer(tmp_path, "other")])
    assert _paths(tree) == ["one", "other"], "it is begun again where the layers are others"
    tree.bring_to(layers[:1])
    assert _paths(tree) == ["one"], "more layers than asked for are too many"
    assert unpacked[3:] == ["one", "other", "one"]


def test_a_tree_that_a_stage_worked_in_is_known_only_when_it_says_so(
    context: BuildContext, tmp_path: Path, unpacked: list[str]
) -> None:
    one = _layer(tmp_path, "one")
    tree = Tree(context)
    for _ in range(2):
        tree.bring_to([one])
        assert _paths(tree) == ["one"]
        tree.applied = UNKNOWN
        files(tree.root, "half-done")
    assert unpacked == ["one", "one"]


@pytest.mark.parametrize(
    ("path", "touches"),
    [("boot", True), ("boot/vmlinuz-6", True), ("usr/lib/modules/6/a.ko", True), ("etc/modprobe.d/a.conf", True),
     ("usr/share/initramfs-tools/hooks/a", True), ("etc/initramfs-tools", True), ("bootx", False),
     ("usr/lib/modules-load.d/a", False), ("etc/a", False), ("usr/boot/a", False), ("etc/passwd", False),
     ("etc/plymouth/x", True), ("etc/crypttab", True), ("usr/share/plymouth/themes/x/y", True),
     ("usr/share/plymouth-more/x", False), ("etc/commented", False), ("usr/bin/x", False)],
)  # fmt: skip
def test_a_layer_tells_whether_the_initramfs_depends_on_it(tmp_path: Path, path: str, touches: bool) -> None:
    hook = tmp_path / "usr/share/initramfs-tools/hooks/x"
    hook.parent.mkdir(parents=True)
    hook.write_text(
        'cp "/etc/crypttab" /etc/plymouth/*.conf "${DESTDIR}/tmp/etc/a"; grep x /etc/passwd\n'
        "  # /etc/commented\ncopy_exec /usr/bin/x; theme=/usr/share/plymouth/themes/${THEME}/it\n"
    )
    named = named_by_hooks(tmp_path)
    assert touched([path], [], named) is touches
    assert touched([], [path], named) is touches
    assert touched([], ["usr/share/plymouth"], named), "with all that is in it"
    keyboard = "etc/default/keyboard"
    assert not touched([keyboard], [], named)
    hook.write_text("KEYMAP=y\n")
    assert touched([keyboard], [], named_by_hooks(tmp_path))
