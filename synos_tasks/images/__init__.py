"""Images of this project: what they are made of, the Debian base below them, and how they are built."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003  (a default of lease() needs it when it runs)
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from synos_tasks.errors import writing
from synos_tasks.images.uplink import container_proxies
from synos_tasks.locks import exclusive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from synos_tasks.engine.client import Docker
    from synos_tasks.iso.proxies import Proxies
    from synos_tasks.settings import Settings


@dataclass(frozen=True)
class Context:
    """One running command: its settings, its engine, and where its messages go."""

    settings: Settings
    docker: Docker
    say: Callable[[str], None]

    @cached_property
    def proxies(self) -> Proxies:
        """The host's proxies as containers reach them; says once which they cannot."""
        return container_proxies(self.docker, self.say)

    @contextmanager
    def lease(self, name: str, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Hold the lease of a container or temporary volume. Without it, any command removes what has that name.

        The kernel ends it with this process, and shows it across containers. ``waiting`` is called first where another
        command holds it. Raises OutputNotWritable.
        """
        path = self.settings.project.leases / name
        with writing("a lease cannot be written", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        with exclusive(path, waiting):
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
