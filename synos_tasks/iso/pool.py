"""The pool of .debs, by SHA-256. A file that is not the package that the lock names is never used."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from synos_tasks.errors import BadSignature, LockDrift, LockError, PackageVanished
from synos_tasks.iso import deb
from synos_tasks.iso.inputs import copy
from synos_tasks.iso.lock import HINT
from synos_tasks.iso.mirrors import over_https
from synos_tasks.iso.store import sha256, touch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synos_tasks.iso.lock import Package
    from synos_tasks.iso.store import Store
    from synos_tasks.iso.tools import BuildContext

STAGE = "pool"
HELPER = "/usr/lib/apt/apt-helper"
OPTIONS = ("-q", "-oAPT::Sandbox::User=root", "-oAcquire::Retries=2", "-oAcquire::http::Timeout=15")
_ERROR = re.compile(
    r"E: Failed to fetch (\S+)\s+((404|410)\b.*|.*(?:Hash Sum mismatch|File has unexpected size).*)"
)


class Pool:
    """The .debs of a store."""

    def __init__(self, store: Store, context: BuildContext, *, offline: bool) -> None:
        self._store, self._context, self._offline = store, context, offline

    def have(self, packages: Sequence[Package]) -> list[Path]:
        """Return the paths of packages, after fetching what is missing; each is verified, the old ones too.

        Raises PackageVanished, MirrorUnreachable, BadSignature, or LockDrift when offline.
        """
        with ThreadPoolExecutor() as threads:
            good = list(threads.map(self._is_good, packages))
        missing = [package for package, there in zip(packages, good, strict=True) if not there]
        for package in [one for one in missing if one.archive == "debs"]:
            self._copy(package)
            missing.remove(package)
        if missing and self._offline:
            raise LockDrift(
                f"{len(missing)} packages are not in the pool, the first is {missing[0].name} {missing[0].version}",
                where=missing[0].path,
                why="--offline uses what earlier builds fetched",
                hint="run the same command without --offline once",
            )
        if missing:
            self._fetch(missing)
        paths = [self.path(package) for package in packages]
        for path in paths:
            touch(path)
        return paths

    def path(self, package: Package) -> Path:
        """Where a package is, or would be."""
        return self._store.folder / "pool" / f"{package.sha256}.deb"

    def _is_good(self, package: Package) -> bool:
        path = self.path(package)
        with suppress(FileNotFoundError), self._store.named_errors():
            if path.stat().st_size == package.size and sha256(path) == package.sha256:
                return True
            what = f"{package.name} {package.version}"
            self._context.events.warn(f"damaged in the pool, fetched again: {what}")
            path.unlink(missing_ok=True)
        return False

    def _copy(self, package: Package) -> None:
        """Take a package of the profile's own into the pool."""
        with self._store.slot() as folder:
            copy(self._context.find(package.path), folder / "deb")
            if sha256(folder / "deb") != package.sha256:
                raise LockDrift(
                    f"{package.path} is not what the lock names",
                    where=package.path,
                    hint="`inv build.lock` takes it",
                )
            (folder / "deb").chmod(0o644)
            (folder / "deb").rename(self.path(package))

    def _fetch(self, packages: Sequence[Package]) -> None:
        """Fetch with apt's own downloader, which pipelines, retries and verifies."""
        profile = over_https(self._context.profile, self._context.proxies)
        with self._store.slot() as folder:
            argv = [HELPER, *OPTIONS, "download-file"]
            for package in packages:
                address = f"{profile.address(package.archive)}/{package.path}"
                argv += [address, str(folder / package.sha256), f"SHA256:{package.sha256}"]
            with self._store.tools_write_here():
                self._context.run(
                    STAGE, argv, network=True, on_failure=lambda _, lines: _explain(lines, packages)
                )
            for package in packages:
                if (folder / package.sha256).stat().st_size != package.size:
                    raise LockError(
                        f"the lock's size of {package.name} is wrong", where=package.path, hint=HINT
                    )
                (folder / package.sha256).rename(self.path(package))


def _explain(lines: Sequence[str], packages: Sequence[Package]) -> Exception | None:
    """Find the error in apt-helper's last words that is about one package."""
    for found in filter(None, map(_ERROR.match, lines)):
        package = next((p for p in packages if found[1].endswith(f"/{p.path}")), None)
        what = f"{package.name} {package.version}" if package else ""
        if package and found[3]:
            return PackageVanished(f"{what} is no longer on the mirror", where=found[1], why=found[2],
                                   hint="`inv build.lock` takes the version that is there now")  # fmt: skip
        if package:
            return BadSignature(f"{what} is not the package that the lock names", where=found[1], why=found[2],
                                hint="`inv build.lock` asks the mirror again; nothing of this file was used")  # fmt: skip
    return None


def _control(path: Path, package: Package) -> str:
    """Return the control stanza of a .deb; raises LockError unless it is what its line in the lock says."""
    try:
        stanza = deb.control(path).rstrip()
        fields = deb.fields(stanza)
        found = " ".join(fields.get(field, "") for field in ("Package", "Version", "Architecture"))
    except ValueError as error:
        stanza, found = "", f"no Debian package: {error}"
    if found != " ".join(package.ident):
        raise LockError(
            f"the lock's line for {package.name} {package.version} names another package",
            where=package.path,
            why=f"that file is {found}",
            hint=HINT,
        )
    return stanza


def repository(packages: Sequence[Package], paths: Sequence[Path], folder: Path) -> dict[str, int]:
    """Lay packages out as a flat APT repository; returns the unpacked size of each in bytes.

    Raises LockError when a .deb is another package than the lock says.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def add(package: Package, path: Path) -> str:
        stanza = _control(path, package)
        # foreign code gets this folder, and must not get the pool
        shutil.copyfile(path, folder / f"{package.name}.deb")
        return f"{stanza}\nFilename: ./{package.name}.deb\nSize: {package.size}\nSHA256: {package.sha256}\n"

    with ThreadPoolExecutor() as threads:
        stanzas = list(threads.map(add, packages, paths))
    # debootstrap overlooks a last stanza without an empty line after it
    (folder / "Packages").write_text("".join(f"{stanza}\n" for stanza in stanzas))
    sizes = (int(deb.fields(stanza).get("Installed-Size", 0)) * 1024 for stanza in stanzas)
    return {package.name: size for package, size in zip(packages, sizes, strict=True)}
