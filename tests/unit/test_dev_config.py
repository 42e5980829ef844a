"""devcontainer.json: read with comments, filled in, checked."""

from __future__ import annotations

import hashlib
import json
import string
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.dev import config, jsonc
from synos_tasks.dev.config import fields_of
from synos_tasks.dev.variables import devcontainer_id, filled, known
from synos_tasks.errors import SettingsError
from tests.unit.fake_dev import GIVEN, scene, write

if TYPE_CHECKING:
    from pathlib import Path

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
GAPS = st.sampled_from(["", " ", "\n", "// a comment, with }\n", "/* , ] */", "/* two\nlines */"])


@given(VALUES, st.data())
def test_comments_and_last_commas_change_nothing(value: Any, data: st.DataObject) -> None:  # noqa: ANN401
    def text(part: Any) -> str:  # noqa: ANN401
        gap = data.draw(GAPS)
        last = data.draw(st.sampled_from(["", ","]))
        if isinstance(part, dict) and part:
            inner = f",{gap}".join(f"{json.dumps(key)}{gap}:{text(item)}" for key, item in part.items())
            return f"{{{gap}{inner}{gap}{last}{gap}}}"
        if isinstance(part, list) and part:
            return f"[{gap}{f'{gap},'.join(text(item) for item in part)}{last}{gap}]"
        return f"{gap}{json.dumps(part)}{gap}"

    assert jsonc.loads(text(value)) == value


def test_a_mistake_keeps_its_line_and_column() -> None:
    with pytest.raises(ValueError, match="line 3 column 9"):
        jsonc.loads('{ // a comment\n  /* one\n */ "a" 1 }')


@given(st.text())
def test_a_text_without_variables_stays(text: str) -> None:
    assert filled(text.replace("${", ""), {}, {}) == text.replace("${", "")


def test_variables_are_filled_in_everywhere() -> None:
    variables = known("/a project", {"b": "2", "a": "1"}, "/inside")
    given = [
        "${localWorkspaceFolder}:${containerWorkspaceFolder}",
        {"x": "${localEnv:HOME}${localEnv:NO:or}"},
        7,
    ]
    assert filled(given, variables, {"HOME": "/me"}) == ["/a project:/inside", {"x": "/meor"}, 7]
    with pytest.raises(SettingsError, match="containerEnv:PATH"):
        filled("${containerEnv:PATH}", variables, {})


@given(st.dictionaries(st.text(string.ascii_letters), st.text(), max_size=3))
def test_the_id_of_a_container_is_the_specifications(labels: dict[str, str]) -> None:
    ident = devcontainer_id(labels)
    assert len(ident) == 52
    text = json.dumps(labels, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert int(ident, 32) == int(hashlib.sha256(text.encode()).hexdigest(), 16)


def test_the_id_is_the_one_that_the_official_cli_gives() -> None:
    labels = {
        "devcontainer.local_folder": "/work/main",
        "devcontainer.config_file": "/work/main/.devcontainer/try/devcontainer.json",
    }
    assert devcontainer_id(labels) == "0iutbas2d3attshifhi3u2oofm43ps83ct5lmfvprn695bh4c0cc"


def test_mounts_are_read_with_the_long_names() -> None:
    assert fields_of("type=volume,src=a,dst=/b") == {"type": "volume", "source": "a", "target": "/b"}
    assert fields_of({"type": "bind", "source": "/a", "destination": "/b"})["target"] == "/b"
    assert fields_of("type=bind,source=/a,target=/b,readonly")["readonly"] == ""


def test_a_configuration_is_filled_in_and_found_by_name(tmp_path: Path) -> None:
    here = scene(tmp_path, name="one")
    found = here.config()
    assert found == config.load(here.session.settings, "")
    assert found.inside.user == "dev"
    assert found.inside.folder == str(tmp_path)
    assert found.volumes() == {f"synos-{devcontainer_id(found.labels)}-ccache": "/var/cache/ccache"}
    assert found.beside("../../docker") == tmp_path / "docker"
    assert found.needs_official == []
    assert here.config(features={"x": {}}).needs_official == ["features"]


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("{", "cannot be read", ""),
        ("[]", "is not an object", ""),
        (json.dumps({**GIVEN, "privileged": True}), "may not be privileged", "build.iso --privileged"),
        (json.dumps({**GIVEN, "runArgs": ["--privileged=true"]}), "may not be privileged", "build.iso"),
        (json.dumps({**GIVEN, "mounts": "a"}), "mounts of a devcontainer.json has the wrong type", ""),
        (json.dumps({"name": "x"}), "says of no image", "dockerComposeFile"),
        (json.dumps({**GIVEN, "workspaceMount": "${nobody}"}), "${nobody}", "localEnv:NAME"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, what: str, hint: str) -> None:
    here = scene(tmp_path)
    path = write(tmp_path, "one", text)
    with pytest.raises(SettingsError) as caught:
        config.load(here.session.settings, "one")
    assert what in caught.value.what
    assert caught.value.where == str(path)
    assert hint in caught.value.hint


def test_an_unknown_name_has_a_suggestion(tmp_path: Path) -> None:
    here = scene(tmp_path)
    here.config("python")
    with pytest.raises(SettingsError) as caught:
        config.load(here.session.settings, "pyhton")
    assert caught.value.hint == "did you mean 'python'?"
    with pytest.raises(SettingsError) as caught:
        config.load(here.session.settings, "zzz")
    assert caught.value.hint == "there are: python"
