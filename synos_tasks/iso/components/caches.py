"""ccache and sccache: in volumes that outlive containers. Broken ones cost time, never a build."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.iso.scratch import remove
from synos_tasks.locks import exclusive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from synos_tasks.iso.components.context import CompileContext

CCACHE = Path("/var/cache/ccache")
SCCACHE = Path("/var/cache/sccache")
SIZE = "2G"
TRY_TO_WRITE = 'head -c 1M /dev/zero >"$0/.room"; ended=$?; rm -f "$0/.room"; exit $ended'


@contextmanager
def locked_caches(
    work: Path, builder: tuple[int, int], warn: Callable[[str], None]
) -> Iterator[dict[str, str]]:
    """Yield the variables that use the caches which can be used. Others wait: sccache allows one server a folder.

    ``work`` gets what is not worth keeping. ``warn`` is called for a cache that cannot be used.
    """
    temporary = work / "ccache"
    remove(temporary)
    temporary.mkdir()
    os.chown(temporary, *builder)
    ccache, sccache = (_usable(folder, builder, warn) for folder in (CCACHE, SCCACHE))
    with exclusive(SCCACHE if sccache else work):
        yield environment(temporary, ccache=ccache, sccache=sccache)


def environment(temporary: Path, *, ccache: bool, sccache: bool) -> dict[str, str]:
    """Return the variables for a build. See ccache(1) and sccache's documentation for each."""
    found = {"CARGO_INCREMENTAL": "0"}
    if ccache:
        found |= {
            "PATH": "/usr/local/lib/cached:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "CCACHE_DIR": str(CCACHE),
            # not in the volume, where a damaged one would stop each compiler
            "CCACHE_CONFIGPATH": "/etc/ccache.conf",
            "CCACHE_TEMPDIR": str(temporary),
            "CCACHE_STATSLOG": str(temporary / "log"),
            "CCACHE_COMPILERCHECK": "content",
            "CCACHE_NOHASHDIR": "1",
            "CCACHE_MAXSIZE": SIZE,
        }
    if sccache:
        found |= {
            "RUSTC_WRAPPER": "/usr/local/bin/rustc-cached",
            "SCCACHE_DIR": str(SCCACHE),
            "SCCACHE_CACHE_SIZE": SIZE,
            "SCCACHE_IDLE_TIMEOUT": "0",
        }
    return found


def counts(context: CompileContext, variables: Mapping[str, str | None]) -> dict[str, dict[str, int]]:
    """Return hits and misses in this build by cache; ends the sccache server."""
    script = "sccache --show-stats --stats-format=json || true; sccache --stop-server >/dev/null 2>&1 || true"
    lines = []
    if "SCCACHE_DIR" in variables:
        lines = context.run(["sh", "-c", script], environment=variables)
    return {"ccache": ccache_counts(context.build.work / "ccache"), "sccache": sccache_counts("".join(lines))}


def ccache_counts(temporary: Path) -> dict[str, int]:
    """Return hits and misses since ``temporary`` was made, from ccache's own log of results."""
    try:
        results = Counter((temporary / "log").read_text(errors="replace").split())
    except OSError:
        return {"hits": 0, "misses": 0}
    hits = results["direct_cache_hit"] + results["preprocessed_cache_hit"]
    return {"hits": hits, "misses": results["cache_miss"]}


def sccache_counts(text: str) -> dict[str, int]:
    """Return hits and misses from sccache's statistics in JSON; zeros where the text is something else."""
    try:
        stats = json.loads(text)["stats"]
        return {
            "hits": sum(stats["cache_hits"]["counts"].values()),
            "misses": sum(stats["cache_misses"]["counts"].values()),
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {"hits": 0, "misses": 0}


def _usable(folder: Path, builder: tuple[int, int], warn: Callable[[str], None]) -> bool:
    """Return whether the builder can write into a cache."""
    try:
        os.chown(folder, *builder)
        subprocess.run(
            ["sh", "-c", TRY_TO_WRITE, str(folder)],
            user=builder[0], group=builder[1], extra_groups=[], check=True, capture_output=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError) as error:
        why = getattr(error, "stderr", b"") or str(error).encode()
        warn(f"{folder.name} is not used, which costs time: {why.decode(errors='replace').strip()[-200:]}")
        return False
    return True
