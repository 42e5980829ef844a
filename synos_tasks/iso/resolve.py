"""Resolves a profile's package names to exact packages, with apt, from signed indexes. Runs in the container."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from synos_tasks.errors import BadSignature, PackageNotFound, ProfileError, SynosError, raise_all
from synos_tasks.iso import deb, names, releases
from synos_tasks.iso.diagnose import diagnose
from synos_tasks.iso.keys import repositories
from synos_tasks.iso.lock import Lock, Package, origins_of, request_of, seconds
from synos_tasks.iso.proxies import CERTIFICATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.tools import BuildContext

STAGE = "resolve"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# usr-is-merged: or else apt takes usrmerge, which brings all of Perl to move files that were never apart
ALWAYS = ("?essential", "apt", "usr-is-merged")
# essential once, and nothing depends on them: without them nobody logs in since trixie, and since forky live-boot's
# hook finds no losetup, and no user can be made
LIVE = ("login", "mount", "passwd")
AREAS = ("contrib", "main", "non-free", "non-free-firmware")
_URI = re.compile(r"'(?P<address>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})")


def resolve(context: BuildContext, lists: Path, previous: Lock | None) -> Lock:
    """Choose the profile's packages, layer by layer; versions of ``previous`` stay where the mirrors have them.

    ``lists`` keeps apt's indexes of the suite; those that are still what the Release files say are not fetched again.
    Raises PackageNotFound, ProfileError where packages do not go together, MirrorUnreachable or BadSignature.
    """
    profile, folder = context.profile, context.work / "apt"
    _configure(profile, folder, lists)
    _index_own_debs(context)
    dates = _update(context, folder, lists)
    names.refuse_unknown(profile, lists, lambda: _elsewhere(context, folder, lists))
    versions = _versions(context, folder)
    exact = {name: f"{name}={version}" for name, version in versions.items()}
    selected = _selected(profile, versions, lists)
    kept = folder / "preferences"
    locked = [one for one in previous.packages if one.name not in versions] if previous else []
    kept.write_text(selected + preferences(profile, locked))
    try:
        chosen = _choose(context, folder, lists, exact)
    except ProfileError:
        # what a lower layer or the lock prefers, an upper layer may not go with: then all are chosen at once
        asked = [*_always(profile, lists), *(exact.get(name, name) for name in profile.packages)]
        for packages in (locked, []):
            kept.write_text(selected + preferences(profile, packages))
            with suppress(ProfileError):
                together = _install(context, folder, [asked])
                break
        else:
            raise  # this one tells both sides
        kept.write_text(preferences(profile, parse(profile, "", together), others=False))
        chosen = _choose(context, folder, lists, exact)
    if unused := {path for path, _ in profile.debs} - {one.path for one in chosen}:
        context.events.warn(f"no package under `packages` needs {', '.join(sorted(unused))}")
    return Lock(
        request=request_of(profile),
        epoch=max(map(seconds, dates.values())),
        packages=tuple(sorted(chosen, key=lambda p: (p.name, p.architecture))),
        releases=dates,
        repositories=origins_of(profile),
    )


def _choose(context: BuildContext, folder: Path, lists: Path, exact: Mapping[str, str]) -> list[Package]:
    """Let apt choose packages, layer by layer. ``exact`` has what it is asked instead of names."""
    profile, asked = context.profile, _always(context.profile, lists)
    tried: list[list[str]] = []
    chosen: dict[str, Package] = {}
    for layer, wanted in profile.layers:
        asked += [exact.get(name, name) for name in wanted]
        tried.append(asked)
        for package in parse(profile, layer, _install(context, folder, tried)):
            chosen.setdefault(package.name, package)
        asked = [name for name in asked if name.startswith("?")]
        asked += sorted(f"{one.name}={one.version}" for one in chosen.values())
    return [*chosen.values()]


def _always(profile: Profile, lists: Path) -> list[str]:
    needed = LIVE if "live-boot" in profile.packages else ()
    return [*ALWAYS, *needed, *(names.required_in(lists) if profile.bootstrapper == "debootstrap" else ())]


def _install(context: BuildContext, folder: Path, tried: Sequence[Sequence[str]]) -> list[str]:
    """Return what apt would fetch for the last of some requests, of which each builds on the one before."""
    argv = _apt(folder, "install", "--print-uris", *tried[-1])
    return context.run(STAGE, argv, on_failure=lambda *_: _conflict(context, folder, tried))


def _update(context: BuildContext, folder: Path, lists: Path) -> dict[str, str]:
    """Update apt's lists; return the date of each suite's Release file. Raises as resolve() does."""
    argv = _apt(folder, "update", "--error-on=any")

    def failed(code: int, lines: Sequence[str]) -> SynosError:
        return _blamed(context.profile, diagnose(STAGE, argv, code, lines, {}, context.proxies))

    for _ in range(2):
        releases.forget_repositories(context.profile, lists)
        for path in lists.glob("*Release"):
            os.utime(path, (0, 0))  # "not modified" would leave one that was signed once, and is old
        context.run(STAGE, argv, network=True, on_failure=failed)
        dates, dropped = releases.verify(context.profile, lists)
        if not dropped:
            return dates
        context.events.warn(f"not what its Release file says, fetched again: {', '.join(dropped)}")
    raise BadSignature("an index is not what its Release file says", where=dropped[0])


def _blamed(profile: Profile, failure: SynosError) -> SynosError:
    """Return an error with the place of the repository that it is about, if it is about one."""
    text = f"{failure.where} {failure.why}"
    for one in sorted(profile.third_parties, key=lambda one: one.url):
        if one.url in text:
            failure.why = f"{failure.where}: {failure.why}"
            failure.where = profile.origins.get(f"repository {one.name}", one.url)
            failure.hint = f"check `url`, `suite` and `components` of repository {one.name}"
            if isinstance(failure, BadSignature):
                failure.hint = f"nothing of it was used; its `key` has the fingerprint {one.fingerprint}"
    return failure


def _versions(context: BuildContext, folder: Path) -> dict[str, str]:
    """Return the newest version that each selector allows; raise PackageNotFound where there is none."""
    profile, wrong = context.profile, []
    found: dict[str, str] = {}
    if not profile.selectors:
        return found
    argv = ["env", f"APT_CONFIG={folder / 'apt.conf'}", "apt-cache", "madison", *profile.selectors]
    there = names.versions(context.run(STAGE, argv))
    for name, selector in profile.selectors.items():
        if version := names.allowed(profile, selector, there.get(name, [])):
            found[name] = version
            continue
        known = ", ".join(dict.fromkeys(f"{one.version} ({one.place})" for one in there.get(name, [])))
        what, where = f"there is no {name}{selector}", profile.origins.get(name, "")
        wrong.append(PackageNotFound(what, where=where, hint=f"there are: {known or 'none'}"))
    raise_all(wrong)
    return found


def _index_own_debs(context: BuildContext) -> None:
    """Write an index of the profile's own packages; raise ProfileError for what is none for this architecture."""
    profile, stanzas, wrong = context.profile, {}, []
    for path, sha256 in profile.debs:
        file = context.docker_build / path
        where = profile.origins.get("debs", str(file))
        try:
            stanza = deb.control(file).rstrip()
            fields = deb.fields(stanza)
            ident = (fields["Package"], fields["Version"], fields["Architecture"])
        except (ValueError, KeyError) as error:
            what = f"{path} is no Debian package"
            wrong.append(ProfileError(what, where=where, why=str(error), hint="remove it"))
            continue
        if ident[2] not in {"all", profile.architecture}:
            hint = f"replace it by one for {profile.architecture}"
            wrong.append(ProfileError(f"{path} is for {ident[2]}", where=where, hint=hint))
        if ident in stanzas:
            wrong.append(ProfileError(f"{path} appears twice in `debs`", where=where, hint="remove one"))
        size = file.stat().st_size
        stanzas[ident] = f"{stanza}\nFilename: {path}\nSize: {size}\nSHA256: {sha256}\n\n"
    raise_all(wrong)
    own = context.work / releases.OWN
    own.mkdir(exist_ok=True)
    (own / "Packages").write_text("".join(stanzas.values()))


