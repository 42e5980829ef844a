"""Attacks by mirrors, and by who is between one and a build."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from scripts.benchmarks.attacks import Ground, Tried, command
from tests import mirrors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.build_helpers import Clone

FUTURE, PAST = "Sat, 07 Jun 2098 09:00:00 UTC", "Sat, 07 Jun 2014 09:00:00 UTC"
INDEX = "".join(
    mirrors.stanza(name, b"x", Essential="yes") for name in ("apt", "usr-is-merged", "netbase", "bash")
).encode()
"""As small as apt can resolve."""
SIGNED: Mapping[str, Mapping[str, str]] = {
    "signed by an unknown key": {},
    "no longer valid": {"Valid_Until": PAST},
    "not yet valid": {"Date": FUTURE},
    "of another suite": {"Codename": "bookworm", "Suite": "oldstable"},
    "of no suite": {"Codename": "", "Suite": ""},
    "without the component": {"Components": "contrib"},
    "without components": {"Components": ""},
    "without the index": {"SHA256": ""},
    "with a weak sum alone": {
        "SHA256": "",
        "MD5Sum": f"\n {hashlib.md5(INDEX).hexdigest()} {len(INDEX)} {mirrors.INDEX}",
    },
    "with the sum of another index": {"SHA256": f"\n {'0' * 64} {len(INDEX)} {mirrors.INDEX}"},
    "with the size of another index": {"SHA256": f"\n {hashlib.sha256(INDEX).hexdigest()} 7 {mirrors.INDEX}"},
}
"""Fields of a Release file that a trusted key has signed."""


def lies(ground: Ground) -> Iterator[Tried]:
    """Let mirrors serve what Debian has signed in wrong places, what nobody has signed, and what an owner of a key might."""
    clone = ground.new_clone("lies")
    for number, (name, changes) in enumerate(mirrors.LIES.items()):
        with mirrors.mirror(changes) as (address, _):
            yield Tried("mirrors", name, _locked(clone, f"lie{number}", address))
    clone = ground.new_clone("signed")
    keys = [ground.folder / name for name in ("good", "bad")]
    for folder in keys:
        folder.mkdir()
    good, bad = (mirrors.Signer(folder, ground.image) for folder in keys)
    mirrors.trust(clone, good.public)
    for number, (name, fields) in enumerate(SIGNED.items()):
        text = mirrors.release("trixie", INDEX, **fields)
        signer = bad if "unknown" in name else good
        with mirrors.mirror(_served(signer.signed(text))) as (address, _):
            yield Tried("mirrors", name, _locked(clone, f"own{number}", address, suites="release"))
    yield Tried("mirrors", "older than the lock", _rolled_back(clone, good))
    yield Tried("mirrors", "the control: what is right gives a lock", _right(clone, good))


def _served(signed: bytes) -> dict[str, mirrors.Change]:
    names = {"InRelease": signed, mirrors.INDEX: INDEX}
    return {
        mirrors.RELEASE: "/nothing/",
        **{f"{mirrors.RELEASE}{name}": body for name, body in names.items()},
    }


def _right(clone: Clone, signer: mirrors.Signer) -> str:
    with mirrors.mirror(_served(signer.signed(mirrors.release("trixie", INDEX)))) as (address, _):
        return "" if _locked(clone, "right", address, suites="release") == LOCKED else "there is none"


def _rolled_back(clone: Clone, signer: mirrors.Signer) -> str:
    """Serve a Release file, and then an older one."""
    with mirrors.mirror(_served(signer.signed(mirrors.release("trixie", INDEX)))) as (address, _):
        _locked(clone, "rolled", address, suites="release")
    lock = clone.root / "docker/build/profiles/rolled.lock.yaml"
    before = lock.read_text()
    with mirrors.mirror(_served(signer.signed(mirrors.release("trixie", INDEX, Date=PAST)))) as (
        address,
        _,
    ):
        said = command(clone, "build.lock", "--profile", "rolled", "--update", limit=60)
        profile = clone.root / "docker/build/profiles/rolled.yaml"
        profile.write_text(re.sub(r"http://[^/]*", address, profile.read_text()))
        said = command(clone, "build.lock", "--profile", "rolled", "--update", limit=60)
    return said.wrong(32) or ("" if lock.read_text() == before else "there is another lock")


def _locked(clone: Clone, name: str, address: str, suites: str = "release, updates, security") -> str:
    """Lock a profile against a mirror, and tell what is wrong with how that is refused."""
    main = f"  main: {address}/debian\n  security: {address}/debian-security\n"
    clone.add(
        f"docker/build/profiles/{name}.yaml", f"packages: [netbase]\nmirrors:\n  suites: [{suites}]\n{main}"
    )
    said = command(clone, "build.lock", "--profile", name, limit=150)
    there = (clone.root / f"docker/build/profiles/{name}.lock.yaml").exists()
    return LOCKED if there else said.wrong(32)


LOCKED = "there is a lock"

KINDS: dict[str, Callable[[Ground], Iterator[Tried]]] = {"mirrors": lies}
