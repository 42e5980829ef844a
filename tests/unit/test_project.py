"""A project's name and id: the id outlives moves, is nobody else's, and a copy of it is refused."""

from __future__ import annotations

import re
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks import project
from synos_tasks.errors import ProjectCopied, SettingsError
from synos_tasks.project import NAME, fitting_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "one").mkdir()
    return tmp_path / "one"


def test_a_new_project_keeps_its_random_id_when_it_is_moved(folder: Path) -> None:
    ident = project.load(folder, "tuxos").id
    assert re.fullmatch(r"tuxos-[0-9a-f]{10}", ident)
    moved = folder.rename(folder.with_name("two"))
    assert project.load(moved, "tuxos").id == project.load(moved, "other").id == ident
    shutil.copytree(moved, folder)  # of the two, the one that is where it was last used is the original
    assert project.load(moved).id == ident


def test_two_clones_at_one_path_have_two_ids_and_a_link_to_a_clone_is_that_clone(folder: Path) -> None:
    first = project.load(folder).id
    shutil.rmtree(folder / ".synos")  # as another container sees it, which has its own folder there
    assert project.load(folder).id != first
    link = folder.with_name("link")
    link.symlink_to(folder)
    assert project.load(link) == project.load(folder)


def test_no_id_follows_from_the_path_whatever_the_state_folder_holds(folder: Path) -> None:
    """As where CI restores a part of it: two jobs may have the same path, and one engine."""
    found = set()
    for _ in range(3):
        (folder / ".synos/logs").mkdir(parents=True)
        found.add(project.load(folder, "tuxos").id)
        shutil.rmtree(folder / ".synos")
    (folder / ".synos").write_text("a file is in its place")
    found.add(project.load(folder, "tuxos").id)
    found.add(project.load(folder, "tuxos").id)
    assert len(found) == 5
    assert all(re.fullmatch(r"tuxos-[0-9a-f]{10}", ident) for ident in found)


def test_without_recording_nothing_is_written(folder: Path) -> None:
    project.load(folder, record=False)
    assert list(folder.iterdir()) == []
    ident = project.load(folder).id
    moved = folder.rename(folder.with_name("two"))
    before = (moved / ".synos/id").read_bytes()
    assert project.load(moved, record=False).id == ident
    assert (moved / ".synos/id").read_bytes() == before


def test_commands_that_start_together_agree_on_one_id(folder: Path) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(project.load(folder).id)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 16
    assert len(set(found)) == 1
    assert [path.name for path in (folder / ".synos").iterdir()] == ["id"]


def test_a_copy_is_refused_until_it_has_an_id_of_its_own(folder: Path) -> None:
    original = project.load(folder, "tuxos").id
    (folder / ".synos/images.json").write_text("{}")
    copy = folder.with_name("two")
    shutil.copytree(folder, copy)
    with pytest.raises(ProjectCopied, match="copy of another project") as refused:
        project.load(copy, "tuxos")
    assert refused.value.exit_code == 46
    assert str(folder) in refused.value.why
    assert "-m synos_tasks new-id" in refused.value.hint
    assert project.load(folder, "tuxos").id == original
    own = project.give_new_id(copy, "tuxos")
    assert project.load(copy, "tuxos").id == own != original
    assert not (copy / ".synos/images.json").exists(), "the original's images are none of the copy's"


def test_a_copy_whose_original_is_gone_takes_its_place(folder: Path) -> None:
    ident = project.load(folder).id
    shutil.copytree(folder, folder.with_name("two"))
    shutil.rmtree(folder)
    assert project.load(folder.with_name("two")).id == ident


@pytest.mark.parametrize("text", ["", "one\n", "not an id\n/x\n", "a\nb\nc\n"])
def test_a_damaged_id_is_never_replaced_silently(folder: Path, text: str) -> None:
    project.load(folder)
    (folder / ".synos/id").write_text(text)
    with pytest.raises(SettingsError, match="id cannot be read"):
        project.load(folder)
    assert (folder / ".synos/id").read_text() == text


@pytest.mark.parametrize("name", ["Tux", "-tux", "tux_os", "tux--os", "a" * 31, "tux/os", "tux:1", "tüx"])
def test_an_impossible_name_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=r"synos\.name is"):
        project.load(folder, name)


@given(st.text())
def test_any_folder_has_a_fitting_name(folder_name: str) -> None:
    name = fitting_name(folder_name)
    assert NAME.fullmatch(name)
    assert len(name) <= project.LONGEST_NAME


def test_hints_name_the_script_only_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert project.launcher() == "./scripts/synos"
    assert "./scripts/synos" in project.engine_hint()
    monkeypatch.setattr(project, "PACKAGE", tmp_path / "site-packages/synos_tasks")
    assert project.launcher() == "inv"
    assert "scripts" not in project.engine_hint()


@pytest.mark.parametrize(
    ("folder", "wanted"), [("a,b", "','"), ("a:b", "':'"), ('a"b', "'\"'"), ("a\nb", "'\\\\n'")]
)
def test_a_path_that_docker_cannot_have_is_refused_with_what_to_do(
    tmp_path: Path, folder: str, wanted: str
) -> None:
    root = tmp_path / folder
    root.mkdir()
    with pytest.raises(SettingsError, match="path has") as caught:
        project.load(root)
    assert wanted.replace("\\\\", "\\") in caught.value.what
    assert "move the project" in caught.value.hint
    assert not list(root.iterdir())


@pytest.mark.parametrize("folder", ["a $HOME b", "ünï", "a'b", "a\\b"])
def test_other_odd_paths_are_fine(tmp_path: Path, folder: str) -> None:
    root = tmp_path / folder
    root.mkdir()
    assert project.load(root).root == root
