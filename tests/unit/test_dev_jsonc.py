"""JSON with comments, piece by piece: test_dev_config.py has whole documents."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.dev import jsonc

LOOKS_LIKE_IT = st.lists(st.sampled_from(["//", "/*", "*/", '"', "\\", ",]", ",}", ", ", "\n", "é", "x"]))


@given(LOOKS_LIKE_IT.map("".join), LOOKS_LIKE_IT.map("".join))
def test_what_looks_like_a_comment_in_a_text_stays(key: str, value: str) -> None:
    for ascii_only in (True, False):
        text = json.dumps({key: [value]}, ensure_ascii=ascii_only)
        assert jsonc.loads(text) == {key: [value]}
        assert jsonc.loads(f"// {key!r}\n{text}// {value!r}") == {key: [value]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}// no line end", {}),
        ("/**/[1]/***/", [1]),
        ("[1, // ]\n]", [1]),
        ("[1, /* ] */ /* } */\r\n]", [1]),
        ('{"a": [1,\n], // }\n}', {"a": [1]}),
        ('["https://x", "/* ", " */",]', ["https://x", "/* ", " */"]),
    ],
)
def test_comments_and_last_commas_are_left_out(text: str, value: object) -> None:
    assert jsonc.loads(text) == value


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "line 1 column 1"),
        ("// only\n/* this */", "line 2 column 11"),
        ("{}\n/* not closed", "line 2 column 1"),
        ("[1,\n /* x */ ,]", "line 2 column 11"),
        ("/* a\nb */ [1 2]", "line 2 column 9"),
        ('{"a": "b\n', "line 1 column 9"),
        ("[1 / 2]", "line 1 column 4"),
    ],
)
def test_a_mistake_is_where_it_is_in_the_file(text: str, place: str) -> None:
    with pytest.raises(ValueError, match=place):
        jsonc.loads(text)
