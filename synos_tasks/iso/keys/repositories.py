"""APT repositories besides Debian's own, for the build and for the system."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synos_tasks.iso.key import Expected, Key, Said, mistake, repeated
from synos_tasks.iso.schema import RELATIVE, Kind, Value, integer, list_of, text, url
from synos_tasks.iso.suites import SUITES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from synos_tasks.errors import ProfileError
    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.repositories import Repository
    from synos_tasks.iso.system import System

BACKPORTS = "backports"
ARMOR = "-----BEGIN PGP"
DEBIAN = "http://deb.debian.org/debian"
PREFERRED = 990
"""Priority of what is chosen of a package: above that of a target release, and no downgrade."""
_TAKEN = (BACKPORTS, "debian", "debs", "main", "profile", "security")
_ONE = Kind(
    type="object",
    shape=f"{BACKPORTS}, or a mapping with name, url, suite, components and key",
    choices=(BACKPORTS,),
    fields={
        "name": text(
            r"[a-z][a-z0-9-]{1,39}", "a short name", "Its name in this profile.", allowed="lower-case letters, digits and -"
        ),
        "url": url("Its address, as in sources.list."),
        "suite": text(
            r"(?!.*\.\./)[A-Za-z0-9./][A-Za-z0-9._/+-]*", "a suite such as trixie",
            "A suite, or a folder that ends in a slash such as `./`, which has no components.",
            allowed="letters, digits, . _ + - and /",
        ),
        "components": list_of(text(r"[A-Za-z0-9][A-Za-z0-9._/+-]*", "a component such as main"), "Its components."),
        "key": text(
            rf"{RELATIVE}|{ARMOR} [\s\S]+", "a file relative to docker/build, or an OpenPGP key",
            "The public key that signs it: a file relative to docker/build, or the armored key itself.",
            allowed=f"a path inside docker/build, or a block that begins with {ARMOR} PUBLIC KEY BLOCK-----",
        ),
        "pin": integer(1, 1000, "Priority of its packages, see apt_preferences(5)."),
    },
    required=("name", "url", "suite", "key"),
)  # fmt: skip


def _by_name(old: Value, new: Value) -> Value:
    """Add to the inherited ones; one of the same name takes the other's place."""
    said = {_name_of(one) for one in new.items}
    return Value([*(one for one in old.items if _name_of(one) not in said), *new.items], new.where, new.key)


def _name_of(one: Value) -> object:
    return one.value("name").data if one.entries else one.data


def _contradictions(said: Said) -> Iterator[ProfileError]:
    said_ones = said.value("repositories").items
    twice = repeated(one.value("name") if one.entries else one for one in said_ones)
    mirrors = {"main": DEBIAN, **(said["mirrors"] or {})}
    hosts = [mirrors[name] for name in ("main", "security") if name in mirrors]
    for one in said_ones:
        name = one.value("name") if one.entries else one
        if name in twice:
            yield mistake(name, f"two repositories are called {name.data}", "give one another name")
        if one.data == BACKPORTS and not SUITES[said["suite"]].version:
            yield mistake(
                one, f"{said['suite']} has no backports", "remove the line, or choose another `suite`"
            )
        if one.entries and name.data in _TAKEN:
            yield mistake(name, f"{name.data} is taken", "give it another name")
        if not one.entries:
            continue
        if str(one.value("suite").data).endswith("/") == bool(one.value("components").items):
            hint = "a suite has components; a folder with a slash at its end, such as `./`, has none"
            yield mistake(one.value("suite"), "suite and components do not fit together", hint)
        url = str(one.value("url").data)
        others = [other for other in hosts if other.split("/")[2] == url.split("/")[2]]
        if one.value("pin").data and others:
            what = "apt does not tell repositories of one host apart by `pin`"
            hint = "take `pin` out, and choose packages by `- NAME/REPOSITORY` under `packages`"
            yield mistake(one.value("pin"), what, hint, others[0])
        hosts.append(url)


def stanza(one: Repository) -> str:
    """Return the system's file of a repository, see sources.list(5)."""
    components = f"Components: {' '.join(one.components)}\n" if one.components else ""
    signed_by = f"/etc/apt/keyrings/{one.name}.asc"
    return f"Types: deb\nURIs: {one.url}\nSuites: {one.suite}\n{components}Signed-By: {signed_by}\n"


def pin(package: str, which: str, priority: int) -> str:
    """Return the priority of some versions of a package, see apt_preferences(5)."""
    return f"Package: {package}\nPin: {which}\nPin-Priority: {priority}\n"


def preferences(one: Repository) -> str:
    """Return the priority of a repository's packages, see apt_preferences(5)."""
    return pin("*", _origin(one), one.pin)


def pins(profile: Profile) -> str:
    """Return what keeps packages at the versions or in the archives that the profile says."""
    origins = {f"/{one.name}": _origin(one) for one in profile.third_parties}
    return "\n".join(
        pin(name, origins.get(selector) or _selected(selector), PREFERRED)
        for name, selector in sorted(profile.selectors.items())
    )


def _selected(selector: str) -> str:
    return f"version {selector[1:]}" if selector[0] == "=" else f"release n={selector[1:]}"


def _origin(one: Repository) -> str:
    host = one.url.split("/")[2]
    return f'origin "{host if host.endswith("]") else host.partition(":")[0]}"'


def apply(system: System, _said: list[object]) -> None:
    """Write sources, keys and preferences for the system's own apt."""
    for one in system.profile.third_parties:
        system.write(f"etc/apt/sources.list.d/{one.name}.sources", stanza(one))
        system.write(f"etc/apt/keyrings/{one.name}.asc", one.key)
        if one.pin:
            system.write(f"etc/apt/preferences.d/{one.name}", preferences(one))


def expect(profile: Profile, _said: list[object]) -> Iterable[Expected]:
    """Expect that apt knows each."""
    for one in profile.third_parties:
        command = f"""apt-get --print-uris update 2>&1 | grep -Fc "'{one.address}/InRelease'" || :"""
        yield Expected(f"repository {one.name}", "1", command)


KEY = Key(
    kind=list_of(
        _ONE,
        f"Further APT repositories. `{BACKPORTS}` is the suite's own; any other needs its key.",
    ),
    merge=_by_name,
    check=_contradictions,
    apply=apply,
    expect=expect,
    aliases=("archives", "sources", "apt_sources", "ppa"),
    example="[backports]",
)
