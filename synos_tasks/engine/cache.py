"""What only the engine's socket has: BuildKit's cache records, sizes, and statistics without a wait.

python-on-whales' `buildx.disk_usage` is not implemented, no command prints sizes as numbers, `docker stats` takes
a second, and asking whether one container runs, or one image is there, needs no import of 0.2 s.
"""

from __future__ import annotations

import datetime as dt
import http.client
import json
import os
import socket
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.engine.failures import DEFAULT_SOCKET, unanswered, version_tuple
from synos_tasks.errors import EngineUnavailable, HostUnfit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DEFAULT_CONTEXT = "default"
TIMEOUT = 10.0
"""Seconds for one request."""
LONG_TIMEOUT = 300.0
"""Seconds for one that measures volumes with many files, or removes."""
DISK_USAGE_API = "1.44"
"""From 1.52 on, `/system/df` has another form unless it is asked for in an older one."""
RECORDS_AT_ONCE = 200
"""Cache records in one request: their ids are in its address."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One record of BuildKit's cache. A ``shared`` one is also a layer of an image. ``used``: epoch seconds."""

    id: str
    parents: tuple[str, ...]
    type: str
    description: str
    in_use: bool
    shared: bool
    bytes: int
    used: float


@dataclass(frozen=True, kw_only=True)
class DiskUsage:
    """Sizes in bytes, by id or name, of everything that the engine has."""

    images: Mapping[str, int]
    """Without layers that other images have too; the build cache may have them all the same."""
    containers: Mapping[str, int]
    """What each has written, apart from its volumes."""
    volumes: Mapping[str, int]
    """Without those that the engine does not measure."""
    layers: int
    """All images together."""
    records: tuple[Record, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a container has used. CPU in nanoseconds since its start, memory in bytes; limit 0: none."""

    cpu_ns: int
    memory: int
    memory_limit: int


def socket_path() -> str | None:
    """Return the path of the engine's socket; None where the client reaches it otherwise (a context, SSH, TCP)."""
    host = os.environ.get("DOCKER_HOST") or (DEFAULT_SOCKET if _context() == DEFAULT_CONTEXT else "")
    return host.removeprefix("unix://") if host.startswith("unix://") else None


def require_local_engine() -> None:
    """Raise HostUnfit where the engine is not on this machine."""
    if socket_path() is None:
        raise HostUnfit(
            "the engine is not on this machine",
            where=os.environ.get("DOCKER_HOST") or os.environ.get("DOCKER_CONTEXT", ""),
            why="sizes, ownership and what was freed can only be determined on the engine's own machine",
            hint="unset DOCKER_HOST and DOCKER_CONTEXT, or run this there",
        )


def is_running(container: str) -> bool | None:
    """Tell whether a container runs; None where there is none, or where only the client reaches the engine."""
    if socket_path() is None:
        return None
    found = _get(f"/containers/{container}/json", absent_ok=True)
    return bool(found["State"]["Running"]) if found else None


def image_id(ref: str) -> str | None:
    """Return the id of a local image; None where there is none. Only where socket_path() is not None."""
    found = _get(f"/images/{ref}/json", absent_ok=True)
    return str(found["Id"]) if found else None


def statistics(containers: Iterable[str]) -> dict[str, Usage]:
    """Return what running containers have used, by id; {} where only the client reaches the engine."""
    if socket_path() is None:
        return {}
    query = {"stream": "false", "one-shot": "true"}
    answers = {ident: _request("GET", f"/containers/{ident}/stats", query) for ident in containers}
    return {
        ident: usage_of(answer) for ident, (status, answer) in answers.items() if status == http.client.OK
    }


def usage_of(stats: Mapping[str, Any]) -> Usage:
    """Read the engine's statistics; memory without what the kernel can reclaim, as `docker stats` shows it."""
    memory = stats.get("memory_stats") or {}
    details = memory.get("stats") or {}
    reclaimable = details.get("total_inactive_file", details.get("inactive_file", 0))  # cgroup v1, v2
    return Usage(
        cpu_ns=(stats.get("cpu_stats") or {}).get("cpu_usage", {}).get("total_usage", 0),
        memory=max(memory.get("usage", 0) - reclaimable, 0),
        memory_limit=memory.get("limit", 0),
    )


def disk_usage(*types: str) -> DiskUsage:
    """Return sizes and cache records; ``types``: image, container, volume, build-cache, by default all.

    Only where socket_path() is not None. Raises EngineUnavailable where the engine does not answer.
    """
    newest = version_tuple(_get("/version").get("ApiVersion", ""))
    prefix = f"/v{DISK_USAGE_API}" if newest >= version_tuple(DISK_USAGE_API) else ""
    query = urllib.parse.urlencode([("type", one) for one in types])
    answer = _get(f"{prefix}/system/df?{query}", timeout=LONG_TIMEOUT)
    return DiskUsage(
        images={one["Id"]: one["Size"] - max(0, one["SharedSize"]) for one in answer.get("Images") or ()},
        containers={one["Id"]: one.get("SizeRw") or 0 for one in answer.get("Containers") or ()},
        volumes={
            one["Name"]: size
            for one in answer.get("Volumes") or ()
            if (size := (one.get("UsageData") or {}).get("Size", -1)) >= 0  # -1: not measured
        },
        layers=answer.get("LayersSize") or 0,
        records=tuple(map(_record, answer.get("BuildCache") or ())),
    )


def union_bytes(images: Iterable[str]) -> int:
    """Return what images take together, in bytes; layers that they share count once, and images that are gone do not."""
    sizes: dict[int, int] = {}
    for image in images:
        path = 0
        for layer in reversed(_get(f"/images/{image}/history", absent_ok=True) or ()):
            path = hash((path, layer["Created"], layer["CreatedBy"], layer["Size"]))
            sizes[path] = layer["Size"]
    return sum(sizes.values())


def prune_records(idents: Sequence[str]) -> list[str]:
    """Remove records of the build cache; returns the ids of those that went."""
    left = list(idents)
    while left:  # a record goes after those built on it, which may be in a later request
        batches = [left[start : start + RECORDS_AT_ONCE] for start in range(0, len(left), RECORDS_AT_ONCE)]
        went = {ident for batch in batches for ident in _prune(batch)}.intersection(left)
        if not went:
            break
        left = [ident for ident in left if ident not in went]
    return [ident for ident in idents if ident not in left]


def epoch(time: dt.datetime | str | None) -> float:
    """Return a time, maybe as the engine prints it, in seconds since 1970; 0 for None and for its year 1: never."""
    moment = dt.datetime.fromisoformat(time) if isinstance(time, str) else time
    return 0.0 if moment is None or moment.year == 1 else moment.timestamp()


def _prune(idents: Sequence[str]) -> list[str]:
    """Remove exactly these. The filter is an expression, so only letters and digits may go into it."""
    chosen = [ident for ident in idents if ident.isascii() and ident.isalnum()]
    if not chosen:  # no filter would mean: everything
        return []
    query = {"all": "true", "filters": json.dumps({"id": {f'"^({"|".join(chosen)})$"': True}})}
    status, answer = _request("POST", "/build/prune", query, timeout=LONG_TIMEOUT)
    return list((answer or {}).get("CachesDeleted") or ()) if status == http.client.OK else []


def _record(answer: Mapping[str, Any]) -> Record:
    parents = answer.get("Parents") or answer.get(" Parents") or ()  # with that space in Engine 23 to 26
    return Record(
        id=answer["ID"],
        parents=tuple(parents),
        type=answer["Type"],
        description=answer["Description"],
        in_use=answer["InUse"],
        shared=answer["Shared"],
        bytes=answer["Size"],
        used=epoch(answer.get("LastUsedAt") or answer["CreatedAt"]),
    )


def _get(path: str, timeout: float = TIMEOUT, *, absent_ok: bool = False) -> Any:  # noqa: ANN401
    """Return the answer as JSON; None where ``absent_ok`` and the engine finds nothing under that name."""
    status, answer = _request("GET", path, timeout=timeout)
    if absent_ok and 400 <= status < 500:
        return None
    if status != http.client.OK:
        why = str(answer.get("message", answer)) if isinstance(answer, dict) else str(answer)
        raise EngineUnavailable("the Docker Engine refused a request", where=path, why=why)
    return answer


def _request(
    method: str, path: str, query: dict[str, str] | None = None, *, timeout: float = TIMEOUT
) -> tuple[int, Any]:
    """Return the status of a request and its answer, read as JSON; raises EngineUnavailable."""
    where = socket_path() or ""
    connection = http.client.HTTPConnection("localhost", timeout=timeout)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.settimeout(timeout)
        connection.sock.connect(where)
        connection.request(method, f"{path}?{urllib.parse.urlencode(query)}" if query else path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise unanswered(where=where, why=str(error)) from error
    finally:
        connection.close()
    try:
        return answer.status, json.loads(body)
    except ValueError:  # an error's text may be plain
        return answer.status, body.decode(errors="replace")


def _context() -> str:
    """Return the name of the client's context where DOCKER_HOST is not set; the environment's wins."""
    if named := os.environ.get("DOCKER_CONTEXT"):
        return named
    path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker", "config.json")
    try:
        named = json.loads(path.read_text()).get("currentContext")
    except (OSError, ValueError, AttributeError):
        named = None
    return str(named or DEFAULT_CONTEXT)
