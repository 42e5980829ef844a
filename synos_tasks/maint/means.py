"""What copying volumes and archiving ISOs work with, and the container that does the work."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from synos_tasks.engine.gateway import DockerEngine, Engine
from synos_tasks.engine.spec import ContainerSpec, labels
from synos_tasks.engine.volumes import DockerVolumes, Volumes
from synos_tasks.images.building import ensure_image
from synos_tasks.images.catalog import RECIPES
from synos_tasks.images.recipe import tag_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from synos_tasks.settings import Settings

PROGRESS_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Means:
    """One command's means. ``now`` gives seconds since 1970."""

    settings: Settings
    say: Callable[[str], None]
    engine: Engine = field(default_factory=DockerEngine)
    volumes: Volumes = field(default_factory=DockerVolumes)
    now: Callable[[], float] = time.time

    def can_start(self) -> bool:
        """Tell whether container() would have no image to build."""
        return bool(self.engine.image_id(tag_of(self.settings.root, RECIPES["builder"])))

    def container(
        self,
        command: tuple[str, ...],
        *,
        capabilities: tuple[str, ...] = (),
        writes: Mapping[str, str] | None = None,
        reads: Mapping[str, str] | None = None,
    ) -> ContainerSpec:
        """Give a container of the builder image, which has GNU tar and zstd; raises as images/building.py does.

        ``writes`` and ``reads`` are paths inside by volume. Without a network, and nothing of this machine in it.
        """
        image = ensure_image(self.settings, self.engine, RECIPES["builder"], self.say)
        return ContainerSpec(
            name=f"{self.settings.project_id}-maint-{secrets.token_hex(4)}",
            image=image,
            command=command,
            labels=labels(self.settings.project_id, "build"),
            capabilities=capabilities,
            volumes=writes or {},
            read_only_volumes=reads or {},
            tmpfs={"/work": "size=1m"},  # or the engine makes the volume that the image declares there
            environment={"LC_ALL": "C"},  # names of files are bytes
            network="none",
            logged=False,
        )

    def paced(self, parts: Iterable[bytes], what: str) -> Iterator[bytes]:
        """Hand parts on, and say every few seconds how much it was."""
        count, said = 0, time.monotonic()
        for part in parts:
            count += len(part)
            if time.monotonic() - said > PROGRESS_SECONDS:
                said = time.monotonic()
                self.say(f"  {what}: {count / 1e9:.2f} GB")
            yield part

    def zstd(self) -> str:
        """Give the command that compresses: quickly, with as many threads as a build may have."""
        return f"zstd -q -3 -T{self.settings.build.cpus}"
