"""`inv build.verify-caches`: measures on this machine what the documentation claims of caches and images."""

from __future__ import annotations

import dataclasses
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks.build import preflight
from synos_tasks.build.builder import ask, once_volume, toolchain_spec
from synos_tasks.build.image import build_images
from synos_tasks.console import human_bytes
from synos_tasks.engine.spec import labels
from synos_tasks.errors import ClaimFailed
from synos_tasks.images.steps import Steps
from synos_tasks.iso.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from synos_tasks.engine.gateway import Engine, EngineFacts
    from synos_tasks.engine.spec import ContainerSpec
    from synos_tasks.settings import Settings

DOCKERFILE = "docker/build/Dockerfile"
EDITED = "docker/build/components/synos-welcome/src/main.c"
CONTEXT = (".dockerignore", "docker/build", "synos_tasks")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim and what was measured, in percent. ``before`` and ``after`` are in seconds, of sizes in bytes."""

    what: str
    documented: str
    required: float
    before: float
    after: float
    told: str = ""
    """What else was seen: the package, the hit rate."""

    @property
    def measured(self) -> float:
        """How much less there is afterwards, in percent."""
        return round(100 * (1 - self.after / self.before), 1)

    @property
    def holds(self) -> bool:
        """Tell whether at least what is required was measured."""
        return self.measured >= self.required


def verify(settings: Settings, engine: Engine, say: Callable[[str], None]) -> list[Claim]:
    """Measure all claims; takes some minutes. Raises what builds raise, not ClaimFailed: see refuse()."""
    facts = preflight.check(settings, engine, settings.state_dir)
    toolchain, builder = build_images(settings, engine, lambda _: None)
    claims = [
        *_images(settings, engine, say),
        _compiler(
            settings, engine, facts, toolchain.tag, "ccache", ("C recompiled", "60 to 80 % faster", 80), say
        ),
        _compiler(
            settings,
            engine,
            facts,
            toolchain.tag,
            "sccache",
            ("Rust recompiled", "70 to 90 % faster", 75),
            say,
        ),
    ]
    size = Claim(
        what="builder image, beside the toolchain", documented="60 % smaller", required=60,
        before=toolchain.bytes, after=builder.bytes,
    )  # fmt: skip
    return [*claims, size]


def amount(count: float) -> str:
    """Tell a size in bytes or a time in seconds; which of the two is seen by how large it is."""
    return human_bytes(count) if count > 1e6 else f"{count:.1f} s"


def refuse(claims: list[Claim]) -> None:
    """Raise ClaimFailed for what does not hold."""
    failed = [claim for claim in claims if not claim.holds]
    if failed:
        raise ClaimFailed(
            f"{len(failed)} of {len(claims)} claims do not hold on this machine",
            where="; ".join(claim.what for claim in failed),
            why="; ".join(f"{claim.measured} % measured, {claim.required:g} % needed" for claim in failed),
            hint="run it again on a quiet machine: other work on its cores counts as well",
        )


def _images(settings: Settings, engine: Engine, say: Callable[[str], None]) -> list[Claim]:
    """Build all stages from nothing, again, and after an edit of a component, in a copy of what they are made of."""
    tag = f"synos-verify:{settings.project_id}"
    with scratch(settings.state_dir, "verify-") as folder:
        _copy_context(settings.root, folder)

        def seconds(what: str, *options: str) -> float:
            began = time.monotonic()
            marks = (f"--label={key}={value}" for key, value in labels(settings.project_id, "build").items())
            engine.build(
                [*options, f"--tag={tag}", f"--file={folder / DOCKERFILE}", *marks, str(folder)],
                Steps(lambda _: None),
            )
            took = time.monotonic() - began
            say(f"image, {what}: {took:.1f} s")
            return took

        try:
            first = seconds("every step", "--no-cache")
            again = seconds("again")
            with (folder / EDITED).open("a") as stream:
                stream.write(f"/* {time.time_ns()} */\n")
            edited = seconds("after an edit of a component")
        finally:
            engine.untag(tag)
    return [
        Claim(what="image, built again", documented="90 % faster", required=95, before=first, after=again),
        Claim(what="image, after an edit", documented="50 to 70 % faster", required=50, before=first, after=edited),
    ]  # fmt: skip


def _copy_context(root: Path, folder: Path) -> None:
    for name in CONTEXT:
        source = root / name
        if source.is_dir():
            shutil.copytree(
                source, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(source, folder / name)


def _compiler(
    settings: Settings,
    engine: Engine,
    facts: EngineFacts,
    image: str,
    cache: str,
    claim: tuple[str, str, float],
    say: Callable[[str], None],
) -> Claim:
    """Compile a real source package with an empty cache and with the one that this left, each in its own container."""
    with once_volume(settings, engine) as volume:
        found = []
        for what in ("empty", "filled"):
            spec = toolchain_spec(settings, facts, image, output=None, store=None, network=True)
            spec = dataclasses.replace(spec, volumes={volume: f"/var/cache/{cache}"})
            answer = _ask(settings, engine, spec, cache)
            asked = answer["hits"] + answer["misses"]
            say(f"{cache} {what}: {answer['seconds']:.1f} s, {answer['hits']} of {asked} from the cache")
            found.append(answer)
    first, second = found
    rate = 100 * second["hits"] / max(1, second["hits"] + second["misses"])
    package = f"{'git' if cache == 'ccache' else 'bat'} {second['version']}"
    return Claim(
        what=f"{cache}, {claim[0]}", documented=claim[1], required=claim[2],
        before=first["seconds"], after=second["seconds"], told=f"{package}, {rate:.0f} % hits",
    )  # fmt: skip


def _ask(settings: Settings, engine: Engine, spec: ContainerSpec, cache: str) -> dict[str, Any]:
    answer: dict[str, Any] = {}

    def note(event: dict[str, Any]) -> None:
        if event["event"] == "measured":
            answer.update(event["result"])

    ask(settings, engine, spec, {"do": "measure", "cache": cache}, note)
    return answer
