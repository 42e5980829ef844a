"""What the tag of an image follows."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import TYPE_CHECKING

import pytest

from synos_tasks.images.base import BOOKWORM, TRIXIE
from synos_tasks.images.recipe import Recipe, tag_of
from synos_tasks.iso.digests import of_folder

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = Recipe("plain", "Dockerfile")
FULL = Recipe("full", "Dockerfile", "small", "files", TRIXIE, "services", ("A=1", "B=2"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "files/below").mkdir(parents=True)
    for name in ("Dockerfile", "files/below/x", "other"):
        (tmp_path / name).write_text(f"{name}\n")
    return tmp_path


def test_a_recipe_needs_a_name_and_a_dockerfile() -> None:
    assert (PLAIN.base, PLAIN.role, PLAIN.target, PLAIN.copied) == (BOOKWORM, "build", "", "")
    assert PLAIN.build_args == ()


def test_what_is_not_on_bookworm_says_so_to_the_dockerfile() -> None:
    assert FULL.build_args == ("BASE=debian:trixie-slim", "A=1", "B=2")


@pytest.mark.parametrize("recipe", [PLAIN, FULL], ids=lambda recipe: recipe.name)
def test_tags_are_of_a_digest_and_never_latest(root: Path, recipe: Recipe) -> None:
    assert re.fullmatch(f"synos-{recipe.name}:[0-9a-f]{{12}}", tag_of(root, recipe))


def test_tags_on_bookworm_are_those_that_images_have_had_so_far(root: Path) -> None:
    """They were of the Dockerfile and the folder alone: nobody's images become stale by this."""
    found = hashlib.sha256(b"Dockerfile\n")
    assert tag_of(root, PLAIN) == f"synos-plain:{found.hexdigest()[:12]}"
    found.update(of_folder(root / "files").encode())
    assert tag_of(root, dataclasses.replace(PLAIN, copied="files")) == f"synos-plain:{found.hexdigest()[:12]}"


@pytest.mark.parametrize(
    ("edited", "stale"),
    [
        ("Dockerfile", {"plain", "full"}),
        ("files/below/x", {"full"}),
        ("files/new", {"full"}),
        ("other", set()),
    ],
)
def test_a_tag_changes_with_the_files(root: Path, edited: str, stale: set[str]) -> None:
    before = {recipe.name: tag_of(root, recipe) for recipe in (PLAIN, FULL)}
    with (root / edited).open("a") as stream:
        stream.write("edited")
    after = {recipe.name: tag_of(root, recipe) for recipe in (PLAIN, FULL)}
    assert {name for name, tag in after.items() if tag != before[name]} == stale


def test_a_tag_changes_with_the_base_and_the_arguments(root: Path) -> None:
    others = [
        FULL,
        dataclasses.replace(FULL, base=BOOKWORM),
        dataclasses.replace(FULL, args=("A=1",)),
        dataclasses.replace(FULL, args=("A=1", "B=3")),
        dataclasses.replace(FULL, args=("A=1B=2",)),
        dataclasses.replace(FULL, args=("B=2", "A=1")),
        dataclasses.replace(FULL, args=()),
    ]
    assert len({tag_of(root, recipe) for recipe in others}) == len(others)
