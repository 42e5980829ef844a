"""Repositories besides Debian's, versions, and .debs of a profile's own: real ones, signed by keys of the tests."""

from __future__ import annotations

import hashlib
import lzma
import re
from typing import TYPE_CHECKING

import pytest

from synos_tasks.iso import lock as locks
from tests import mirrors
from tests.unit.deb_files import ar, deb, stanza, tar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.build_helpers import Answer, Clone
    from tests.mirrors import Change

pytestmark = pytest.mark.integration
NAME = "mixed"
PACKAGES = {"alpha": ("1.0", "1.2", "2.0"), "netbase": ("99",)}
RELEASE = "mirrors: {suites: [release]}\n"
FLAT, SUITE = "/flat/./", "/tools/dists/any/"


@pytest.fixture(scope="module")
def signers(
    tmp_path_factory: pytest.TempPathFactory, builder_image: str
) -> tuple[mirrors.Signer, mirrors.Signer]:
    """Two keys of the tests."""
    made = [mirrors.Signer(tmp_path_factory.mktemp(name), builder_image) for name in ("one", "two")]
    return made[0], made[1]


def _deb(name: str, version: str) -> bytes:
    control = stanza(name, version, "all").encode()
    parts = {"control": tar({"./control": control}), "data": tar({f"./usr/share/{name}": version.encode()})}
    packed = {f"{part}.tar.xz": lzma.compress(data) for part, data in parts.items()}
    return ar({"debian-binary": b"2.0\n", **packed})


def _served(signer: mirrors.Signer, at: str, index: str, **fields: str) -> dict[str, Change]:
    """Return a repository: flat ones have the sum of the packed index alone, as many do."""
    found: dict[str, Change] = {}
    text = "".join(
        f"{stanza(name, version, 'all')}Filename: pool/{name}_{version}.deb\nSize: {len(data)}\n"
        f"SHA256: {hashlib.sha256(data).hexdigest()}\n\n"
        for name, versions in PACKAGES.items()
        for version in versions
        for data in [_deb(name, version)]
    ).encode()
    release = mirrors.release("any", text, **{"Suite": "any", **fields}).replace(mirrors.INDEX, index)
    found[at] = "/nothing/"
    found[f"{at}InRelease"] = signer.signed(release)
    found[f"{at}{index}"] = text
    base = at.split("/")[1]
    for name, versions in PACKAGES.items():
        found |= {f"/{base}/pool/{name}_{version}.deb": _deb(name, version) for version in versions}
        found |= {f"/{base}/./pool/{name}_{version}.deb": _deb(name, version) for version in versions}
    return found


@pytest.fixture(scope="module")
def served(signers: tuple[mirrors.Signer, mirrors.Signer]) -> dict[str, Change]:
    """One repository of each kind, each with a key of its own."""
    one, two = signers
    return {**_served(one, SUITE, mirrors.INDEX), **_served(two, FLAT, "Packages")}


@pytest.fixture
def address(served: Mapping[str, Change]) -> Iterator[str]:
    with mirrors.mirror(served) as (address, _):
        yield address


def _said(
    address: str,
    *,
    packages: str = "[netbase]",
    key: str = "keys/one.asc",
    more: str = "",
    suite: str = "any",
) -> str:
    return (
        f"{RELEASE}packages: {packages}\nrepositories:\n"
        f"  - {{name: tools, url: '{address}/tools', suite: {suite}, components: [main], key: {key}}}\n{more}"
    )


def _locked(clone: Clone, text: str, *options: str, fails: bool = False) -> Answer:
    clone.add(f"docker/build/profiles/{NAME}.yaml", text)
    return clone.inv("build.lock", "--profile", NAME, *options, fails=fails)


@pytest.fixture
def keyed(clone: Clone, signers: tuple[mirrors.Signer, mirrors.Signer]) -> Clone:
    """A clone without a lock, that has both keys."""
    for name, signer in zip(("one", "two"), signers, strict=True):
        path = clone.root / f"docker/build/keys/{name}.asc"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(signer.public)
    locks.path_of(clone.root / "docker/build/profiles", NAME).unlink(missing_ok=True)
    return clone


