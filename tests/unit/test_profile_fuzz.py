"""Damaged profiles: whatever a file holds, it is a Profile or an error with a place, and what the
published JSON Schema says of it is the same.

Known differences, which `_known_difference` takes out:

- `!!timestamp` in so many words: the loader reads the text that stands there;
- 3.0 is an integer to JSON Schema, not to the loader;
- a text that ends in a newline: Python's `$` matches before it, that of JavaScript does not;
- what YAML allows and the loader refuses on purpose: aliases, tags, duplicate keys, numbers without bounds;
- what one file cannot show: whether the parent exists, and the rule that `mirrors.suites` has `release`.
"""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synos_tasks.errors import ComponentError, ProfileError, ProfileNotFound, SynosError
from synos_tasks.iso import profile as profiles
from synos_tasks.iso import schema
from synos_tasks.iso.profile import Profile
from tests.unit.projects import lay_component
from tests.unit.yaml_fuzz import damaged

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
overlay: overlays/x
hooks: [hooks/x]
compression: {algorithm: zstd, level: 3}
boot: [bios, uefi]
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
    _has_a_place(failure, str(path), data)
    return failure


def _has_a_place(error: SynosError, path: str, data: bytes) -> None:
    assert error.where.startswith(path), error.where
    places = error.where.removeprefix(path).split(":")[1:]
    assert len(places) == 2, f"no line and column in {error.where} of {error.what}"
    assert all(place.isdigit() and int(place) > 0 for place in places)
    assert int(places[0]) <= data.count(b"\n") + data.count(b"\r") + 9
    assert len(error.what) < 300
    json.dumps(error.to_json(), ensure_ascii=False).encode()


FUZZ = settings(suppress_health_check=list(HealthCheck))


@FUZZ
@given(damaged(SEEDS))
def test_a_damaged_profile_is_a_profile_or_a_mistake_with_a_place(data: bytes) -> None:
    result = _load(data)
    if isinstance(result, Profile):
        json.dumps([result.packages, result.components]).encode()
        assert len(set(result.components)) == len(result.components)


class _Texts(yaml.SafeLoader):
    """Reads dates and merge keys as text, as YAML 1.2 and so every editor does."""


_Texts.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith((":timestamp", ":merge"))]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _is_known_difference(value: object) -> bool:
    if isinstance(value, dict | list):
        return any(map(_is_known_difference, value.values() if isinstance(value, dict) else value))
    return (
        isinstance(value, dt.date)
        or (isinstance(value, float) and value.is_integer())
        or (isinstance(value, str) and value.endswith("\n"))
    )


VALIDATOR = jsonschema.Draft202012Validator(schema.json_schema(profiles.PROFILE))


def _agree(data: bytes) -> bool | None:
    """Assert that loader and schema say the same, and return it; None where only the loader can be asked."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x.yaml"
        path.write_bytes(data)
        try:
            source = schema.load(path)
        except ProfileError:  # YAML that the loader refuses as such: a known difference
            return None
    try:
        schema.check(source, profiles.PROFILE)
        accepted = True
    except ProfileError:
        accepted = False
    try:
        plain: Any = yaml.load(data.decode("utf-8"), Loader=_Texts)
    except yaml.YAMLError:
        assert not accepted
        return None
    if _is_known_difference(plain):
        return None
    assert accepted == VALIDATOR.is_valid(plain), plain
    return accepted


@pytest.mark.parametrize("data", SEEDS)
def test_loader_and_json_schema_accept_good_profiles(data: bytes) -> None:
    assert _agree(data) is True


WORDS = st.sampled_from(
    ["a", "sudo", "-sudo", "Sudo", "", "release", "bios", "main", "bookworm", "xz", "../x", "/x", "x/y", "a b",
     "http://a.example/x", "ftp://x", "en_US.UTF-8", "Europe/Berlin", "$6$x", "de", "de,us", "a:b", "a\nb"]
)  # fmt: skip
PLAIN = st.one_of(
    WORDS, st.integers(-2, 30), st.booleans(), st.none(), st.floats(0.5, 9.5), st.text(max_size=5)
)


def _of(kind: schema.Kind) -> st.SearchStrategy[Any]:
    """Values of the right form, with leaves that are now and then wrong."""
    if kind.type == "object":
        return st.fixed_dictionaries({}, optional={key: _of(item) for key, item in kind.fields.items()})
    if kind.type == "array" and kind.items is not None:
        return st.lists(_of(kind.items), max_size=3)
    if kind.choices:
        return st.one_of(st.sampled_from(kind.choices), st.sampled_from(kind.choices), PLAIN)
    if kind.type == "integer":
        return st.one_of(st.integers(0, 24), PLAIN)
    return st.one_of(st.from_regex(kind.pattern, fullmatch=True), PLAIN)


SOME = st.dictionaries(st.sampled_from([*profiles.PROFILE.fields, "zzz"]), st.none(), max_size=3).flatmap(
    lambda keys: st.fixed_dictionaries(
        {key: _of(profiles.PROFILE.fields[key]) if key in profiles.PROFILE.fields else PLAIN for key in keys}
    )
)


@FUZZ
@given(SOME)
def test_loader_and_json_schema_agree_on_generated_profiles(value: dict[str, Any]) -> None:
    try:
        data = yaml.safe_dump(value, allow_unicode=True).encode()
    except UnicodeEncodeError:
        return
    _agree(data)


@FUZZ
@given(damaged(SEEDS))
def test_loader_and_json_schema_agree_on_damaged_profiles(data: bytes) -> None:
    _agree(data)


def test_the_json_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema.json_schema(profiles.PROFILE))
