"""What a stage changes in a tree, laid over the tree as it was, is the tree as it is."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.iso.scratch import remove
from synos_tasks.iso.tree import SHARED, Delta, Node, Tree, difference, freeze, is_whiteout, walk
from tests.unit.contexts import EPOCH, build_context, files

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        ["create", "write", "replace", "chmod", "delete", "folder", "symlink", "attribute", "link"]
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
        other = root / PATHS[detail]
        if other.is_file() and not other.is_symlink():
            os.link(other, path)
    elif what == "chmod" and not path.is_symlink() and path.exists():
        path.chmod((FOLDER_MODES if is_folder else FILE_MODES)[detail])
    elif what == "write" and is_file:
        with path.open("a") as stream:
            stream.write(f"written {detail}")
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
        shutil.copytree(tree.root, folder / "old", symlinks=True)
        for operation in after:
            _do(tree.root, operation)
        second = tree.snapshot()
        delta = difference(first, second)
        tree.settle()
        freeze(tree.root, delta, folder / "layer", context.epoch)
    return Worked(tree.root, folder / "old", folder / "layer", delta, first, second)


def _lay_over(old: Path, layer: Path, delta: Delta) -> None:
    """Unpack a layer as Tree.bring_to() does, with copies in place of a squashfs."""
    for path in delta.removed:
        remove(old / path)
    for path, status in walk(layer):
        source, target = layer / path, old / path
        if is_whiteout(source):
            continue
        if stat.S_ISDIR(status.st_mode):
            target.mkdir(exist_ok=True)
            shutil.copystat(source, target)
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


@given(HISTORIES)
def test_a_layer_over_the_old_tree_is_the_new_tree(history: tuple[list[Operation], list[Operation]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        made = _work(Path(name), *history)
        old, new = _look(made.old), _look(made.root)
        _check_delta(made, old, new)
        _check_layer(made, old, new)
        _lay_over(made.old, made.layer, made.delta)
        assert _look(made.old) == new


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
    for path in layer.keys() - whiteouts:
        assert layer[path] == new[path]
        if stat.S_ISREG((made.layer / path).lstat().st_mode):
            assert (made.layer / path).samefile(root / path) is path.startswith(SHARED)
    outside = [
        path
        for path in changed
        if not path.startswith(SHARED) and stat.S_ISREG((root / path).lstat().st_mode)
    ]
    for one, two in itertools.combinations(outside, 2):
        linked = (root / one).samefile(root / two)
        assert (made.layer / one).samefile(made.layer / two) is linked
