"""Locales besides that of the system; the key `locale` makes all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.iso.key import Key, adds
from synos_tasks.iso.keys.locale import LOCALE, is_there, needed, unknown
from synos_tasks.iso.schema import list_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from synos_tasks.iso.key import Expected
    from synos_tasks.iso.profile import Profile


def expect(_profile: Profile, names: list[str]) -> Iterable[Expected]:
    """Expect that each is there."""
    return map(is_there, names)


KEY = Key(
    kind=list_of(LOCALE, "Further locales that programs can use."),
    merge=adds,
    check=lambda said: unknown(said, "locales"),
    packages=needed,
    expect=expect,
    aliases=("languages", "language_support"),
    example="[fr_FR.UTF-8]",
)
