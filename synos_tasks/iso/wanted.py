"""What profiles that inherit from each other ask of packages together: in which layers, and of which versions."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from synos_tasks.iso.key import mistake
from synos_tasks.iso.keys.repositories import BACKPORTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from synos_tasks.errors import ProfileError
    from synos_tasks.iso.schema import Value

# What the initramfs is made of, and what changes least: below all that a person adds and removes.
BASE = re.compile(r"linux-image-.*|initramfs-tools.*|live-(boot|config)(-.*)?|systemd-sysv|user-setup")


def name_of(entry: str) -> str:
    """Return the name of a package without its selector."""
    return re.split("[=/]", entry, maxsplit=1)[0]


def selectors(chain: Sequence[tuple[str, Sequence[str]]], suite: str) -> dict[str, str]:
    """Return the selectors of packages, the nearest profile's; ``chain`` as in layers()."""
    found: dict[str, str] = {}
    for entry in (entry for _, listed in chain for entry in listed):
        name = name_of(entry)
        if entry.startswith("-"):
            found.pop(name[1:], None)
        elif selector := entry.removeprefix(name):
            found[name] = f"/{suite}-{BACKPORTS}" if selector == f"/{BACKPORTS}" else selector
    return found


def idle_removals(
    sources: Sequence[Value], asked: Sequence[tuple[str, Sequence[str]]]
) -> Iterator[ProfileError]:
    """Yield an error for each -name that takes nothing out; ``sources`` and what they ask are the oldest first."""
    lists = {"packages": [listed for _, listed in asked]}
    lists["components"] = [source.value("components").plain or [] for source in sources]
    for key, listed in lists.items():
        there: set[str] = set()
        for source, entries in zip(sources, listed, strict=True):
            places = {str(item.data): item for item in source.value(key).items}
            for entry in entries:
                if entry.startswith("-") and entry[1:] not in there:
                    yield _idle(places[entry], entry[1:], there)
                (there.discard if entry.startswith("-") else there.add)(name_of(entry.lstrip("-")))


def _idle(place: Value, name: str, there: Iterable[str]) -> ProfileError:
    close = difflib.get_close_matches(name, sorted(there), n=1)
    hint = "leave the entry out: neither an inherited profile nor an entry above adds it"
    return mistake(place, f"-{name} removes nothing", f"did you mean '-{close[0]}'?" if close else hint)


def layers(chain: Sequence[tuple[str, Sequence[str]]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Sort packages into layers. ``chain`` is (profile, its list), the oldest ancestor first; -name removes."""
    owner: dict[str, str] = {}
    for profile, listed in chain:
        for entry in listed:
            if entry.startswith("-"):
                owner.pop(entry[1:], None)
            else:
                name = name_of(entry)
                owner.setdefault(name, "base" if BASE.fullmatch(name) else f"packages-{profile}")
    names = ["base", *(f"packages-{profile}" for profile, _ in chain)]
    members = {layer: tuple(sorted(name for name in owner if owner[name] == layer)) for layer in names}
    return tuple((layer, found) for layer, found in members.items() if found or layer == "base")
