"""What cannot be read is not taken for absent: each place that lists a folder fails where it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from synos_tasks.build import boot
from synos_tasks.dev import config
from synos_tasks.images import catalog
from synos_tasks.iso.scratch import entries
from synos_tasks.maint import exports, prune, resources, retention, view, volumes
from synos_tasks.maint.resources import Context
from tests.unit.fake_docker import FakeDocker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from synos_tasks.settings import Settings

STATE = ".synos"


def context(settings: Settings) -> Context:
    return Context(settings=settings, docker=FakeDocker(), say=pytest.fail)


PLACES: dict[str, tuple[str, Callable[[Settings], object]]] = {
    "ISOs that may go": ("dist", lambda settings: list(resources.isos(settings.output_dir))),
    "the newest ISO": ("dist", lambda settings: boot.chosen_iso(settings, "")),
    "logs": (f"{STATE}/logs", retention.logs),
    "sizes": (f"{STATE}/backups", lambda settings: list(view.folders(settings.project.state_dir))),
    "exports": (f"{STATE}/volumes", lambda settings: exports.known(settings, "one")),
    "unfinished copies": (f"{STATE}/volumes", lambda settings: volumes.listing(context(settings))),
    "what a reset removes": (STATE, lambda settings: list(prune.files(context(settings), ()))),
    "stacks": ("docker/services", lambda settings: catalog.stack_files(settings.project.root)),
    "development containers": (".devcontainer", config.names),
}


@pytest.mark.parametrize("what", PLACES)
def test_a_folder_that_cannot_be_read_is_an_error(settings: Settings, what: str) -> None:
    place, listed = PLACES[what]
    folder = settings.project.root / place
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("no folder, so that root cannot list it either")
    with pytest.raises(OSError, match=folder.name):
        listed(settings)


def test_without_a_folder_there_is_nothing(tmp_path: Path) -> None:
    assert entries(tmp_path / "absent") == []
    for name in ("b.log", "a.log", "c.txt"):
        (tmp_path / name).touch()
    assert entries(tmp_path, "*.log") == [tmp_path / "a.log", tmp_path / "b.log"]
