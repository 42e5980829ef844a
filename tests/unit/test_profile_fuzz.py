"""Damaged profiles: whatever a file holds, it is a Profile or an error with a place, and what the
published JSON Schema says of it is the same.

What one file cannot show is left out: whether the parent exists, and the rule that `mirrors.suites` has `release`.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from synos_tasks.errors import ComponentError, ProfileError, ProfileNotFound, SynosError
from synos_tasks.iso import profile as profiles
from synos_tasks.iso import schema
from synos_tasks.iso.profile import Profile
from tests.unit.projects import lay_component
from tests.unit.yaml_fuzz import agreed, check_place, damaged, values_of

SHIPPED = Path(__file__).resolve().parents[2] / "docker/build/profiles"
FULL = b"""description: "everything a profile may say"
suite: bookworm
architecture: amd64
bootstrapper: mmdebstrap
mirrors: {main: "http://deb.debian.org/debian", suites: [release, updates], components: [main]}
packages:
  - sudo
  - -vim
components:
  - tool
  - -other
users:
  - name: ann
    full_name: Ann
    groups: [audio, video]
hostname: synos
locale: en_US.UTF-8
timezone: Europe/Berlin
keyboard:
  layout: de
kernel_arguments: [quiet, "a=b"]
overlays: [overlays/x]
hooks: [hooks/x, {script: hooks/y, stage: before-squash, inputs: [overlays/x/etc/y]}]
files: [{path: /etc/x, content: "a", owner: root, mode: "0600"}, {path: /etc/y, source: files/y}]
iso_files: [{path: /README, source: files/readme}]
compression: {algorithm: zstd, level: 3}
boot: {firmware: [bios, uefi], timeout: 0, entries: [{title: A, arguments: [b]}], persistence: true}
locales: [fr_FR.UTF-8]
ssh: {password_login: true}
services: {enable: [ssh], mask: [apt-daily.timer]}
"""
SEEDS = [FULL, *((SHIPPED / f"{name}.yaml").read_bytes() for name in profiles.names(SHIPPED))]


def _load(data: bytes) -> Profile | SynosError:
    """Load it as the profile x, beside one component. Any other exception is what this test looks for."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "profiles/x.yaml"
        path.parent.mkdir()
        path.write_bytes(data)
        for component in ("tool", "synos-agent", "synos-welcome"):
            lay_component(Path(name), component, depends=["less"])
        try:
            return profiles.load(path.parent, "x")
        except (ProfileError, ProfileNotFound, ComponentError) as error:
            failure = error
    check_place(failure, path, data)
    return failure


FUZZ = settings(suppress_health_check=list(HealthCheck))


@FUZZ
@given(damaged(SEEDS))
def test_a_damaged_profile_is_a_profile_or_a_mistake_with_a_place(data: bytes) -> None:
    result = _load(data)
    if isinstance(result, Profile):
        json.dumps([result.packages, result.components]).encode()
        assert len(set(result.components)) == len(result.components)


@pytest.mark.parametrize("data", SEEDS)
def test_loader_and_json_schema_accept_good_profiles(data: bytes) -> None:
    assert agreed(data, profiles.kind()) is True


@FUZZ
@given(values_of(profiles.kind()))
def test_loader_and_json_schema_agree_on_generated_profiles(value: dict[str, Any]) -> None:
    with suppress(UnicodeEncodeError):
        agreed(yaml.safe_dump(value, allow_unicode=True).encode(), profiles.kind())


@FUZZ
@given(damaged(SEEDS))
def test_loader_and_json_schema_agree_on_damaged_profiles(data: bytes) -> None:
    agreed(data, profiles.kind())


def test_the_json_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema.json_schema(profiles.kind()))
