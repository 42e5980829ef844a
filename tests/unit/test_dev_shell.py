"""What is left for scripts/synos: only what it can read, and `default` only for the one that is meant by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from synos_tasks.dev import shell
from synos_tasks.errors import DevContainerMissing
from tests.unit.fake_dev import container, scene

if TYPE_CHECKING:
    from pathlib import Path


def test_default_is_the_settings_one_and_no_others(tmp_path: Path) -> None:
    here = scene(tmp_path, name="one")
    for name in ("one", "two"):
        config = here.config(name)
        shell.remember(here.session, config, container(config.labels, id=f"id-{name}"))
    texts = {path.name: path.read_text().splitlines()[0] for path in here.session.state.glob("*.shell")}
    assert texts == {"one.shell": "id-one", "two.shell": "id-two", "default.shell": "id-one"}
    shell.forget(here.session, here.config("two"))
    assert sorted(path.name for path in here.session.state.glob("*.shell")) == ["default.shell", "one.shell"]


def test_what_does_not_fit_on_a_line_is_left_to_inv(tmp_path: Path) -> None:
    here = scene(tmp_path)
    config = here.config(remoteEnv={"A": "b\nc"})
    shell.remember(here.session, config, container(config.labels))
    assert not list(tmp_path.glob(".synos/dev/*.shell"))


@pytest.mark.parametrize("state", ["exited", "paused", "created", "dead"])
def test_one_that_does_not_run_cannot_be_gone_into(tmp_path: Path, state: str) -> None:
    here = scene(tmp_path)
    config = here.config()
    here.containers.there = [container(config.labels, state=state)]
    with pytest.raises(DevContainerMissing, match="has ended"):
        shell.run(here.session, config, [])
    assert here.containers.asked == []
