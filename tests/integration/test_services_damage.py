"""Damaged data of one service is named and healed by the commands that the message gives, while the others run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import remove_labelled, running_services
from tests.damages import KINDS, LATER, Stack, heal

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.integration, pytest.mark.long]


@pytest.fixture(scope="module")
def damaged(service_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_services(tmp_path_factory.mktemp("damage")) as clone:
        yield Stack(clone)
    remove_labelled(clone.settings.project.id)


@pytest.mark.parametrize(
    ("service", "name", "outcome", "lost"),
    [
        ("nats", "block cut", "repaired", 900),
        ("redis", "manifest missing", "repaired", 0),
        ("nats", "message overwritten", "repaired", 2),
        ("postgres", "page of a table, running", "restored", LATER),
    ],
)
def test_a_damage_is_named_and_healed(
    damaged: Stack, service: str, name: str, outcome: str, lost: int
) -> None:
    damaged.fill()
    [kind] = [one for one in KINDS if (one.service, one.name) == (service, name)]
    done = heal(damaged, kind, 503)
    assert done.detected.startswith(f"{service}: /")
    assert outcome in done.outcome
    assert 0 <= done.lost <= lost
    assert done.fine, done
