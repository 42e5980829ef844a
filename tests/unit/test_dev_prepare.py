"""What exists before a container is made: what its image learns of the host, volumes, the compose file of this clone."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from synos_tasks.dev import prepare
from synos_tasks.errors import DevContainerMissing, HostUnfit, MirrorUnreachable
from synos_tasks.images.catalog import BOOKWORM
from tests.unit.fake_dev import Project, project
from tests.unit.projects import tree

if TYPE_CHECKING:
    from pathlib import Path

JOINED: dict[str, Any] = {
    "dockerComposeFile": ["a.yml", "../../.synos/dev/full.yml"],
    "customizations": {"synos": {"services": True}},
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(prepare, "git_identity", lambda _root: "")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("os.getegid", lambda: 1000)
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    made = project(tmp_path / "costs $5", monkeypatch)
    made.docker.add_image(BOOKWORM)
    return made


def model_of(here: Project, name: str = "one") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((here.context.state / f"{name}.yml").read_text())
    return found


def test_a_second_time_nothing_is_written(here: Project) -> None:
    configured = here.config()
    prepare.prepare(here.context, configured)
    before = tree(here.context.state)
    prepare.prepare(here.context, configured)
    assert tree(here.context.state) == before
    assert here.said == []


def test_for_a_container_that_runs_the_engine_is_not_asked(
    here: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(prepare.NOTHING_TO_MAKE, "1")
    here.docker.answers = False
    prepare.prepare(here.context, here.config())
    assert not here.context.state.exists()


def test_under_an_engine_without_root_everything_is_its_roots(here: Project) -> None:
    here.docker.rootless = True
    prepare.prepare(here.context, here.config())
    assert (here.context.state / "host/owner").read_text() == "0 0\n"
    volumes = here.docker.names("volume")  # another user than docker/build's has caches apart
    assert {f"{here.context.settings.project.id}-{kind}-0" for kind in ("ccache", "uv")} <= set(volumes)


def test_without_a_base_image_no_volume_is_made(here: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    here.docker.remove_image(BOOKWORM)
    monkeypatch.setattr(prepare, "ensure_base", mock.Mock(side_effect=MirrorUnreachable("no answer")))
    with pytest.raises(MirrorUnreachable):
        prepare.prepare(here.context, here.config())
    assert here.docker.names("volume") == []


def test_one_that_joins_the_services_needs_them(here: Project) -> None:
    configured = here.config("full", **JOINED)
    network = f"{here.context.settings.project.id}-unified_data"
    with pytest.raises(DevContainerMissing, match="services that do not run") as caught:
        prepare.prepare(here.context, configured)
    assert (caught.value.where, caught.value.hint) == (f"network {network}", "inv services.up")
    assert not (here.context.state / "full.yml").exists()
    here.docker.add_network(network)
    prepare.prepare(here.context, configured)
    model = model_of(here, "full")
    assert model["networks"]["data"] == {"name": network, "external": True}
    [secrets] = [one for one in model["services"]["dev"]["volumes"] if "secrets" in str(one)]
    assert secrets["source"].endswith("/.synos/services/unified/secrets")
    assert secrets["read_only"] is True


def test_the_image_learns_which_certificates_the_host_trusts(
    here: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare.prepare(here.context, here.config())
    assert (here.context.state / "host/certificates.pem").read_text() == ""
    (here.root / "pem").write_text("certificates")
    monkeypatch.setenv("SSL_CERT_FILE", str(here.root / "pem"))
    prepare.prepare(here.context, here.config())
    assert (here.context.state / "host/certificates.pem").read_text() == "certificates"


@pytest.mark.allow_process(reason="what git reads is git's to say")
def test_git_in_a_container_reads_the_name_that_git_here_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    assert prepare.git_identity(tmp_path) == ""
    told = {"name": 'Ann "A" O\'Neill \\ ; # é\tß\nx', "email": "ann@example.org"}
    for key, value in told.items():
        subprocess.run(["git", "-C", tmp_path, "config", f"user.{key}", value], check=True)
    (tmp_path / "config").write_text(prepare.git_identity(tmp_path))
    for key, value in told.items():
        argv = ["git", "config", "--file", str(tmp_path / "config"), f"user.{key}"]
        assert subprocess.run(argv, check=True, capture_output=True, text=True).stdout == f"{value}\n"
    (tmp_path / ".git/config").write_text("[user\n")
    with pytest.raises(HostUnfit) as refused:
        prepare.git_identity(tmp_path)
    assert "bad config line 1" in refused.value.why
    monkeypatch.setenv("PATH", "/nowhere")
    assert prepare.git_identity(tmp_path) == ""
