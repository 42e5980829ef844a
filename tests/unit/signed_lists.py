"""What apt has in its lists once it has verified a mirror."""

from __future__ import annotations

import hashlib
from pathlib import Path

from synos_tasks.iso.profile import Profile

_REQUIRED, _OTHERS = ("dpkg", "mawk"), ("curl", "live-boot", "vim", "vim-tiny")
PACKAGES = "".join(f"Package: {name}\nPriority: required\nProvides: x (= 1), awk\n\n" for name in _REQUIRED)
PACKAGES += "\n".join(f"Package: {name}\nPriority: optional\n" for name in _OTHERS)
SIGNED = (
    "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{text}\n-----BEGIN PGP SIGNATURE-----\n\nDate: x\n"
)
LABELS = {"": "Debian", "-updates": "Debian", "-security": "Debian-Security"}


def release(suite: str, *, date: str = "Sat, 07 Jun 2025 09:00:00 UTC", packages: str = PACKAGES) -> str:
    """Return a Release file as Debian writes it: with more indexes than anybody asks for."""
    end = suite.removeprefix(suite.partition("-")[0])
    sha256 = hashlib.sha256(packages.encode()).hexdigest()
    components = " ".join(f"{'updates/' * (end == '-security')}{area}" for area in ("main", "contrib"))
    return (
        f"Origin: Debian\nLabel: {LABELS[end]}\nSuite: oldstable{end}\nCodename: {suite}\nDate: {date}\n"
        f"Components: {components}\nMD5Sum:\n {'0' * 32} 7 main/binary-amd64/Packages\n"
        f"SHA256:\n {'1' * 64} 7 main/binary-all/Packages\n {sha256} 7 main/binary-amd64/Packages\n"
        f" {'2' * 64} 7 main/binary-amd64/Packages.xz\n"
    )


def named(lists: Path, mirror: str, name: str) -> Path:
    """Return where apt keeps a file of a mirror whose address has nothing that it quotes."""
    return lists / f"{mirror.partition('://')[2]}/dists/{name}".replace("/", "_")


def lay_lists(lists: Path, profile: Profile) -> None:
    """Write what `apt-get update` leaves of Debian's mirrors."""
    for suite, mirror in profile.archives.items():
        date = f"Sat, 07 Jun 2025 11:00:0{int('security' in suite)} +0200"
        named(lists, mirror, f"{suite}/InRelease").write_text(SIGNED.format(text=release(suite, date=date)))
        named(lists, mirror, f"{suite}/main/binary-amd64/Packages").write_text(PACKAGES)
