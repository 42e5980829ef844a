"""Repositories besides Debian's own, each with its key, and folders of .debs: what a profile says of them."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synos_tasks.errors import ProfileError, guess, raise_all
from synos_tasks.iso import deb, inputs, openpgp
from synos_tasks.iso.key import Key, adds, mistake
from synos_tasks.iso.keys.repositories import ARMOR, BACKPORTS
from synos_tasks.iso.schema import list_of, relative

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.schema import Value

DEBS = Key(
    kind=list_of(
        relative("a folder relative to docker/build"),
        "Folders of .debs. Packages named under `packages`, and their dependencies, come from here first.",
    ),
    merge=adds,
    aliases=("deb", "local_packages"),
    example="[debs]",
)
LARGEST_KEY = 64 * 1024
"""Bytes of a file with keys."""


@dataclass(frozen=True, kw_only=True)
class Repository:
    """An APT repository whose Release file its own key signs, and nothing else does."""

    name: str
    url: str
    suite: str
    """A name below dists/, or a folder with a slash at its end: then there are no components."""
    components: tuple[str, ...] = ()
    pin: int = 0
    """Priority of its packages; 0: what apt gives them."""
    key: str = ""
    """Armored, whatever the profile has."""
    fingerprint: str = ""
    """Of its key; of several, with spaces between."""

    @property
    def address(self) -> str:
        """Return where its Release file is."""
        return f"{self.url}/{self.suite}".rstrip("/") if self.is_flat else f"{self.url}/dists/{self.suite}"

    @property
    def is_flat(self) -> bool:
        """Tell whether its packages are in one folder."""
        return self.suite.endswith("/")

    def source(self, options: str) -> str:
        """Return the one-line APT source."""
        return " ".join(["deb", f"[{options}]", self.url, self.suite, *self.components])


def read(said: Value, docker_build: Path) -> tuple[Repository, ...]:
    """Return the repositories of a profile with their keys. Raise ProfileError for each key that cannot be used."""
    found, wrong = [], []
    for one in said.items:
        if not one.entries:
            continue
        try:
            key, fingerprint = _key(one.value("key"), docker_build)
        except ProfileError as error:
            wrong.append(error)
            continue
        url, components = str(one.value("url").data).rstrip("/"), tuple(one.plain.get("components", ()))
        fields = {**one.plain, "url": url, "components": components, "key": key, "fingerprint": fingerprint}
        found.append(Repository(**fields))
    raise_all(wrong)
    return tuple(found)


def _key(said: Value, docker_build: Path) -> tuple[str, str]:
    """Return a key, armored, and its fingerprint."""
    text, name = str(said.data), "the key"
    if not text.startswith(ARMOR):
        name, file = text, inputs.find(docker_build, text, said.where)
        data = inputs.read(file, LARGEST_KEY)
    else:
        data = text.encode()
    hint = "export it by `gpg --export --armor`, or take the file that the repository offers"
    try:
        armored, keys = openpgp.read(data)
    except ValueError as error:
        raise mistake(said, f"{name} is no OpenPGP public key", hint, str(error)) from error
    if all(key.expires and key.expires < time.time() for key in keys):
        dates = ", ".join(time.strftime("%Y-%m-%d", time.gmtime(key.expires)) for key in keys)
        why = f"{keys[0].fingerprint} until {dates}"
        raise mistake(said, f"{name} has expired", "repositories offer their key again before it does", why)
    return armored, " ".join(key.fingerprint for key in keys)


def read_debs(said: Value, docker_build: Path) -> tuple[tuple[str, str], ...]:
    """Return path and SHA-256 of each .deb of a profile's folders. Raise ProfileError for each that cannot be used."""
    found, wrong = {}, []
    for one in said.items:
        try:
            folder = inputs.find(docker_build, str(one.data), one.where, folder=True)
            files = [path for path in inputs.walk(folder) if path.suffix == ".deb"]
            if not files:
                raise mistake(one, f"{one.data} has no .deb", "put packages into it, or remove the line")
            for path in files:
                if not re.fullmatch(r"[A-Za-z0-9._+~-]+", path.name):
                    raise mistake(one, f"the name of {path.name!r} has odd letters", "rename it", str(path))
                with inputs.opened(path) as stream:
                    if stream.read(len(deb.MAGIC)) != deb.MAGIC:
                        raise mistake(one, f"{path.name} is no Debian package", "remove it", str(path))
                found[f"{one.data}/{path.relative_to(folder)}"] = inputs.sha256(path)
        except ProfileError as error:
            wrong.append(error)
    raise_all(wrong)
    return tuple(sorted(found.items()))


def unknown_archives(profile: Profile) -> Iterator[ProfileError]:
    """Yield an error for each package that is asked of an archive that the profile does not have."""
    known = [*profile.archives, *(one.name for one in profile.third_parties)]
    for name, selector in profile.selectors.items():
        if selector.startswith("/") and selector[1:] not in known:
            what = f"{name}{selector}: the profile has no such suite or repository"
            missing = BACKPORTS[:-1] in selector
            hint = f"add `repositories: [{BACKPORTS}]`" if missing else guess(selector[1:], known)
            yield ProfileError(what, where=profile.origins.get(name, ""), hint=hint)


def own_mirrors(profile: Profile) -> Iterator[ProfileError]:
    """Yield an error for each repository whose lists would be those of Debian's archive, which another key signs."""
    known = [f"{mirror}/dists/{suite}/" for suite, mirror in profile.archives.items()]
    for one in profile.third_parties:
        if any(address.startswith(f"{one.address}/") for address in known):
            where = profile.origins.get(f"repository {one.name}", "")
            hint = "remove it: `mirrors` and `suite` say where Debian's packages come from"
            yield ProfileError(f"{one.url} is the profile's own mirror", where=where, hint=hint)
