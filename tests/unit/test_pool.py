"""The pool gives the packages that a lock names, and no others."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.errors import (
    BadSignature,
    DiskFull,
    LockDrift,
    LockError,
    MirrorUnreachable,
    PackageVanished,
    SynosError,
)
from synos_tasks.iso import lock as locks
from synos_tasks.iso import pool
from synos_tasks.iso.diagnose import diagnose
from synos_tasks.iso.pool import Pool
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.tools import BuildContext
from tests.unit import deb_files
from tests.unit.contexts import KeptEvents, warnings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from synos_tasks.iso.lock import Package
    from synos_tasks.iso.store import Store

MAIN, SECURITY = "http://mirror.example/debian", "http://mirror.example/security"
SUDO = deb_files.deb(deb_files.stanza())
VIM = deb_files.deb(deb_files.stanza("vim"), ".gz")


@dataclass(frozen=True, kw_only=True)
class Context(BuildContext):
    """Its apt-helper writes what a mirror has, or fails with some last words."""

    mirror: dict[str, bytes] = field(default_factory=dict)
    last_words: list[str] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Address and checksum of each package that was asked for."""

    def run(self, stage: str, argv: Sequence[str], **options: Any) -> list[str]:  # noqa: ANN401
        assert argv[0] == pool.HELPER
        words = list(argv[argv.index("download-file") + 1 :])
        for address, target, checksum in zip(words[::3], words[1::3], words[2::3], strict=True):
            self.asked.append((address, checksum))
            if not self.last_words:
                Path(target).write_bytes(self.mirror[address])
        if self.last_words:
            error = options["on_failure"](100, self.last_words)
            raise error or diagnose("pool", argv, 100, self.last_words, {})
        return []


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    events = KeptEvents(tmp_path / "build.log")
    yield Context(
        profile=Profile(name="x", mirror=MAIN, security_mirror=SECURITY), epoch=0, work=tmp_path, events=events,
        docker_build=tmp_path, output=tmp_path
    )  # fmt: skip
    events._log.close()


def serve(context: Context, data: bytes, name: str, **fields: str | int) -> Package:
    """Let a mirror have a package."""
    package = deb_files.package(data, name, **fields)
    base = SECURITY if package.archive == "security" else MAIN
    context.mirror[f"{base}/{package.path}"] = data
    return package


def test_what_is_missing_is_fetched_and_the_rest_is_not(context: Context, store: Store) -> None:
    sudo, vim = serve(context, SUDO, "sudo"), serve(context, VIM, "vim", archive="security")
    debs = Pool(store, context, offline=False)
    assert [path.read_bytes() for path in debs.have([sudo])] == [SUDO]
    assert [path.read_bytes() for path in debs.have([vim, sudo])] == [VIM, SUDO]
    assert context.asked == [
        (f"{MAIN}/{sudo.path}", f"SHA256:{sudo.sha256}"),
        (f"{SECURITY}/{vim.path}", f"SHA256:{vim.sha256}"),
    ]
    context.asked.clear()
    assert [path.read_bytes() for path in Pool(store, context, offline=True).have([sudo])] == [SUDO]
    assert not [*(store.folder / "tmp").iterdir(), *context.asked, *warnings(context)]


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "empty"])
@pytest.mark.parametrize("offline", [False, True], ids=["online", "offline"])
def test_a_damaged_package_is_never_used(context: Context, store: Store, damage: str, offline: bool) -> None:
    sudo, vim = serve(context, SUDO, "sudo"), serve(context, VIM, "vim")
    (path, _) = Pool(store, context, offline=False).have([sudo, vim])
    flipped = SUDO[:70] + bytes([SUDO[70] ^ 1]) + SUDO[71:]
    path.write_bytes({"flipped": flipped, "cut": SUDO[:-1], "longer": SUDO + b"x", "empty": b""}[damage])
    context.asked.clear()
    debs = Pool(store, context, offline=offline)
    if offline:
        with pytest.raises(LockDrift, match=r"^1 packages .* sudo 1:1\.9-1$") as raised:
            debs.have([sudo, vim])
        assert raised.value.where == sudo.path
        assert "--offline" in raised.value.hint
        assert not path.exists()
        assert context.asked == []
    else:
        assert [path.read_bytes() for path in debs.have([sudo, vim])] == [SUDO, VIM]
        assert context.asked == [(f"{MAIN}/{sudo.path}", f"SHA256:{sudo.sha256}")]
    (warning,) = warnings(context)
    assert "sudo 1:1.9-1" in warning