def _elsewhere(context: BuildContext, folder: Path, lists: Path) -> dict[str, Path]:
    """Return apt's lists of areas and suites that the profile does not use; each has a hint as its key."""
    found = {}
    for area in [area for area in AREAS if area not in context.profile.areas]:
        profile = replace(context.profile, areas=(area,), suites=("release",), third_parties=(), debs=())
        inside = folder / area
        _configure(profile, inside, inside / "lists")
        with suppress(SynosError):  # not every mirror has every area
            _update(replace(context, profile=profile), inside, inside / "lists")
            found[f"add {area} to `components:` of `mirrors:`"] = inside / "lists"
    others = [path for path in sorted(lists.parent.iterdir()) if path.name != lists.name]
    return found | {f"{path.name} has it, {lists.name} has not": path for path in others}


def _conflict(context: BuildContext, folder: Path, tried: Sequence[Sequence[str]]) -> SynosError | None:
    """Let apt choose again, layer by layer, and say what it does and why: what it says of a failure names no origin."""
    lines: list[str] = []
    for asked in tried:
        options = ("-q=1", "-oDebug::pkgDepCache::AutoInstall=true", "--print-uris")
        argv = _apt(folder, "install", *options, *asked)
        with suppress(SynosError):
            lines.extend(context.run(STAGE, argv, on_failure=lambda _, said: lines.extend(said)))
    return names.conflict(context.profile, lines)


