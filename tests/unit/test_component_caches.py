"""The compilers' caches: what a build is told of them, what they counted, and that a broken one only costs time."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from synos_tasks.iso.components import caches

ME = (os.getuid(), os.getgid())
# sccache 0.4.0-pre.6, shortened
STATS = (
    '{"stats":{"compile_requests":4,"requests_executed":4,"cache_errors":{"counts":{}},"cache_hits":{"counts":{"Rust":1}},'
    '"cache_misses":{"counts":{"C/C++":1,"Rust":2}},"cache_timeouts":0,"not_cached":{}},'
    '"cache_location":"Local disk: \\"/var/cache/sccache\\"","cache_size":9988,"max_cache_size":10737418240}'
)
NONE = {"hits": 0, "misses": 0}
# ccache 4.7.5: one file compiled, and compiled again
LOG = b"# a.c\ncache_miss\ndirect_cache_miss\nlocal_storage_miss\nlocal_storage_write\npreprocessed_cache_miss\n"
HIT = b"# a.c\ndirect_cache_hit\nlocal_storage_hit\nlocal_storage_read_hit\n"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put both caches into folders of the test."""
    for name in ("ccache", "sccache"):
        (tmp_path / "var" / name).mkdir(parents=True)
        monkeypatch.setattr(caches, name.upper(), tmp_path / "var" / name)
    (tmp_path / "work").mkdir()
    return tmp_path


def test_a_disk_that_fails_when_the_cache_is_tidied_costs_time_only(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: str | Path, *_: object, **__: object) -> None:
        if str(path).startswith(str(folders / "var")):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(os, "chown", fails)
    monkeypatch.setattr(os, "unlink", fails)
    warned: list[str] = []
    with caches.locked_caches(folders / "work", ME, warned.append) as usable:
        assert usable == {"CARGO_INCREMENTAL": "0"}
    assert [text.partition(" ")[0] for text in warned] == ["ccache", "sccache"]
    assert all("Input/output error" in text for text in warned)


def test_counts_begin_anew_with_each_build(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "_usable", lambda *_: True)
    for _ in range(2):
        with caches.locked_caches(folders / "work", ME, print) as usable:
            log = folders / "work/ccache/log"
            assert usable["CCACHE_STATSLOG"] == str(log)
            assert usable["CCACHE_TEMPDIR"] == str(log.parent)
            assert caches.ccache_counts(log.parent) == NONE
            log.write_bytes(LOG + HIT)
            assert caches.ccache_counts(log.parent) == {"hits": 1, "misses": 1}


@given(
    st.dictionaries(st.text(max_size=5), st.integers(0, 10**6)),
    st.dictionaries(st.text(max_size=5), st.integers(0, 10**6)),
)
def test_sccache_counts_are_the_sums(hits: dict[str, int], misses: dict[str, int]) -> None:
    stats = {"stats": {"cache_hits": {"counts": hits}, "cache_misses": {"counts": misses}}}
    assert caches.sccache_counts(json.dumps(stats)) == {
        "hits": sum(hits.values()),
        "misses": sum(misses.values()),
    }


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
@example('{"stats": []}')
@example('{"stats": {"cache_hits": 1}}')
@example(STATS[:-9])
@example(STATS.replace('"Rust":1', '"Rust":"one"', 1))
@example("[" * 100_000)
def test_sccache_that_says_nothing_of_use_counted_nothing(text: str) -> None:
    assert caches.sccache_counts(text) == NONE


@given(st.binary(max_size=60))
def test_ccache_counts_never_raise(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "log").write_bytes(data)
    assert set(caches.ccache_counts(folder)) == {"hits", "misses"}
