"""What a tool's last words mean. Pure: text in, error out. Another cause is another row of CAUSES."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from synos_tasks.errors import (
    BadSignature,
    DiskFull,
    MirrorUnreachable,
    PackageNotFound,
    StageFailed,
    SynosError,
)
from synos_tasks.iso.proxies import NO_PROXIES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from synos_tasks.iso.proxies import Proxies

WORDS = 12
"""Lines of a tool's own words that an error quotes."""
RECENT = 400
"""Last lines in which a full disk is looked for: dpkg goes on for a while."""
ASKING = ("resolve", "pool")
"""Stages that ask mirrors. In others a script that has no network prints the same words."""
_STEP = re.compile(
    r"^(?:Setting up|Unpacking|Preparing to unpack|Removing|Processing triggers for) .*\n", re.MULTILINE
)
_ADDRESS = re.compile(r"https?://[^\s'\"]+")
_FULL = re.compile(
    r"No space left on device|ENOSPC|Disk quota exceeded|You don't have enough free space|"
    r"Failed to write to output filesystem|Probably out of space|exceeds free space on media|^Disk full",
    re.MULTILINE,
)
_SCRIPT = r"^dpkg: error processing .*\n (?:installed|new|old) (?P<name>\S+) package (?P<script>\S+) script "


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A kind of failure. Groups of its pattern may stand in ``what`` in braces; a group ``name`` is a package."""

    pattern: str
    """What the lines of the tool have, of which they may be several."""
    after: str = ""
    """What dpkg's step has printed before."""
    error: type[SynosError]
    what: str
    hint: str
    stages: Sequence[str] = ()
    """Where it is possible; everywhere if empty."""

    def found(
        self, lines: Sequence[str], argv: Sequence[str], where: str, origins: Mapping[str, str]
    ) -> SynosError | None:
        """Return the error if this is what a tool's lines tell; ``where`` if they name no place."""
        text = "\n".join(lines)
        matches = list(re.finditer(self.pattern, text, re.MULTILINE))
        if not matches:
            return None
        said, first = [_lines_at(text, one).strip() for one in matches], matches[0]
        begin = max((one.end() for one in _STEP.finditer(text, 0, first.start())), default=first.start())
        own = text[begin : first.start()].strip().splitlines()
        if not re.search(self.after, "\n".join(own)):
            return None
        groups = {key: (value or "").rstrip(".") for key, value in first.groupdict().items()}
        places = [origins.get(groups.get("name", ""), "")]
        places += [address[0] for line in (*said, *argv) if (address := _ADDRESS.search(line))]
        return self.error(
            self.what.format(**groups),
            where=next(filter(None, places), where),
            why="\n".join([*own[-WORDS:], said[0]]),
            hint=self.hint,
        )


_SILENT = r"(?i)(?:connect(?:ion)? to|resolv(?:e|ing)(?: proxy:| host:?)?) '?(?:{})\b"
SILENT = Cause(
    pattern="",  # has the proxies' names in it
    error=MirrorUnreachable,
    what="the proxy does not answer",
    hint="check http_proxy and https_proxy, or `proxies` in ~/.docker/config.json; containers must reach it too",
)
PROXY = (
    Cause(
        pattern=r"(?i)(?:^|Failed to fetch \S+) +407 |(?:proxy|tunnel).*\b407\b|\b407\b.*from proxy|\b407 Proxy Auth",
        error=MirrorUnreachable,
        what="the proxy wants a user and a password",
        hint="put them into http_proxy and https_proxy: http://USER:PASSWORD@HOST:PORT, special characters as %XX",
    ),
    Cause(
        pattern=r"(?i)Invalid response from proxy|Proxy CONNECT aborted|from proxy after CONNECT|CONNECT tunnel failed|"
        r"Tunnel connection failed|Unsupported proxy|Could not resolve proxy|Cannot connect to proxy",
        error=MirrorUnreachable,
        what="the proxy does not pass on what is asked of it",
        hint="check http_proxy, https_proxy and no_proxy, and what the proxy allows",
    ),
)
CERTIFICATE = Cause(
    pattern=r"(?i)certificate (?:is NOT trusted|verif(?:y|ication) failed)|No system certificates available|"
    r"CERTIFICATE_VERIFY_FAILED|SSL certificate problem|name in the certificate does not match|"
    r"Could not load (?:certificates|CAInfo)",
    error=MirrorUnreachable,
    what="the certificate of a server is not trusted",
    hint="if a private CA signed it: add the CA's certificate to what this machine trusts (/usr/local/share/"
    "ca-certificates/NAME.crt, then update-ca-certificates), or name a file that has it in SSL_CERT_FILE",
)
MIRROR = (
    Cause(
        pattern=r"Failed to fetch \S+Release +[45]\d\d\b|does not have a Release file",
        error=MirrorUnreachable,
        what="the mirror answers, but has no such suite",
        hint="check the address, its path too, and the suite",
    ),
    Cause(
        pattern=r"OpenPGP signature verification failed|NO_PUBKEY|BADSIG|EXPKEYSIG|GPG error|is not signed|no longer signed|"
        r"[Ss]ignatures? (?:couldn't be verified|were invalid)|Clearsigned file isn't valid|weak digest algorithm|"
        r"only weak security information|Invalid Release signature|Failed getting release signature file|"
        r"Release signed by unknown key|no valid OpenPGP",
        error=BadSignature,
        what="the mirror's signature does not verify",
        hint="the mirror must carry Debian's own Release files; nothing of it was used",
    ),
    Cause(
        pattern=r"Release file for \S+ is (?:expired|not valid yet)|Hash Sum mismatch|File has unexpected size|"
        r"Sources disagree on hashes|^[EW]: Conflicting distribution: |changed its '\w+' value",
        error=BadSignature,
        what="the mirror serves old files, changed ones, or another suite",
        hint="nothing of it was used; check its address and this machine's clock, or try again in some minutes",
    ),
    Cause(
        pattern=r"Could not (?:resolve|connect)|Temporary failure|Connection (?:refused|failed|timed out)|"
        r"Unable to connect|Couldn't download packages|Failed to fetch|Failed getting release file|"
        r"Network is unreachable|Cannot initiate the connection",
        error=MirrorUnreachable,
        what="a package mirror does not answer",
        hint="check the network, `mirrors:` of the profile, and synos.build.mirror in invoke.yaml",
    ),
)
CAUSES = (
    Cause(
        pattern=r"(?:Unable to locate package|Couldn't find these debs:|E: Package) '?(?P<name>[^\s']+)",
        error=PackageNotFound,
        what="there is no package '{name}'",
        hint="check the name, and that its suite and component are among the profile's mirrors",
    ),
    Cause(
        pattern=_SCRIPT,
        after=r"[Cc]ould not resolve|Temporary failure|[Uu]nable to resolve|Network is unreachable|Connection refused",
        error=StageFailed,
        what="the {script} script of {name} wants to download",
        hint="scripts of packages have no network; a hook has one, and can fetch what this one needs",
    ),
    Cause(
        pattern=_SCRIPT,
        error=StageFailed,
        what="the {script} script of {name} failed",
        hint="the full log has all it printed; no service runs during a build",
    ),
    Cause(
        pattern=r"^dpkg: error processing archive \S*?(?P<name>[^/\s]+)\.deb .*\n trying to overwrite '(?P<file>.*)', "
        r"which is also in package (?P<other>\S+)",
        error=StageFailed,
        what="{name} and {other} both have {file}",
        hint="take one of them out of `packages:`",
    ),
    *(replace(cause, stages=ASKING) for cause in MIRROR),
)


