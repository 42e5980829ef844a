"""From package names to exact packages: what apt is asked, and how its answers are read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.errors import MirrorUnreachable, PackageNotFound, SynosError
from synos_tasks.iso import names, resolve
from synos_tasks.iso.lock import Lock, Package
from synos_tasks.iso.profile import Profile
from tests.unit.contexts import build_context, fake_tools
from tests.unit.signed_lists import lay_lists

PROFILE = Profile(
    name="x", suite="bookworm", layers=(("base", ("live-boot",)), ("packages-x", ("curl", "vim-tiny")))
)
NEWEST = 1749286801
DATES = {
    "bookworm": "2025-06-07T09:00:00Z",
    "bookworm-updates": "2025-06-07T09:00:00Z",
    "bookworm-security": "2025-06-07T09:00:01Z",
}
SHA = "0123456789abcdef" * 4
MAIN, SECURITY = PROFILE.mirror, PROFILE.security_mirror


def _line(name: str, version: str = "1", *, file: str = "", mirror: str = MAIN, sha256: str = SHA) -> str:
    """A line of `apt-get --print-uris`."""
    path = f"pool/main/{name[0]}/{name}/{name}_{version}_amd64.deb"
    return f"'{mirror}/{path}' {file or f'{name}_{version}_amd64.deb'} 1234 SHA256:{sha256}"


def _parse(*lines: str, profile: Profile = PROFILE) -> list[Package]:
    return resolve.parse(profile, "base", lines)


def test_a_line_is_a_package_whose_path_stays_as_the_mirror_writes_it() -> None:
    path = "pool/main/v/vim/vim-tiny_9.0.1378-2%2bdeb12u2_amd64.deb"
    line = f"'{MAIN}/{path}' vim-tiny_2%3a9.0.1378-2+deb12u2_amd64.deb 720412 SHA256:{SHA}"
    plain = {"architecture": "amd64", "layer": "base", "archive": "main"}
    wanted = Package(
        name="vim-tiny", version="2:9.0.1378-2+deb12u2", size=720412, sha256=SHA, path=path, **plain
    )
    assert _parse(line) == [wanted]


@pytest.mark.parametrize(
    ("main", "security", "archive"),
    [
        (MAIN, SECURITY, "security"),
        ("http://localhost:3142/debian", "https://s.example/x/y", "security"),
        (MAIN, MAIN, "main"),
    ],
    ids=["Debian's", "anywhere", "one for both"],
)
def test_a_package_is_below_the_mirror_that_it_comes_from(main: str, security: str, archive: str) -> None:
    profile = dataclasses.replace(PROFILE, mirror=main, security_mirror=security)
    packages = _parse(_line("sudo", mirror=main), _line("curl", mirror=security), profile=profile)
    assert [(package.archive, package.path) for package in packages] == [
        ("main", "pool/main/s/sudo/sudo_1_amd64.deb"),
        (archive, "pool/main/c/curl/curl_1_amd64.deb"),
    ]


@pytest.mark.parametrize(
    "line",
    ["", "Reading package lists...", "WARNING: unmet", _line("a0").replace("SHA256", "MD5Sum"), _line("a0")[1:],
     _line("a0")[:-1]],
)  # fmt: skip
def test_other_lines_are_no_packages(line: str) -> None:
    assert [package.name for package in _parse(line, _line("sudo"))] == ["sudo"]


VERSIONS = st.from_regex(r"([0-9]:)?[0-9][A-Za-z0-9.+~-]{0,8}", fullmatch=True)


@given(VERSIONS)
def test_any_version_comes_back(version: str) -> None:
    (package,) = _parse(_line("a0", "1", file=f"a0_{version.replace(':', '%3a')}_amd64.deb"))
    assert package.ident == ("a0", version, "amd64")


def _resolve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: Profile = PROFILE, previous: Lock | None = None
) -> tuple[Lock, list[list[str]]]:
    """Resolve with an apt that knows what goes with what; gives the lock, and what was asked for."""
    lists = tmp_path / "lists" / profile.suite
    needed = {"live-boot": ["live-boot", "busybox"], "curl": ["curl", "libcurl4"], "?essential": ["dpkg"]}

    def act(argv: list[str]) -> list[str]:
        if "update" in argv:
            if "work/apt/apt.conf" not in argv[1]:
                raise MirrorUnreachable("no other area is there")
            lay_lists(lists, profile)
            return []
        asked = argv[argv.index("--print-uris") + 1 :]
        return [_line(name) for one in asked for name in needed.get(one, [one.split("=")[0]])]

    ran = fake_tools(monkeypatch, act)
    with build_context(tmp_path / "context", profile) as context:
        lock = resolve.resolve(context, lists, previous)
    assert "update" in ran[0]
    assert (lock.epoch, lock.releases) == (NEWEST, DATES)
    return lock, [argv[argv.index("--print-uris") + 1 :] for argv in ran[1:]]


def test_each_layer_takes_what_those_below_it_do_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, asked = _resolve(tmp_path, monkeypatch)
    assert {package.name: package.layer for package in lock.packages} == {
        "apt": "base", "busybox": "base", "curl": "packages-x", "dpkg": "base", "libcurl4": "packages-x",
        "live-boot": "base", "login": "base", "mount": "base", "passwd": "base",
        "usr-is-merged": "base", "vim-tiny": "packages-x",
    }  # fmt: skip
    assert asked[0] == [*resolve.ALWAYS, *resolve.LIVE, "live-boot"]
    assert (
        " ".join(asked[1]) == "?essential apt=1 busybox=1 dpkg=1 live-boot=1 login=1 mount=1 passwd=1 "
        "usr-is-merged=1 curl vim-tiny"
    )


def test_debootstrap_lays_down_what_is_required_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = dataclasses.replace(PROFILE, bootstrapper="debootstrap")
    lock, _ = _resolve(tmp_path, monkeypatch, profile)
    assert {package.name: package.layer for package in lock.packages}["mawk"] == "base"
    assert "vim" not in {package.name for package in lock.packages}


def test_apt_reads_nothing_of_the_containers_and_keeps_locked_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    previous, _ = _resolve(tmp_path, monkeypatch)
    _resolve(tmp_path, monkeypatch, previous=previous)
    folder = tmp_path / "context/work/apt"
    pins = [
        f"Package: {one.name}\nPin: version {one.version}\nPin-Priority: 1001\n" for one in previous.packages
    ]
    assert (folder / "preferences").read_text() == "\n".join(pins)
    sources = (folder / "sources.list").read_text().splitlines()
    assert [line.replace(f"[signed-by={resolve.KEYRING}] ", "") for line in sources] == PROFILE.sources
    assert all(line.startswith(f"deb [signed-by={resolve.KEYRING}] http") for line in sources)
    settings = (folder / "apt.conf").read_text().splitlines()
    for setting in ("parts", "main", "sourceparts", "preferencesparts"):
        assert f'Dir::Etc::{setting} "/dev/null";' in settings
    assert f'Dir::State::Lists "{tmp_path}/lists/bookworm";' in settings
    assert 'APT::Install-Recommends "false";' in settings


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("crul", "did you mean 'curl'?"),
        ("live", "did you mean 'live-boot'?"),
        ("vim-tiny-browser", "did you mean 'vim-tiny'?"),
        ("curl-", "`- -curl` removes an inherited package"),
        ("awk", "it is virtual: choose one that provides it: dpkg, mawk"),
        ("wat", "trixie has it, bookworm has not"),
        (
            "zzz",
            "no name is similar: add its component under `mirrors`, or its repository under `repositories`",
        ),
    ],
)
def test_apt_sees_no_name_that_is_not_in_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, hint: str
) -> None:
    """It would take some as patterns, some as removals."""
    origins = {asked: "x.yaml:3:5", "dpgk": "x.yaml:4:5"}
    (tmp_path / "lists/trixie").mkdir(parents=True)
    (tmp_path / "lists/trixie/a_Packages").write_text("Package: wat\n")
    for more in ((), ("dpgk",)):
        profile = dataclasses.replace(PROFILE, layers=(("base", (asked, "curl", *more)),), origins=origins)
        with pytest.raises(PackageNotFound) as caught:
            _resolve(tmp_path, monkeypatch, profile)
        assert caught.value.where == "x.yaml:3:5"
        told = caught.value.why.splitlines() if more else [f"x.yaml:3:5  {asked}: {caught.value.hint}"]
        assert told[0] == f"x.yaml:3:5  {asked}: {hint}"
    assert told[1:] == ["x.yaml:4:5  dpgk: did you mean 'dpkg'?"]


def test_packages_that_do_not_go_together_are_told_with_what_brought_them() -> None:
    """As apt 2.6 and 3.0 print it."""
    lines = """  Installing libpam-elogind:amd64 as Depends of gdm3:amd64
  Installing gdm3:amd64 as Depends of gnome-core:amd64
The following packages have unmet dependencies:
 libpam-elogind : Conflicts: libpam-systemd
                  Depends: libelogind0 (>= 246) but it is not going to be installed
 systemd-sysv : Conflicts: sysvinit-core but 3.06-4 is to be installed
E: Unable to correct problems, you have held broken packages.""".splitlines()
    origins = {"gnome-core": "x.yaml:3:5", "sysvinit-core": "x.yaml:4:5", "libpam-elogind": "a host name"}
    profile = dataclasses.replace(
        PROFILE, origins=origins, layers=(("base", ("gnome-core", "sysvinit-core")),)
    )
    error = names.conflict(profile, lines)
    assert isinstance(error, SynosError)
    assert error.where == "x.yaml:3:5"
    assert error.why.splitlines() == [
        "libpam-elogind conflicts with libpam-systemd",
        "libpam-elogind needs libelogind0 (>= 246) but it is not going to be installed",
        "systemd-sysv conflicts with sysvinit-core but 3.06-4 is to be installed",
        "libpam-elogind, needed by gdm3, needed by gnome-core: x.yaml:3:5",
        "sysvinit-core: x.yaml:4:5",
    ]
    assert names.conflict(profile, lines[-1:]) is None
