"""A host behind a company's proxy, with mirrors that a private CA signs for: what the way out leaves behind, and says."""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

from synos_tasks.engine.client import Docker
from synos_tasks.errors import SettingsError
from synos_tasks.images import Context
from synos_tasks.images.base import bootstrap
from synos_tasks.images.building import build_image
from synos_tasks.images.catalog import BUILDER, TRIXIE, Recipe
from synos_tasks.images.uplink import host_proxies
from synos_tasks.iso import mirrors
from synos_tasks.iso.mirrors import over_https
from synos_tasks.iso.profile import Profile
from synos_tasks.iso.proxies import NAMES, Proxies
from tests.build_helpers import copy_project, docker
from tests.component_trees import FOLDER, TREES
from tests.conftest import remove_labelled
from tests.proxies import HOST, PASSWORD, bridge, private_ca, proxy, secure_mirror

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping, Sequence

    from tests.build_helpers import Answer, Clone
    from tests.proxies import Proxy

pytestmark = pytest.mark.integration
NOTHING = {name: "" for one in NAMES.values() for name in (one, one.upper())}


@pytest.fixture(scope="module")
def ca() -> Iterator[tuple[Path, ssl.SSLContext]]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # apt's own user reads it
        yield private_ca(Path(folder))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the mirror has besides Debian's files."""
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def company(ca: tuple[Path, ssl.SSLContext], files: Path) -> Iterator[Proxy]:
    with proxy(ca[1], folder=files) as made:
        yield made


def inv(clone: Clone, environment: Mapping[str, Any], *words: str, fails: bool = False) -> Answer:
    """Run a verb on a host whose way out is this."""
    return clone.inv(*words, fails=fails, **{**NOTHING, **environment})


def profile(clone: Clone, name: str, mirror: str, more: str = "") -> None:
    mirrors = f"mirrors: {{main: {mirror}/debian, security: {mirror}/debian-security, suites: [release]}}\n"
    text = f"description: A test\nsuite: bookworm\npackages: [bash]\n{mirrors}{more}"
    clone.add(f"docker/build/profiles/{name}.yaml", text)


def files_with(clone: Clone, words: str) -> str:
    """Return the files of a clone and of its store that have these words in them."""
    image = BUILDER.tag(clone.settings.project)
    volumes = [f"--volume={clone.settings.project.store_volume}:/cache", f"--volume={clone.root}:/clone:ro"]
    script = 'grep --recursive --files-with-matches --binary-files=text --fixed-strings -- "$0" /cache /clone || true'
    return docker("run", "--rm", "--network=none", *volumes, image, "sh", "-c", script, words)


def test_a_build_goes_through_the_proxy_to_a_mirror_of_a_private_ca_and_keeps_nothing_of_them(
    clone: Clone, company: Proxy, ca: tuple[Path, ssl.SSLContext]
) -> None:
    behind = {**company.variables, "SSL_CERT_FILE": str(ca[0])}
    hook = "#!/bin/sh -e\napt-get -q update --error-on=any\nenv | sort\nrm -rf /var/lib/apt/lists/*\n"
    clone.add("docker/build/hooks/update.sh", hook)
    profile(clone, "company", f"https://{HOST}", "hooks: [hooks/update.sh]\n")
    inv(clone, behind, "build.lock", "--profile", "company")
    locked = len(company.asked)
    built = inv(clone, behind, "build.iso", "--profile", "company", fails=True)
    assert built.json["error"]["where"] == "stage initramfs", built.err  # it has no kernel
    assert set(company.asked) == {f"CONNECT {HOST}:443"}
    log = clone.newest_log()
    assert f"] http_proxy=http://***@{company.host}:{company.port}" in log
    assert len(company.asked) > locked
    assert not files_with(clone, PASSWORD)
    script = (
        "cd /tmp; for one in $(find /cache -name '*.squashfs'); do unsquashfs -f -q -n -no-xattrs -d tree $one || [ $? = 2 ]; done >&2; "
        'test -s tree/etc/os-release; ! grep -raFl -e "$0" -e "$1" -e "$2" tree >&2'
    )
    volume = f"--volume={clone.settings.project.store_volume}:/cache:ro"
    image = BUILDER.tag(clone.settings.project)
    traces = [f"{company.host}:{company.port}", ca[0].read_text().splitlines()[2], "/synos/certificates"]
    docker("run", "--rm", "--network=none", volume, image, "sh", "-euc", script, *traces)
    # keys do not change with the way out: what the mirror had, which nobody reaches now, is in the store
    again = inv(clone, {}, "build.iso", "--profile", "company", fails=True)
    assert (again.json["error"]["where"], "started" in again.err) == ("stage initramfs", False), again.err


