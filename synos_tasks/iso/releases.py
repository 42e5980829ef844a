"""What a mirror's Release files, whose signatures apt has verified, say of themselves and of the indexes below them."""

from __future__ import annotations

import datetime as dt
import re
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote

from synos_tasks.errors import BadSignature
from synos_tasks.iso import deb
from synos_tasks.iso.lock import DATE
from synos_tasks.iso.store import sha256

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.repositories import Repository

OWN = "synos-debs"
"""Folder with an index of the profile's own packages."""
_QUOTED = re.compile(r"[\[\]_~%]")
_SHA256 = re.compile(r"^SHA256:\n((?: .+\n?)*)", re.MULTILINE)


def verify(profile: Profile, lists: Path) -> tuple[dict[str, str], list[str]]:
    """Return the date of each suite's Release file, and the names of indexes that had to be removed from apt's lists.

    apt hashes an index when it fetches it, not when it finds it in its lists: all that no Release file vouches for is
    removed. Raises BadSignature where one is of another suite or lacks a component, of which apt only warns.
    """
    dates: dict[str, str] = {}
    hashes: dict[Path, str] = {}
    kept = {"lock", *(path.name for path in _of_repositories(profile, lists))}
    for suite, mirror in profile.archives.items():
        address = f"{mirror}/dists/{suite}"
        path, text = _release(lists, address)
        kept |= {path.name, f"{path.name}.gpg"}
        fields = deb.fields(text)
        names = [fields.get("Codename", ""), fields.get("Suite", "")]
        if suite not in names:
            raise _refusal(f"another suite as {suite}", address, suite, " or ".join(names))
        # in the security archive they are called updates/main and so on
        components = [one.rpartition("/")[2] for one in fields.get("Components", "").split()]
        if not set(profile.areas) <= set(components):
            what, asked = f"not all components of {suite}", " ".join(profile.areas)
            raise _refusal(what, address, asked, " ".join(components))
        dates[suite] = _date(fields)
        signed = {line.split()[2]: line.split()[0] for line in "".join(_SHA256.findall(text)).splitlines()}
        for name in (f"{area}/binary-{profile.architecture}/Packages" for area in profile.areas):
            hashes[_listed(lists, f"{address}/{name}")] = signed.get(name, "")
    for one in profile.third_parties:
        fields = deb.fields(_release(lists, one.address)[1])
        _refuse_other(one, fields)
        with suppress(KeyError, ValueError):  # apt does not ask for one
            dates[one.name] = _date(fields)
    wrong = [p for p in lists.iterdir() if p.is_file() and p.name not in kept and sha256(p) != hashes.get(p)]
    for path in wrong:
        path.unlink()
    return dates, sorted(path.name for path in wrong if path in hashes)


def _refuse_other(one: Repository, fields: Mapping[str, str]) -> None:
    """Raise BadSignature where a repository is of another suite, or lacks a component; it need not say of which it is."""
    names = [fields[key] for key in ("Codename", "Suite") if fields.get(key)]
    if not one.is_flat and names and one.suite not in names:
        raise _refusal(f"another suite as {one.suite}", one.address, one.suite, " or ".join(names))
    served = fields.get("Components", " ".join(one.components)).split()
    if not set(one.components) <= {*served, *(name.rpartition("/")[2] for name in served)}:
        asked = " ".join(one.components)
        raise _refusal(f"not all components of {one.suite}", one.address, asked, " ".join(served))


def forget_repositories(profile: Profile, lists: Path) -> None:
    """Remove the lists of all repositories but Debian's, so that apt fetches and verifies each index.

    Their Release files may have hashes of packed indexes alone, and tell nothing of what apt has unpacked.
    """
    for path in _of_repositories(profile, lists):
        path.unlink()


def _of_repositories(profile: Profile, lists: Path) -> list[Path]:
    """Return the files of repositories in apt's lists, and those of the profile's own packages."""
    prefixes = tuple(f"{_listed(lists, one.address).name}_" for one in profile.third_parties)
    own = f"_{OWN}_._Packages" if profile.debs else "none"
    files = [path for path in lists.iterdir() if path.is_file()]
    return [path for path in files if path.name.startswith(prefixes) or path.name.endswith(own)]


def _date(fields: Mapping[str, str]) -> str:
    return parsedate_to_datetime(fields["Date"]).astimezone(dt.UTC).strftime(DATE)


def _release(lists: Path, address: str) -> tuple[Path, str]:
    """Return where apt has a Release file, and its text without the signature."""
    path = _listed(lists, f"{address}/InRelease")
    path = path if path.exists() else _listed(lists, f"{address}/Release")
    text = path.read_text(errors="replace")
    if text.startswith("-----BEGIN PGP SIGNED MESSAGE-----"):
        text = text.partition("\n\n")[2].partition("\n-----BEGIN PGP SIGNATURE-----")[0]
    return path, text


def _listed(lists: Path, address: str) -> Path:
    """Return where apt keeps what it fetched from an address."""
    name = _QUOTED.sub(lambda found: f"%{ord(found[0]):02x}", unquote(address.partition("://")[2]))
    return lists / name.replace("/", "_")


def _refusal(what: str, address: str, asked: str, served: str) -> BadSignature:
    return BadSignature(
        f"the mirror serves {what}",
        where=address,
        why=f"asked for: {asked}; served: {served}",
        hint="check `mirrors:` of the profile; if it is right, the mirror or the way to it cannot be trusted",
    )


def refuse_older(profile: Profile, known: Mapping[str, str], served: Mapping[str, str]) -> None:
    """Raise BadSignature where a suite's Release file is older than the one that a lock came from."""
    for suite, date in served.items():
        if date < known.get(suite, ""):
            others = {one.name: one.address for one in profile.third_parties}
            address = others.get(suite) or f"{profile.archives[suite]}/dists/{suite}"
            raise _refusal(
                f"an older {suite} than the lock came from", address, f"{known[suite]} or newer", date
            )
