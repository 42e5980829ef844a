"""The language of the system, and further locales that programs can use."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import ProfileError, guess
from synos_tasks.iso.key import Expected, Key, Said, mistake
from synos_tasks.iso.schema import text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.system import System

BUILT_IN = "C.UTF-8"
SUPPORTED = "/usr/share/i18n/SUPPORTED of the package `locales`"
LOCALE = text(
    r"[a-z]{2,3}(_[A-Z]{2})?(\.UTF-8)?(@[a-z]+)?|C\.UTF-8",
    "a locale such as de_DE.UTF-8",
    allowed="a language, and where there are several a country, such as de_DE.UTF-8",
)


@functools.cache
def known() -> dict[str, Any]:
    """Return the names of locales, and of keyboards in XKB's terms."""
    return dict(json.loads(Path(__file__).with_name("known.json").read_text()))


def unknown(said: Said, *path: str) -> Iterator[ProfileError]:
    """Yield an error for each locale of a key that is none of glibc's."""
    value = said.value(*path)
    for one in value.items if isinstance(value.data, list) else [value]:
        if one.data not in {None, BUILT_IN} and one.data not in known()["locales"]:
            yield mistake(
                one, f"there is no locale {one.data!r}", near(str(one.data), known()["locales"], SUPPORTED)
            )


def near(word: str, names: Collection[str], listed: str) -> str:
    """Return a hint: the one of many names that was probably meant, or else where all are listed."""
    hint = guess(word, [name for name in names if name.startswith(word)] or names)
    return hint if hint.startswith("did you mean") else f"no name is like {word!r}: all are in {listed}"


def needed(value: str | list[str]) -> Iterable[str]:
    """Return the package that makes locales."""
    return ["locales"] if value not in (BUILT_IN, []) else []


def apply(system: System, name: str) -> None:
    """Make it, and let all sessions and services have it."""
    system.write("etc/default/locale", f"LANG={name}\n")
    system.write("etc/locale.conf", f"LANG={name}\n")
    names = dict.fromkeys([name, *system.profile.values.get("locales", [])])
    wanted = [one for one in names if one != BUILT_IN]
    if wanted:
        system.write("etc/locale.gen", "".join(f"{one} UTF-8\n" for one in wanted))
        system.run(["locale-gen"], key="locale")


def expect(_profile: Profile, name: str) -> Iterable[Expected]:
    """Expect that new sessions have it, and that it is there."""
    yield Expected("locale", name, '. /etc/default/locale; printf %s "$LANG"')
    yield is_there(name)


def is_there(name: str) -> Expected:
    """Expect that programs can use a locale."""
    return Expected(f"locale {name} is there", "UTF-8", f"LC_ALL={name} locale charmap 2>&1")


KEY = Key(
    kind=dataclasses.replace(LOCALE, doc="Language of the system."),
    default=BUILT_IN,
    check=lambda said: unknown(said, "locale"),
    packages=needed,
    apply=apply,
    expect=expect,
    aliases=("lang", "language", "locale_messages"),
    example="de_DE.UTF-8",
)
