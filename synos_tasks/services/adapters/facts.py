"""What adapters do with the facts of a service: say how much it is, and compare versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from synos_tasks.engine.failures import version_tuple
from synos_tasks.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping


def count(number: int, what: str) -> str:
    """Return a number with its noun, as ``1 key`` or ``2 000 keys``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}".replace(",", " ")


def refuse_newer(
    facts: Mapping[str, Any], saved: Mapping[str, Any], parts: int, name: str, *, reads: str, version: str
) -> None:
    """Raise SettingsError when ``saved`` has a newer version than ``facts``, by the first ``parts`` of their numbers.

    ``reads`` says what this version cannot, ``version`` what the stack to restore into must have.
    """
    have, needed = (version_tuple(str(one["version"]))[:parts] for one in (facts, saved))
    if needed > have:
        raise SettingsError(
            f"the backup is of {name} {saved['version']}, which {facts['version']} {reads}",
            hint=f"restore it into a stack with {version}, or a newer one",
        )
