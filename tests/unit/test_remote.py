"""The remote store gives what a trusted key has signed, whole, or nothing; whatever its server does, a build goes on."""

from __future__ import annotations

import base64
import json
import shutil
import time
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synos_tasks.build import trust
from synos_tasks.errors import RemoteStoreFailed, SettingsError
from synos_tasks.iso import remote as inside
from synos_tasks.iso.remote import ENTRY, Described, Remote
from synos_tasks.iso.store import Store
from synos_tasks.settings import BuildSettings
from tests.signing import new_key, public
from tests.unit.projects import settings_in
from tests.unit.teams import FILES, KEY, SIGNER, STRANGER, Quiet, Team, served

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Handler = Callable[..., BaseHTTPRequestHandler]


@pytest.fixture
def team(tmp_path: Path) -> Team:
    return Team(tmp_path)


def test_what_was_pushed_comes_back(team: Team) -> None:
    described = team.push()
    assert team.open().describe([KEY, "cd" * 32]) == {KEY: described}
    assert team.fetch()
    assert not team.fetch(key="cd" * 32)
    assert team.said == []


def test_a_container_takes_it_into_its_own_store(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    described = team.push()
    shutil.copytree(team.folder / "cache/objects" / KEY, team.folder / "remote" / KEY)
    (team.folder / "remote" / KEY / ENTRY).write_text(json.dumps(vars(described)))
    monkeypatch.setattr(inside, "FOLDER", team.folder / "remote")
    asked: list[tuple[str, ...]] = []
    remote = Remote(asked.append)
    with Store(team.folder / "other", team.said.append, "another seal", remote) as store:
        store.prefetch([KEY])
        remote.on_reply(KEY, found=True)
        entry = store.find(KEY)
        assert entry
        assert entry.fetched
        assert entry.file("root.squashfs").read_bytes() == FILES["root.squashfs"]
        again = store.find(KEY)
        assert again
        assert not again.fetched
    assert asked == [(KEY,)]
    assert team.said == []


def test_what_changed_on_the_way_into_a_container_is_not_taken(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = team.push()
    shutil.copytree(team.folder / "cache/objects" / KEY, team.folder / "remote" / KEY)
    (team.folder / "remote" / KEY / ENTRY).write_text(json.dumps(vars(described)))
    (team.folder / "remote" / KEY / "initrd.img").write_bytes(b"INITRD")
    monkeypatch.setattr(inside, "FOLDER", team.folder / "remote")
    remote = Remote(lambda _: remote.on_reply(KEY, found=True))
    with Store(team.folder / "other", team.said.append, "", remote) as store:
        assert store.find(KEY) is None
    assert "damaged" in team.said[0]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda entry: (entry / ENTRY).write_bytes((entry / ENTRY).read_bytes()[:-20]), "no signed entry"),
        (lambda entry: (entry / ENTRY).write_text("{}"), "no signed entry"),
        (lambda entry: (entry / ENTRY).write_text("[" * 100_000), "no signed entry"),
        (lambda entry: (entry / "initrd.img").write_bytes(b"INITRD"), "not what was signed"),
        (lambda entry: (entry / "initrd.img").write_bytes(b"init"), "not what was signed"),
        (lambda entry: (entry / "initrd.img").write_bytes(b"initrd2"), "not what was signed"),
        (lambda entry: (entry / "initrd.img").unlink(), "missing"),
    ],
)
def test_what_is_not_whole_is_ignored_and_said(
    team: Team, change: Callable[[Path], object], why: str
) -> None:
    team.push()
    change(team.entry)
    assert not team.fetch()
    assert why in team.said[0]
    team.push()
    assert team.fetch(), team.said


def test_only_trusted_keys_count(team: Team) -> None:
    team.push(signer=STRANGER)
    assert not team.fetch()
    assert f"signed by {trust.fingerprint(STRANGER.public_key())}, which is not trusted" in team.said[0]


