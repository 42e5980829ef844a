"""The same bytes wherever and whenever: the verb says so, and says what differs where it is not so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from synos_tasks.build import reproduce
from synos_tasks.build.planning import Context, read_profile

if TYPE_CHECKING:
    from synos_tasks.engine.client import Docker
    from tests.build_helpers import Answer, Clone

pytestmark = pytest.mark.e2e
RANDOM = "#!/bin/sh\nod -An -N 16 -t x1 /dev/urandom >/etc/chance\n"


def test_minimal_is_the_same_in_other_circumstances(
    warm: Clone, minimal: Answer, engine: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the builds that the verb compares, the one that differs from `minimal` in all that must not matter."""
    _, other, _ = reproduce.circumstances(2)
    monkeypatch.setattr(reproduce, "circumstances", lambda _: [other])
    context = Context(warm.settings, engine, print)
    sha256 = reproduce.verify(context, read_profile(warm.settings, "minimal"), release=False, rounds=1)
    assert sha256 == minimal.json["sha256"]


@pytest.mark.long
def test_minimal_is_the_same_whatever_the_circumstances(warm: Clone, minimal: Answer) -> None:
    verified = warm.inv("build.verify-reproducible", "--profile", "minimal").json
    assert verified["builds"] == 3
    assert verified["sha256"] == minimal.json["sha256"]


@pytest.mark.long
def test_a_hook_that_plays_dice_is_found_out(warm: Clone, minimal: Answer) -> None:
    assert minimal.json["sha256"]
    warm.add("docker/build/hooks/dice.sh", RANDOM)
    warm.add("docker/build/profiles/dice.yaml", "inherits: minimal\nhooks: [hooks/dice.sh]\n")
    warm.inv("build.lock", "--profile", "dice")
    answer = warm.inv("build.verify-reproducible", "--profile", "dice", fails=True)
    error = answer.json["error"]
    assert (answer.code, error["kind"]) == (43, "Irreproducible")
    assert error["where"] == "/etc/chance"
    one, two = (line[1:] for line in error["why"].splitlines() if line.startswith(("-", "+")))
    assert one != two
    assert len(one) == len(two) == 48