def parse(profile: Profile, layer: str, lines: Iterable[str]) -> list[Package]:
    """Read what `apt-get --print-uris` prints, with SHA-256 asked for."""
    packages = []
    for line in lines:
        found = _URI.match(line)
        if not found:
            continue
        # name_version_architecture.deb, where a colon in the version is %3a
        name, version, architecture = unquote(found["file"]).removesuffix(".deb").split("_")
        archive, path = _archive(profile, found["address"])
        packages.append(
            Package(
                name=name,
                version=version,
                architecture=architecture,
                layer=layer,
                size=int(found["size"]),
                sha256=found["sha256"],
                archive=archive,
                path=path,
            )
        )
    return packages


def _archive(profile: Profile, address: str) -> tuple[str, str]:
    """Return the archive that a package is from, and its path below that."""
    own = f"/{releases.OWN}/"
    if address.startswith("copy:") and own in address:
        return "debs", unquote(address.partition(own)[2])
    known = {one.url: one.name for one in profile.third_parties}
    known |= {profile.security_mirror: "security", profile.mirror: "main"}
    start = max((one for one in known if address.startswith(f"{one}/")), key=len)
    return known[start], address.removeprefix(f"{start}/")


def preferences(profile: Profile, packages: Sequence[Package] = (), *, others: bool = True) -> str:
    """Return APT preferences: the profile's own, and versions of packages where available; without ``others``, these alone."""
    own = [repositories.pin("*", 'origin ""', 1002)] if profile.debs else []
    own += [repositories.preferences(one) for one in profile.third_parties if one.pin]
    versions = [repositories.pin(one.name, f"version {one.version}", 1001) for one in packages]
    return "\n".join([*own, *versions, *([] if others else [repositories.pin("*", "release *", -1)])])


def _selected(profile: Profile, versions: Mapping[str, str], lists: Path) -> str:
    """Return APT preferences for what the profile selects; of another suite, for all packages of the same source."""
    pins = [repositories.pin(name, f"version {version}", 1003) for name, version in versions.items()]
    for name, selector in profile.selectors.items():
        if selector[1:] in profile.archives:
            pins.append(
                repositories.pin(f"src:{names.source_of(lists, name)}", f"release n={selector[1:]}", 1002)
            )
    return "".join(f"{pin}\n" for pin in pins)


def _configure(profile: Profile, folder: Path, lists: Path) -> None:
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    (folder / "archives/partial").mkdir(parents=True, exist_ok=True)
    (folder / "status").write_text("")
    (folder / "keys").mkdir(exist_ok=True)
    lines = [line.replace("deb ", f"deb [signed-by={KEYRING}] ", 1) for line in profile.sources]
    for one in profile.third_parties:
        key = folder / f"keys/{one.name}.asc"
        key.write_text(one.key)
        lines.append(one.source(f"signed-by={key}"))
    if profile.debs:
        lines.append(f"deb [trusted=yes] copy:{folder.parent}/{releases.OWN} ./")
    (folder / "sources.list").write_text("".join(f"{line}\n" for line in lines))
    settings = {
        "Dir::State": folder, "Dir::State::status": folder / "status", "Dir::State::Lists": lists,
        "Dir::Cache": folder, "Dir::Etc::sourcelist": folder / "sources.list", "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": folder / "preferences", "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::Etc::parts": "/dev/null", "Dir::Etc::main": "/dev/null", "APT::Architecture": profile.architecture,
        "APT::Install-Recommends": str(profile.recommends).lower(), "APT::Sandbox::User": "root", "Acquire::Languages": "none",
        "Acquire::ForceHash": "SHA256", "Acquire::AllowReleaseInfoChange": "true", "Acquire::Retries": "2", "Acquire::http::Timeout": "15",
    }  # fmt: skip
    if CERTIFICATES.is_file():
        settings["Acquire::https::CaInfo"] = CERTIFICATES
    text = "".join(f'{key} "{value}";\n' for key, value in settings.items())
    (folder / "apt.conf").write_text(f'{text}APT::Architectures {{ "{profile.architecture}"; }};\n')


def _apt(folder: Path, *arguments: str) -> list[str]:
    return ["env", f"APT_CONFIG={folder / 'apt.conf'}", "apt-get", "-qq", *arguments]
