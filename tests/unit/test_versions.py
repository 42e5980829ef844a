from __future__ import annotations

import dataclasses

import pytest

from synos_tasks.engine.gateway import check_versions, version_tuple
from synos_tasks.errors import EngineTooOld
from tests.unit.fakes import GOOD


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("26.1.5", (26, 1, 5)),
        ("26.1.5+dfsg1", (26, 1, 5)),
        ("v0.13.1", (0, 13, 1)),
        ("2.26.1-4", (2, 26, 1)),
        ("23.0", (23, 0)),
        ("20.10.24+dfsg1-1+deb12u1", (20, 10, 24)),
        ("28.2.2-rc.1", (28, 2, 2)),
        (" 24.0.7\n", (24, 0, 7)),
        ("", ()),
        ("unknown", ()),
        ("buildx", ()),
    ],
)
def test_versions_as_distributions_print_them(text: str, numbers: tuple[int, ...]) -> None:
    assert version_tuple(text) == numbers


def test_good_versions_pass() -> None:
    check_versions(GOOD)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": "20.10.24+dfsg1"}, "Docker Engine 20.10.24+dfsg1, needed: 23.0"),
        ({"buildx": ""}, "docker buildx missing, needed: 0.13"),
        ({"buildx": "v0.9.1"}, "docker buildx v0.9.1, needed: 0.13"),
        ({"compose": "1.29.2"}, "docker compose 1.29.2, needed: 2.0"),
    ],
)
def test_an_old_or_missing_part_is_named(change: dict[str, str], why: str) -> None:
    with pytest.raises(EngineTooOld) as caught:
        check_versions(dataclasses.replace(GOOD, **change))  # type: ignore[arg-type]
    assert caught.value.why == why
    assert caught.value.hint


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(EngineTooOld) as caught:
        check_versions(dataclasses.replace(GOOD, buildx="", compose=""))
    assert caught.value.why.count(";") == 1
