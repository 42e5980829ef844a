"""An adapter of a service that needs no service: what it holds is a number."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synos_tasks.services.adapters import nats, postgres, redis

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.archive import Draft
    from synos_tasks.errors import SynosError
    from synos_tasks.services.adapters import ServiceAdapter
    from synos_tasks.services.stack import StackContext


@dataclass
class FakeAdapter:
    """Keeps what was done, with all others that share its list."""

    name: str
    VERSION_PARTS: int = 1
    holds: int = 0
    version: str = "1"
    done: list[str] = field(default_factory=list)
    fails_to_save: SynosError | None = None
    fails_to_load: BaseException | None = None
    broken: bool = False
    """Whether an interrupted load() has left something."""

    def facts(self, context: StackContext) -> dict[str, Any]:
        things = {str(number): {"tables": 1, "messages": 1, "consumers": 0} for number in range(self.holds)}
        kinds = {"nats": {"streams": things}, "postgres": {"databases": things}}
        return {"version": self.version, **kinds.get(self.name, {"keys": {"db0": self.holds}})}

    def is_empty(self, facts: Mapping[str, Any]) -> bool:
        return self.count(facts) == 0

    def amounts(self, facts: Mapping[str, Any]) -> dict[str, int]:
        real: dict[str, ServiceAdapter] = {"nats": nats, "postgres": postgres, "redis": redis}
        return real.get(self.name, redis).amounts(facts)

    def save(self, context: StackContext, into: Draft, facts: Mapping[str, Any]) -> None:
        self.done.append(f"save {self.name}")
        with into.file("number") as out:
            out.write(str(self.count(facts)).encode())
        if self.fails_to_save:
            raise self.fails_to_save

    def load(self, context: StackContext, folder: Path) -> None:
        self.done.append(f"load {self.name}")
        if self.fails_to_load:
            raise self.fails_to_load
        self.holds = int((folder / "number").read_text())

    def recover(self, context: StackContext) -> bool:
        was, self.broken = self.broken, False
        if was:
            self.done.append(f"recover {self.name}")
        return was

    def count(self, facts: Mapping[str, Any]) -> int:
        return len(facts.get("streams", facts.get("databases", ()))) or sum(facts.get("keys", {}).values())


def as_adapter(fake: FakeAdapter) -> ServiceAdapter:
    """Let mypy check that the fake still fits the Protocol."""
    return fake
