"""What a hostile remote store, a bad line or a full machine does: it costs a warning and little time."""

from __future__ import annotations

import json
import os
import resource
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import pytest

from synos_tasks.build import remote, store_client, trust
from synos_tasks.build.remote import RemoteStore
from synos_tasks.errors import SettingsError
from synos_tasks.iso.remote import ENTRY, Described
from tests.signing import public
from tests.unit.projects import settings_in
from tests.unit.teams import FILES, KEY, SIGNER, STRANGER, Quiet, Team, served

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


def test_a_server_that_drips_ends_no_build(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SLOW_SECONDS", 0.5)
    team.push()

    class Dripping(Quiet):
        def do_GET(self) -> None:
            if self.path.endswith(ENTRY):
                return super().do_GET()
            self.send_response(200)
            self.send_header("Content-Length", str(len(FILES["root.squashfs"])))
            self.end_headers()
            with suppress(OSError):
                for _ in range(100):
                    self.wfile.write(b"0")
                    time.sleep(0.1)
            return None

    began = time.monotonic()
    with served(partial(Dripping, directory=team.store)) as url:
        assert not team.fetch(url)
    assert time.monotonic() - began < 5
    assert "too slow" in team.said[0]


@pytest.mark.parametrize("name", [ENTRY, "initrd.img"])
def test_a_pipe_in_a_shared_folder_ends_no_build(team: Team, name: str) -> None:
    team.push()
    (team.entry / name).unlink()
    os.mkfifo(team.entry / name)
    assert not team.fetch()


def test_downloads_without_a_place_end_no_build(team: Team) -> None:
    team.push()
    downloads = team.open()._state
    (downloads / "x.part").mkdir()
    os.utime(downloads / "x.part", (0, 0))
    assert not team.fetch()
    assert str(downloads) in team.said[0]


def test_a_full_disk_ends_no_build_and_keeps_room_for_it(team: Team) -> None:
    team.push()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        assert not team.fetch()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "not used any further" in team.said[0]
    assert not list(team.open()._state.iterdir())


def test_a_line_that_is_cut_off_for_ever_keeps_what_came(team: Team) -> None:
    team.push()

    class Cutting(Quiet):
        def do_GET(self) -> None:
            content = (team.store / self.path.lstrip("/")).read_bytes()
            start = int((self.headers["Range"] or "bytes=0-")[6:].split("-")[0])
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            self.wfile.write(content[start:][:9000])

    with served(Cutting) as url:
        assert not team.fetch(url)
        assert "cut off" in team.said[0]
        assert any(team.fetch(url) for _ in range(5))


def test_what_a_server_does_not_go_on_with_is_fetched_anew_by_the_next_command(team: Team) -> None:
    """As from a proxy that answers any range with another one."""
    _, digest = team.push().files["root.squashfs"]
    (team.open()._state / f"{digest}.part").write_bytes(FILES["root.squashfs"][:100_000])

    class Wrong(Quiet):
        def do_GET(self) -> None:
            if not self.headers["Range"]:
                super().do_GET()
                return
            self.send_response(206)
            self.send_header("Content-Range", "bytes 5-9/10")
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"wrong")

    with served(partial(Wrong, directory=team.store)) as url:
        assert not team.fetch(url)
        assert team.fetch(url)


def test_a_warning_is_one_short_line_without_escape_sequences(team: Team) -> None:
    team.push()
    fields = json.loads((team.entry / ENTRY).read_text())
    fields["signatures"][0]["keyid"] = "\x1b[31m\n" + "x" * 100_000
    (team.entry / ENTRY).write_text(json.dumps(fields))
    assert not team.fetch()
    [said] = team.said
    assert said.isprintable()
    assert len(said) < 600


def test_a_signed_digest_leads_nowhere_else(team: Team) -> None:
    victim = team.folder / "victim.part"
    victim.write_text("precious")
    described = Described(key=KEY, stage="base", facts={}, files={"a": (1, "../../../victim")})
    team.entry.mkdir(parents=True)
    (team.entry / "a").write_text("a")
    (team.entry / ENTRY).write_bytes(trust.sign(json.dumps(vars(described)).encode(), SIGNER))
    assert not team.fetch()
    assert "is no SHA-256" in team.said[0]
    assert victim.read_text() == "precious"


def test_a_push_waits_for_a_bucket_that_takes_its_time(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    described = team.push()
    put: list[str] = []

    class Slow(Quiet):
        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if not put:
                time.sleep(store_client.PATIENCE.total_seconds() + 0.5)
            put.append(self.path.rpartition("/")[2])
            self.send_response(200)
            self.send_header("ETag", "x")
            self.end_headers()

    with served(Slow) as url:
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": "x",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
        }.items():
            monkeypatch.setenv(name, value)
        given = settings_in(team.folder / "project")
        bucket = RemoteStore(given, {}, team.said.append, "s3://bucket/x", writing=True)
        bucket.push(described, team.folder / "cache/objects" / KEY, SIGNER)
    assert set(put) == {*FILES, ENTRY}


@pytest.mark.parametrize("url", ["http://me:a@b@127.0.0.1:1/x", "ftp://me:a@b@host/x"])
def test_no_part_of_a_password_is_shown(team: Team, url: str) -> None:
    try:
        team.fetch(url)
    except SettingsError as error:
        team.said.append(error.what)
    assert "***@" in team.said[0]
    assert "b@" not in team.said[0]


def test_one_line_is_one_key(tmp_path: Path) -> None:
    given = settings_in(tmp_path)
    given.project.build_data.mkdir(parents=True, exist_ok=True)
    with pytest.raises(SettingsError, match="more than one line"):
        trust.trust(given, f"{public(SIGNER)} me\n{public(STRANGER)}")
    assert not trust.trusted_keys(given)
    trust.keys_path(given).write_bytes(b"\xef\xbb\xbf" + public(SIGNER).encode() + b"\r\n")
    assert list(trust.trusted_keys(given)) == [trust.fingerprint(SIGNER.public_key())]
