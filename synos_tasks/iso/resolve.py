"""Resolves a profile's package names to exact packages, with apt, from signed indexes. Runs in the container."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from synos_tasks.errors import BadSignature, SynosError
from synos_tasks.iso import names, releases
from synos_tasks.iso.lock import Lock, Package, request_of, seconds
from synos_tasks.iso.proxies import CERTIFICATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
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
_REQUIRED = re.compile(r"^Package: (\S+)\n(?:.+\n)*?Priority: required$", re.MULTILINE)
_URI = re.compile(r"'(?P<address>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})")


def resolve(context: BuildContext, lists: Path, previous: Lock | None) -> Lock:
    """Choose the profile's packages, layer by layer; versions of ``previous`` stay where the mirrors have them.

    ``lists`` keeps apt's indexes of the suite; those that are still what the Release files say are not fetched again.
    Raises PackageNotFound, ProfileError where packages do not go together, MirrorUnreachable or BadSignature.
    """
    profile, folder = context.profile, context.work / "apt"
    _configure(profile, folder, lists)
    (folder / "preferences").write_text(preferences(previous.packages if previous else ()))
    dates = _update(context, folder, lists)
    names.refuse_unknown(profile, lists, lambda: _elsewhere(context, folder, lists))
    asked, tried = list(ALWAYS), []
    asked += LIVE if "live-boot" in profile.packages else ()
    if profile.bootstrapper == "debootstrap":
        asked += _required(lists)
    chosen: dict[str, Package] = {}
    for layer, wanted in profile.layers:
        asked += wanted
        tried.append(asked)
        argv = _apt(folder, "install", "--print-uris", *asked)
        lines = context.run(STAGE, argv, on_failure=lambda *_: _conflict(context, folder, tried))
        for package in parse(profile, layer, lines):
            chosen.setdefault(package.name, package)
        asked = [name for name in asked if name.startswith("?")] + sorted(chosen)
    return Lock(
        request=request_of(profile),
        epoch=max(map(seconds, dates.values())),
        packages=tuple(sorted(chosen.values(), key=lambda p: (p.name, p.architecture))),
        releases=dates,
    )


def _update(context: BuildContext, folder: Path, lists: Path) -> dict[str, str]:
    """Update apt's lists; return the date of each suite's Release file. Raises as resolve() does."""
    for _ in range(2):
        for path in lists.glob("*Release"):
            os.utime(path, (0, 0))  # "not modified" would leave one that was signed once, and is old
        context.run(STAGE, _apt(folder, "update", "--error-on=any"), network=True)
        dates, dropped = releases.verify(context.profile, lists)
        if not dropped:
            return dates
        context.events.warn(f"not what its Release file says, fetched again: {', '.join(dropped)}")
    raise BadSignature("an index is not what its Release file says", where=dropped[0])


def _elsewhere(context: BuildContext, folder: Path, lists: Path) -> dict[str, Path]:
    """Return lists of what the profile's mirrors have besides, and of suites that others asked for; by a hint for each."""
    found = {}
    for area in [area for area in AREAS if area not in context.profile.areas]:
        profile, inside = replace(context.profile, areas=(area,), suites=("release",)), folder / area
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
        security = profile.security_mirror != profile.mirror
        security = security and found["address"].startswith(f"{profile.security_mirror}/")
        archive = "security" if security else "main"
        packages.append(
            Package(
                name=name,
                version=version,
                architecture=architecture,
                layer=layer,
                size=int(found["size"]),
                sha256=found["sha256"],
                archive=archive,
                path=found["address"].removeprefix(f"{profile.address(archive)}/"),
            )
        )
    return packages


def preferences(packages: Sequence[Package]) -> str:
    """Return APT preferences that pin packages to their locked versions, where available."""
    return "\n".join(
        f"Package: {package.name}\nPin: version {package.version}\nPin-Priority: 1001\n"
        for package in packages
    )


def _required(lists: Path) -> list[str]:
    """Names of priority required, which debootstrap lays down whether they are essential or not."""
    texts = (path.read_text(encoding="utf-8") for path in lists.glob("*_Packages"))
    return sorted({name for text in texts for name in _REQUIRED.findall(text)})


def _configure(profile: Profile, folder: Path, lists: Path) -> None:
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    (folder / "archives/partial").mkdir(parents=True, exist_ok=True)
    (folder / "status").write_text("")
    (folder / "sources.list").write_text(
        "".join(f"{line}\n".replace("deb ", f"deb [signed-by={KEYRING}] ", 1) for line in profile.sources)
    )
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
