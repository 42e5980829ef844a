"""ccache and sccache: in volumes that outlive containers. Broken ones cost time, never a build."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.iso.holds import one_at_a_time
from synos_tasks.iso.scratch import remove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CCACHE = Path("/var/cache/ccache")
SCCACHE = Path("/var/cache/sccache")
CONFIG = "/etc/ccache.conf"
"""Not in the volume, where a damaged one would stop each compiler."""
WRAPPER = "/usr/local/bin/rustc-cached"
SIZE = "2G"
ROOM_BYTES = 2**20
_HITS = ("direct_cache_hit", "preprocessed_cache_hit")


@dataclass(frozen=True, kw_only=True)
class Caches:
    """Which of the two can be used, and the environment that uses them."""

    environment: Mapping[str, str]
    ccache: bool
    sccache: bool


@contextmanager
def caches(work: Path, builder: tuple[int, int], warn: Callable[[str], None]) -> Iterator[Caches]:
    """Give what can be used of the caches; who comes second waits, as sccache bears one server for a folder.

    ``work`` takes what is not worth keeping. ``warn`` is told of a cache that cannot be used.
    """
    temporary = work / "ccache"
    remove(temporary)
    temporary.mkdir()
    os.chown(temporary, *builder)
    usable = {folder: _usable(folder, builder, warn) for folder in (CCACHE, SCCACHE)}
    with one_at_a_time(SCCACHE if usable[SCCACHE] else work):
        yield Caches(
            environment=environment(temporary, ccache=usable[CCACHE], sccache=usable[SCCACHE]),
            ccache=usable[CCACHE],
            sccache=usable[SCCACHE],
        )


def environment(temporary: Path, *, ccache: bool, sccache: bool) -> dict[str, str]:
    """Give the variables for a build. See ccache(1) and sccache's documentation for each."""
    found = {"CARGO_INCREMENTAL": "0"}
    if ccache:
        found |= {
            "PATH": "/usr/local/lib/cached:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "CCACHE_DIR": str(CCACHE),
            "CCACHE_CONFIGPATH": CONFIG,
            "CCACHE_TEMPDIR": str(temporary),
            "CCACHE_STATSLOG": str(temporary / "log"),
            "CCACHE_COMPILERCHECK": "content",
            "CCACHE_NOHASHDIR": "1",
            "CCACHE_MAXSIZE": SIZE,
        }
    if sccache:
        found |= {
            "RUSTC_WRAPPER": WRAPPER,
            "SCCACHE_DIR": str(SCCACHE),
            "SCCACHE_CACHE_SIZE": SIZE,
            "SCCACHE_IDLE_TIMEOUT": "0",
        }
    return found


def ccache_counts(temporary: Path) -> dict[str, int]:
    """Give hits and misses of the builds since ``temporary`` was made, from ccache's own log of results."""
    try:
        results = Counter((temporary / "log").read_text(errors="replace").split())
    except OSError:
        return {"hits": 0, "misses": 0}
    return {"hits": sum(results[name] for name in _HITS), "misses": results["cache_miss"]}


def sccache_counts(text: str) -> dict[str, int]:
    """Read hits and misses out of `sccache --show-stats --stats-format=json`; none where it says nothing."""
    try:
        stats = json.loads(text)["stats"]
        return {
            "hits": sum(stats["cache_hits"]["counts"].values()),
            "misses": sum(stats["cache_misses"]["counts"].values()),
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {"hits": 0, "misses": 0}


def _usable(folder: Path, builder: tuple[int, int], warn: Callable[[str], None]) -> bool:
    """Tell whether the builder can write into a cache."""
    try:
        os.chown(folder, *builder)
        subprocess.run(
            ["sh", "-c", f'head -c {ROOM_BYTES} /dev/zero >"$0/.room" && rm "$0/.room"', str(folder)],
            user=builder[0], group=builder[1], extra_groups=[], check=True, capture_output=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError) as error:
        with suppress(OSError):
            (folder / ".room").unlink()
        why = getattr(error, "stderr", b"") or str(error).encode()
        warn(f"{folder.name} is not used, which costs time: {why.decode(errors='replace').strip()[-200:]}")
        return False
    return True
