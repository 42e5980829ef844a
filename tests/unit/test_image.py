"""The images of ours: when they are built, from what, and what is told of their steps."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.build import base_image
from synos_tasks.build import image as images
from synos_tasks.build.image import BASE, RECIPES, Built, Steps, build_images, ensure_image, tag_of
from synos_tasks.errors import EngineTooOld, ImageBuildFailed, MirrorUnreachable
from tests.unit.fakes import GOOD, FakeEngine
from tests.unit.projects import project

if TYPE_CHECKING:
    from synos_tasks.settings import Settings

BEGAN = dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return project(tmp_path)


@pytest.fixture
def bootstrapped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was bootstrapped."""
    made: list[str] = []

    def bootstrap(_settings: Settings, engine: FakeEngine, tag: str) -> None:
        made.append(tag)
        engine.images[tag] = "sha256:bootstrapped"

    monkeypatch.setattr(base_image, "bootstrap", bootstrap)
    return made


def _vertex(
    name: str = "[builder 2/3] RUN make && make install", ident: str = "sha256:a", **more: object
) -> dict[str, Any]:
    return {
        "digest": ident,
        "name": name,
        "started": "2024-05-06T07:08:09.000000001Z",
        "completed": "2024-05-06T07:08:10.500000001Z",
        **more,
    }


def _log(text: str | bytes, ident: str = "sha256:a") -> dict[str, Any]:
    data = text.encode() if isinstance(text, str) else text
    return {"logs": [{"vertex": ident, "stream": 1, "data": base64.b64encode(data).decode()}]}


def _said(*events: dict[str, Any]) -> list[str]:
    said: list[str] = []
    steps = Steps(said.append)
    for event in events:
        steps(event)
    return said


def test_a_step_is_a_line_with_its_seconds() -> None:
    assert _said({"vertexes": [_vertex()]}) == ["    1.5 s  [builder 2/3] RUN make"]


def test_a_step_that_was_there_is_told_as_such() -> None:
    assert _said({"vertexes": [_vertex(cached=True)]}) == ["   cached  [builder 2/3] RUN make"]


def test_a_step_is_told_once_and_when_it_has_ended() -> None:
    running = {"vertexes": [_vertex(completed=None)]}
    ended = {"vertexes": [_vertex()]}
    assert _said(running) == []
    assert len(_said(running, ended, ended)) == 1
    assert len(_said(ended, {"vertexes": [_vertex(ident="sha256:b")]})) == 2


def test_what_buildkit_does_for_itself_is_not_told() -> None:
    assert _said({"vertexes": [_vertex("[internal] load build context")]}) == []


@pytest.mark.parametrize("event", [{}, {"vertexes": None}, {"logs": None, "statuses": []}, {"vertexes": []}])
def test_an_event_without_anything_says_nothing(event: dict[str, Any]) -> None:
    assert _said(event) == []


@given(st.integers(0, 10**6), st.integers(0, 999_999_999), st.integers(0, 9))
def test_seconds_are_right_however_many_digits_they_are_written_with(
    seconds: int, fraction: int, digits: int
) -> None:
    """Go leaves zeros at the end out, and the point with them."""
    written = f".{fraction:09}"[: digits + 1].rstrip("0").rstrip(".")
    ended = BEGAN + dt.timedelta(seconds=seconds)
    vertex = _vertex(started=f"{BEGAN:%Y-%m-%dT%H:%M:%S}Z", completed=f"{ended:%Y-%m-%dT%H:%M:%S}{written}Z")
    assert images._seconds(vertex) == pytest.approx(seconds + float(written or 0), abs=1e-6)


@pytest.mark.parametrize("started", ["", "yesterday", None, 7])
def test_a_step_whose_times_are_unknown_is_told_all_the_same(started: object) -> None:
    assert _said({"vertexes": [_vertex(started=started)]}) == ["    0.0 s  [builder 2/3] RUN make"]


def test_a_failing_step_is_named_with_the_last_lines_that_it_said() -> None:
    lines = "".join(f"line {number}\n" for number in range(20))
    error = 'process "make" did not complete: exit code: 2'
    with pytest.raises(ImageBuildFailed) as caught:
        _said(
            _log(lines[:30]),
            _log("of another step\n", "sha256:b"),
            _log(lines[30:]),
            {"vertexes": [_vertex(error=error)]},
        )
    assert caught.value.where == "[builder 2/3] RUN make && make install"
    assert caught.value.why.splitlines() == [*(f"line {number}" for number in range(12, 20)), error]


def test_a_step_that_says_much_is_not_kept_whole() -> None:
    steps = Steps(print)
    for _ in range(100):
        steps(_log(b"\xff" * 1000))
    with pytest.raises(ImageBuildFailed) as caught:
        steps({"vertexes": [_vertex(error="failed")]})
    assert len(caught.value.why) <= images.LAST_WORDS + 10


@pytest.mark.parametrize(
    "line",
    [
        "Err:1 http://deb.debian.org/debian bookworm InRelease  Could not resolve 'deb.debian.org'",
        "E: Failed to fetch http://deb.debian.org/debian/dists/bookworm/InRelease  Connection refused",
    ],
)
def test_a_mirror_that_does_not_answer_is_told_as_that(line: str) -> None:
    with pytest.raises(MirrorUnreachable) as caught:
        _said(_log(f"{line}\n"), {"vertexes": [_vertex(error="exit code: 100")]})
    assert line in caught.value.why
    assert caught.value.where.startswith("[builder 2/3]")