@pytest.mark.parametrize("pooled", [False, True])
def test_a_wrong_size_in_the_lock_is_a_mistake_of_the_lock(
    context: Context, store: Store, pooled: bool
) -> None:
    if pooled:
        Pool(store, context, offline=False).have([serve(context, SUDO, "sudo")])
    sudo = serve(context, SUDO, "sudo", size=len(SUDO) + 1)
    with pytest.raises(LockError, match="size of sudo") as raised:
        Pool(store, context, offline=False).have([sudo])
    assert raised.value.where == sudo.path
    assert raised.value.hint
    assert list((store.folder / "pool").iterdir()) == list((store.folder / "tmp").iterdir()) == []


LAST_WORDS: list[tuple[str, type[SynosError], str]] = [
    ("404  Not Found [IP: 192.0.2.1 80]", PackageVanished, "vim 1:1.9-1"),
    ("410  Gone", PackageVanished, "vim 1:1.9-1"),
    ("Hash Sum mismatch", BadSignature, "vim 1:1.9-1"),
    ("File has unexpected size (9 != 10). Mirror sync in progress?", BadSignature, "vim 1:1.9-1"),
    ("Could not connect to mirror.example:80", MirrorUnreachable, ""),
    ("4040  Strange", MirrorUnreachable, ""),
]


@pytest.mark.parametrize(("words", "error", "named"), LAST_WORDS, ids=[words for words, _, _ in LAST_WORDS])
def test_what_apt_complains_of_is_the_reason(
    context: Context, store: Store, words: str, error: type[SynosError], named: str
) -> None:
    sudo, vim = serve(context, SUDO, "sudo"), serve(context, VIM, "vim")
    address = f"{MAIN}/{vim.path}"
    context.last_words.extend([f"Get:1 {MAIN}/{sudo.path} [9 kB]", f"Err:2 {address}", "  404  Not Found"])
    context.last_words.extend([f"E: Failed to fetch {address}  {words}", "   Hashes of expected file:"])
    with pytest.raises(error) as raised:
        Pool(store, context, offline=False).have([sudo, vim])
    assert type(raised.value) is error
    assert raised.value.where == address
    assert words in raised.value.why
    assert raised.value.hint
    assert named in raised.value.what
    assert list((store.folder / "pool").iterdir()) == list((store.folder / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "error", "what", "hint"),
    [
        ("x  Could not write: No space left on device", DiskFull, "the cache volume is full", "inv maint.prune --store"),
        ("http://mirror.example/other.deb  404  Not Found", MirrorUnreachable, "mirror", "network"),
    ],
)  # fmt: skip
def test_an_error_that_is_about_no_package_is_not_blamed_on_one(
    context: Context, store: Store, words: str, error: type[SynosError], what: str, hint: str
) -> None:
    context.last_words.append(f"E: Failed to fetch {words}")
    with pytest.raises(error, match=what) as raised:
        Pool(store, context, offline=False).have([serve(context, SUDO, "sudo")])
    assert words in raised.value.why
    assert hint in raised.value.hint


def test_a_repository_has_copies_and_stanzas(context: Context, store: Store, tmp_path: Path) -> None:
    packages = [serve(context, SUDO, "sudo"), serve(context, VIM, "vim")]
    paths, folder = Pool(store, context, offline=False).have(packages), tmp_path / "deep/repository"
    sizes = pool.repository(packages, paths, folder)
    text = ""
    for package, path in zip(packages, paths, strict=True):
        copy = folder / f"{package.name}.deb"
        assert not copy.is_symlink()
        assert not copy.samefile(path), "who gets the repository cannot change the pool"
        assert copy.read_bytes() == path.read_bytes()
        stanza = deb_files.stanza(package.name)
        assert sizes[package.name] == 12 * 1024
        text += f"{stanza}Filename: ./{package.name}.deb\nSize: {package.size}\nSHA256: {package.sha256}\n\n"
    assert (folder / "Packages").read_text() == text


@pytest.mark.parametrize(
    ("stanza", "found"),
    [
        (deb_files.stanza("vim"), "vim 1:1.9-1 amd64"),
        (deb_files.stanza(version="1.9-1"), "sudo 1.9-1 amd64"),
        (deb_files.stanza(architecture="all"), "sudo 1:1.9-1 all"),
        ("Architecture: amd64\nVersion: 1:1.9-1\nDescription: x\n Package: sudo\n", " 1:1.9-1 amd64"),
    ],
    ids=["name", "version", "architecture", "nameless"],
)
def test_a_package_that_is_another_than_its_line_says_is_refused(
    tmp_path: Path, stanza: str, found: str
) -> None:
    path, data = tmp_path / "x.deb", deb_files.deb(stanza)
    path.write_bytes(data)
    package = deb_files.package(data)
    with pytest.raises(LockError, match=r"sudo 1:1\.9-1 names another") as raised:
        pool.repository([package], [path], tmp_path / "repository")
    assert raised.value.where == package.path
    assert raised.value.why == f"that file is {found}"
    assert raised.value.hint == locks.HINT
