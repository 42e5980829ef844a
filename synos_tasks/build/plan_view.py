"""`inv build.plan`: for each stage whether it is there, why not, how large it is and how long it takes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks.build import locking, planning
from synos_tasks.build.progress import History
from synos_tasks.builder import ask, builder_spec, store_volume
from synos_tasks.images.building import ensure_image
from synos_tasks.images.catalog import BUILDER
from synos_tasks.iso import codec
from synos_tasks.iso import lock as locks
from synos_tasks.iso.lock import Lock
from synos_tasks.iso.plan import Plan
from synos_tasks.iso.protocol import Entries, Inspect
from synos_tasks.iso.publish import published
from synos_tasks.iso.scratch import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from synos_tasks.build.iso_build import Options
    from synos_tasks.engine.client import Docker
    from synos_tasks.iso.plan import Stage
    from synos_tasks.iso.profile import Profile
    from synos_tasks.settings import Settings

# made at each build: that takes less time than to keep them
NEVER_STORED = ("bootfiles", "iso")
GONE = "no longer in the store"
WORDS = {
    "code": "the code of this stage changed",
    "tools": "the tools of its image changed",
    "date": "the lock's date changed",
    "order": "other overlays or hooks",
    "build": "",
    "recipe": "its recipe changed",
    "source": "its source or a patch changed",
    "components": "other components",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is known of one stage. ``bytes`` is 0 and ``seconds`` is None where that is not known."""

    name: str
    key: str
    hit: bool
    why: str
    bytes: int
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class View:
    """A plan, compared with what is there."""

    rows: list[Row]
    lock: str
    """``fits``; ``stale``: the profile asks for other packages, so that a build renews the lock first;
    ``missing``: it resolves all packages first."""


def view(
    settings: Settings, docker: Docker, options: Options, say: Callable[[str], None], *, dry: bool = False
) -> View:
    """Compare a plan with what is there. Raises ProfileError, LockError, EngineUnavailable.

    Unless ``dry``, which starts nothing, the builder image is built where it is missing, and reads the store.
    """
    profile = planning.read_profile(settings, options.profile)
    lock, state = _lock(settings, profile)
    if dry:
        tools = planning.known_tools_for(settings, docker, profile)
    else:
        tools = planning.tools_for(settings, docker, profile, say)
    plan = planning.plan_build(settings, profile, lock, tools, release=options.release)
    there = published(options.output, plan) if state == "fits" else None
    sizes = {stage["name"]: int(stage["bytes"]) for stage in there["stages"]} if there else {}
    entries = {} if dry or state == "missing" else _entries(settings, docker, plan, say)
    last = last_plan(settings, options.profile)
    expected = History(settings.state_dir / "history.json", options.profile).seconds
    rows = []
    for stage in plan.stages:
        hit = stage.key in entries or there is not None
        why = "" if hit else reason(stage, plan, last) if state != "missing" else "no lock yet"
        rows.append(
            Row(
                name=stage.name,
                key=stage.key,
                hit=hit,
                why="the store was not asked" if dry and why == GONE else why,
                bytes=entries.get(stage.key, {}).get("bytes", 0) or sizes.get(stage.name, 0),
                seconds=0.0 if hit else expected.get(stage.name),
            )
        )
    return View(rows=rows, lock=state)


def _lock(settings: Settings, profile: Profile) -> tuple[Lock, str]:
    """Return the lock to plan with. One that does not fit still says which packages stay: renewing it keeps them."""
    found = locks.load(locking.lock_path(settings, profile.name))
    wanted = locks.request_of(profile)
    if found is None:
        return Lock(request=wanted, epoch=0, packages=()), "missing"
    return found, "fits" if found.request == wanted else "stale"


def reason(stage: Stage, plan: Plan, last: Plan | None) -> str:
    """Return why a stage is not there: which of its inputs changed since the last build of the profile."""
    if stage.kind in NEVER_STORED:
        return "made each time"
    if last is None:
        return "not built before"
    before = next((one for one in last.stages if one.name == stage.name), None)
    if before is None:
        return f"packages: {_packages(stage.name, plan, last)}" if stage.kind == "packages" else "new"
    if before.key == stage.key:
        return GONE
    reasons, below = [], []
    for name in stage.why:
        if before.why.get(name) == stage.why[name]:
            continue
        if name.startswith("stage "):
            below.append(name.removeprefix("stage "))
        elif name == "packages":
            reasons.append(f"packages: {_packages(stage.name, plan, last)}")
        else:
            reasons.append(WORDS.get(name, f"{name.removeprefix('file ')} changed"))
    if below and not any(reasons):
        return f"follows {', '.join(below)}"
    return "; ".join(text for text in reasons if text) or "the build's number changed"


def _packages(layer: str, plan: Plan, last: Plan) -> str:
    """Return `+tmux -less`, or else which versions changed."""
    asked, before = (set(dict(p.profile.layers).get(layer, ())) for p in (plan, last))
    words = [f"+{name}" for name in sorted(asked - before)] + [f"-{name}" for name in sorted(before - asked)]
    if not words:
        old, new = ({p.name: (*p.ident, p.sha256) for p in one.lock.layer(layer)} for one in (last, plan))
        words = [
            f"{name} {new[name][1] if name in new else 'gone'}"
            for name in sorted(old | new)
            if old.get(name) != new.get(name)
        ]
    return " ".join(words[:6]) + (f" and {len(words) - 6} more" if len(words) > 6 else "")


def last_plan(settings: Settings, profile: str) -> Plan | None:
    """Return the plan of the last build of a profile; None where there is none that can be read."""
    try:
        return codec.from_data(Plan, json.loads(_path(settings, profile).read_text()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def remember(settings: Settings, plan: Plan) -> None:
    """Store the plan of a build that was done."""
    write_whole(_path(settings, plan.profile.name), json.dumps(plan.to_json()))


def _path(settings: Settings, profile: str) -> Path:
    return settings.state_dir / "plans" / f"{profile}.json"


def _entries(
    settings: Settings, docker: Docker, plan: Plan, say: Callable[[str], None]
) -> Mapping[str, Mapping[str, Any]]:
    """Ask the store which keys it has."""
    image = ensure_image(settings, docker, BUILDER, say)
    if docker.volume(store_volume(settings)) is None:
        return {}
    others = {layer.key: plan.initramfs_key(layer.key) for layer in plan.layers[1:]}
    request = Inspect(keys=(*(stage.key for stage in plan.stages), *others.values()))
    spec = builder_spec(settings, docker.info(), image, network=False)
    found = dict(ask(settings, docker, spec, request, Entries).entries)
    touching = [key for key in others if found.get(key, {}).get("initramfs")]
    if touching:  # the base's own is not the one that the ISO needs
        stage = plan.stage("initramfs")
        found.pop(stage.key, None)
        if (other := others[touching[-1]]) in found:
            found[stage.key] = found[other]
    return found