def test_an_entry_is_of_its_own_key_alone(team: Team) -> None:
    team.push()
    team.entry.rename(team.entry.with_name("cd" * 32))
    assert not team.fetch(key="cd" * 32)
    assert f"it is that of {KEY[:12]}" in team.said[0]


@pytest.mark.parametrize("name", ["../initrd", "", ".", "..", "a/b", ENTRY])
def test_a_signed_name_leads_nowhere_else(team: Team, name: str) -> None:
    described = Described(key=KEY, stage="base", facts={}, files={name: (1, "00")})
    team.entry.mkdir(parents=True)
    (team.entry / ENTRY).write_bytes(trust.sign(json.dumps(vars(described)).encode(), SIGNER))
    assert not team.fetch()
    assert "a file is called" in team.said[0]


ENVELOPE = trust.sign(
    json.dumps(vars(Described(key=KEY, stage="base", facts={"a": 1}, files={}))).encode(), SIGNER
)


@given(st.data())
@settings(max_examples=1000, deadline=None)
def test_a_forged_entry_is_never_accepted(data: st.DataObject) -> None:
    """Whatever is changed of an envelope, it is none."""
    raw = bytearray(ENVELOPE)
    fields = json.loads(ENVELOPE)
    payload = base64.b64decode(fields["payload"])
    trusted = {trust.fingerprint(SIGNER.public_key()): SIGNER.public_key()}
    kind = data.draw(st.sampled_from(["flip", "cut", "payload", "foreign", "renamed"]))
    if kind == "flip":
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    else:
        other = bytearray(payload)
        other[data.draw(st.integers(0, len(other) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        if kind == "payload":
            fields["payload"] = base64.b64encode(other).decode()
        elif kind == "foreign":
            fields = json.loads(trust.sign(bytes(other), STRANGER))
        else:
            fields = json.loads(trust.sign(bytes(other), STRANGER))
            fields["signatures"][0]["keyid"] = next(iter(trusted))
        raw = bytearray(json.dumps(fields).encode())
    with pytest.raises(ValueError, match=r"it is|is wrong"):
        trust.verified(bytes(raw), trusted)


def test_any_server_of_static_files_will_do(team: Team) -> None:
    team.push()
    with served(partial(Quiet, directory=team.store)) as url:
        assert team.fetch(url)
        assert team.fetch(f"{url}/")
    assert team.said == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_is_cut_off_goes_on(team: Team, ranges: bool) -> None:
    team.push()
    sent: list[int] = []

    class Cutting(Quiet):
        def do_GET(self) -> None:
            content = (team.store / self.path.lstrip("/")).read_bytes()
            start = int((self.headers["Range"] or "bytes=0-")[6:].split("-")[0]) if ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            whole = not self.path.endswith("squashfs") or len(sent) >= 3
            rest = content[start:] if whole else content[start : start + 200_000]
            sent.append(len(rest))
            self.wfile.write(rest)

    with served(Cutting) as url:
        assert team.fetch(url)
    assert team.said == []
    if ranges:
        assert sum(sent) < 2 * sum(map(len, FILES.values()))


def test_an_interrupted_command_left_what_the_next_one_goes_on_with(team: Team) -> None:
    described = team.push()
    _, digest = described.files["root.squashfs"]
    store = team.open()
    (store._state / f"{digest}.part").write_bytes(FILES["root.squashfs"][:100_000])
    asked: list[str] = []

    class Seen(Quiet):
        def do_GET(self) -> None:
            asked.append(f"{self.path.rpartition('/')[2]} {self.headers['Range'] or ''}")
            super().do_GET()

    with served(partial(Seen, directory=team.store)) as url:
        assert team.fetch(url)
    assert "root.squashfs bytes=100000-" in asked
    assert not list(store._state.glob("*.part"))


def page(status: int, *, location: str = "", body: bytes = b"", length: bool = True) -> Handler:
    """Return a server that answers everything with this."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            if length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    return Page


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        (page(200, body=b"<html>sign in</html>"), "HTML"),
        (page(302, location="/again"), "redirect"),
        (page(401), "401"),
        (page(403), "403"),
        (page(500), "500"),
        (page(200, body=b"<html>", length=False), "Content-Length"),
    ],
)
def test_a_server_that_is_no_store_is_said_once_and_asked_no_more(
    team: Team, handler: Handler, why: str
) -> None:
    with served(handler) as url:
        store = team.open(url)
        assert store.describe([f"{number:064x}" for number in range(50)]) == {}
        [said] = team.said
        assert why in said
        assert url in said
        with pytest.raises(RemoteStoreFailed, match="cannot be used"):
            store.check()


def test_a_redirect_to_the_right_place_is_followed(team: Team) -> None:
    team.push()
    with served(partial(Quiet, directory=team.store)) as url:

        class Moved(Quiet):
            def do_GET(self) -> None:
                self.send_response(301)
                self.send_header("Location", f"{url}{self.path}")
                self.end_headers()

        with served(Moved) as old:
            assert team.fetch(old)


@pytest.mark.parametrize("at", ["entry", "file"])
def test_a_server_that_falls_silent_ends_no_build(team: Team, at: str) -> None:
    team.push()

    class Silent(Quiet):
        def do_GET(self) -> None:
            if self.path.endswith(ENTRY) != (at == "entry"):
                super().do_GET()
            else:
                time.sleep(60)

    with served(partial(Silent, directory=team.store)) as url:
        assert not team.fetch(url)
    assert "not used any further" in team.said[0]


def test_a_folder_that_is_not_there_is_not_made_by_reading(team: Team) -> None:
    gone = team.folder / "gone"
    with pytest.raises(RemoteStoreFailed, match="cannot be used"):
        team.open(gone.as_uri())
    assert not gone.exists()


def test_nobody_at_the_address(team: Team) -> None:
    assert not team.fetch("http://127.0.0.1:1/store")
    assert "http://127.0.0.1:1/store" in team.said[0]


def test_a_password_in_the_address_is_not_shown(team: Team) -> None:
    assert not team.fetch("http://me:secret@127.0.0.1:1/store")
    assert "http://***@127.0.0.1:1/store: Connection refused" in team.said[0]


@pytest.mark.parametrize("url", ["ftp://host/x", "store", "/srv/store", "https://", "s3:bucket", "file://"])
def test_an_address_that_is_none_is_a_mistake_in_the_settings(team: Team, url: str) -> None:
    with pytest.raises(SettingsError) as error:
        team.open(url)
    assert url in error.value.what
    assert "https://HOST/PATH" in error.value.hint


def test_a_server_of_static_files_cannot_be_pushed_to(team: Team) -> None:
    described = team.push()
    with (
        served(partial(Quiet, directory=team.store)) as url,
        pytest.raises(RemoteStoreFailed, match="takes no entries") as error,
    ):
        team.open(url).push(described, team.folder / "cache/objects" / KEY, SIGNER)
    assert "file:///" in error.value.hint


def test_keys_are_those_of_openssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings_in(tmp_path)
    given.project.build_data.mkdir(parents=True, exist_ok=True)
    private = tmp_path / "key"
    made = new_key(private)
    assert trust.trust(given, f"{public(SIGNER)} me") == (trust.fingerprint(SIGNER.public_key()), True)
    assert trust.trust(given, str(tmp_path / "key.pub"))[1]
    assert not trust.trust(given, public(SIGNER))[1]
    assert len(trust.trusted_keys(given)) == 2
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (str(private), "key", "~/key"):
        signing = settings_in(tmp_path, build=BuildSettings(store_signing_key=path))
        assert trust.signing_key(signing).public_key() == made.public_key()
    for wrong, what in [
        (str(private), "private key"),
        ("ssh-ed25519 AAAA", "no public key"),
        ("nothing", "no such key"),
    ]:
        with pytest.raises(SettingsError, match=what):
            trust.trust(given, wrong)
    trust.keys_path(given).write_text("# team\n\nssh-rsa AAAA\n")
    with pytest.raises(SettingsError) as error:
        trust.trusted_keys(given)
    assert error.value.where.endswith("store.keys:3")
