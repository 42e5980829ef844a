"""Locks: docker/build/profiles/NAME.lock.yaml, the exact packages of a profile.

One line a package, sorted, so that a change is a small diff.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import os
from collections.abc import Mapping  # noqa: TC003  (the types of fields are read)
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from synos_tasks.errors import LockDrift, LockError, ProfileError
from synos_tasks.iso import schema
from synos_tasks.iso.digests import digest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from synos_tasks.iso.profile import Profile

SCHEMA = "synos.lock/1"
DATE = "%Y-%m-%dT%H:%M:%SZ"
HINT = "a lock is not edited by hand: `inv build.lock` writes it again"
HEADER = """\
# The exact packages of profile {name}, written by `inv build.lock`. Commit it; do not edit it.
# `inv build.lock --update` takes what the mirrors have now.
"""


@dataclass(frozen=True, kw_only=True)
class Package:
    """One package. ``size`` in bytes; ``path`` is below the mirror named by ``archive``."""

    name: str
    version: str
    architecture: str
    layer: str
    size: int
    sha256: str
    archive: str
    """``main`` or ``security``, as in the profile's mirrors, the name of a repository, or ``debs``: below docker/build."""
    path: str

    @property
    def ident(self) -> tuple[str, str, str]:
        """Name, version and architecture."""
        return (self.name, self.version, self.architecture)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A repository that packages come from, and the fingerprint of the key that signs it."""

    name: str
    url: str
    suite: str
    key: str


@dataclass(frozen=True, kw_only=True)
class Lock:
    """The packages of a profile, sorted by name."""

    request: str
    """Digest of what of the profile decides over packages; see request_of()."""
    epoch: int
    """Seconds since 1970: date of the newest Release file the packages came from. All dates in the ISO end there."""
    packages: tuple[Package, ...]
    releases: Mapping[str, str] = field(default_factory=dict)
    """Date of each suite's or repository's Release file, so that none older is taken later. No part of any key."""
    repositories: tuple[Origin, ...] = ()

    @property
    def versions(self) -> dict[str, tuple[str, bool]]:
        """Version by name, and whether it comes from the security archive."""
        return {one.name: (one.version, one.archive == "security") for one in self.packages}

    def layer(self, name: str) -> list[Package]:
        """Return the packages that a layer adds."""
        return [package for package in self.packages if package.layer == name]


def request_of(profile: Profile) -> str:
    """Digest of all in a profile that decides over its packages; where mirrors are does not matter."""
    others = [dataclasses.replace(one, key="") for one in profile.third_parties]
    more = [one for one in (others, profile.debs, profile.selectors) if one]
    return digest(
        [
            profile.suite, profile.architecture, profile.bootstrapper, sorted(profile.suites),
            sorted(profile.areas), profile.layers, *(["recommends"] if profile.recommends else []), *more,
        ]
    )[:16]  # fmt: skip


def origins_of(profile: Profile) -> tuple[Origin, ...]:
    """Return a profile's repositories as a lock has them."""
    return tuple(
        Origin(name=one.name, url=one.url, suite=one.suite, key=one.fingerprint)
        for one in sorted(profile.third_parties, key=lambda one: one.name)
    )


_PACKAGE = {
    "name": schema.text(r"[a-z0-9][a-z0-9+.-]+", "a package name"),
    "version": schema.text(r"[0-9A-Za-z.+:~-]+", "a version in quotes"),
    "architecture": schema.choice("all", "amd64"),
    "layer": schema.text(r"[a-z][a-z0-9-]*", "a layer"),
    "size": schema.Kind(type="integer", minimum=1, maximum=2**40, shape="a size in bytes"),
    "sha256": schema.text(r"[0-9a-f]{64}", "a SHA-256"),
    "archive": schema.text(r"[a-z][a-z0-9-]*", "main, security or the name of a repository"),
    "path": schema.text(schema.RELATIVE.replace("+", "+~%:", 1), "a path below the mirror"),
}
_LOCK = {
    "schema": schema.choice(SCHEMA),
    "request": schema.text(r"[0-9a-f]{16}", "16 hex digits"),
    "date": schema.text(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "a date as 2026-01-31T12:00:00Z"),
    "seal": schema.text(r"[0-9a-f]{16}", "16 hex digits"),
    "packages": schema.list_of(schema.mapping(_PACKAGE, required=tuple(_PACKAGE))),
}
_ORIGIN = {
    "name": _PACKAGE["archive"],
    "url": schema.url("Its address."),
    "suite": schema.text(r"\S+", "a suite"),
    "key": schema.text(r"[0-9A-F ]+", "fingerprints"),
}


def path_of(folder: Path, profile: str) -> Path:
    """Where a profile's lock is, below the profiles' folder."""
    return folder / f"{profile}.lock.yaml"


