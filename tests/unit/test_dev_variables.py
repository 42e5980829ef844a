"""The variables of devcontainer.json, as the official CLI fills them in."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.dev.variables import devcontainer_id, filled, known
from synos_tasks.errors import SettingsError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text().filter(lambda text: "${" not in text),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
FILE = "devcontainer.config_file"
FOLDER = "devcontainer.local_folder"


@given(PLAIN)
def test_what_has_no_variables_stays(value: Any) -> None:  # noqa: ANN401
    assert filled(value, {}, {}) == value


@given(st.text(), st.text())
def test_what_is_filled_in_is_not_looked_at_again(before: str, told: str) -> None:
    before = before.replace("${", "")
    assert filled(f"{before}}}${{x}}", {"x": told}, {}) == f"{before}}}{told}"


@given(st.dictionaries(st.sampled_from([FILE, FOLDER, "a", "é"]), st.text(st.characters(codec="utf-8"))))
def test_an_id_is_a_name_that_docker_takes_in_whatever_order_the_labels_are(labels: dict[str, str]) -> None:
    ident = devcontainer_id(labels)
    assert re.fullmatch("[0-9a-v]{52}", ident)
    assert ident == devcontainer_id(dict(reversed(labels.items())))


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        # as Node.js gives them, by JSON.stringify, SHA-256 and BigInt.toString(32)
        ({}, "0h0jduhlbcr7h88kdb8muvk697kkvd7s47v7fq1h1g30uoealvsa"),
        (
            {FOLDER: '/home/ä b"\\\n\x01\x7f😀', FILE: "/x/.devcontainer/c/devcontainer.json"},
            "09gmq99nnss3e1nnljbfrffil95rbp89lbulsp736ua0isrfm9qh",
        ),
    ],
)
def test_an_id_is_the_official_one(labels: dict[str, str], wanted: str) -> None:
    assert devcontainer_id(labels) == wanted


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
def test_variables_have_their_values(text: str, wanted: str) -> None:
    variables = known("/x/a b", {}, "/y/in")
    assert filled(text, variables, {"SET": "yes", "EMPTY": ""}) == wanted


@pytest.mark.parametrize("name", ["", "localenv:A", "containerEnv:A", "containerWorkspaceFolder"])
def test_one_that_is_not_known_is_named_with_those_that_are(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        filled({"a": ["x", f"${{{name}}}"]}, known("/x", {}), {})
    assert f"${{{name}}}" in caught.value.what
    assert "localWorkspaceFolder" in caught.value.hint
