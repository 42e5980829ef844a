"""A question before something is changed."""

from __future__ import annotations

from synos_tasks import console
from synos_tasks.errors import SettingsError


def confirm(question: str, *, nothing: str) -> None:
    """Ask a person; raises SettingsError, which says ``nothing``, where nobody is there or the answer is no."""
    if console.agreed(question):
        return
    if console.can_ask():
        raise SettingsError(f"{nothing}: the answer was no")
    raise SettingsError(
        f"{nothing}: there is nobody to ask",
        hint="--yes does not ask; --dry shows alone what would be done",
    )
