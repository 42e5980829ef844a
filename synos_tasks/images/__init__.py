"""Images of this project: what they are made of, the Debian base below them, and how they are built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from synos_tasks.engine.client import Docker
    from synos_tasks.settings import Settings


@dataclass(frozen=True)
class Context:
    """One running command: its settings, its engine, and where its messages go."""

    settings: Settings
    docker: Docker
    say: Callable[[str], None]
