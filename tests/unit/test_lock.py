"""A lock comes back as it was written, changes in small diffs, and is not edited by hand."""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.errors import LockError
from synos_tasks.iso import lock as locks
from synos_tasks.iso.lock import Change, Lock, Package
from synos_tasks.iso.profile import Profile

SOME_DAY = int(dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC).timestamp())
LAST_SECOND = int(dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC).timestamp())


def package(name: str, version: str = "1.0-1", **fields: Any) -> Package:  # noqa: ANN401
    plain: dict[str, Any] = {"architecture": "amd64", "layer": "base", "size": 700, "archive": "main"}
    plain |= {"sha256": "0a" * 32, "path": f"pool/main/{name[0]}/{name}/{name}_1.0-1_amd64.deb"}
    return Package(name=name, version=version, **{**plain, **fields})


def lock(*packages: Package) -> Lock:
    return Lock(request="0123456789abcdef", epoch=SOME_DAY, packages=packages)


LOCK = lock(
    package("apt", "2.6.1"),
    package("libc6", "2.36-9+deb12u9~a", layer="packages-x", archive="security"),
    package("sudo", "1:1.9.13p3-1", architecture="all", path="pool/main/s/sudo/sudo_1.9.13p3%3a1_all.deb"),
)
TEXT = locks.dump(LOCK, "x")
LINES = TEXT.splitlines(keepends=True)
FIRST = next(index for index, line in enumerate(LINES) if line.startswith("- "))
"""Index of the first package's line."""


OLD = """\
schema: synos.lock/1
request: '0123456789abcdef'
date: '2026-01-31T12:00:00Z'
seal: 'a298d651590e8934'
packages:
- {name: 'apt', version: '2.6.1', architecture: amd64, layer: 'base', size: 700, \
sha256: '0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a', archive: main, \
path: 'pool/main/a/apt/apt_1.0-1_amd64.deb'}
"""


def texts(pattern: str) -> st.SearchStrategy[str]:
    return st.from_regex(pattern, fullmatch=True)


# names stand without quotes: those that YAML takes for numbers or for true and false are left out
# with 2048 and 0xffff, which Debian has
NAMES = texts(r"[a-z0-9][a-z0-9+.-]{1,12}") | st.sampled_from(["2048", "0xffff"])
PATHS = st.lists(texts(r"[A-Za-z0-9._+~%:-]{1,12}").filter(lambda part: part != ".."), min_size=1, max_size=4)
PACKAGES = st.builds(
    Package,
    name=NAMES,
    version=texts(r"[0-9A-Za-z.+:~-]{1,12}"),
    architecture=st.sampled_from(["all", "amd64"]),
    layer=st.just("base") | texts(r"packages-[a-z][a-z0-9-]{0,8}"),
    size=st.integers(1, 2**40),
    sha256=texts(r"[0-9a-f]{64}"),
    archive=st.sampled_from(["main", "security"]),
    path=PATHS.map("/".join),
)
LOCKS = st.builds(
    Lock,
    request=texts(r"[0-9a-f]{16}"),
    epoch=st.integers(0, LAST_SECOND),
    packages=st.lists(PACKAGES, min_size=1, max_size=5, unique_by=lambda p: p.name).map(
        lambda found: tuple(sorted(found, key=lambda p: p.name))
    ),
    releases=st.dictionaries(
        st.sampled_from(["bookworm", "bookworm-updates", "trixie-security"]),
        st.integers(10, 28).map("2026-01-{}T12:00:00Z".format),
    ),
)


def load(data: bytes | str) -> Lock | LockError:
    """Give what comes of a file: a lock, or a mistake that says where and what to do."""
    with tempfile.TemporaryDirectory() as folder:
        path = locks.path_of(Path(folder), "x")
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        try:
            found = locks.load(path)
        except LockError as error:
            mistake = error
        else:
            assert found is not None
            return found
    assert mistake.where.startswith(str(path))
    assert mistake.hint == locks.HINT
    return mistake


def mistake_of(data: bytes | str) -> LockError:
    found = load(data)
    assert isinstance(found, LockError)
    return found


def place_of(error: LockError) -> int:
    """Index of the line that an error points at."""
    found = re.search(r"\.yaml:(\d+):\d+$", error.where)
    assert found, error.where
    return int(found[1]) - 1


@given(LOCKS)
def test_a_lock_comes_back(wanted: Lock) -> None:
    text = locks.dump(wanted, "x")
    assert load(text) == wanted
    written = [line for line in text.splitlines() if line.startswith("- ")]
    assert [re.findall(r"name: '([^,]+)'", line) for line in written] == [[p.name] for p in wanted.packages]


def test_a_lock_from_before_release_files_were_noted_is_still_whole_and_what_is_noted_is_sealed() -> None:
    assert load(OLD) == Lock(request="0123456789abcdef", epoch=SOME_DAY, packages=(package("apt", "2.6.1"),))
    dated = dataclasses.replace(LOCK, releases={"bookworm": "2026-01-31T12:00:00Z"})
    text = locks.dump(dated, "x")
    assert load(text) == dated
    assert "edited by hand" in mistake_of(text.replace("  bookworm: '2026", "  bookworm: '2025")).what
    assert "seal" in mistake_of(text.replace("  bookworm:", "  nowhere:")).why