def test_a_hook_that_writes_the_proxys_password_into_the_system_ends_the_build(
    clone: Clone, company: Proxy, ca: tuple[Path, ssl.SSLContext]
) -> None:
    behind = {**company.variables, "SSL_CERT_FILE": str(ca[0])}
    clone.add("docker/build/hooks/write.sh", "#!/bin/sh\nenv >/etc/environment\n")
    profile(clone, "leaking", f"http://{HOST}", "hooks: [hooks/write.sh]\n")
    before = len(company.asked)
    answer = inv(clone, behind, "build.iso", "--profile", "leaking", fails=True)
    assert answer.code == 49, answer.err
    assert f"proxy {company.host}:{company.port}" in answer.err
    assert any(f"http://{HOST}/debian/dists/" in one for one in company.asked[before:])
    assert PASSWORD not in answer.err
    assert not files_with(clone, PASSWORD)


def test_a_mirror_of_a_private_ca_is_trusted_where_the_host_trusts_it(
    clone: Clone, ca: tuple[Path, ssl.SSLContext]
) -> None:
    with secure_mirror(ca[1]) as mirror:
        profile(clone, "private", mirror)
        refused = inv(clone, {}, "build.lock", "--profile", "private", fails=True)
        assert (refused.code, refused.json["error"]["error"]) == (
            31,
            "the certificate of a server is not trusted",
        ), refused.err
        assert refused.json["error"]["where"].startswith(mirror)
        assert "SSL_CERT_FILE" in refused.json["error"]["hint"]
        inv(clone, {"SSL_CERT_FILE": str(ca[0])}, "build.lock", "--profile", "private")


@pytest.mark.parametrize("allowed", [True, False])
def test_debians_own_mirror_is_asked_by_https_through_a_proxy_that_allows_it(
    company: Proxy, ca: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    monkeypatch.setattr(mirrors, "DEBIAN", HOST if allowed else "other.invalid")
    monkeypatch.setattr(mirrors, "CERTIFICATES", ca[0])
    plain = Profile(name="x", mirror=f"http://{mirrors.DEBIAN}/debian")
    proxies = Proxies.of(company.variables)
    assert over_https(plain, proxies).mirror == f"http{'s' * allowed}://{mirrors.DEBIAN}/debian"
    assert company.asked[-1] == f"CONNECT {mirrors.DEBIAN}:443"
    # a proxy for http alone may keep packages: it is not passed by
    assert over_https(plain, dataclasses.replace(proxies, https="")) == plain


@pytest.mark.parametrize(
    "address", ["http://proxy:port", "http://:3128", f"http://kim:{PASSWORD} 1@proxy:1", "proxy:1\nA=b"]
)
def test_an_address_that_is_none_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    for name, value in {**NOTHING, "HTTPS_PROXY": address}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        host_proxies()
    assert (caught.value.where, address in str(caught.value.lines())) == ("https_proxy", False)


def test_proxies_of_dockers_own_settings_are_used_where_the_environment_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"httpProxy": "http://docker:1", "httpsProxy": "http://docker:2", "noProxy": "*.example"}
    (tmp_path / "config.json").write_text(json.dumps({"proxies": {"default": given}}))
    for name, value in {**NOTHING, "DOCKER_CONFIG": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    found = host_proxies()
    assert found == Proxies(http="http://docker:1", https="http://docker:2", no="*.example")
    assert [found.for_host("https", name) for name in ("a.example", "example.org")] == ["", "http://docker:2"]
    monkeypatch.setenv("http_proxy", "http://here:3")
    assert host_proxies() == Proxies(http="http://here:3")


def closed_port() -> int:
    with socket.create_server((bridge(), 0)) as one:
        return int(one.getsockname()[1])


def test_what_is_wrong_with_a_proxy_is_said(
    clone: Clone, company: Proxy, ca: tuple[Path, ssl.SSLContext]
) -> None:
    gone = f"http://kim:{PASSWORD}@{bridge()}:{closed_port()}"
    cases: list[tuple[str, str, Mapping[str, str], str]] = [
        ("http", "the proxy does not answer", {"http_proxy": gone, "https_proxy": gone}, gone),
        ("https", "the proxy does not answer", {"http_proxy": gone, "https_proxy": gone}, gone),
        ("http", "the proxy wants a user and a password", {"HTTP_PROXY": company.address}, company.address),
        ("https", "the proxy wants a user and a password", {"HTTPS_PROXY": company.address}, company.address),
    ]
    for scheme, what, environment, where in cases:
        profile(clone, "wrong", f"{scheme}://{HOST}")
        way = {"SSL_CERT_FILE": str(ca[0]), **environment}
        error = inv(clone, way, "build.lock", "--profile", "wrong", fails=True)
        assert (error.code, error.json["error"]["error"]) == (31, what), error.err
        assert error.json["error"]["where"] == where.replace(f"kim:{PASSWORD}", "***")
        assert all(error.json["error"][key] for key in ("why", "hint"))
        assert PASSWORD not in error.err


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_proxy_on_this_machine_is_used_where_containers_reach_it(
    clone: Clone, ca: tuple[Path, ssl.SSLContext], everywhere: bool
) -> None:
    profile(clone, "local", f"http://{HOST}")
    with proxy(ca[1], host="0.0.0.0" if everywhere else "127.0.0.1", login="") as local:
        address = {"http_proxy": f"localhost:{local.port}"}
        answer = inv(clone, address, "build.lock", "--profile", "local", fails=not everywhere)
        assert bool(local.asked) == everywhere
    warnings = [line for line in answer.err.splitlines() if line.startswith("warning:")]
    assert len(warnings) == (not everywhere), answer.err
    assert all(bridge() in line and f"http://localhost:{local.port}" in line for line in warnings)


def test_a_component_is_fetched_through_the_proxy_and_compiled_without_it(
    clone: Clone,
    toolchain_image: str,
    company: Proxy,
    ca: tuple[Path, ssl.SSLContext],
    files: Path,
    tmp_path: Path,
) -> None:
    for name, text in TREES["make"].items():
        (tmp_path / name).write_text(
            text.replace("check: hello-make", 'check: hello-make\n\ttest -z "$$http_proxy$$https_proxy"')
        )

    def git(*words: str) -> str:
        argv = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.example", *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message=first")
    git("clone", "--quiet", "--bare", ".", str(files / "hello.git"))
    git(f"--git-dir={files / 'hello.git'}", "update-server-info")
    source = f"source:\n  git: https://{HOST}/hello.git\n  commit: '{git('rev-parse', 'HEAD')}'\n"
    more = "packages: [hello-make]\nbuild_depends: [hello]\n"
    text = f"description: A test\nbuild: make\nversion: '1.0'\n{source}{more}"
    clone.add(f"{FOLDER}/hello-make.yaml", text)
    before = len(company.asked)
    inv(clone, {**company.variables, "SSL_CERT_FILE": str(ca[0])}, "build.component", "hello-make")
    asked = company.asked[before:]
    assert f"CONNECT {HOST}:443" in asked
    assert any("/pool/main/h/hello/" in one for one in asked), asked
    assert not files_with(clone, PASSWORD)


