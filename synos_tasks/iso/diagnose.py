"""What a tool's last words mean. Pure: text in, error out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from synos_tasks.errors import (
    BadSignature,
    DiskFull,
    MirrorUnreachable,
    PackageNotFound,
    StageFailed,
    SynosError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MISSING = re.compile(
    r"Unable to locate package (\S+)|Package '?([^\s']+)'? has no installation candidate|Couldn't find these debs: (\S+)"
)
_SIGNATURE = re.compile(
    r"NO_PUBKEY|BADSIG|EXPKEYSIG|GPG error|is not signed|no longer signed|signatures? (?:couldn't be verified|were invalid)|"
    r"Clearsigned file isn't valid|weak digest algorithm|only weak security information|"
    r"Invalid Release signature|Failed getting release signature file|Release signed by unknown key|no valid OpenPGP",
    re.IGNORECASE,
)
_SERVED = re.compile(
    r"Release file for \S+ is (?:expired|not valid yet)|Hash Sum mismatch|File has unexpected size|"
    r"Sources disagree on hashes|^[EW]: Conflicting distribution: |changed its '\w+' value"
)
_UNREACHABLE = re.compile(
    r"Could not (?:resolve|connect)|Temporary failure|Connection (?:refused|failed|timed out)|Unable to connect|"
    r"Couldn't download packages|does not have a Release file|Failed to fetch|Failed getting release file|Network is unreachable|Cannot initiate the connection"
)
_FULL = re.compile(
    r"No space left on device|ENOSPC|Disk quota exceeded|You don't have enough free space|"
    r"Failed to write to output filesystem|Probably out of space|exceeds free space on media|^Disk full",
    re.MULTILINE,
)
_MIRROR = (
    (
        _SIGNATURE,
        BadSignature,
        "the mirror's signature does not verify",
        "the mirror must carry Debian's own Release files; nothing of it was used",
    ),
    (
        _SERVED,
        BadSignature,
        "the mirror serves old files, changed ones, or another suite",
        "nothing of it was used; check its address and this machine's clock, or try again in some minutes",
    ),
    (
        _UNREACHABLE,
        MirrorUnreachable,
        "a package mirror does not answer",
        "check the network, `mirrors:` of the profile, and synos.build.mirror in invoke.yaml",
    ),
)
_ADDRESS = re.compile(r"https?://[^\s'\"]+")


def diagnose(
    stage: str, argv: Sequence[str], code: int, lines: Sequence[str], origins: Mapping[str, str]
) -> SynosError:
    """Find the error that explains why a tool ended with ``code``.

    ``lines`` are its last lines; ``origins`` says where the profile names a package.
    """
    tail = "\n".join(lines)
    if is_full(lines):
        return disk_full(f"stage {stage}", why=_matching(lines, _FULL)[0])
    if found := _MISSING.search(tail):
        name = next(group for group in found.groups() if group).rstrip(".")
        return PackageNotFound(
            f"there is no package {name!r}",
            where=origins.get(name, ""),
            why=_matching(lines, _MISSING)[0],
            hint="check the name, and that its suite and component are among the profile's mirrors",
        )
    if failure := mirror_failure(lines, argv, f"stage {stage}"):
        return failure
    last = "\n".join([line for line in lines if line.strip()][-12:])
    return StageFailed(f"{argv[0]} ended with {code} in stage {stage}", where=" ".join(argv)[:400], why=last)


def is_full(lines: Sequence[str]) -> bool:
    """Tell whether a tool's last lines say that a disk is full."""
    return bool(_FULL.search("\n".join(lines)))


def mirror_failure(lines: Sequence[str], argv: Sequence[str], where: str) -> SynosError | None:
    """Return the error of a mirror that a tool's last lines tell, if they do; ``where`` if no address is named."""
    for pattern, error, what, hint in _MIRROR:
        if shown := _matching(lines, pattern):
            addresses = [found.group() for word in (*shown, *argv) if (found := _ADDRESS.search(word))]
            return error(what, where=[*addresses, where][0], why=shown[0], hint=hint)
    return None


def disk_full(where: str, why: str = "") -> DiskFull:
    """Return the error for a full disk, wherever it was met."""
    return DiskFull(
        "no space is left",
        where=where,
        why=why,
        hint="`inv doctor` shows free space; with work: tmpfs in invoke.yaml, work_mb or memory_mb may be too small",
    )


def _matching(lines: Sequence[str], pattern: re.Pattern[str]) -> list[str]:
    return [line.strip() for line in lines if pattern.search(line)]