@given(LOCKS, st.integers(0), st.integers(1, 9), st.booleans())
def test_a_new_version_is_a_small_diff(old: Lock, index: int, size: int, later: bool) -> None:
    index %= len(old.packages)
    packages = list(old.packages)
    packages[index] = dataclasses.replace(packages[index], version="new", size=packages[index].size ^ size)
    epoch = (old.epoch + 1) % LAST_SECOND if later else old.epoch
    new = dataclasses.replace(old, packages=tuple(packages), epoch=epoch)
    before, after = (locks.dump(each, "x").splitlines() for each in (old, new))
    changed = [one for one, two in zip(before, after, strict=True) if one != two]
    expected = ["date:"] * later + ["seal:", f"- {{name: '{packages[index].name}',"]
    assert [line[: len(start)] for line, start in zip(changed, expected, strict=True)] == expected


BY_HAND = [
    ("name", "name: 'libc6'", "name: 'libc7'"),
    ("version", "2.36-9", "2.37-9"),
    ("architecture", "architecture: amd64", "architecture: all"),
    ("layer", "layer: 'packages-x'", "layer: 'base'"),
    ("size", "size: 700", "size: 701"),
    ("sha256", "'0a0a", "'0a0b"),
    ("archive", "archive: security", "archive: main"),
    ("path", "pool/main", "pool/Main"),
]


def edited(line: str) -> str:
    return "".join([*LINES[: FIRST + 1], line, *LINES[FIRST + 2 :]])


@pytest.mark.parametrize(("name", "old", "new"), BY_HAND, ids=[name for name, _, _ in BY_HAND])
def test_an_edit_is_noticed_and_nonsense_and_gaps_where_they_stand(name: str, old: str, new: str) -> None:
    assert [name for name, _, _ in BY_HAND] == [field.name for field in dataclasses.fields(Package)]
    line = LINES[FIRST + 1]
    assert line.count(old) == 1
    mistake = mistake_of(edited(line.replace(old, new)))
    assert "edited by hand" in mistake.what
    assert "seal" in mistake.why
    for text in (re.sub(rf"{name}: [^,}}]+", f"{name}: [x]", line), line.replace(f"{name}: ", f"{name}x: ")):
        mistake = mistake_of(edited(text))
        assert name in mistake.what
        assert place_of(mistake) == FIRST + 1


@pytest.mark.parametrize("order", [[0, 2], [0, 0, 1, 2], [0, 1, 1, 2], [1, 0, 2], [0, 2, 1], [0], []])
def test_lines_are_neither_lost_nor_doubled_nor_swapped(order: list[int]) -> None:
    assert isinstance(load("".join([*LINES[:FIRST], *(LINES[FIRST + index] for index in order)])), LockError)


SPECIALS = st.sampled_from(
    [b"&a ", b"*a", b"!!int ", b"[" * 40, b"---\n", b"? ", b"'", b"\xc2\x85", b"0x", b"\0"]
)
MUTATION = st.tuples(st.integers(0, len(TEXT)), st.integers(0, 3), st.binary(max_size=3) | SPECIALS)


@given(st.lists(MUTATION, min_size=1, max_size=3))
def test_a_damaged_lock_says_the_same_or_is_a_mistake(mutations: list[tuple[int, int, bytes]]) -> None:
    data = TEXT.encode()
    for place, length, instead in mutations:
        data = data[:place] + instead + data[place + length :]
    found = load(data)
    assert found == LOCK or (isinstance(found, LockError) and found.what)


PROFILE = Profile(name="x", layers=(("base", ("sudo",)),))


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        ({"mirror": "http://a.example"}, False),
        ({"security_mirror": "http://a.example"}, False),
        ({"name": "y"}, False),
        ({"description": "y"}, False),
        ({"suites": ("security", "updates", "release")}, False),
        ({"suite": "bookworm"}, True),
        ({"suites": ("release",)}, True),
        ({"areas": ("main", "contrib")}, True),
        ({"components": ("tool",)}, False),
        ({"architecture": "arm64"}, True),
        ({"bootstrapper": "debootstrap"}, True),
        ({"recommends": True}, True),
        ({"layers": (("base", ("sudo", "vim")),)}, True),
        ({"layers": (("base", ()), ("packages-x", ("sudo",)))}, True),
    ],
    ids=str,
)
def test_a_lock_is_for_what_decides_over_packages(change: dict[str, Any], matters: bool) -> None:
    request = locks.request_of(PROFILE)
    assert re.fullmatch(r"[0-9a-f]{16}", request)
    assert (locks.request_of(dataclasses.replace(PROFILE, **change)) != request) is matters


def test_changes_are_listed_by_name() -> None:
    new = lock(
        package("apt", "2.6.2", archive="security"),
        package("bash", "5", archive="security"),
        package("libc6", "3"),
    )
    assert locks.changes(LOCK, new) == [
        Change(name="apt", old="2.6.1", new="2.6.2", security=True),
        Change(name="bash", old="", new="5", security=False),
        Change(name="libc6", old=LOCK.packages[1].version, new="3", security=False),  # no longer
        Change(name="sudo", old=LOCK.packages[2].version, new="", security=False),
    ]
    assert locks.changes(LOCK, LOCK) == []
    found = locks.changes(None, LOCK)
    assert [(c.name, c.old, c.security) for c in found] == [(p.name, "", False) for p in LOCK.packages]