def test_steps_that_ended_because_another_failed_are_not_to_blame() -> None:
    canceled = _vertex("[toolchain 1/9] RUN apt-get", "sha256:b", error="failed to solve: context canceled")
    failed = _vertex(error="exit code: 2")
    for vertexes in ([canceled, failed], [failed, canceled]):
        with pytest.raises(ImageBuildFailed) as caught:
            _said({"vertexes": vertexes})
        assert caught.value.where.startswith("[builder 2/3]")


@pytest.mark.parametrize(
    ("edited", "stale"),
    [
        ("docker/build/Dockerfile", {"builder", "toolchain"}),
        ("docker/build/image/sudoers", {"builder", "toolchain"}),
        ("docker/build/image/new", {"builder", "toolchain"}),
        ("docker/build/boot.Dockerfile", {"boot"}),
        ("docker/build/profiles/x.yaml", set()),
    ],
)
def test_a_tag_changes_with_what_its_image_is_made_of(
    settings: Settings, edited: str, stale: set[str]
) -> None:
    before = {name: tag_of(settings, name) for name in RECIPES}
    with (settings.root / edited).open("a") as stream:
        stream.write("edited")
    assert {name for name in RECIPES if tag_of(settings, name) != before[name]} == stale


def test_a_file_that_is_made_executable_makes_another_tag(settings: Settings) -> None:
    before = tag_of(settings, "builder")
    (settings.root / "docker/build/image/sudoers").chmod(0o755)
    assert tag_of(settings, "builder") != before


def test_tags_are_of_a_digest_and_never_latest(settings: Settings) -> None:
    for name in RECIPES:
        assert re.fullmatch(f"synos-{name}:[0-9a-f]{{12}}", tag_of(settings, name))


def test_an_image_that_is_there_is_not_built(settings: Settings) -> None:
    tag = tag_of(settings, "builder")
    # nor is the engine asked whether it could
    engine = FakeEngine(known=None, images={tag: "sha256:1"})
    assert ensure_image(settings, engine, "builder", print) == tag
    assert engine.built == []


@pytest.mark.parametrize("name", RECIPES)
def test_an_image_that_is_not_there_is_built_on_the_base(
    settings: Settings, bootstrapped: list[str], name: str
) -> None:
    engine = FakeEngine()
    tag = ensure_image(settings, engine, name, print)
    assert tag == tag_of(settings, name)
    assert bootstrapped == [BASE]
    [words] = engine.built
    recipe = RECIPES[name]
    assert words[-1] == str(settings.root)
    assert f"--file={settings.root / recipe.dockerfile}" in words
    assert [word for word in words if word.startswith("--tag")] == [f"--tag={tag}"]
    assert [word for word in words if word.startswith("--target")] == (
        [f"--target={recipe.target}"] if recipe.target else []
    )
    assert "--label=io.synos.project=synos-test" in words
    assert "--no-cache" not in words
    assert not any(word.startswith("--build-arg") for word in words)


def test_what_is_built_are_stages_of_the_dockerfile() -> None:
    assert {RECIPES[name].target for name in ("builder", "toolchain")} == {"runtime", "toolchain"}
    text = (Path(__file__).parents[2] / RECIPES["builder"].dockerfile).read_text()
    stages = re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE)
    assert {recipe.target for recipe in RECIPES.values() if recipe.target} <= set(stages)


def test_an_engine_that_is_too_old_builds_nothing(settings: Settings, bootstrapped: list[str]) -> None:
    engine = FakeEngine(known=dataclasses.replace(GOOD, buildx=""))
    with pytest.raises(EngineTooOld):
        ensure_image(settings, engine, "builder", print)
    with pytest.raises(EngineTooOld):
        build_images(settings, engine, print)
    assert (engine.built, bootstrapped) == ([], [])


@pytest.mark.parametrize("answers", [True, False])
def test_the_base_is_bootstrapped_only_without_a_registry(
    settings: Settings, bootstrapped: list[str], monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    engine, asked = FakeEngine(), list[tuple[str, float]]()

    def pull(tag: str, *, timeout: float) -> bool:
        asked.append((tag, timeout))
        return answers

    monkeypatch.setattr(engine, "pull", pull)
    images.ensure_base(settings, engine, print)
    assert asked == [(BASE, settings.build.registry_timeout)]
    assert bootstrapped == ([] if answers else [BASE])


def test_a_base_that_is_there_is_taken_as_it_is(settings: Settings, bootstrapped: list[str]) -> None:
    images.ensure_base(settings, FakeEngine(images={BASE: "sha256:base"}), pytest.fail)
    assert bootstrapped == []


@pytest.mark.parametrize("cached", [True, False])
def test_images_are_built_even_if_they_are_there(settings: Settings, cached: bool) -> None:
    tags = [tag_of(settings, name) for name in ("toolchain", "builder")]
    engine = FakeEngine(images=dict.fromkeys([BASE, *tags], "sha256:old"))
    made = build_images(settings, engine, print, cached=cached)
    assert [one.tag for one in made] == tags
    assert [("--no-cache" in words) for words in engine.built] == [not cached] * 2
    first = made[0]
    assert first == Built(
        name="toolchain", tag=tags[0], bytes=engine.image_bytes(tags[0]), seconds=first.seconds
    )
    assert 0 <= first.seconds < 60
