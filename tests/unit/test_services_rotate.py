"""New passwords: proposed, handed out, taken by what runs, and only then kept; at any moment both are there."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from synos_tasks.errors import SecretsDamaged, ServiceFailed, ServiceUnhealthy, SettingsError
from synos_tasks.services import health, prepare, rotate
from synos_tasks.services.rotate import APPLY
from synos_tasks.services.stack import resolve, state_folder
from tests.unit.fake_compose import INSIDE, Scene, container, scene

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.services.secrets import Secrets

SECRETS = [f"{name}_password" for name in INSIDE]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "POLL", 0.001)


@pytest.fixture
def here(tmp_path: Path) -> Scene:
    """All services run, with their secrets."""
    made = scene(tmp_path)
    made.runs()
    prepare.prepare(made.session, made.session.stack.running, [])
    made.compose.asked.clear()
    made.engine.started.clear()
    return made


def own(here: Scene) -> Secrets:
    return prepare.secrets_of(here.session)


def values(here: Scene) -> dict[str, str]:
    return {name: own(here).read(name) for name in SECRETS}


def change(here: Scene, only: str = "", timeout: float = 10) -> list[str]:
    return rotate.rotate(here.session, only, timeout, lambda _: None)


def applied(here: Scene) -> list[str]:
    return [words[2] for words in here.compose.asked if words[3:] == APPLY]


def test_all_secrets_are_changed_in_the_running_services(here: Scene) -> None:
    before = values(here)
    assert change(here) == SECRETS
    after = values(here)
    assert all(after[name] != before[name] for name in SECRETS)
    assert {name: here.handed(name) for name in INSIDE} == {
        name: after[f"{name}_password"] for name in INSIDE
    }  # fmt: skip
    assert applied(here) == ["nats", "postgres", "redis"]
    assert own(here).pending() == []


def test_only_those_of_the_chosen_services_are_changed(here: Scene) -> None:
    before = values(here)
    assert change(here, "redis") == ["redis_password"]
    changed = [name for name, value in values(here).items() if value != before[name]]
    assert changed == ["redis_password"]
    assert applied(here) == ["redis"]
    assert prepare.behind(here.session) == []


def test_the_helper_runs_in_an_image_that_is_there(here: Scene) -> None:
    change(here, "redis")
    [spec] = here.engine.started
    assert spec.image == container("nats").image  # the id of what runs, whatever its tag has become


def test_the_new_secret_is_handed_out_before_the_service_takes_it_and_kept_after_it_works(
    here: Scene,
) -> None:
    before = values(here)["redis_password"]
    seen: list[tuple[str, str]] = []
    here.compose.acts["apply"] = lambda _: seen.append(
        (here.handed("redis"), own(here).read("redis_password"))
    )
    change(here, "redis")
    assert seen == [(values(here)["redis_password"], before)]


def test_a_service_that_is_stopped_takes_its_secret_when_it_starts(here: Scene) -> None:
    here.compose.here = [container("nats"), container("redis", state="exited")]
    assert change(here) == SECRETS
    assert applied(here) == ["nats"]
    assert here.handed("redis") == values(here)["redis_password"]


def test_services_whose_copies_were_deleted_are_started_again_to_see_the_new_ones(here: Scene) -> None:
    """Without that they would take the old secret again, and be healthy with it."""
    shutil.rmtree(state_folder(here.settings, "unified") / "mounted")
    assert change(here, "redis") == ["redis_password"]
    assert here.compose.asked[0] == ("restart", "--no-deps", "nats", "postgres", "redis")
    assert here.handed("redis") == values(here)["redis_password"]
    here.compose.asked.clear()
    change(here, "redis")
    assert here.compose.did("restart") == []


def test_with_nothing_running_all_are_changed_all_the_same(here: Scene) -> None:
    here.compose.here = []
    assert change(here) == SECRETS
    assert (applied(here), own(here).pending()) == ([], [])
    assert here.engine.started[-1].image == "synos-nats:1"


def test_a_service_that_does_not_take_it_leaves_both(here: Scene) -> None:
    before = values(here)
    here.compose.fails["exec --no-TTY postgres"] = ServiceFailed("docker compose failed", why="no space")
    with pytest.raises(ServiceFailed, match="postgres did not take its new secret") as caught:
        change(here)
    assert caught.value.why == "no space"
    assert "inv services.secrets-rotate" in caught.value.hint
    assert values(here) == before
    proposed = {name: own(here).read_proposed(name) for name in own(here).pending()}
    assert set(proposed) == set(SECRETS)
    here.compose.fails.clear()
    assert change(here) == SECRETS
    assert values(here) == proposed  # goes on with those, as nats has its one already


def test_a_service_that_does_not_get_healthy_with_it_leaves_both(here: Scene) -> None:
    before = values(here)
    here.compose.acts["apply"] = lambda _: setattr(
        here.compose, "here", [container("redis", health="unhealthy")]
    )
    with pytest.raises(ServiceUnhealthy):
        change(here, "redis")
    assert values(here) == before
    assert own(here).pending() == ["redis_password"]


def test_one_that_is_pending_is_finished_by_the_rotation_of_another(here: Scene) -> None:
    own(here).propose(["nats_password"])
    proposed = own(here).read_proposed("nats_password")
    change(here, "redis")
    assert values(here)["nats_password"] == proposed
    assert applied(here) == ["nats", "redis"]


def test_nothing_pending_is_nothing_to_finish(here: Scene) -> None:
    assert rotate.finish(here.session, 10, lambda _: None) == []
    assert (here.compose.asked, here.engine.started) == ([], [])


def test_a_damaged_secret_is_mended_by_rotation(here: Scene) -> None:
    (here.secrets / "redis_password").write_text("half\0of it")
    assert change(here, "redis") == ["redis_password"]
    assert here.handed("redis") == values(here)["redis_password"]


def test_another_damaged_secret_stops_it_before_any_service_is_touched(here: Scene) -> None:
    (here.secrets / "nats_password").write_text("")
    with pytest.raises(SecretsDamaged):
        change(here, "redis")
    assert (applied(here), here.engine.started) == ([], [])


def test_before_the_first_start_there_is_nothing_to_change(tmp_path: Path) -> None:
    fresh = scene(tmp_path)
    with pytest.raises(SettingsError, match="no secrets yet") as caught:
        change(fresh)
    assert "inv services.up" in caught.value.hint
    assert not fresh.secrets.exists()


def test_services_without_secrets_are_told(here: Scene) -> None:
    plain = resolve("plain", {"services": {"web": {"image": "web"}}})
    session = here.session.__class__(
        settings=here.settings, engine=here.engine, compose=here.compose, stack=plain, say=print
    )
    with pytest.raises(SettingsError):
        rotate.rotate(session, "web", 10, lambda _: None)


def test_no_value_is_said_or_shown_in_a_command(here: Scene) -> None:
    change(here)
    shown = [*here.said, repr(here.compose.asked), repr(here.engine.started), repr(here.compose.given)]
    assert not [value for value in values(here).values() if any(value in text for text in shown)]
