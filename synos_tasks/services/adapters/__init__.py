"""Adapters: what each service stores, how it is saved and loaded. One module each, by the name of the service."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Protocol, cast

from synos_tasks.archive import LEFT_OUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from synos_tasks.archive import Draft
    from synos_tasks.services.stack import StackContext
    from synos_tasks.shapes import Shape

MARK = "restoring"
"""File of a stack that is there while a restore loads; it stays where that fails or is killed."""


class ServiceAdapter(Protocol):
    """A module that saves and loads what one service holds."""

    FACTS: Shape
    """What facts() has, for shapes.fit(); besides, ``left_out`` as archive.LEFT_OUT."""
    PARTS: str
    """Key of facts() with what can be chosen by name; '' for none."""
    VERSION_PARTS: int
    """How many of a version's numbers tell which data a server can read: 1 for the major version."""

    def facts(self, context: StackContext) -> dict[str, Any]:
        """Return what the service holds: version and counts, for lists. Raises ServiceFailed."""

    def amounts(self, facts: Mapping[str, Any]) -> dict[str, int]:
        """Return counts, by the singular of what is counted."""

    def save(self, context: StackContext, into: Draft, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Write what ``facts`` are about, as of one moment, into files; return the facts of what was saved.

        Parts that cannot be saved are left out of them, and named. Raises ServiceFailed, DiskFull.
        """

    def check(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Raise ValueError where load() cannot read the files, whose checksums are right."""

    def load(self, context: StackContext, folder: Path, facts: Mapping[str, Any]) -> list[str]:
        """Replace what the service holds by what those files have of the parts in ``facts``.

        Returns a line for each part that could not be restored, and is as it was. Raises ServiceFailed, DiskFull.
        """

    def recover(self, context: StackContext) -> bool:
        """Undo what a load() left that was killed; tells whether there was anything. Raises ServiceFailed."""


ADAPTERS = {
    name: cast("ServiceAdapter", import_module(f"{__name__}.{name}")) for _, name, _ in iter_modules(__path__)
}
FACTS: Shape = {str: {"version": str, "left_out": LEFT_OUT}} | {
    name: {**adapter.FACTS, "left_out": LEFT_OUT} for name, adapter in ADAPTERS.items()
}
"""Shapes of what a manifest says of each service; ``str`` stands for those that this version does not know."""


def summary(service: str, facts: Mapping[str, Any]) -> str:
    """Say in a few words what a service holds: ``1 stream, 2 000 messages``."""
    if service not in ADAPTERS:
        return service
    amounts = ADAPTERS[service].amounts(facts).items()
    texts = (f"{count:,} {what}{'' if count == 1 else 's'}" for what, count in amounts)
    return ", ".join(text.replace(",", " ") for text in texts)


def trouble(folder: Path, facts: Mapping[str, Any]) -> str:
    """Return what is wrong with a backup whose checksums are right; '' for nothing."""
    for service in sorted(facts.keys() & ADAPTERS.keys()):
        try:
            ADAPTERS[service].check(folder / service, facts[service])
        except ValueError as error:
            return f"{service}: {error}"
    return ""


def recover_interrupted_restore(context: StackContext, services: Iterable[str]) -> None:
    """Recover these running services if a restore was interrupted; costs nothing otherwise. Raises ServiceFailed.

    The mark goes when all that hold data were among them.
    """
    mark = context.folder / MARK
    if not mark.exists():
        return
    named = set(services)
    recover(context, named)
    if all(one.name in named for one in context.stack.long_running if one.name in ADAPTERS):
        context.say(mark.read_text().strip())
        mark.unlink()


def recover(context: StackContext, services: Iterable[str]) -> None:
    """Let each of these running services be as if no restore had been interrupted. Raises ServiceFailed."""
    for service in services:
        if service in ADAPTERS and ADAPTERS[service].recover(context):
            context.say(f"{service}: recovered from an interrupted restore")
