"""The file with a stack's variables: what compose reads out of it is what went in, and no secret is in it."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.services import environment, prepare
from synos_tasks.services.environment import _quoted
from tests.unit.fake_compose import Scene, scene

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def here(tmp_path: Path) -> Scene:
    return scene(tmp_path)


def variables(here: Scene, **told: str) -> dict[str, str]:
    """Write those variables, and read them as compose does: single quotes keep all but \\'."""
    here.compose.file = dataclasses.replace(here.compose.file, environment=told)
    environment.write(here.session)
    lines = environment.path_of(here.session).read_text().splitlines()
    found = {}
    for line in lines:
        key, _, value = line.partition("=")
        assert value[0] == value[-1] == "'"
        found[key] = value[1:-1].replace("\\'", "'")
    return found


def test_the_file_belongs_to_the_state_of_this_clone(here: Scene) -> None:
    path = here.settings.state_dir / "services/unified/compose.env"
    assert environment.path_of(here.session) == path


def test_what_is_read_is_what_was_written(here: Scene) -> None:
    told = {"A": "synos-redis:1", "B": "", "C": "/home/me/it's $HOME #1/x y", "D": 'a "b" c'}
    assert variables(here, **told) == told


@given(
    st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="\\"), min_size=1)
)
def test_no_path_gets_out_of_its_quotes(text: str) -> None:
    assert re.fullmatch(r"'([^'\\]|\\')*'", _quoted(text))


def test_a_file_is_written_whole_and_over_the_old_one(here: Scene) -> None:
    variables(here, A="a long value", B="2")
    assert variables(here, A="1") == {"A": "1"}
    assert [path.name for path in environment.path_of(here.session).parent.glob("compose*")] == [
        "compose.env"
    ]


def test_no_secret_is_in_the_file(here: Scene) -> None:
    prepare.prepare(here.session, here.session.stack.running, [])
    environment.write(here.session)
    own = prepare.secrets_of(here.session)
    text = environment.path_of(here.session).read_text()
    assert not [name for name in prepare.secret_names(here.session.stack) if own.read(name) in text]
