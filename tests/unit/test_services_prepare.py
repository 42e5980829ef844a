"""What a stack needs before it starts: secrets handed to each service alone, and volumes that can be written."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from synos_tasks.engine.spec import LABEL_PROJECT, LABEL_ROLE, Bind, ContainerSpec, run_argv
from synos_tasks.errors import HostUnfit, SecretsDamaged, ServiceFailed
from synos_tasks.services import prepare
from synos_tasks.services.stack import resolve, state_folder
from tests.unit.capabilities import has_capability
from tests.unit.fake_compose import INSIDE, PROJECT, UIDS, Scene, scene, take

SECRETS = [f"{name}_password" for name in INSIDE]
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER")


@pytest.fixture
def here(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def prepared(here: Scene, only: str = "") -> list[str]:
    return prepare.prepare(here.session, here.session.stack.chosen(only), [])


def spec_of(here: Scene, what: str) -> ContainerSpec:
    [spec] = [one for one in here.engine.started if one.name.startswith(f"{PROJECT}-{what}-")]
    return spec


def mounted(here: Scene) -> Path:
    return state_folder(here.settings, "unified") / "mounted"


def inputs(here: Scene) -> list[bytes]:
    """Keep what the helpers are given from here on."""
    kept: list[bytes] = []

    def keep(spec: ContainerSpec, given: bytes) -> None:
        kept.append(given)
        take(spec, given)

    here.engine.on_start = keep
    return kept


def test_the_first_time_two_helpers_run_with_no_more_than_they_need(here: Scene) -> None:
    assert prepared(here) == SECRETS
    assert len(here.engine.started) == 2
    for spec in here.engine.started:
        assert spec.capabilities == CAPABILITIES
        assert spec.network == "none"
        assert (spec.user, spec.entrypoint, spec.image) == ("0:0", "sh", "synos-nats:1")
        assert not any((spec.privileged, spec.new_privileges, spec.devices, spec.terminal))
        assert not any((spec.environment, spec.tmpfs, spec.anonymous_volumes))
        assert spec.labels == {LABEL_PROJECT: "synos-test", LABEL_ROLE: "services"}
    secrets, volumes = spec_of(here, "secrets"), spec_of(here, "volumes")
    assert secrets.binds == (Bind(source=mounted(here), target="/mounted", writable=True),)
    assert secrets.volumes == {}
    assert volumes.binds == ()
    assert volumes.volumes == {
        f"{PROJECT}_{name}": f"/volumes/{number}" for number, name in enumerate(INSIDE)
    }  # fmt: skip
    assert sorted(here.engine.removed) == sorted(spec.name for spec in here.engine.started)


def test_a_second_time_no_container_runs(here: Scene) -> None:
    prepared(here)
    here.engine.started.clear()
    here.compose.asked.clear()
    assert prepared(here) == []
    assert (here.engine.started, here.compose.asked) == ([], [])


def test_each_service_is_handed_its_secret_by_its_user(here: Scene) -> None:
    kept = inputs(here)
    prepared(here)
    own = prepare.secrets_of(here.session)
    for name in INSIDE:
        assert here.handed(name) == own.read(f"{name}_password")
    [packed] = [given for given in kept if given]
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = {member.name: member for member in tar.getmembers()}
        listed = tar.extractfile("list")
        assert listed is not None
        lines = listed.read().decode().splitlines()
    places = {f"{UIDS[name]}/{name}_password" for name in INSIDE}
    assert set(lines) == {
        f"{uid}:{uid} {place}" for place in places for uid in [place.partition("/")[0]]
    }  # fmt: skip
    assert set(members) == {"list", *(f"new/{place}" for place in places)}
    assert {member.mode for member in members.values()} == {0o600}


def test_a_secrets_value_is_in_the_input_and_nowhere_else(here: Scene) -> None:
    kept = inputs(here)
    prepared(here)
    own = prepare.secrets_of(here.session)
    values = [own.read(name) for name in SECRETS]
    shown = [word for spec in here.engine.started for word in run_argv(spec)]
    shown += [repr(here.engine.started), repr(here.compose.asked), *here.said]
    shown.append((state_folder(here.settings, "unified") / prepare.STAMP).read_text())
    assert not [text for text in shown for value in values if value in text]
    assert all(value.encode() in b"".join(kept) for value in values)


def test_a_secret_that_is_proposed_comes_first(here: Scene) -> None:
    prepared(here)
    own = prepare.secrets_of(here.session)
    own.propose(["redis_password"])
    assert prepare.hand_out(here.session, "any:image", [])
    assert spec_of_last(here).image == "any:image"
    assert here.handed("redis") == own.read_proposed("redis_password") != own.read("redis_password")
    assert here.handed("nats") == own.read("nats_password")
    own.accept("redis_password")
    assert not prepare.hand_out(here.session, "any:image", [])


def spec_of_last(here: Scene) -> ContainerSpec:
    return here.engine.started[-1]


def test_a_copy_that_vanished_is_made_again(here: Scene) -> None:
    prepared(here)
    shutil.rmtree(mounted(here))
    here.engine.started.clear()
    prepared(here)
    assert [spec_of(here, "secrets")] == here.engine.started
    assert here.handed("redis")


def test_a_secret_that_was_edited_by_hand_is_handed_out(here: Scene) -> None:
    prepared(here)
    (here.secrets / "redis_password").write_text("as-i-would-have-it\n")
    prepared(here)
    assert here.handed("redis") == "as-i-would-have-it"


def test_a_volume_that_vanished_is_made_again(here: Scene) -> None:
    prepared(here)
    del here.engine.volumes[f"{PROJECT}_redis"]
    here.engine.started.clear()
    here.compose.asked.clear()
    prepared(here)
    assert here.compose.asked == [("up", "--no-start", "--no-build", "--no-deps", "redis")]
    assert here.engine.volumes == {f"{PROJECT}_{name}": {} for name in INSIDE}
    [spec] = here.engine.started
    assert spec.volumes == {f"{PROJECT}_redis": "/volumes/0"}
    assert spec.command == ("-euc", "chown 999:999 /volumes/0; chmod 700 /volumes/0")


def test_volumes_are_those_of_the_chosen_services(here: Scene) -> None:
    prepared(here, "redis")
    assert spec_of(here, "volumes").volumes == {f"{PROJECT}_redis": "/volumes/0"}
    prepared(here)
    assert set(here.engine.started[-1].volumes) == {f"{PROJECT}_nats", f"{PROJECT}_postgres"}


def test_no_script_goes_on_after_a_command_that_failed(here: Scene) -> None:
    prepared(here)
    for spec in here.engine.started:
        options, script = spec.command
        assert "e" in options
        assert not [way for way in ("&&", "||", "|") if way in script]  # in front of these, sh -e goes on


def test_a_helper_that_fails_is_told_and_tried_again(here: Scene) -> None:
    here.engine.ended = (1, b"sh: out of paper\n")
    with pytest.raises(ServiceFailed, match="the secrets could not be handed") as caught:
        prepared(here)
    assert caught.value.why == "sh: out of paper"
    assert here.engine.removed == [spec.name for spec in here.engine.started]
    here.engine.ended = (0, b"")
    here.engine.started.clear()
    prepared(here)
    assert [spec_of(here, "secrets"), spec_of(here, "volumes")] == here.engine.started


def test_a_helper_that_does_not_end_is_told_and_removed(here: Scene) -> None:
    def never(spec: ContainerSpec, _given: bytes) -> None:
        raise subprocess.TimeoutExpired(spec.name, 120)

    here.engine.on_start = never
    with pytest.raises(ServiceFailed, match="the secrets could not be handed") as caught:
        prepared(here)
    assert caught.value.why == "a container for it did not end in 120 s"
    assert here.engine.removed == [spec.name for spec in here.engine.started]


def test_secrets_that_are_damaged_stop_before_any_helper(here: Scene) -> None:
    prepared(here)
    (here.secrets / "nats_password").chmod(0o644)
    here.engine.started.clear()
    with pytest.raises(SecretsDamaged):
        prepared(here)
    assert here.engine.started == []


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_a_stamp_that_is_damaged_means_that_nothing_is_ready(here: Scene, text: str) -> None:
    prepared(here)
    (state_folder(here.settings, "unified") / prepare.STAMP).write_text(text)
    here.engine.started.clear()
    prepared(here)
    assert len(here.engine.started) == 2


def test_a_stack_without_secrets_and_volumes_needs_no_helper(here: Scene) -> None:
    stack = resolve("plain", {"services": {"web": {"image": "web"}}})
    session = here.session.__class__(
        settings=here.settings, engine=here.engine, compose=here.session.compose, stack=stack, say=print
    )
    assert prepare.prepare(session, stack.running, []) == []
    assert here.engine.started == []


def test_what_is_mounted_is_made_readable_for_the_users_of_containers(here: Scene) -> None:
    folder = here.settings.root / "docker/services/redis"
    (folder / "start").chmod(0o700)
    (folder / "redis.conf").touch(0o600)
    folder.chmod(0o700)
    prepare.make_readable(here.settings, here.session.stack.chosen("redis"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]}
    assert modes == {"redis": 0o755, "start": 0o744, "redis.conf": 0o644}


def test_what_cannot_be_made_readable_is_told_with_what_to_do(
    here: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = here.settings.root / "docker/services/redis/start"
    path.chmod(0o600)

    def refused(_self: Path, _mode: int) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "chmod", refused)
    with pytest.raises(HostUnfit) as caught:
        prepare.make_readable(here.settings, here.session.stack.running)
    assert caught.value.where == str(path)
    assert "mode 0600" in caught.value.why
    assert caught.value.hint == f"chmod a+rX {path}"


def run_script(folder: Path, given: bytes, path: str) -> int:
    """Run what the helper runs, in another folder than /mounted."""
    script = prepare.PLACE.replace("/mounted", str(folder))
    argv = ["sh", "-euc", script]
    return subprocess.run(argv, input=given, env={"PATH": path}, capture_output=True, check=False).returncode


@pytest.mark.allow_process(reason="what a shell script does shows when a shell runs it")
def test_the_script_places_each_secret_for_its_user_alone(here: Scene, tmp_path: Path) -> None:
    kept = inputs(here)
    prepared(here)
    [given] = [one for one in kept if one]
    me = f"{os.getuid()}:{os.getgid()}"
    mine = repacked(given, me)
    folder = tmp_path / "elsewhere"
    folder.mkdir(0o700)
    rounds = (
        2 if has_capability("DAC_OVERRIDE") else 1
    )  # over what is there, too: there it is root that does it
    for _ in range(rounds):
        assert run_script(folder, mine, os.environ["PATH"]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["997", "999"]
    own = prepare.secrets_of(here.session)
    for name in INSIDE:
        place = folder / f"{UIDS[name]}/{name}_password"
        assert place.read_text() == own.read(f"{name}_password") + "\n"
        assert stat.S_IMODE(place.stat().st_mode) == 0o400
        # whose clone it is must see that the copy is there; others do not come into the folder above
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o711


@pytest.mark.allow_process(reason="what a shell script does shows when a shell runs it")
@pytest.mark.parametrize("tool", ["tar", "cat", "chown", "chmod", "mkdir"])
def test_the_script_fails_when_any_of_its_commands_does(here: Scene, tmp_path: Path, tool: str) -> None:
    kept = inputs(here)
    prepared(here)
    [given] = [one for one in kept if one]
    commands, folder = tmp_path / "commands", tmp_path / "elsewhere"
    commands.mkdir()
    folder.mkdir()
    broken = commands / tool
    real = shutil.which(tool)
    broken.write_text(f'#!/bin/sh\n{real} "$@"\nexit 1\n')  # as on a full disk: some of it is done
    broken.chmod(0o755)
    mine = repacked(given, f"{os.getuid()}:{os.getgid()}")
    assert run_script(folder, mine, f"{commands}:{os.environ['PATH']}") != 0


def repacked(given: bytes, owner: str) -> bytes:
    """Let all secrets be of one owner, whom a test can give a file to."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(given)) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old.getmembers():
            stream = old.extractfile(member)
            assert stream is not None
            content = stream.read()
            if member.name == "list":
                lines = [f"{owner} {line.split()[1]}\n" for line in content.decode().splitlines()]
                content = "".join(lines).encode()
                member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return out.getvalue()


def test_the_stamp_is_written_whole(here: Scene) -> None:
    prepared(here)
    folder = state_folder(here.settings, "unified")
    told = json.loads((folder / prepare.STAMP).read_text())
    assert set(told) == {"secrets", "volumes", "behind", "cut_off"}
    assert told["volumes"] == sorted(f"{PROJECT}_{name}" for name in INSIDE)
    assert not list(folder.glob("*.new"))
    assert stat.S_IMODE((folder / prepare.STAMP).stat().st_mode) == 0o600  # it has a digest of the secrets
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in ("mounted", "secrets")} == {0o700}
