"""What is wrong with a devcontainer.json is said before anything is made, with its place; and mounts are read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.dev import config, making
from synos_tasks.dev.config import fields_of
from synos_tasks.errors import SettingsError
from tests.unit.fake_dev import scene, write

if TYPE_CHECKING:
    from pathlib import Path

BUILD = {"dockerfile": "Dockerfile"}
COMPOSE = {"build": None, "dockerComposeFile": "a.yml"}
NAMES = st.text("abcdefgh-", min_size=1)
VALUES = st.text(st.characters(exclude_characters=",=", codec="utf-8"), min_size=1)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"runArgs": 5}, "runArgs"),
        ({"runArgs": None}, "runArgs"),
        ({"runArgs": "--privileged"}, "runArgs"),
        ({"mounts": [5]}, "mounts"),
        ({"mounts": ["type=volume,source=a"]}, "mounts"),
        ({"mounts": [{"type": "volume", "source": "a"}]}, "mounts"),
        ({"postStartCommand": 5}, "postStartCommand"),
        ({"initializeCommand": {"a": 5}}, "initializeCommand"),
        ({"build": "Dockerfile"}, "build"),
        ({"build": {"target": "x"}}, "build.dockerfile"),
        ({"build": {**BUILD, "args": []}}, "build.args"),
        ({"build": {**BUILD, "options": "--x"}}, "build.options"),
        ({**COMPOSE}, "service"),
        ({**COMPOSE, "service": ["dev"]}, "service"),
        ({**COMPOSE, "service": "dev", "runServices": "dev"}, "runServices"),
        ({"remoteUser": None}, "remoteUser"),
        ({"remoteEnv": ["A=b"]}, "remoteEnv"),
        ({"workspaceMount": {}}, "workspaceMount"),
    ],
)
def test_a_wrong_type_is_named_with_its_place(tmp_path: Path, changes: dict[str, Any], what: str) -> None:
    here = scene(tmp_path)
    values = {"build": BUILD, **changes}
    text = json.dumps({key: value for key, value in values.items() if key != "build" or value})
    path = write(tmp_path, "one", text)
    with pytest.raises(SettingsError) as caught:
        config.load(here.session.settings, "one")
    assert what in caught.value.what
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"workspaceFolder": "/x/${containerWorkspaceFolder}"},
        {"workspaceFolder": "${nothing}"},
        {"mounts": ["type=volume,source=${nothing},target=/x"]},
    ],
)
def test_a_variable_that_is_not_known_has_its_file(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        scene(tmp_path).config(**changes)
    assert caught.value.where.endswith(".devcontainer/one/devcontainer.json")


@pytest.mark.parametrize("content", [b"\xff", b"{,,}", b"\xef\xbb\xbf{}", b""])
def test_what_is_not_json_is_told_with_why(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path, "one", "")
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="cannot be read") as caught:
        config.load(scene(tmp_path).session.settings, "one")
    assert (caught.value.where, bool(caught.value.why)) == (str(path), True)


@pytest.mark.parametrize("name", ["../x", "/", ".", "a/b", "a\n"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    here = scene(tmp_path)
    write(tmp_path, "../x", "{}")
    with pytest.raises(SettingsError, match="there is no development container"):
        config.load(here.session.settings, name)


def test_where_there_are_none_that_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        config.load(scene(tmp_path).session.settings, "")
    assert caught.value.hint == "there are: none"


@given(st.dictionaries(NAMES, VALUES, min_size=1))
def test_a_mount_is_the_same_as_text_and_as_fields(fields: dict[str, str]) -> None:
    text = ",".join(f"{key}={value}" for key, value in fields.items())
    assert fields_of(text) == fields_of(fields)
    if not {"src", "dst", "destination"} & set(fields):
        assert fields_of(text) == fields


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("type=bind,source=/a,target=/b,readonly", "type=bind,source=/a,target=/b,readonly"),
        ("type=volume,src=a,dst=/b,volume-nocopy", "type=volume,volume-nocopy,source=a,target=/b"),
        ({"type": "volume", "source": "a", "target": "/b"}, "type=volume,source=a,target=/b"),
        ("type=volume,target=/b,volume-opt=o=size=1", "type=volume,target=/b,volume-opt=o=size=1"),
    ],
)
def test_docker_is_given_the_mount_that_was_written(tmp_path: Path, given: Any, wanted: str) -> None:  # noqa: ANN401
    found = scene(tmp_path).config(mounts=[given])
    assert f"--mount={wanted}" in making.run_argv("p", found, "image", [])
