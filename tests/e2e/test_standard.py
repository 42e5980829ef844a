"""`standard`: the profile with components, booted; its own programs answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.build_helpers import Answer, Clone

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def standard(warm: Clone, minimal: Answer) -> Answer:
    assert minimal.json["sha256"]
    return warm.inv("build.iso", "--profile", "standard")


def test_components_are_stages_and_packages_of_it(standard: Answer) -> None:
    stages = [stage["name"] for stage in standard.json["stages"]]
    assert stages[:2] == ["component-synos-welcome", "component-synos-agent"]
    assert "components" in stages
    manifest = json.loads(Path(f"{standard.json['iso']}.manifest.json").read_text())
    layers = {package["name"]: package["layer"] for package in manifest["packages"]}
    assert layers["synos-agent"] == layers["synos-welcome"] == "components"
    assert all(
        package["sha256"] and package["installed_bytes"] > 0
        for package in manifest["packages"]
        if package["layer"] == "components"
    )


def test_it_boots_and_its_agent_answers_the_self_test(warm: Clone, standard: Answer) -> None:
    # a boot ends with the guest's report, or with a line after which there can be none: the time is the last resort
    booted = warm.inv("build.boot", "--iso", standard.json["iso"], "--timeout", "1800").json
    report, agent = booted["report"], booted["report"]["agent"]
    assert booted["ok"]
    assert report["checked"] > 0
    assert all(phase > 0 for phase in report["milliseconds"].values())
    assert 0 < booted["login_seconds"] < booted["seconds"] + 30
    assert (report["build_id"], report["hostname"], report["user"]) == (
        standard.json["build_id"],
        "synos",
        "synos",
    )
    assert report["checked"] > 15
    assert report["different"] == []
    assert all(report["milliseconds"][phase] > 0 for phase in ("kernel", "initramfs", "userspace"))
    assert booted["login_seconds"] > 0
    assert Path(booted["screenshot"]).read_bytes().startswith(b"\x89PNG")
    assert (agent["schema"], agent["status"], agent["state"]) == ("synos.health/1", "ok", "running")
    assert agent["build_id"] == standard.json["build_id"]
    assert agent["root"]["type"] == "overlay"


def test_a_changed_component_leaves_the_layers_below_alone(warm: Clone, standard: Answer) -> None:
    source = warm.root / "docker/build/components/synos-welcome/src/main.c"
    source.write_text(f"{source.read_text()}/* changed */\n")
    stages = {
        stage["name"]: stage["hit"]
        for stage in warm.inv("build.plan", "--profile", "standard").json["stages"]
    }
    assert not any(stages[name] for name in ("component-synos-welcome", "components", "system"))
    assert all(
        stages[name] for name in ("base", "packages-minimal", "packages-standard", "component-synos-agent")
    )
