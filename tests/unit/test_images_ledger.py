"""What a clone remembers of the images it had built, whatever became of the file."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from synos_tasks.images import ledger
from synos_tasks.images.ledger import Ledger, Made

ONE, TWO, THREE = (f"sha256:{number}" for number in "123")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_what_was_made_is_remembered_with_its_steps(state: Path) -> None:
    ledger.remember(state, ident=ONE, tag="synos-builder:a", seconds=12.345, steps=["exec a"])
    ledger.remember(state, ident=TWO, tag="synos-boot:a", steps=["exec b", "exec a"])
    images = {ONE: Made(tag="synos-builder:a", seconds=12.35), TWO: Made(tag="synos-boot:a", seconds=0.0)}
    assert ledger.read(state) == Ledger(images=images, steps=("exec a", "exec b"))


def test_what_an_image_costs_is_the_most_that_one_of_its_name_took(state: Path) -> None:
    ledger.remember(state, ident=ONE, tag="synos-boot:a", seconds=3.0)
    ledger.remember(state, ident=TWO, tag="synos-boot:b", seconds=7.0)
    ledger.remember(state, ident=THREE, tag="synos-booter:a", seconds=99.0)
    assert ledger.read(state).seconds_of("synos-boot") == 7.0
    assert ledger.read(state).seconds_of("synos") is None


def test_what_is_gone_is_forgotten_but_not_its_steps_and_the_last_of_a_name(state: Path) -> None:
    for ident, tag in ((ONE, "synos-boot:a"), (TWO, "synos-boot:b"), (THREE, "synos-builder:a")):
        ledger.remember(state, ident=ident, tag=tag, seconds=1, steps=[f"exec {tag}"])
    ledger.remember(state, ident=ONE, tag="synos-boot:a")  # now it is the one that was made last
    ledger.forget(state, [ONE, TWO, "sha256:never-heard-of"])
    told = ledger.read(state)
    assert set(told.images) == {ONE, THREE}
    assert told.steps == ("exec synos-boot:a", "exec synos-boot:b", "exec synos-builder:a")


DAMAGED = {
    "empty": "",
    "cut off": '{"images": {"sha256:1": {"tag": "a:b", "sec',
    "images as a list": '{"images": [], "steps": []}',
    "no number": '{"images": {"sha256:1": {"tag": "a:b", "seconds": "long"}}, "steps": []}',
    "too deep": "[" * 100_000,
}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_an_empty_one_and_is_written_anew(state: Path, text: str) -> None:
    state.mkdir()
    (state / ledger.FILE).write_text(text)
    assert ledger.read(state) == Ledger()
    ledger.forget(state, [ONE])
    ledger.remember(state, ident=ONE, tag="a:b")
    assert set(ledger.read(state).images) == {ONE}


def test_a_file_that_cannot_be_read_is_not_written_over(state: Path) -> None:
    (state / ledger.FILE).mkdir(parents=True)  # which root cannot read either
    for use in (ledger.read, lambda state: ledger.remember(state, ident=ONE, tag="a:b")):
        with pytest.raises(IsADirectoryError):
            use(state)


def test_commands_at_the_same_time_lose_nothing_of_each_other(state: Path) -> None:
    def remember(number: int) -> None:
        ledger.remember(state, ident=f"sha256:{number}", tag=f"synos-{number}:a", steps=[f"exec {number}"])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(remember, range(40)))
    told = ledger.read(state)
    assert len(told.images) == len(told.steps) == 40


def test_the_file_is_whole_at_any_moment(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.remember(state, ident=ONE, tag="synos-boot:a")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for name in ("os.replace", "os.rename", "pathlib.Path.replace", "pathlib.Path.rename"):
        monkeypatch.setattr(name, killed)
    with pytest.raises(KeyboardInterrupt):
        ledger.remember(state, ident=TWO, tag="synos-boot:b")
    assert set(json.loads((state / ledger.FILE).read_text())["images"]) == {ONE}