def diagnose(
    stage: str,
    argv: Sequence[str],
    code: int,
    lines: Sequence[str],
    origins: Mapping[str, str],
    proxies: Proxies = NO_PROXIES,
) -> SynosError:
    """Find the error that explains why a tool ended with ``code``.

    ``lines`` are its last lines; ``origins`` says where the profile names a package.
    """
    if is_full(lines):
        return disk_full(f"stage {stage}", why=next(filter(_FULL.search, lines[-RECENT:])).strip())
    if stage in ASKING and (uplink := uplink_failure(lines, argv, f"stage {stage}", proxies)):
        return uplink
    for cause in CAUSES:
        possible = not cause.stages or stage in cause.stages
        if possible and (failure := cause.found(lines, argv, f"stage {stage}", origins)):
            return failure
    last = "\n".join([line for line in lines if line.strip()][-WORDS:])
    return StageFailed(f"{argv[0]} ended with {code} in stage {stage}", where=" ".join(argv)[:400], why=last)


def is_full(lines: Sequence[str]) -> bool:
    """Tell whether a tool's last lines say that a disk is full."""
    return any(map(_FULL.search, lines[-RECENT:]))


def mirror_failure(
    lines: Sequence[str], argv: Sequence[str], where: str, proxies: Proxies = NO_PROXIES
) -> SynosError | None:
    """Return the error of a mirror that a tool's last lines tell, if they do; ``where`` if no address is named."""
    uplink = uplink_failure(lines, argv, where, proxies)
    return uplink or next(filter(None, (cause.found(lines, argv, where, {}) for cause in MIRROR)), None)


def uplink_failure(
    lines: Sequence[str], argv: Sequence[str], where: str, proxies: Proxies
) -> SynosError | None:
    """Return the error of a proxy, or of a certificate, that a tool's last lines tell, if they do."""
    hosts = filter(None, (urlsplit(address).hostname for address in proxies.addresses))
    silent = _SILENT.format("|".join(map(re.escape, hosts)) or "(?!)")
    for cause in (replace(SILENT, pattern=silent), *PROXY):
        if failure := cause.found(lines, argv, where, {}):
            failure.where = ", ".join(map(proxies.masked, proxies.addresses)) or failure.where
            return failure
    return CERTIFICATE.found(lines, argv, where, {})


def disk_full(where: str, why: str = "") -> DiskFull:
    """Return the error for a full disk, wherever it was met."""
    return DiskFull(
        "no space is left",
        where=where,
        why=why,
        hint="`inv doctor` shows free space; with work: tmpfs in invoke.yaml, work_mb or memory_mb may be too small",
    )


def _lines_at(text: str, found: re.Match[str]) -> str:
    """Return the whole lines that a match is in."""
    end = text.find("\n", found.end())
    return text[text.rfind("\n", 0, found.start()) + 1 : end if end >= 0 else None]
