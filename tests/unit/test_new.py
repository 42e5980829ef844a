"""What `inv build.new` writes is a profile with every key that there is, or nothing is written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from synos_tasks.build import new
from synos_tasks.errors import OutputNotWritable, ProfileError, ProfileNotFound, WouldOverwrite
from synos_tasks.iso import profile as profiles
from synos_tasks.iso.deb import MAGIC
from synos_tasks.iso.schema import bare
from synos_tasks.settings import Settings
from tests.unit.projects import settings_in, tree

KEYS = profiles.keys()
DATA = Path(__file__).resolve().parents[2] / "docker/build"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A project with the profiles and components of this repository."""
    for name in ("profiles", "components"):
        shutil.copytree(DATA / name, tmp_path / "docker/build" / name)
    return settings_in(tmp_path)


def test_a_new_profile_has_its_files_and_shows_every_key(settings: Settings) -> None:
    new.write(new.plan(settings, "kiosk", "standard"))
    data = settings.project.build_data
    found = profiles.load(data / "profiles", "kiosk")
    assert found.ancestors == ("standard", "minimal")
    assert all((data / name).is_dir() for name in found.values["overlays"])
    assert all((data / name).stat().st_mode & 0o777 == 0o755 for name in found.values["hooks"])
    lines = (data / "profiles/kiosk.yaml").read_text().splitlines()
    assert [
        key
        for key in KEYS
        if not any(line.lstrip("#").startswith(f"{key}: ") or line == f"{key}:" for line in lines)
    ] == []


@pytest.mark.parametrize("key", KEYS)
def test_each_key_has_a_line_of_documentation_and_an_example_that_is_right(
    settings: Settings, key: str
) -> None:
    folder, wanted = settings.project.build_data / "profiles", KEYS[key]
    assert len(wanted.kind.doc.splitlines()) == 1
    (folder.parent / "debs").mkdir()
    (folder.parent / "debs/a.deb").write_bytes(MAGIC)
    (folder / "kiosk.yaml").write_text(f"{key}: {wanted.example}\n")
    assert profiles.load(folder, "kiosk")


def test_a_word_of_another_tool_means_one_key() -> None:
    words = [bare(word) for name, key in KEYS.items() for word in (name, *key.aliases)]
    assert sorted(words) == sorted(set(words))


REFUSED = {
    "my_profile": (ProfileError, "call it 'my-profile'; allowed: lower-case letters"),
    "9": (ProfileError, "a letter first"),
    "a-": (ProfileError, "- inside"),
    "a" * 41: (ProfileError, "40 characters at most"),
    "../a": (ProfileError, "allowed"),
    "desktop": (WouldOverwrite, "another name"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_cannot_be_is_refused_before_anything_is_written(settings: Settings, name: str) -> None:
    kind, hint = REFUSED[name]
    before = tree(settings.project.root)
    with pytest.raises(kind) as caught:
        new.plan(settings, name, "standard")
    assert hint in caught.value.hint
    with pytest.raises(ProfileNotFound, match="to start from") as other:
        new.plan(settings, "kiosk", "standrad")
    assert other.value.hint == "did you mean 'standard'?"
    assert tree(settings.project.root) == before


def test_a_file_that_cannot_be_written_takes_the_others_with_it(settings: Settings) -> None:
    (settings.project.build_data / "hooks").write_text("in the way")
    before = set(tree(settings.project.root))
    texts = new.plan(settings, "kiosk", "standard")
    with pytest.raises(OutputNotWritable):
        new.write(texts)
    assert set(tree(settings.project.root)) == before


def test_a_profile_whose_name_no_build_takes_has_no_lock_either(settings: Settings) -> None:
    folder = settings.project.build_data / "profiles"
    (folder / "my_profile.yaml").write_text("inherits: minimal\n")
    with pytest.raises(ProfileError, match="cannot be called 'my_profile'") as caught:
        profiles.load(folder, "my_profile")  # which every verb does first
    assert (caught.value.where, "my-profile" in caught.value.hint) == (str(folder / "my_profile.yaml"), True)
