"""Debian's suites that a profile may be of, and what is said of others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Suite:
    """What differs between suites."""

    version: str = ""
    """VERSION_ID in os-release; '' where Debian's own has none."""
    archives: tuple[str, ...] = ("release", "updates", "security")
    """What `mirrors.suites` may name."""


SUITES = {
    "trixie": Suite(version="13"),
    "bookworm": Suite(version="12"),
    "forky": Suite(),
    "sid": Suite(archives=("release",)),
}
DEFAULT = "trixie"
CODENAMES = {"stable": "trixie", "oldstable": "bookworm", "testing": "forky", "unstable": "sid"}
"""What names that move on with each release stand for now."""
_UBUNTU = ["focal", "jammy", "noble", "oracular", "plucky", "questing", "resolute"]
_OLD = ["wheezy", "jessie", "stretch", "buster", "bullseye"]
REFUSED_SUITES = {
    **{
        name: f"{name} is a name that moves on with each release: write {codename}, which it is now"
        for name, codename in CODENAMES.items()
    },
    **{
        name: f"{name} is a suite of Ubuntu, which cannot be built yet: take one of Debian, as trixie"
        for name in _UBUNTU
    },
    **{name: f"{name} gets no updates from Debian any more: take trixie, or else bookworm" for name in _OLD},
}
"""Hints for suites that somebody may ask for."""
REFUSED_ARCHITECTURES = {
    "arm64": "ISOs for arm64 cannot be built yet: `architecture: amd64`, or leave the key out",
    "i386": "Debian has no kernel for i386 since trixie: PCs since about 2006 run `architecture: amd64`",
}
"""Hints for architectures that somebody may ask for."""


def base_image(suite: str) -> str:
    """Return the image that other images of a suite are built on."""
    return f"debian:{suite}-slim"
