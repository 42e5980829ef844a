"""devcontainer.json: comments, variables, mistakes with their place; and what the project's own must have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.dev import config
from synos_tasks.dev.config import commands_of, devcontainer_id, loads, replace_variables
from synos_tasks.errors import SettingsError
from tests.unit.fake_dev import Project, project, write

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
GAPS = st.sampled_from(["", " ", "\n", "// a comment, with }\n", "/* , ] */", "/* two\nlines */"])
LOOKS_LIKE_IT = st.lists(st.sampled_from(["//", "/*", "*/", '"', "\\", ",]", ",}", ", ", "\n", "é", "x"]))
FILE, FOLDER = "devcontainer.config_file", "devcontainer.local_folder"
BUILD = {"dockerfile": "Dockerfile"}
COMPOSE = {"build": None, "dockerComposeFile": "a.yml"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return project(tmp_path, monkeypatch, name="one")


def failure(here: Project, name: str = "one") -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        config.load(here.context.settings, name)
    return caught.value


@given(VALUES, st.data())
def test_comments_and_trailing_commas_change_nothing(value: Any, data: st.DataObject) -> None:  # noqa: ANN401
    def text(part: Any) -> str:  # noqa: ANN401
        gap = data.draw(GAPS)
        last = data.draw(st.sampled_from(["", ","]))
        if isinstance(part, dict) and part:
            inner = f",{gap}".join(f"{json.dumps(key)}{gap}:{text(item)}" for key, item in part.items())
            return f"{{{gap}{inner}{gap}{last}{gap}}}"
        if isinstance(part, list) and part:
            return f"[{gap}{f'{gap},'.join(text(item) for item in part)}{last}{gap}]"
        return f"{gap}{json.dumps(part)}{gap}"

    assert loads(text(value)) == value


@given(LOOKS_LIKE_IT.map("".join), LOOKS_LIKE_IT.map("".join))
def test_what_looks_like_a_comment_in_a_text_stays(key: str, value: str) -> None:
    for ascii_only in (True, False):
        text = json.dumps({key: [value]}, ensure_ascii=ascii_only)
        assert loads(text) == {key: [value]}
        assert loads(f"// {key!r}\n{text}// {value!r}") == {key: [value]}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "line 1 column 1"),
        ('{ // a comment\n  /* one\n */ "a" 1 }', "line 3 column 9"),
        ("// only\n/* this */", "line 2 column 11"),
        ("{}\n/* not closed", "line 2 column 1"),
        ("[1,\n /* x */ ,]", "line 2 column 11"),
        ('{"a": "b\n', "line 1 column 9"),
        ("[1 / 2]", "line 1 column 4"),
    ],
)
def test_a_syntax_error_has_its_place_in_the_file(text: str, place: str) -> None:
    with pytest.raises(ValueError, match=place):
        loads(text)


@given(st.text(), st.text())
def test_a_replaced_variable_is_not_replaced_again(before: str, value: str) -> None:
    before = before.replace("${", "")
    assert replace_variables(f"{before}}}${{x}}", {"x": value}, {}) == f"{before}}}{value}"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("${localWorkspaceFolderBasename}", "a b"),
        ("${containerWorkspaceFolderBasename}", "in"),
        ("${localEnv:SET:other}${env:SET}", "yesyes"),
        ("${localEnv:EMPTY:other}", ""),
        ("${localEnv:NONE}", ""),
        ("${localEnv:NONE:other}", "other"),
        ("$HOME $${localEnv:SET} ${", "$HOME $yes ${"),
    ],
)
def test_variables_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, wanted: str
) -> None:
    monkeypatch.setenv("SET", "yes")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("NONE", raising=False)
    here = project(tmp_path / "a b", monkeypatch)
    found = here.config(workspaceFolder="/y/in", remoteEnv={"X": text, "N": None}, postStartCommand=[text])
    assert found.environment == {"X": wanted}
    assert found.commands["postStartCommand"] == [("", [wanted])]


@pytest.mark.parametrize(
    "changes",
    [
        {"workspaceFolder": "/x/${containerWorkspaceFolder}"},
        {"remoteEnv": {"A": "${localenv:A}"}},
        {"postStartCommand": {"a": ["${containerEnv:A}"]}},
    ],
)
def test_an_unknown_variable_is_named_with_its_file(here: Project, changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"unknown variable \$\{\w+(:A)?\}") as caught:
        here.config(**changes)
    assert caught.value.where.endswith(".devcontainer/one/devcontainer.json")
    assert "localWorkspaceFolder" in caught.value.hint


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        # as Node.js gives them, by JSON.stringify, SHA-256 and BigInt.toString(32)
        ({}, "0h0jduhlbcr7h88kdb8muvk697kkvd7s47v7fq1h1g30uoealvsa"),
        (
            {FOLDER: '/home/ä b"\\\n\x01\x7f😀', FILE: "/x/.devcontainer/c/devcontainer.json"},
            "09gmq99nnss3e1nnljbfrffil95rbp89lbulsp736ua0isrfm9qh",
        ),
        # as the official CLI gave it
        (
            {FOLDER: "/work/main", FILE: "/work/main/.devcontainer/try/devcontainer.json"},
            "0iutbas2d3attshifhi3u2oofm43ps83ct5lmfvprn695bh4c0cc",
        ),
    ],
)
def test_the_id_is_the_one_that_the_official_cli_gives(labels: dict[str, str], wanted: str) -> None:
    assert devcontainer_id(labels) == wanted


@given(st.dictionaries(st.text(), st.text(min_size=1) | st.lists(st.text(), min_size=1)))
def test_a_named_command_is_as_one_alone(named: dict[str, Any]) -> None:
    found = commands_of(named)
    assert [name for name, _ in found] == list(named)
    for (_, words), value in zip(found, named.values(), strict=True):
        assert commands_of(value) == [("", words)]
        assert words == (["/bin/sh", "-c", value] if isinstance(value, str) else value)
    assert commands_of("") == commands_of([]) == []


def test_a_configuration_is_found_by_name_and_by_the_settings(here: Project) -> None:
    found = here.config()
    assert found == config.load(here.context.settings, "")
    assert (found.user, found.folder, found.needs_official) == ("dev", str(here.root), ())
    assert found.compose_files[0] == here.root / "docker/dev/docker-compose.yml"
    assert here.config(features={"x": {}}, image="x").needs_official == ("features", "image")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"runArgs": "--privileged"}, "runArgs"),
        ({"postStartCommand": 5}, "postStartCommand"),
        ({"initializeCommand": {"a": 5}}, "initializeCommand"),
        ({**COMPOSE}, "service"),
        ({"remoteEnv": ["A=b"]}, "remoteEnv"),
        ({"build": None}, "devcontainer.json needs build, image or dockerComposeFile"),
        ({"privileged": True}, "may not be privileged"),
        ({"runArgs": ["--privileged=true"]}, "may not be privileged"),
    ],
)
def test_a_mistake_is_named_with_its_place(here: Project, changes: dict[str, Any], what: str) -> None:
    values = {"build": BUILD, **changes}
    text = json.dumps({key: value for key, value in values.items() if value is not None})
    path = write(here.root, "one", text)
    assert what in failure(here).what
    assert failure(here).where == str(path)


@pytest.mark.parametrize("content", [b"\xff", b"{,,}", b"\xef\xbb\xbf{}", b""])
def test_what_is_not_json_is_told_with_why(here: Project, content: bytes) -> None:
    path = write(here.root, "one", "")
    path.write_bytes(content)
    error = failure(here)
    assert ("cannot be read" in error.what, error.where, bool(error.why)) == (True, str(path), True)
    path.write_text("[]")
    assert "is not an object" in failure(here).what


@pytest.mark.parametrize("name", ["../x", "/", ".", "a/b", "a\n", "zzz"])
def test_a_name_is_no_path_and_an_unknown_one_is_told(here: Project, name: str) -> None:
    write(here.root, "../x", "{}")
    assert "there is no development container" in failure(here, name).what
    assert failure(here, name).hint == "there are: none"
