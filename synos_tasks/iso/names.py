"""Package names of a profile, looked up in verified indexes: apt takes some as patterns, some as removals. Pure, but for reading."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from synos_tasks.errors import PackageNotFound, ProfileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.iso.profile import Profile

MANY = 12
_NAME = re.compile(rb"^Package: (.+)$", re.MULTILINE)
_PROVIDES = re.compile(rb"^(Package|Provides): (.+)$", re.MULTILINE)
_REQUIRED = re.compile(rb"^Package: (\S+)\n(?:.+\n)*?Priority: required$", re.MULTILINE)
_UNMET = re.compile(
    r" (?P<name>\S+)? *(?:: )?(?P<how>(?:Pre)?-?Depends|Conflicts|Breaks): (?P<other>\S+)(?P<rest>.*)"
)
_BROUGHT = re.compile(r"\s*Installing (\S+):\w+ as \w+ of (\S+):\w+")
_VERBS = {"Depends": "needs", "PreDepends": "needs", "Conflicts": "conflicts with", "Breaks": "breaks"}


def names_in(lists: Path) -> set[str]:
    """Return the names of all packages that apt's lists have."""
    return {name.decode() for text in _indexes(lists) for name in _NAME.findall(text)}


def required_in(lists: Path) -> list[str]:
    """Return the packages of priority required, which debootstrap installs whether they are essential or not."""
    return sorted({name.decode() for text in _indexes(lists) for name in _REQUIRED.findall(text)})


def providers(lists: Path, virtual: str) -> list[str]:
    """Return which packages provide a name, sorted."""
    found, package = set(), ""
    for text in _indexes(lists):
        for kind, value in _PROVIDES.findall(text):
            if kind == b"Package":
                package = value.decode()
            elif virtual in re.findall(r"(?:^|, )([^ ,]+)", value.decode()):
                found.add(package)
    return sorted(found)


def source_of(lists: Path, name: str) -> str:
    """Return the name of a package's source."""
    pattern = re.compile(rb"^Package: %s\n(?:\S.*\n)*?Source: (\S+)" % re.escape(name.encode()), re.MULTILINE)
    found = next(filter(None, map(pattern.search, _indexes(lists))), None)
    return found[1].decode() if found else name


def _indexes(lists: Path) -> Iterator[bytes]:
    return (path.read_bytes() for path in lists.glob("*_Packages"))


@dataclass(frozen=True)
class Version:
    """A version of a package that apt knows, and where it is from."""

    version: str
    url: str
    place: str
    """Suite and component."""


def versions(lines: Sequence[str]) -> dict[str, list[Version]]:
    """Return the versions of packages, newest first, from what `apt-cache madison` prints."""
    found: dict[str, list[Version]] = {}
    for line in lines:
        name, version, origin = (part.strip() for part in line.split("|"))
        url, place, *_ = origin.split()
        found.setdefault(name, []).append(Version(version, url.rstrip("/"), place))
    return found


def allowed(profile: Profile, selector: str, there: Sequence[Version]) -> str | None:
    """Return the newest version that a selector allows; None if there is none."""
    wanted = selector[1:]
    if selector[0] == "=":
        return next((one.version for one in there if fnmatchcase(one.version, wanted)), None)
    repository = next((one for one in profile.third_parties if one.name == wanted), None)
    suite = repository.suite if repository else wanted
    url = repository.url if repository else profile.archives[wanted]
    fits = [one for one in there if one.url == url and f"{one.place}/".startswith(f"{suite.rstrip('/')}/")]
    return fits[0].version if fits else None


