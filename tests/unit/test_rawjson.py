"""What `docker buildx build --progress=rawjson` writes, told apart from what else stands on the same stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.engine.client import progress_events

BUILDX_0_13 = """\
{
  "vertexes": [
    {
      "digest": "sha256:b3d627f3",
      "name": "[internal] load build definition"
    }
  ]
}
{
  "statuses": [
    {
      "id": "transferring dockerfile:",
      "vertex": "sha256:b3d627f3",
      "current": 29
    }
  ]
}
ERROR: failed to solve: failed to compute cache key
"""
FIRST = {"vertexes": [{"digest": "sha256:b3d627f3", "name": "[internal] load build definition"}]}
SECOND = {"statuses": [{"id": "transferring dockerfile:", "vertex": "sha256:b3d627f3", "current": 29}]}
ERROR = "ERROR: failed to solve: failed to compute cache key"


def read(text: str) -> list[dict[str, Any] | str]:
    return list(progress_events(text.splitlines(keepends=True)))


def test_an_object_is_given_as_soon_as_it_is_complete() -> None:
    """A progress bar lives on it: nothing waits for the next object's first line."""
    lines = iter(BUILDX_0_13.splitlines())
    reader = progress_events(lines)
    assert next(reader) == FIRST
    assert next(lines) == "{"


def test_a_warning_in_the_middle_of_an_object_is_a_line_of_its_own() -> None:
    lines = BUILDX_0_13.splitlines(keepends=True)
    warned = ["WARNING: no credentials", FIRST, SECOND, ERROR]
    assert read("".join([*lines[:3], "WARNING: no credentials\n", *lines[3:]])) == warned


@pytest.mark.parametrize(
    "text", ["{broken}", '{"a": 1} and more}', '{"a": }', '{"a": ' + "[" * 100_000 + "}"]
)
def test_what_is_no_json_is_given_as_it_is(text: str) -> None:
    assert read(f"{text}\n") == [text]


WORDS = st.text(alphabet=st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=12)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(WORDS, VALUES, min_size=1, max_size=3)
PLAIN = st.text(alphabet="abcE:#=>. ", max_size=20).map(lambda text: f"#{text}".rstrip())


@given(st.lists(st.tuples(OBJECTS, st.sampled_from([None, 2])) | PLAIN, max_size=6))
def test_every_object_and_every_line_comes_back_in_order(
    told: list[tuple[dict[str, Any], int | None] | str],
) -> None:
    written = [item if isinstance(item, str) else json.dumps(item[0], indent=item[1]) for item in told]
    expected = [item if isinstance(item, str) else item[0] for item in told]
    assert list(progress_events("\n".join(written).split("\n") if written else [])) == expected


@given(st.lists(st.text(alphabet='{}[]":, a\n\t1', max_size=12), max_size=8))
def test_no_line_is_lost_whatever_comes(lines: list[str]) -> None:
    found = list(progress_events(lines))
    kept = [line for item in found if isinstance(item, str) for line in item.split("\n")]
    objects = [item for item in found if isinstance(item, dict)]
    if not objects:
        assert sorted(kept) == sorted(part for line in lines for part in line.rstrip().split("\n"))
    assert all(isinstance(item, dict | str) for item in found)
