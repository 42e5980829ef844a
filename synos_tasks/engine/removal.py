"""Takes things out of the engine, one by its exact name or id. Not by force: what came into use meanwhile stays."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Protocol

from synos_tasks.engine import api
from synos_tasks.engine.inventory import epoch

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 300.0
"""What the engine may take to remove one thing."""
AT_ONCE = 200
"""Records of the cache in one request: their ids are in its address."""
THIS_ALONE = {"noprune": "true"}
"""Not also images that it was made of and that have no name: they may be somebody else's."""


class Removal(Protocol):
    """What cleaning up needs; a fake in the unit tests implements it too.

    Each method gives '' when the thing is gone, or went away before, and else what the engine says to keep it.
    """

    def container(self, ident: str, *, running: bool = False, volumes: bool = False) -> str:
        """Remove one; ``running``: though it may run; ``volumes``: with its anonymous volumes."""
        ...

    def image(self, ident: str, names: Sequence[str]) -> str:
        """Take names from an image, as far as they are still its names, and it goes with its last; () for a nameless one."""
        ...

    def volume(self, name: str, created: float) -> str:
        """Remove a volume that no container has, where it still is the one that was made then (epoch seconds)."""
        ...

    def network(self, ident: str) -> str:
        """Remove a network that no running container is on."""
        ...

    def records(self, idents: Sequence[str]) -> list[str]:
        """Remove records of the build cache; gives the ids of those that went."""
        ...


class DockerRemoval:
    """The real thing, over the engine's socket."""

    def container(self, ident: str, *, running: bool = False, volumes: bool = False) -> str:
        """Remove one; ``running``: though it may run; ``volumes``: with its anonymous volumes."""
        return _delete(f"/containers/{ident}", {"v": str(volumes).lower(), "force": str(running).lower()})

    def image(self, ident: str, names: Sequence[str]) -> str:
        """Take names from an image, as far as they are still its names, and it goes with its last; () for a nameless one."""
        told = api.get(f"/images/{ident}/json")
        if told is None:
            return ""
        if not names:
            return "it has a name by now" if told["RepoTags"] else _delete(f"/images/{ident}", THIS_ALONE)
        still = [name for name in names if name in (told["RepoTags"] or ())]
        if not still:
            return "it lost its name by now"
        said = [_delete(f"/images/{name}", THIS_ALONE) for name in still]
        return "; ".join(filter(None, said))

    def volume(self, name: str, created: float) -> str:
        """Remove a volume that no container has, where it still is the one that was made then (epoch seconds)."""
        told = api.get(f"/volumes/{name}")
        if told is None:
            return ""
        if epoch(told["CreatedAt"]) != created:
            return "another volume has its name by now"
        return _delete(f"/volumes/{name}")

    def network(self, ident: str) -> str:
        """Remove a network that no running container is on."""
        return _delete(f"/networks/{ident}")

    def records(self, idents: Sequence[str]) -> list[str]:
        """Remove records of the build cache; gives the ids of those that went."""
        left = list(idents)
        while left:  # one goes after what is built on it, which may be in a later request
            batches = [left[start : start + AT_ONCE] for start in range(0, len(left), AT_ONCE)]
            went = {ident for batch in batches for ident in _prune(batch)}.intersection(left)
            if not went:
                break
            left = [ident for ident in left if ident not in went]
        return [ident for ident in idents if ident not in left]


def _delete(path: str, query: dict[str, str] | None = None) -> str:
    status, told = api.request("DELETE", path, query, timeout=SECONDS)
    if status in {http.client.OK, http.client.NO_CONTENT, http.client.NOT_FOUND}:
        return ""
    return api.message_of(told) or f"the engine answered with {status}"


def _prune(idents: Sequence[str]) -> list[str]:
    """Have BuildKit remove exactly these. Its filter is an expression, so only letters and digits may go into it."""
    chosen = [ident for ident in idents if ident.isascii() and ident.isalnum()]
    if not chosen:  # no filter would mean: everything
        return []
    query = {"all": "true", "filters": json.dumps({"id": {f'"^({"|".join(chosen)})$"': True}})}
    status, told = api.request("POST", "/build/prune", query, timeout=SECONDS)
    return list((told or {}).get("CachesDeleted") or ()) if status == http.client.OK else []
