"""The list of development containers: whose each is, and which of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from synos_tasks.dev.listing import listed
from synos_tasks.errors import SettingsError
from tests.unit.fake_dev import container, scene, write

if TYPE_CHECKING:
    from pathlib import Path


def test_of_several_the_newest_is_told_and_others_are_not_ours(tmp_path: Path) -> None:
    here = scene(tmp_path)
    one = here.config("one")
    write(tmp_path, "two", '{"image": "x"}')
    here.containers.there = [
        container(one.labels, name="new", state="exited"),
        container(one.labels, name="old"),
        container({**one.labels, "devcontainer.local_folder": "/elsewhere"}, name="another clone's"),
        container({**one.labels, "devcontainer.config_file": "/gone"}, name="of a file that is gone"),
    ]
    first, second = listed(here.session)
    assert (first.name, first.title, first.state, first.container) == (
        "one",
        "SynOS: a test",
        "exited",
        "new",
    )
    assert first.started == ""  # it has ended
    assert (second.name, second.title, second.state, second.image) == ("two", "two", "absent", "")


def test_where_there_are_none_the_list_is_empty(tmp_path: Path) -> None:
    assert listed(scene(tmp_path).session) == []


def test_a_configuration_with_a_mistake_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "broken", "{")
    with pytest.raises(SettingsError) as caught:
        listed(scene(tmp_path).session)
    assert caught.value.where == str(path)
