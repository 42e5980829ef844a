"""What of a stack --only and --skip choose: names of services, and of their parts as SERVICE/DATABASE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks import archive
from synos_tasks.errors import SettingsError, unknown
from synos_tasks.services.adapters import ADAPTERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOT_CHOSEN = "not chosen"


@dataclass(frozen=True)
class Selection:
    """Words of --only and --skip. Without words all is chosen."""

    only: frozenset[str] = frozenset()
    skip: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, only: str, skip: str) -> Selection:
        """Read two options, each with commas between its words."""
        return cls(*(frozenset(filter(None, map(str.strip, text.split(",")))) for text in (only, skip)))

    @property
    def among_services(self) -> bool:
        """Tell whether some services are not chosen; with parts alone, all are."""
        return bool(self.only) or any("/" not in word for word in self.skip)

    def services(self, known: Sequence[str]) -> list[str]:
        """Return the chosen ones of these services; raise SettingsError for an unknown one, or where none is chosen."""
        for word in sorted(self.only | self.skip):
            if word.partition("/")[0] not in known:
                raise unknown("service", word.partition("/")[0], known, "--only, --skip")
        named = {word.partition("/")[0] for word in self.only} or set(known)
        chosen = [name for name in known if name in named - self.skip]
        if not chosen:
            raise SettingsError("--only and --skip leave no service", hint=f"there are: {', '.join(known)}")
        return chosen

    def narrowed(self, service: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return facts of a service without the parts that are not chosen: those are left out.

        Raises SettingsError for a part that is not there.
        """
        key = ADAPTERS[service].PARTS
        parts = facts[key] if key else {}
        for word in sorted(self.only | self.skip):
            name, _, part = word.partition("/")
            if name == service and part and part not in parts:
                raise unknown(
                    "part", word, [f"{service}/{one}" for one in parts] or [service], "--only, --skip"
                )
        whole = not self.only or service in self.only
        kept = {
            part: held
            for part, held in parts.items()
            if f"{service}/{part}" not in self.skip and (whole or f"{service}/{part}" in self.only)
        }
        missing = [
            archive.left_out(f"{key[:-1]} {one}", NOT_CHOSEN, data=True) for one in parts if one not in kept
        ]
        narrow = {key: kept} if key else {}
        return {**facts, **narrow, "left_out": [*(facts.get("left_out") or ()), *missing]}