def load(path: Path) -> Lock | None:
    """Read a lock; None where there is no file. Raises LockError with file, line and column."""
    if not os.path.lexists(path):
        return None
    try:
        source = schema.load(path, 4 * 2**20, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        dates = dict.fromkeys(source.value("releases").entries, _LOCK["date"])
        origins = schema.list_of(schema.mapping(_ORIGIN, required=tuple(_ORIGIN)))
        fields = {**_LOCK, "releases": schema.mapping(dates), "repositories": origins}
        return _from_data(schema.check(source, schema.mapping(fields, required=tuple(_LOCK))))
    except ProfileError as error:
        raise LockError(error.what, where=error.where, why=error.why, hint=HINT) from error
    except ValueError as error:
        raise LockError(
            "the lock was edited by hand, or damaged", where=str(path), why=str(error), hint=HINT
        ) from error


def fitting(path: Path, profile: Profile) -> Lock | None:
    """Read a lock; None where it is for something else than the profile asks. Raises LockError, or LockDrift for a new key."""
    found = load(path)
    if found:
        refuse_new_keys(found, profile)
    return found if found and found.request == request_of(profile) else None


def refuse_new_keys(lock: Lock, profile: Profile) -> None:
    """Raise LockDrift where another key signs a repository: only a person can tell whether that is right."""
    for one, before in new_keys(lock.repositories, origins_of(profile)):
        raise LockDrift(
            f"the key of repository {one.name} is another one",
            where=profile.origins.get(f"repository {one.name}", ""),
            why=f"in the lock: {before}\nin the profile: {one.key}",
            hint=f"if that is right, `inv build.lock --profile {profile.name}` takes it",
        )


def new_keys(old: Iterable[Origin], new: Iterable[Origin]) -> list[tuple[Origin, str]]:
    """Return the repositories that have another key than before, each with that."""
    keys = {one.name: one.key for one in old}
    return [(one, keys[one.name]) for one in new if keys.get(one.name, one.key) != one.key]


def required(path: Path, profile: Profile, hint: str) -> Lock:
    """Read a lock; raise LockError, or LockDrift where it does not fit the profile."""
    if found := fitting(path, profile):
        return found
    other = "the profile asks for other packages, suites or a bootstrapper"
    raise LockDrift(
        f"the lock of profile {profile.name} does not fit",
        where=f"docker/build/profiles/{path.name}",
        why=other if path.exists() else "there is none",
        hint=hint,
    )


def _from_data(data: dict[str, Any]) -> Lock:
    packages = tuple(Package(**entry) for entry in data["packages"])
    for one, two in itertools.pairwise(packages):
        if one.name >= two.name:
            raise ValueError(
                f"{two.name} does not belong after {one.name}: packages are sorted, each stands once"
            )
    found = Lock(
        request=data["request"],
        epoch=seconds(data["date"]),
        packages=packages,
        releases=data.get("releases", {}),
        repositories=tuple(Origin(**entry) for entry in data.get("repositories", [])),
    )
    if data["seal"] != seal_of(found):
        raise ValueError(f"its seal is {data['seal']}, and what it holds has {seal_of(found)}")
    return found


def seconds(date: str) -> int:
    """Seconds since 1970 of a date as locks write it; raises ValueError."""
    return int(dt.datetime.strptime(date, DATE).replace(tzinfo=dt.UTC).timestamp())


def seal_of(lock: Lock) -> str:
    """Digest of all in a lock, to tell when it was edited by hand or merged wrongly."""
    fields = dataclasses.asdict(lock)
    for name in ("releases", "repositories"):
        if not fields[name]:  # locks that were sealed before there were any
            del fields[name]
    return digest(fields)[:16]


def dump(lock: Lock, name: str) -> str:
    """Return the text of a lock file."""
    date = dt.datetime.fromtimestamp(lock.epoch, dt.UTC)
    lines = [
        HEADER.format(name=name),
        f"schema: {SCHEMA}\nrequest: '{lock.request}'\ndate: '{date:{DATE}}'\nseal: '{seal_of(lock)}'\n",
        "releases:\n" if lock.releases else "",
        *(f"  {suite}: '{date}'\n" for suite, date in sorted(lock.releases.items())),
        "repositories:\n" if lock.repositories else "",
        *(
            f"- {{name: {one.name}, url: '{one.url}', suite: '{one.suite}', key: '{one.key}'}}\n"
            for one in lock.repositories
        ),
        "packages:\n" if lock.packages else "packages: []\n",
    ]
    lines += [
        f"- {{name: '{p.name}', version: '{p.version}', architecture: {p.architecture}, layer: '{p.layer}', "
        f"size: {p.size}, sha256: '{p.sha256}', archive: {p.archive}, path: '{p.path}'}}\n"
        for p in lock.packages
    ]
    return "".join(lines)


@dataclass(frozen=True, kw_only=True)
class Change:
    """One package that differs between two locks; an empty version means that it is not there."""

    name: str
    old: str
    new: str
    security: bool
    """The new version comes from the security archive."""

    @property
    def line(self) -> str:
        """Return it as people read it."""
        mark = "  (security)" if self.security else ""
        if self.old and self.new:
            return f"  {self.name}  {self.old} -> {self.new}{mark}"
        return f"  {'+' if self.new else '-'} {self.name}  {self.new or self.old}{mark}"


def changes(old: Lock | None, new: Lock) -> list[Change]:
    """List what differs, by name."""
    return version_changes(old.versions if old else {}, new.versions)


def version_changes(
    before: Mapping[str, tuple[str, bool]], after: Mapping[str, tuple[str, bool]]
) -> list[Change]:
    """List what differs between two sets of packages: name to version, and whether it is a security update."""
    found = []
    for name in sorted(before.keys() | after.keys()):
        (old, _), (new, security) = before.get(name, ("", False)), after.get(name, ("", False))
        if old != new:
            found.append(Change(name=name, old=old, new=new, security=bool(old) and security))
    return found