def _lock(clone: Clone) -> locks.Lock:
    found = locks.load(locks.path_of(clone.root / "docker/build/profiles", NAME))
    assert found is not None
    return found


def _versions(clone: Clone) -> dict[str, tuple[str, str]]:
    return {one.name: (one.version, one.archive) for one in _lock(clone).packages}


def test_packages_come_from_where_the_profile_says(keyed: Clone, address: str) -> None:
    flat = f"  - {{name: flat, url: '{address}/flat', suite: ./, key: keys/two.asc}}\n"
    (keyed.root / "docker/build/own").mkdir(exist_ok=True)
    for name in ("beta", "spare"):
        (keyed.root / f"docker/build/own/{name}~1+2.deb").write_bytes(_deb(name, "3"))
    text = _said(
        address,
        packages="[alpha=1.*, netbase/tools, beta, tree/trixie]",
        more=flat + "  - backports\ndebs: [own]\n",
    )
    assert "no package under `packages` needs own/spare~1+2.deb" in _locked(keyed, text).err
    found = _versions(keyed)
    assert found["alpha"][0] == "1.2"
    assert found["netbase"] == ("99", "tools")
    assert found["beta"] == ("3", "debs")
    assert [one.path for one in _lock(keyed).packages if one.name == "beta"] == ["own/beta~1+2.deb"]
    assert found["tree"][1] == "main"
    assert [one.name for one in _lock(keyed).repositories] == ["flat", "tools"]
    assert all(re.fullmatch("[0-9A-F]{40}", one.key) for one in _lock(keyed).repositories)
    assert {"trixie", "trixie-backports", "flat", "tools"} == set(_lock(keyed).releases)


@pytest.mark.parametrize(("pin", "archive"), [(100, "main"), (990, "tools")])
def test_a_priority_decides_between_archives(keyed: Clone, address: str, pin: int, archive: str) -> None:
    _locked(keyed, _said(address, key=f"keys/one.asc, pin: {pin}"))
    assert _versions(keyed)["netbase"][1] == archive


def test_what_does_not_exist_is_told_with_what_does(keyed: Clone, address: str) -> None:
    text = _said(address, packages="[alpha=3*, netbase/tools]")
    error = _locked(keyed, text, fails=True).json["error"]
    assert (error["kind"], error["where"].partition("yaml")[2]) == ("PackageNotFound", ":2:12")
    assert "there are: 2.0 (any/main), 1.2 (any/main), 1.0 (any/main)" in error["hint"]


def test_a_key_that_signs_something_else_is_refused_with_its_place(keyed: Clone, address: str) -> None:
    error = _locked(keyed, _said(address, key="keys/two.asc"), fails=True).json["error"]
    assert (error["kind"], error["where"].partition("yaml")[2]) == ("BadSignature", ":4:94")
    assert re.search("fingerprint [0-9A-F]{40}$", error["hint"], re.MULTILINE)


def test_the_key_of_a_repository_signs_nothing_of_debian(
    keyed: Clone, served: Mapping[str, Change], signers: tuple[mirrors.Signer, mirrors.Signer]
) -> None:
    index = mirrors.stanza("netbase", b"x").encode()
    signed = signers[0].signed(mirrors.release("trixie", index))
    forged: dict[str, Change] = {mirrors.RELEASE: "/nothing/", f"{mirrors.RELEASE}InRelease": signed}
    with mirrors.mirror({**served, **forged, f"{mirrors.RELEASE}{mirrors.INDEX}": index}) as (address, _):
        text = _said(address).replace("[release]", f"[release], main: '{address}/debian'")
        error = _locked(keyed, text, fails=True).json["error"]
    assert (error["kind"], "debian" in error["where"]) == ("BadSignature", True)


@pytest.mark.parametrize(
    ("fields", "why"),
    [({"Suite": "other", "Codename": "other"}, "served: other"), ({"Components": "contrib"}, "main")],
)
def test_a_release_file_of_another_suite_is_refused(
    keyed: Clone, signers: tuple[mirrors.Signer, mirrors.Signer], fields: dict[str, str], why: str
) -> None:
    with mirrors.mirror(_served(signers[0], SUITE, mirrors.INDEX, **fields)) as (address, _):
        error = _locked(keyed, _said(address), fails=True).json["error"]
    assert error["kind"] == "BadSignature"
    assert why in error["why"]


