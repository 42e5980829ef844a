"""Last words of the real tools, and the error each must become."""

from __future__ import annotations

import pytest

from synos_tasks.errors import (
    BadSignature,
    DiskFull,
    MirrorUnreachable,
    PackageNotFound,
    StageFailed,
    SynosError,
)
from synos_tasks.iso.diagnose import diagnose

ORIGINS = {"nosuch": "profiles/x.yaml:4:5"}
CASES: dict[str, tuple[type[SynosError], str, str]] = {
    "mmdebstrap, no such package": (PackageNotFound, "profiles/x.yaml:4:5", """\
I: downloading packages with apt...
E: Unable to locate package nosuch
E: setup failed: E: apt-get --yes -oApt::Get::Download-Only=true install nosuch failed"""),
    "apt, a package that others only refer to": (PackageNotFound, "profiles/x.yaml:4:5", """\
Package nosuch is not available, but is referred to by another package.
This may mean that the package is missing, has been obsoleted, or
is only available from another source

E: Package 'nosuch' has no installation candidate"""),
    "debootstrap, mirror gone in the middle": (MirrorUnreachable, "stage resolve", """\
W: Couldn't download package base-files
E: Couldn't download packages: base-files"""),
    "apt, no such host": (MirrorUnreachable, "http://nowhere.invalid/debian/dists/bookworm/InRelease", """\
Err:1 http://nowhere.invalid/debian bookworm InRelease
  Temporary failure resolving 'nowhere.invalid'
E: Failed to fetch http://nowhere.invalid/debian/dists/bookworm/InRelease  Temporary failure resolving"""),
    "apt, not a mirror": (MirrorUnreachable, "http://example.org/debian", """\
Err:2 http://example.org/debian bookworm Release
  404  Not Found [IP: 192.0.2.1 80]
E: The repository 'http://example.org/debian bookworm Release' does not have a Release file."""),
    "apt, not a mirror either": (MirrorUnreachable, "http://192.0.2.1/no/dists/bookworm/InRelease", """\
E: Failed to fetch http://192.0.2.1/no/dists/bookworm/InRelease  400  Bad Request [IP: 192.0.2.1 80]
E: The repository 'http://192.0.2.1/no bookworm InRelease' is not signed."""),
    "debootstrap, refused": (MirrorUnreachable, "http://127.0.0.1:9/debian/dists/bookworm/Release",
        "E: Failed getting release file http://127.0.0.1:9/debian/dists/bookworm/Release"),
    "apt, changed after it was signed": (BadSignature, "http://192.0.2.1/debian", """\
E: The repository 'http://192.0.2.1/debian bookworm InRelease' is not signed.
W: GPG error: http://192.0.2.1/debian bookworm InRelease: The following signatures were invalid: BADSIG 648ACFD6"""),
    "apt, not signed": (BadSignature, "http://192.0.2.1/debian", """\
Err:3 http://192.0.2.1/debian bookworm Release.gpg
  404  File not found
E: The repository 'http://192.0.2.1/debian bookworm Release' is not signed."""),
    "debootstrap, a key that nobody knows": (BadSignature, "stage resolve", """\
I: Checking Release signature
E: Release signed by unknown key (key id 648ACFD622F3D138)
   The specified keyring /usr/share/keyrings/debian-archive-keyring.gpg may be incorrect"""),
    "debootstrap, not signed": (BadSignature, "http://192.0.2.1/debian/dists/bookworm/Release.gpg", """\
I: Retrieving Release.gpg
E: Failed getting release signature file http://192.0.2.1/debian/dists/bookworm/Release.gpg"""),
    "debootstrap, changed": (BadSignature, "stage resolve", "E: Invalid Release signature (key id 648ACFD6)"),
    "apt, an index that was changed": (BadSignature, "http://192.0.2.1/debian/dists/x/by-hash/SHA256/9e0b", """\
E: Failed to fetch http://192.0.2.1/debian/dists/x/by-hash/SHA256/9e0b  Hash Sum mismatch
   Hashes of expected file:
    - Filesize:8790396 [weak]
E: Some index files failed to download. They have been ignored, or old ones used instead."""),
    "apt, an index that was cut": (BadSignature, "http://192.0.2.1/x",
        "E: Failed to fetch http://192.0.2.1/x  File has unexpected size (1000 != 8790396). Mirror sync in progress?"),
    "apt, expired": (BadSignature, "http://192.0.2.1/debian/dists/bookworm-updates/InRelease",
        ("E: Release file for http://192.0.2.1/debian/dists/bookworm-updates/InRelease is expired "
        "(invalid since 23d 1h 0min 4s). Updates for this repository will not be applied.")),
    "apt, not yet valid": (BadSignature, "http://192.0.2.1/debian/dists/bookworm/InRelease",
        ("E: Release file for http://192.0.2.1/debian/dists/bookworm/InRelease is not valid yet "
        "(invalid for another 2d). Updates for this repository will not be applied.")),
    "apt, another suite": (BadSignature, "http://192.0.2.1/debian", """\
W: Conflicting distribution: http://192.0.2.1/debian bookworm InRelease (expected bookworm but got trixie)
E: Failed to fetch http://192.0.2.1/debian/x  Connection failed"""),
    "apt, another suite than before": (BadSignature, "http://192.0.2.1/debian",
        "E: Repository 'http://192.0.2.1/debian bookworm InRelease' changed its 'Codename' value from 'a' to 'b'"),
    "apt, a page of the network": (BadSignature, "http://192.0.2.1/debian/dists/bookworm/InRelease", """\
E: Failed to fetch http://192.0.2.1/debian/dists/bookworm/InRelease  Clearsigned file isn't valid, \
got 'NOSPLIT' (does the network require authentication?)
E: The repository 'http://192.0.2.1/debian bookworm InRelease' is not signed."""),
    "apt, a weak signature": (BadSignature, "http://192.0.2.1/debian",
        ("W: http://192.0.2.1/debian : Signature by key 648ACFD6 uses weak digest algorithm (SHA1)\n"
        "E: The repository 'http://192.0.2.1/debian bookworm InRelease' is not signed.")),
    "apt, weak checksums": (BadSignature, "http://192.0.2.1/debian",
        "E: The repository 'http://192.0.2.1/debian bookworm Release' provides only weak security information."),
    "apt, too little space": (DiskFull, "stage resolve",
        "E: You don't have enough free space in /var/cache/apt/archives/."),
    "dpkg": (DiskFull, "stage resolve", """\
dpkg: error processing archive x.deb (--unpack):
 cannot copy extracted data for './x' to '/x.dpkg-new': failed to write (No space left on device)"""),
    "apt's index": (DiskFull, "stage resolve",
        "E: Failed to fetch http://a.example/x  Error writing to file - write (28: No space left on device)"),
    "mksquashfs, its own guess": (DiskFull, "stage resolve",
        "FATAL ERROR: Probably out of space on output filesystem"),
    "xorriso": (DiskFull, "stage resolve", """\
xorriso : FAILURE : Image size 10423s exceeds free space on media 2560s
libisofs: MISHAP : Image write cancelled"""),
    "mtools": (DiskFull, "stage resolve", "Disk full"),
    "anything else": (StageFailed, "tool --option", "E: Sub-process /usr/bin/dpkg returned an error code (1)"),
    "silence": (StageFailed, "tool --option", ""),
}  # fmt: skip