@pytest.mark.long
def test_an_image_and_its_base_come_through_the_proxy_from_a_mirror_of_a_private_ca(
    engine: Docker,
    own_label: str,
    company: Proxy,
    ca: tuple[Path, ssl.SSLContext],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class OwnBase(Docker):
        """The engine; what is bootstrapped gets a name of the test's own."""

        def import_image(self, archive: IO[bytes], ref: str, changes: Sequence[str]) -> None:
            super().import_image(archive, f"{ref}-{own_label}", changes)

    for name, value in {**company.variables, "SSL_CERT_FILE": str(ca[0])}.items():
        monkeypatch.setenv(name, value)
    known = copy_project(tmp_path / "clone").settings
    build = dataclasses.replace(
        known.build, mirror=f"https://{HOST}/debian", security_mirror=f"https://{HOST}/debian-security"
    )
    mine = dataclasses.replace(known, build=build)
    context = Context(mine, OwnBase(), print)
    base = f"{TRIXIE}-{own_label}"
    before = len(company.asked)
    try:
        bootstrap(context, TRIXIE)
        assert set(company.asked[before:]) == {f"CONNECT {HOST}:443"}
        look = "test -s /etc/ssl/certs/ca-certificates.crt; ls /etc/apt/apt.conf.d"
        assert "99mmdebstrap" not in docker("run", "--rm", "--network=none", base, "sh", "-euc", look)
        before = len(company.asked)
        nats = Recipe("nats", "docker/services/Dockerfile.nats", base=base, role="services")
        image = build_image(context, nats, cached=False).tag
        assert len(company.asked) > before
        saved = tmp_path / "image.tar"
        docker("save", f"--output={saved}", image)
        for words in (PASSWORD, f"{company.host}:{company.port}", ca[0].read_text().splitlines()[2]):
            assert subprocess.run(["grep", "-qaF", "-e", words, saved], check=False).returncode == 1, words
        assert "/synos" not in docker(
            "run", "--rm", "--network=none", image, "find", "/", "-xdev", "-path", "/synos*"
        )
    finally:
        remove_labelled(mine.project.id)
        engine.remove_image(base)