def test_another_key_and_an_older_release_file_are_refused(
    keyed: Clone, address: str, signers: tuple[mirrors.Signer, mirrors.Signer]
) -> None:
    _locked(keyed, _said(address))
    before = _lock(keyed)
    old = _served(signers[0], SUITE, mirrors.INDEX, Date="Sat, 07 Jun 2014 09:00:00 UTC")
    with mirrors.mirror(old) as (other, _):
        error = _locked(keyed, _said(other), "--update", fails=True).json["error"]
        assert (error["kind"], "2014-06-07" in error["why"]) == ("BadSignature", True)
    with mirrors.mirror(_served(signers[1], SUITE, mirrors.INDEX)) as (other, _):
        text = _said(other, key="keys/two.asc")
        keyed.add(f"docker/build/profiles/{NAME}.yaml", text)
        for command in (("build.plan",), ("build.iso", "--locked"), ("build.iso",)):
            error = keyed.inv(*command, "--profile", NAME, fails=True).json["error"]
            assert (error["kind"], error["where"].partition("yaml")[2][:2]) == ("LockDrift", ":4")
            assert before.repositories[0].key in error["why"]
        assert _lock(keyed) == before
        assert f"{before.repositories[0].key} -> " in _locked(keyed, text).err
    assert _lock(keyed).repositories != before.repositories


def test_a_file_that_is_no_package_and_one_of_another_machine(keyed: Clone, address: str) -> None:
    folder = keyed.root / "docker/build/odd"
    folder.mkdir()
    (folder / "a.deb").write_bytes(b"!<arch>\nnothing")
    (folder / "b.deb").write_bytes(deb(stanza("gamma", "1", "riscv64")))
    error = _locked(keyed, _said(address, more="debs: [odd]\n"), fails=True).json["error"]
    assert (error["kind"], error["where"].partition("yaml")[2]) == ("ProfileError", ":5:7")
    assert "odd/a.deb is no Debian package" in error["error"]


HOOK = """\
#!/bin/sh
cat /usr/share/alpha /usr/share/beta
echo
grep URIs /etc/apt/sources.list.d/tools.sources
grep -A1 alpha /etc/apt/preferences.d/profile
head -n 1 /etc/apt/keyrings/tools.asc
apt-get --print-uris update | grep -c /tools/dists/any/InRelease
exit 3
"""


def test_a_build_has_packages_of_all_archives_and_its_apt_knows_them(keyed: Clone, address: str) -> None:
    (keyed.root / "docker/build/mine").mkdir(exist_ok=True)
    (keyed.root / "docker/build/mine/beta.deb").write_bytes(_deb("beta", "3"))
    keyed.add("docker/build/hooks/show", HOOK)
    text = _said(address, packages="[alpha=1.*, beta]", more="debs: [mine]\nhooks: [hooks/show]\n")
    keyed.add(f"docker/build/profiles/{NAME}.yaml", text)
    shown = keyed.inv("build.iso", "--profile", NAME, fails=True).json["error"]
    assert shown["kind"] == "HookFailed"
    assert shown["why"].splitlines() == [
        "1.23",
        f"URIs: {address}/tools",
        "Package: alpha",
        "Pin: version 1.*",
        "-----BEGIN PGP PUBLIC KEY BLOCK-----",
        "1",
    ]
    (keyed.root / "docker/build/mine/beta.deb").write_bytes(_deb("beta", "4"))
    assert keyed.inv("build.plan", "--profile", NAME).json["lock"] == "stale"


def test_a_layer_may_take_what_those_below_it_would_not(keyed: Clone) -> None:
    keyed.add("docker/build/profiles/below.yaml", f"suite: bookworm\n{RELEASE}packages: [bsd-mailx, udev]\n")
    text = "inherits: below\nrepositories: [backports]\npackages: [postfix, libudev1/backports]\n"
    for _ in range(2):
        _locked(keyed, text)
        found = _versions(keyed)
        assert {"bsd-mailx", "postfix"} <= set(found)
        assert not [name for name in found if name.startswith("exim")]
        assert all("~bpo" in found[name][0] for name in ("libudev1", "udev"))