SCRIPT = """\
Setting up nosuch (3.8.1) ...
{said}
dpkg: error processing package nosuch (--configure):
 installed nosuch package post-installation script subprocess returned error exit status 1
Processing triggers for libc-bin (2.41-12) ...
Errors were encountered while processing:
 nosuch
E: Sub-process /usr/bin/dpkg returned an error code (1)"""
PACKAGING = [
    (SCRIPT.format(said="Connection refused\nwget: unable to resolve host address 'a.example'"),
     "the post-installation script of nosuch wants to download", "Connection refused\nwget: ", "a hook has one"),
    ("Failed to fetch http://a.example/x\n" + SCRIPT.format(said="a word\nand more"),
     "the post-installation script of nosuch failed", "a word\nand more\n", "full log"),
    ("""\
Unpacking tree (2.1.0-1) ...
dpkg: error processing archive /var/cache/synos/nosuch.deb (--unpack):
 trying to overwrite '/usr/bin/tree', which is also in package tree 2.1.0-1""",
     "nosuch and tree both have /usr/bin/tree", "dpkg: error processing archive", "packages:"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "what", "why", "hint"), PACKAGING)
def test_the_package_that_stops_an_installation_is_named_with_its_own_words(
    text: str, what: str, why: str, hint: str
) -> None:
    error = diagnose("packages-x", ["apt-get"], 100, text.splitlines(), ORIGINS)
    assert (type(error), error.what, error.where) == (StageFailed, what, "profiles/x.yaml:4:5")
    assert error.why.startswith(why)
    assert hint in error.hint


@pytest.mark.parametrize(
    "case", [case for case in CASES if CASES[case][0] in {BadSignature, MirrorUnreachable}]
)
def test_what_asks_no_mirror_does_not_fail_for_one(case: str) -> None:
    error = diagnose("packages-x", ["tool"], 100, CASES[case][2].splitlines(), {})
    assert type(error) is StageFailed


@pytest.mark.parametrize("case", CASES)
def test_last_words_become_the_right_error(case: str) -> None:
    kind, where, text = CASES[case]
    error = diagnose("resolve", ["tool", "--option"], 100, text.splitlines(), ORIGINS)
    assert type(error) is kind
    assert error.where == where
    assert error.why or not text
    assert all(line in text for line in error.why.splitlines())
    assert error.hint or kind is StageFailed


def test_the_mirror_of_the_command_is_the_place_when_the_tool_names_none() -> None:
    lines = [
        "E: Release signed by unknown key (key id 648ACFD622F3D138)",
        "   or the latest keys may be found at https://ftp-master.debian.org/keys.html",
    ]
    argv = ["debootstrap", "bookworm", "/work/root", "http://192.0.2.1/debian"]
    assert diagnose("resolve", argv, 1, lines, {}).where == "http://192.0.2.1/debian"


def test_what_happened_is_told_with_the_last_lines_only() -> None:
    error = diagnose("resolve", ["apt-get"], 100, ["E: Unable to locate package other"], ORIGINS)
    assert error.what == "there is no package 'other'", "which the profile does not name"
    error = diagnose("resolve", ["tool"], 2, [f"line {i}" for i in range(100)], {})
    assert error.why.splitlines()[0] == "line 88"
    assert error.what == "tool ended with 2 in stage resolve"
