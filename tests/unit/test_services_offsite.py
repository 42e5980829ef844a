"""Off-site copies: what restic is told, and what nobody but restic may see. The real restic: tests/integration."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks.errors import ServiceFailed, SettingsError
from synos_tasks.images.catalog import RESTIC
from synos_tasks.services import backup, offsite
from synos_tasks.services.adapters import ADAPTERS
from tests.unit.fake_compose import NAMES, FakeAdapter, Scene, scene

if TYPE_CHECKING:
    from synos_tasks.engine.spec import ContainerSpec

SECRET = "AKIA-not-to-be-seen"
S3 = "s3:https://s3.example/synos"


class Restic:
    """A repository, as restic answers for it."""

    def __init__(self, here: Scene, repository: str) -> None:
        self.exists, self.code, self.here = False, 0, here
        self.asked: list[str] = []
        self.specs: list[ContainerSpec] = []
        self.given: list[bytes] = []
        services = dataclasses.replace(here.settings.services, offsite_repository=repository)
        settings = dataclasses.replace(here.settings, services=services)
        self.context = dataclasses.replace(here.context, settings=settings)
        here.engine.add_image(RESTIC.tag(settings.project))
        here.engine.on_run = self._answer

    def _answer(self, spec: ContainerSpec, given: bytes) -> tuple[int, bytes, bytes]:
        words = spec.command[4:]
        self.asked.append(words[0])
        self.specs.append(spec)
        self.given.append(given)
        if self.code:
            return self.code, b"", b"Fatal: it went wrong"
        if not self.exists and words[0] != "init":
            return 10, b"", b"Fatal: repository does not exist"
        self.exists = True
        return 0, b'{"data_added": 17}\n' if words[0] == "backup" else b"", b""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = scene(tmp_path)
    path = tmp_path / RESTIC.dockerfile
    path.write_text("FROM base\n")
    made.runs()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("UNRELATED", "1")
    for name in NAMES:
        monkeypatch.setitem(ADAPTERS, name, FakeAdapter(name, holds=2))
    return made


def test_a_repository_is_made_once_and_it_is_said_which_file_opens_it(here: Scene) -> None:
    restic = Restic(here, "copies")
    path = backup.backup(here.context)
    assert offsite.push(restic.context, path) == 17
    assert restic.asked == ["backup", "init", "backup"]
    assert str(here.secrets / "offsite_password") in here.said[-1]
    assert offsite.push(restic.context, path) == 17
    assert restic.asked[3:] == ["backup"]


def test_what_opens_the_repository_is_on_no_command_line_and_in_no_environment(here: Scene) -> None:
    restic = Restic(here, S3)
    offsite.push(restic.context, backup.backup(here.context))
    password = (here.secrets / "offsite_password").read_text().strip()
    for spec, given in zip(restic.specs, restic.given, strict=True):
        seen = str(spec)
        assert not any(secret in seen for secret in (SECRET, password))
        assert f"AWS_SECRET_ACCESS_KEY={SECRET}\0".encode() in given
        assert f"RESTIC_REPOSITORY={S3}\0".encode() in given
        assert b"UNRELATED" not in given
        assert not spec.logged
        assert not [bind.target for bind in spec.binds if bind.writable]
    restic.code = 1
    with pytest.raises(ServiceFailed, match="restic backup failed") as caught:
        offsite.push(restic.context, backup.backup(here.context, "more"))
    assert caught.value.why == "Fatal: it went wrong"


@pytest.mark.allow_process(reason="what a shell makes of it, a shell must say")
def test_variables_reach_restic_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "restic").write_text('#!/bin/sh\nprintf "%s|" "$@" "$KEY" "$MORE"\n')
    (tmp_path / "restic").chmod(0o755)
    given = b"KEY=a=b'$(x)\n==\0MORE=\0PATH=" + str(tmp_path).encode() + b":/usr/bin:/bin\0"
    argv = ["bash", "-c", offsite.SCRIPT, "restic", "cat", "a b"]
    said = subprocess.run(argv, input=given, capture_output=True, check=True).stdout
    assert said == b"--no-cache|--retry-lock|1m|cat|a b|a=b'$(x)\n==||"


def test_a_folder_needs_no_network_and_sftp_the_keys_of_the_user(here: Scene) -> None:
    restic = Restic(here, "copies")
    offsite.listing(restic.context)
    [spec] = restic.specs
    assert spec.network == "none"
    [target] = [bind for bind in spec.binds if bind.target == "/repository"]
    assert target.source == here.settings.project.root / "copies"
    restic = Restic(here, "sftp:kim@backup.example:/srv")
    offsite.listing(restic.context)
    [spec] = restic.specs
    ssh = {bind.target: bind for bind in spec.binds}["/home/synos/.ssh"]
    assert (ssh.source, ssh.writable, spec.network) == (Path.home() / ".ssh", False, None)
    assert "/home/synos" in {bind.target: bind for bind in spec.binds}["/etc/passwd"].source.read_text()


@pytest.mark.parametrize("repository", ["", "rclone:x:y", "rest:https://kim:hunter22@backup.example"])
def test_a_repository_that_cannot_be_used_is_refused(here: Scene, repository: str) -> None:
    restic = Restic(here, repository)
    with pytest.raises(SettingsError) as caught:
        offsite.listing(restic.context)
    assert restic.asked == []
    assert "hunter22" not in str(caught.value.lines())


def test_another_password_is_told_with_its_file(here: Scene) -> None:
    restic = Restic(here, "copies")
    restic.code = 12
    with pytest.raises(SettingsError, match="has another password") as caught:
        offsite.listing(restic.context)
    assert caught.value.where == str(here.secrets / "offsite_password")
