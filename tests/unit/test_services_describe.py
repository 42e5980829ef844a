"""How applications reach the services, as a table, an object, and variables that a shell and a dotenv file can read."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from invoke.collection import Collection

from synos_tasks.errors import ServiceFailed, WrongUse
from synos_tasks.services import describe, stack
from synos_tasks.services.tasks import namespace
from tests.unit.fake_compose import NAMES, Scene, scene
from tests.unit.verbs import answer, inv

if TYPE_CHECKING:
    from pathlib import Path

Shown = pytest.CaptureFixture[str]
CHOSEN = {"nats": 32780, "postgres": 32781, "redis": 32782}
INSIDE = {"nats": 4222, "postgres": 5432, "redis": 6379}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A stack whose ports the engine has chosen."""
    made = scene(tmp_path)
    monkeypatch.setattr(stack, "open_stack", lambda *_: made.context)
    monkeypatch.chdir(tmp_path)
    made.secrets.mkdir(parents=True, mode=0o700)
    for name in NAMES:
        made.container(name, ports={f"{INSIDE[name]}/tcp": ("127.0.0.1", CHOSEN[name])})
        path = made.secrets / f"{name}_password"
        path.write_text(f"{name}-secret-0123456789")
        path.chmod(0o600)
    return made


def run(*words: str) -> int:
    return inv(Collection(services=namespace), *words)


def test_an_application_learns_the_ports_that_the_engine_chose_and_no_password(
    here: Scene, capfd: Shown
) -> None:
    assert run("services.describe", "--json") == 0
    found = {one["name"]: one for one in answer(capfd, "services.describe")["services"]}
    assert {name: one["port"] for name, one in found.items()} == CHOSEN
    postgres = found["postgres"]
    assert postgres["url"] == "postgresql://127.0.0.1:32781/synos"
    assert (postgres["user"], postgres["database"], postgres["state"]) == ("synos", "synos", "healthy")
    assert postgres["password_file"] == str(here.secrets / "postgres_password")
    assert postgres["ports"] == [
        {"address": "127.0.0.1", "host_port": 32781, "container_port": 5432, "protocol": "tcp"}
    ]
    assert run("services.describe") == run("services.env") == run("services.env", "--format", "dotenv") == 0
    shown = capfd.readouterr()
    assert "redis://127.0.0.1:32782/0" in shown.out + shown.err
    assert "-secret-" not in shown.out + shown.err + json.dumps(found)


@pytest.mark.allow_process(reason="what a shell makes of it, a shell must say")
def test_a_shell_evaluates_the_variables(here: Scene, capfd: Shown) -> None:
    assert run("services.env", "--show-passwords") == 0
    shown = capfd.readouterr()
    assert shown.err == ""
    script = f'{shown.out}echo "$NATS_URL $PGHOST $PGPORT $PGUSER $PGDATABASE $PGPASSWORD $REDIS_URL"; cat "$REDIS_PASSWORD_FILE"'
    said = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True).stdout
    assert said.split() == [
        "nats://synos:nats-secret-0123456789@127.0.0.1:32780",
        "127.0.0.1", "32781", "synos", "synos", "postgres-secret-0123456789",
        "redis://synos:redis-secret-0123456789@127.0.0.1:32782/0",
        "redis-secret-0123456789",
    ]  # fmt: skip


def test_a_port_that_is_not_chosen_yet_is_an_error_and_not_a_wrong_number(here: Scene, capfd: Shown) -> None:
    here.remove("nats")
    assert run("services.env") == ServiceFailed.exit_code
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "inv services.up" in shown.err
    assert run("services.env", "--only", "redis,postgres") == 0
    assert "NATS" not in capfd.readouterr().out
    assert run("services.describe") == 0
    shown = capfd.readouterr()
    assert "chosen at the start" in shown.out + shown.err


def test_a_strangers_service_is_described_by_its_ports(here: Scene) -> None:
    model = here.compose.model
    model["services"]["3d-web.ui"] = {
        "image": "web",
        "ports": [
            {"target": 80, "published": "8080"},
            {"host_ip": "::", "target": 80, "published": "8080"},
            {"host_ip": "::1", "target": 443, "published": "8443"},
        ],
    }
    told = stack.resolve("unified", model, here.state / "mounted")
    context = dataclasses.replace(here.context, stack=told)
    [web] = describe.describe(context, [told["3d-web.ui"]])
    assert (web.host, web.port, web.url, web.password_file) == ("127.0.0.1", 8080, "", "")
    values = describe.variables(context, [told["3d-web.ui"]], passwords=True)
    assert values == {
        "_3D_WEB_UI_HOST": "127.0.0.1", "_3D_WEB_UI_PORT": "8080", "_3D_WEB_UI_PORT_443": "8443"
    }  # fmt: skip
    shown = describe.summary(describe.describe(context, told.long_running), "inv").splitlines()
    assert len(shown) <= 6
    assert "and 1 more: inv services.describe" in shown


@pytest.mark.allow_process(reason="what a shell makes of it, a shell must say")
@given(value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
def test_whatever_a_path_contains_a_shell_reads_it_as_it_is(value: str) -> None:
    script = describe.lines({"X": value}, "shell") + 'printf %s "$X"'
    assert subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout == value.encode()


def test_another_format_is_refused_with_those_there_are(here: Scene, capfd: Shown) -> None:
    assert run("services.env", "--format", "dotnev") == WrongUse.exit_code
    assert "did you mean 'dotenv'?" in capfd.readouterr().err


def test_up_ends_with_how_to_use_what_it_started(here: Scene, capfd: Shown) -> None:
    context = here.context
    shown = describe.summary(describe.describe(context, context.stack.long_running), "inv").splitlines()
    assert len(shown) == 5
    assert shown[1].split() == ["postgres", "postgresql://127.0.0.1:32781/synos", "user", "synos"]
    assert str(here.secrets) in shown[3]
    assert 'eval "$(inv services.env)"' in shown[4]
