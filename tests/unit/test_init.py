"""`inv init`, `inv new-id`, and what `inv` says where there is no project."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from synos_tasks import collection
from synos_tasks.dev import config
from synos_tasks.errors import HostUnfit
from synos_tasks.images.dockerfile import steps_of
from synos_tasks.program import Inv
from synos_tasks.root.init import new_files

pytestmark = pytest.mark.usefixtures("keep_signals", "empty_folder")


def run(*words: str) -> int:
    try:
        Inv().run(["inv", *words])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_images_volumes_and_cache_mounts_of_a_new_project_have_its_name() -> None:
    files = new_files("tuxos")
    text = "\n".join(new.text for new in files.values())
    assert set(re.findall(r"(?:image|name|source): *\S*?(synos-\w+)|[ ,]id=(synos-\S+)", text)) == set()
    assert "id=tuxos-apt-bookworm-cache" in files["docker/build/Dockerfile"].text
    assert "SynOS" not in text
    for path, new in files.items():
        if path.endswith((".yml", ".yaml")):
            yaml.safe_load(new.text)
        elif path.endswith(".json"):
            config.loads(new.text)
        elif "Dockerfile" in path:
            assert steps_of(new.text)
    assert files["docker/dev/image/make-user"].mode == 0o755


def test_init_writes_a_project_and_overwrites_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("--dry", "init") == 0
    assert list(tmp_path.iterdir()) == []
    assert run("init", "--name", "Tux OS") == 12
    assert run("init", "--name", "tuxos") == 0
    assert (tmp_path / ".synos/id").read_text().startswith("tuxos-")
    assert (tmp_path / ".synos/.gitignore").read_text() == "*\n"
    before = (tmp_path / "invoke.yaml").read_bytes()
    capfd.readouterr()
    assert run("init", "--name", "other") == 48
    assert "  docker/build/Dockerfile" in capfd.readouterr().err
    assert (tmp_path / "invoke.yaml").read_bytes() == before


def test_an_installation_that_lacks_files_makes_no_half_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "installed/template").mkdir(parents=True)
    (tmp_path / "installed/template/invoke.yaml").touch()
    monkeypatch.setattr("synos_tasks.root.init.PACKAGE", tmp_path / "installed")
    before = sorted(tmp_path.rglob("*"))
    assert run("init", "--name", "tuxos") == HostUnfit.exit_code
    assert "template/requirements.lock" in capfd.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("left", ["README", ".git/HEAD"])
def test_a_folder_with_other_files_may_become_a_project(tmp_path: Path, left: str) -> None:
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).write_text("mine")
    assert run("init") == 0
    assert (tmp_path / left).read_text() == "mine"


def test_a_copied_folder_gets_an_id_of_its_own(tmp_path: Path) -> None:
    assert run("init", "--name", "tuxos") == 0
    before = (tmp_path / ".synos/id").read_text()
    assert run("--dry", "new-id") == 0
    assert (tmp_path / ".synos/id").read_text() == before
    assert run("new-id") == 0
    assert (tmp_path / ".synos/id").read_text() != before
    assert (tmp_path / ".synos/id").read_text().startswith("tuxos-")


def test_a_project_without_its_files_is_told_apart_from_a_bug(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tasks.py").write_text("from synos_tasks import collection\nns = collection()\n")
    assert run("--dry", "build.image") == 47
    assert "docker/build/Dockerfile" in capfd.readouterr().err


def test_the_verbs_of_the_librarys_repository_are_there_alone(tmp_path: Path) -> None:
    assert not {"test", "lint", "docs"} & set(collection(tmp_path).task_names)
    assert {"doctor", "build.iso"} <= set(collection(tmp_path).task_names)
