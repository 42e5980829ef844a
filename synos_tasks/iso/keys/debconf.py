"""Answers to the questions that packages ask while they are installed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from synos_tasks.errors import ProfileError, raise_all
from synos_tasks.iso.key import Expected, Key, Said, adds, mistake
from synos_tasks.iso.schema import list_of, text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from synos_tasks.iso.profile import Profile

TYPES = "select|multiselect|string|boolean|password|note|text|error|title"
_LINE = re.compile(rf"(?P<package>\S+) (?P<question>\S+) (?P<type>{TYPES})( (?P<value>.*))?")


def _twice(said: Said) -> Iterator[ProfileError]:
    seen: dict[tuple[str, str], str] = {}
    for one in said.value("debconf").items:
        package, question, *_ = str(one.data).split(" ")
        if seen.setdefault((package, question), str(one.data)) != one.data:
            yield mistake(one, f"{question} of {package} has two answers", "leave one of them out")


def answers(profile: Profile, packages: Collection[str]) -> list[str]:
    """Return the lines for some packages, as debconf-set-selections reads them."""
    return [line for line in profile.values.get("debconf", []) if line.split(" ")[0] in packages]


def refuse_unasked(profile: Profile, packages: Collection[str]) -> None:
    """Raise ProfileError for answers to packages that are not installed: nobody would ask."""
    hint = "the first word is the package whose question it is, and must be among the packages"
    wrong = []
    for line in profile.values.get("debconf", []):
        if (package := line.split(" ")[0]) not in packages:
            what, where = (
                f"{package} is not installed, so it asks nothing",
                profile.origins.get(line, "debconf"),
            )
            wrong.append(ProfileError(what, where=where, hint=hint))
    raise_all(wrong)


def expect(_profile: Profile, lines: list[str]) -> Iterable[Expected]:
    """Expect that debconf knows each; passwords are forgotten once a package has taken them."""
    for found in filter(None, map(_LINE.fullmatch, lines)):
        if found["type"] != "password":
            ask = f"echo get {found['question']} | DEBIAN_FRONTEND=noninteractive debconf-communicate {found['package']} 2>/dev/null"
            yield Expected(f"debconf: {found['question']}", found["value"] or "", f"{ask} | cut -d ' ' -f 2-")


KEY = Key(
    kind=list_of(
        text(
            rf"[a-z0-9][a-z0-9+.-]+ [!-~]+ ({TYPES})( [^\x00-\x1f]*)?",
            "package, question, type and value",
            allowed="a line as `man debconf-set-selections` shows it, with one space between the words",
        ),
        "Answers to the questions of packages, as debconf-set-selections reads them.",
    ),
    merge=adds,
    check=_twice,
    expect=expect,
    aliases=("preseed", "debconf_selections"),
    example='["locales locales/default_environment_locale select de_DE.UTF-8"]',
)
