"""New passwords in running services: which take them, when they are kept, and which see them after a restart only."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from synos_tasks.errors import ServiceFailed, ServiceUnhealthy, SettingsError
from synos_tasks.services import heal as healing
from synos_tasks.services import lifecycle
from synos_tasks.services.lifecycle import Started
from synos_tasks.services.secrets import APPLY, Secrets, rotate
from tests.unit.fake_compose import SECRETS, Scene, scene
from tests.unit.kills import Killed, kill_at


@pytest.fixture
def here(tmp_path: Path) -> Scene:
    """All services run, with their secrets."""
    made = scene(tmp_path)
    up(made)
    made.forget()
    return made


def up(here: Scene, only: str = "") -> Started:
    return lifecycle.up(here.context, here.context.stack.chosen(only))


def heal(here: Scene) -> list[str]:
    done = healing.heal(here.context, here.context.stack.long_running, lambda _: None)
    return [one.service for one in done]


def own(here: Scene) -> Secrets:
    return Secrets(here.state)


def values(here: Scene) -> dict[str, str]:
    return {name: own(here).read(name) for name in SECRETS}


def applied(here: Scene) -> list[str]:
    return [words[2] for words in here.compose.asked if words[3:] == APPLY]


def lose(here: Scene, what: str) -> None:
    """Delete what a clean-up by hand deletes, while the services run on with what they have mounted."""
    shutil.rmtree(here.state / what)
    here.forget()


def test_a_kill_at_any_moment_of_a_rotation_is_put_right_by_the_next_up(here: Scene) -> None:
    lets_in = here.mounted("redis")

    def applies(words: tuple[str, ...]) -> None:
        nonlocal lets_in
        if "redis" in words:
            lets_in = here.mounted("redis")

    here.compose.acts |= {"apply": applies, "--force-recreate": applies}
    left, moments = [-1], 0
    while left[0] < 0:
        with pytest.MonkeyPatch.context() as patch, suppress(Killed):
            left = kill_at(patch, moments)
            rotate(here.context, "redis")
        moments += 1
        known = {path.read_text().strip() for path in here.secrets.iterdir()}
        assert lets_in in known  # nobody is locked out
        up(here)
        assert lets_in == here.mounted("redis") == values(here)["redis_password"]
        assert own(here).pending() == []
    assert moments > 20


@pytest.mark.parametrize("there", [["nats"], []])
def test_a_service_that_is_stopped_takes_its_secret_when_it_starts(here: Scene, there: list[str]) -> None:
    here.runs(*there) if there else here.remove()
    if there:
        here.container("redis", state="exited")
    assert rotate(here.context, "") == SECRETS
    assert (applied(here), own(here).pending()) == (there, [])
    assert here.mounted("redis") == values(here)["redis_password"]


def test_a_service_that_does_not_take_it_leaves_both(here: Scene) -> None:
    before = values(here)
    here.compose.fails["exec --no-TTY postgres"] = ServiceFailed("docker compose failed", why="no space")
    with pytest.raises(ServiceFailed, match="postgres did not take its new secret") as caught:
        rotate(here.context, "")
    assert caught.value.why == "no space"
    assert "inv services.secrets-rotate" in caught.value.hint
    assert values(here) == before
    proposed = {name: own(here).read(f"{name}.new") for name in own(here).pending()}
    assert set(proposed) == set(SECRETS)
    here.compose.fails.clear()
    assert rotate(here.context, "") == SECRETS
    assert values(here) == proposed  # goes on with those, as nats has its one already


def test_a_service_that_does_not_get_healthy_with_it_leaves_both(here: Scene) -> None:
    before = values(here)
    here.compose.acts["apply"] = lambda _: here.container("redis", health="unhealthy")
    with pytest.raises(ServiceUnhealthy):
        rotate(here.context, "redis")
    assert values(here) == before
    assert own(here).pending() == ["redis_password"]


@pytest.mark.parametrize("finish", ["rotation of another", "up of another", "heal"])
def test_an_interrupted_rotation_is_finished_by_what_comes_next(here: Scene, finish: str) -> None:
    own(here).propose(["nats_password"])
    proposed = own(here).read("nats_password.new")
    if finish == "heal":
        here.container("redis", health="unhealthy")
        heal(here)
    elif finish == "rotation of another":
        rotate(here.context, "redis")
    else:
        assert up(here, "redis").changed == []
    assert values(here)["nats_password"] == proposed == here.mounted("nats")
    assert "nats" in applied(here)
    assert own(here).pending() == []


def test_a_secret_that_was_edited_by_hand_is_taken_by_the_next_up(here: Scene) -> None:
    (here.secrets / "redis_password").write_text("as-i-would-have-it\n")
    assert up(here).restarted == []
    assert (applied(here), here.mounted("redis")) == (["redis"], "as-i-would-have-it")
    here.forget()
    up(here)
    assert applied(here) == []


def test_before_the_first_start_there_is_nothing_to_change(tmp_path: Path) -> None:
    fresh = scene(tmp_path)
    with pytest.raises(SettingsError, match="no secrets yet") as caught:
        rotate(fresh.context, "")
    assert "inv services.up" in caught.value.hint
    assert not fresh.secrets.exists()


def test_no_value_is_said_or_shown_in_a_command(here: Scene) -> None:
    rotate(here.context, "")
    shown = [*here.said, repr(here.compose.asked), repr(here.compose.given), repr(here.context)]
    shown.append((here.state / "compose.env").read_text())
    assert not [value for value in values(here).values() if any(value in text for text in shown)]


# ---- services that cannot see what is mounted now


@pytest.mark.parametrize("by_heal", [False, True])
def test_those_that_up_or_heal_does_not_start_again_are_told(here: Scene, by_heal: bool) -> None:
    lose(here, "mounted" if by_heal else "")
    here.container("redis", health="unhealthy" if by_heal else "healthy")
    assert (heal(here) if by_heal else up(here, "redis").restarted) == ["redis"]
    assert here.said[-1] == "still with their old passwords: nats, postgres; inv services.up changes that"
    assert up(here).restarted == ["nats", "postgres"]
