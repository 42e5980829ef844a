"""How what is built gets out: the proxies of the Docker client, where the environment has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from synos_tasks.images.uplink import LARGEST_SECRET, build_secrets, host_proxies

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the client's configuration is; the environment has no proxy."""
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path / "config.json"


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        (None, ""),
        ("{}", ""),
        ('{"proxies": {}}', ""),
        ('{"proxies": {"default": {"httpProxy": "http://a:1"}}}', "http://a:1"),
    ],
)
def test_the_clients_proxies_are_those_of_its_configuration(
    config: Path, text: str | None, proxy: str
) -> None:
    if text is not None:
        config.write_text(text)
    assert host_proxies(pytest.fail).http == proxy


@pytest.mark.parametrize("text", ["", "{", "[]", None])
def test_a_configuration_that_cannot_be_read_is_said(config: Path, text: str | None) -> None:
    config.mkdir() if text is None else config.write_text(text)  # root cannot read a folder either
    said = list[str]()
    assert host_proxies(said.append).addresses == ()
    assert [line.partition(": ")[2].partition(":")[0] for line in said] == [
        f"whether {config} has proxies is not known"
    ]


def test_certificates_that_an_images_build_cannot_have_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, said = tmp_path / "certificates.pem", list[str]()
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    assert build_secrets(tmp_path, said.append) == []  # the host has none
    path.write_bytes(b"x" * LARGEST_SECRET)
    assert build_secrets(tmp_path, said.append) == [f"id=certificates,src={path}"]
    assert said == []
    path.write_bytes(b"x" * (LARGEST_SECRET + 1))
    assert build_secrets(tmp_path, said.append) == []
    [line] = said
    assert line.startswith(f"warning: images are built without the certificates in {path}")