def refuse_unknown(profile: Profile, lists: Path, elsewhere: Callable[[], Mapping[str, Path]]) -> None:
    """Raise PackageNotFound for all names of a profile that are no package's.

    ``elsewhere`` returns folders like ``lists`` of archives that the profile does not use; each has a hint as its key.
    """
    known, in_files = names_in(lists), dict.fromkeys((*profile.origins, *profile.packages))
    unknown = [name for name in in_files if name in profile.packages and name not in known]
    if not unknown:
        return
    others = {hint: names_in(folder) for hint, folder in elsewhere().items()}
    hints = {name: _hint(name, known, lists, others) for name in unknown}
    places = {name: profile.origins.get(name, "") for name in unknown}
    if len(unknown) == 1:
        what = f"there is no package {unknown[0]!r}"
        why = f"looked in {', '.join(profile.archives)}: {', '.join(profile.areas)}"
        raise PackageNotFound(what, where=places[unknown[0]], why=why, hint=hints[unknown[0]])
    raise PackageNotFound(
        f"there are no packages {', '.join(map(repr, unknown))}",
        where=next(filter(None, places.values()), ""),
        why="\n".join(f"{places[name]}  {name}: {hints[name]}".strip() for name in unknown),
        hint="correct these names, or add the repository that has them under `repositories`",
    )


def _hint(name: str, known: set[str], lists: Path, others: Mapping[str, set[str]]) -> str:
    if provided := providers(lists, name):
        more = f" and {len(provided) - MANY} more" if len(provided) > MANY else ""
        return f"it is virtual: choose one that provides it: {', '.join(provided[:MANY])}{more}"
    if has := [hint for hint, names in others.items() if name in names]:
        return " or ".join(has)
    if name[-1] == "-" and name[:-1] in known:
        return f"`- -{name[:-1]}` removes an inherited package"
    if close := similar(name, known):
        return f"did you mean {' or '.join(map(repr, close))}?"
    return "no name is similar: add its component under `mirrors`, or its repository under `repositories`"


def similar(word: str, known: Iterable[str]) -> list[str]:
    """Return up to three names that were probably meant; of 60,000 in less than 0.1 s."""
    known, letters = sorted(known), set(word)
    # most names are out before difflib compares them, which is slow
    near = [name for name in known if abs(len(name) - len(word)) < 3 and len(letters ^ set(name)) < 4]
    close = difflib.get_close_matches(word, near, n=1, cutoff=0.75)
    longer = sorted((name for name in known if name.startswith(f"{word}-")), key=len)[:3]
    return longer or close or [name for name in known if word.startswith(f"{name}-")][-1:]


def conflict(profile: Profile, lines: Sequence[str]) -> ProfileError | None:
    """Return the error of packages that do not go together, from what apt says when it debugs pkgDepCache::AutoInstall."""
    unmet: list[tuple[str, str, str]] = []
    name = ""
    for found in filter(None, map(_UNMET.match, lines)):
        name = found["name"] or name
        unmet.append((name, found["other"], f"{name} {_VERBS[found['how']]} {found['other']}{found['rest']}"))
    if not unmet:
        return None
    brought = {found[1]: found[2] for found in reversed([*filter(None, map(_BROUGHT.match, lines))])}
    involved = dict.fromkeys(one for first, second, _ in unmet for one in (first, second))
    chains = [chain for one in involved if (chain := _chain(one, brought, profile.packages))]
    return ProfileError(
        f"packages of {profile.name} do not go together",
        where=next((place for chain in chains if (place := profile.origins.get(chain[-1]))), ""),
        why="\n".join(
            [*(text for _, _, text in unmet), *(_needed_by(chain, profile.origins) for chain in chains)]
        ),
        hint="remove one side from `packages:`; a line `- -NAME` removes an inherited package",
    )


def _chain(name: str, brought: Mapping[str, str], asked: Sequence[str]) -> list[str]:
    """Return a package and what brought it, up to one that the profile names; nothing where none did."""
    chain = [name]
    while chain[-1] not in asked and (above := brought.get(chain[-1])) and above not in chain:
        chain.append(above)
    return chain if chain[-1] in asked or len(chain) > 1 else []


def _needed_by(chain: Sequence[str], origins: Mapping[str, str]) -> str:
    needed = "".join(f", needed by {one}" for one in chain[1:])
    return f"{chain[0]}{needed}: {origins.get(chain[-1], 'part of each system')}"
