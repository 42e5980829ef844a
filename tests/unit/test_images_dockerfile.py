"""Steps of Dockerfiles, and the words that BuildKit has for them: taken from an engine, not made up."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from synos_tasks.images.dockerfile import cache_id, step_of, steps_of
from synos_tasks.iso.suites import SUITES

ROOT = Path(__file__).resolve().parent.parent.parent

MANY = """\
FROM debian:bookworm-slim
ARG WHAT=file
WORKDIR /app
COPY file /one
copy --chown=1:2 file  file2   /many/
ADD --chmod=600 file /added
RUN echo  one   two \\
    # a comment
    && echo three
RUN ["/bin/sh", "-c", "echo exec   form"]
RUN ["echo", "a b"]
RUN --network=none echo none
RUN --mount=type=tmpfs,target=/t --mount=type=cache,target=/c,id=look-one,sharing=locked echo cached >/c/x
RUN --mount=type=cache,target=/noid echo noid >/noid/x
RUN --mount=type=bind,source=file,target=/b cat /b >/c2
run echo lower
RUN\techo tab
RUN echo $X ${WHAT} "quoted  spaces"
RUN /bin/sh -c "echo nested"
RUN /usr/bin/env TZ=UTC -c x
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN echo bash
WORKDIR relative
"""
OF_MANY = [
    "[stage-0  2/27] WORKDIR /app",
    "[stage-0  3/27] COPY file /one",
    "[stage-0  5/27] COPY --chown=1:2 file  file2   /many/",
    "[stage-0  6/27] ADD --chmod=600 file /added",
    "mount / from exec /bin/sh -c echo  one   two     && echo three",
    "mount / from exec /bin/sh -c echo exec   form",
    "mount / from exec echo a b",
    "mount / from exec /bin/sh -c echo none",
    'cached mount /c from exec /bin/sh -c echo cached >/c/x with id "/look-one"',
    "mount / from exec /bin/sh -c echo cached >/c/x",
    'cached mount /noid from exec /bin/sh -c echo noid >/noid/x with id "//noid"',
    "mount / from exec /bin/sh -c echo noid >/noid/x",
    "mount / from exec /bin/sh -c cat /b >/c2",
    "mount / from exec /bin/sh -c echo lower",
    "mount / from exec /bin/sh -c echo tab",
    'mount / from exec /bin/sh -c echo $X ${WHAT} "quoted  spaces"',
    'mount / from exec /bin/sh -c /bin/sh -c "echo nested"',
    "mount / from exec /bin/sh -c /usr/bin/env TZ=UTC -c x",
    "mount / from exec /bin/bash -o pipefail -c echo bash",
    "[stage-0 26/27] WORKDIR relative",
]

STAGES = """\
ARG BASE=debian:bookworm-slim
FROM ${BASE} AS Runtime
WORKDIR /app-b
RUN echo runtime \\
   && echo more
COPY file /x

FROM runtime AS second
RUN echo second-of
COPY --from=runtime /x /y
COPY --from=0 --chown=1:1 /x /z

FROM second
RUN echo third
WORKDIR /third

FROM --platform=linux/amd64 debian:bookworm-slim as Last
COPY --from=2 /x /z3
WORKDIR /last
RUN --mount=from=second,target=/s ls /s
RUN --mount=type=cache,target=/c,id=look-${SUITE}-b,from=runtime,source=/app-b ls /c
"""
OF_STAGES = [
    "[runtime 2/4] WORKDIR /app-b",
    "mount / from exec /bin/sh -c echo runtime    && echo more",
    "[runtime 4/4] COPY file /x",
    "mount / from exec /bin/sh -c echo second-of",
    "[second 2/3] COPY --from=runtime /x /y",
    "[second 3/3] COPY --from=0 --chown=1:1 /x /z",
    "mount / from exec /bin/sh -c echo third",
    "[stage-2 3/3] WORKDIR /third",
    "[last 2/6] COPY --from=2 /x /z3",
    "[last 4/6] WORKDIR /last",
    "mount / from exec /bin/sh -c ls /s",
    *(f'cached mount /c from exec /bin/sh -c ls /c with id "/look-{suite}-b"' for suite in SUITES),
    "mount / from exec /bin/sh -c ls /c",
]

ALONE = """\
FROM debian:bookworm-slim AS only
WORKDIR /app-c
COPY file /x-c
RUN echo "only c"
"""
OF_ALONE = ["[2/4] WORKDIR /app-c", "[3/4] COPY file /x-c", 'mount / from exec /bin/sh -c echo "only c"']
PAIRS = ((MANY, OF_MANY), (STAGES, OF_STAGES), (ALONE, OF_ALONE))
SEEN = [(dockerfile, one) for dockerfile, descriptions in PAIRS for one in descriptions]


@pytest.mark.parametrize(("dockerfile", "description"), SEEN)
def test_what_buildkit_says_of_a_step_is_found_in_its_dockerfile(dockerfile: str, description: str) -> None:
    assert step_of(description) in steps_of(dockerfile)


@pytest.mark.parametrize("dockerfile", [MANY, STAGES, ALONE], ids=["many", "stages", "alone"])
def test_a_dockerfile_gives_no_steps_but_its_own(dockerfile: str) -> None:
    """Else a step of somebody else's could pass for one of ours."""
    seen = {step_of(one) for text, one in SEEN if text == dockerfile}
    # a stage that is alone is named, or not
    named = {"[only] WORKDIR /app-c", "[only] COPY file /x-c"}
    nameless = {step.replace("[stage-0] ", "[] ") for step in seen}
    assert steps_of(dockerfile) <= seen | named | nameless


@pytest.mark.parametrize(
    "description",
    [
        "local source for context",
        "mount /s from exec /bin/sh -c ls /s",
        "[linux/arm64 runtime 2/4] WORKDIR /app-b",
        "[2/4] WORKDIR /app-b",
        "mount / from exec /bin/sh -c echo more",
        "x mount / from exec /bin/sh -c echo third",
        "mount / from exec /bin/sh -c echo third\nx",
    ],
)
def test_what_only_looks_like_a_step_of_ours_is_none(description: str) -> None:
    assert step_of(description) not in steps_of(STAGES)


CACHE = "RUN --mount=type=cache,id=synos-apt,target=/var/cache/apt,sharing=locked apt-get update"


def test_the_id_of_a_cache_mount_is_read_though_its_command_speaks_of_one() -> None:
    inner = 'echo with id "/not-me" with'
    description = f'cached mount /c from exec /bin/sh -c {inner} with id "/look-one"'
    assert cache_id(description) == "look-one"
    assert step_of(description) == f"mount /c look-one {inner}"


def test_all_mounts_of_a_step_are_its() -> None:
    text = CACHE.replace("RUN ", "RUN --mount=type=cache,id=synos-lists,target=/var/lib/apt --network=none ")
    steps = steps_of(f"FROM debian\n{text}\n")
    assert steps == {
        "mount /var/lib/apt synos-lists apt-get update",
        "mount /var/cache/apt synos-apt apt-get update",
        "exec apt-get update",
    }


@pytest.mark.parametrize(
    "text",
    [
        "", "\n\n", "# nothing\n", "FROM", "FROM debian AS", "RUN", "RUN \\", "\\\n\n", "COPY", "RUN --mount=type=cache,",
        "RUN --mount=type=cache,id=x,target=/y", "RUN []", "RUN [1, 2]", "RUN [ -f /x ]",
        "RUN <<END\nFROM here\nEND\n", "# escape=`\nFROM x\nRUN a `\n b\n",
    ],
)  # fmt: skip
def test_a_dockerfile_that_is_odd_or_broken_breaks_nothing(text: str) -> None:
    assert all(step.strip() for step in steps_of(text))


@pytest.mark.parametrize("path", sorted(ROOT.glob("docker/*/*Dockerfile*")), ids=lambda path: path.name)
def test_each_dockerfile_of_ours_has_steps_that_are_long_enough_to_be_its_own(path: Path) -> None:
    steps = steps_of(path.read_text())
    assert any(step.startswith("exec ") for step in steps)
    assert any(step.startswith("mount ") for step in steps)
    assert all(len(step) > len("exec ") + 8 for step in steps)


def test_every_cache_mount_of_ours_has_an_id_of_ours() -> None:
    texts = [path.read_text() for path in ROOT.glob("docker/*/*Dockerfile*")]
    mounts = [step.split(" ")[2] for text in texts for step in steps_of(text) if step.startswith("mount ")]
    assert mounts
    assert all(ident.startswith("synos-") for ident in mounts)


@given(st.text(max_size=200))
def test_no_text_is_too_odd_for_a_dockerfile_or_a_description(text: str) -> None:
    steps_of(text)
    step_of(text)
    cache_id(text)


@given(
    st.sampled_from(SEEN),
    st.integers(min_value=0, max_value=200),
    st.characters(codec="utf-8", exclude_categories=("Z", "C")),
    st.sampled_from(["put in", "taken out", "put in its place"]),
)
def test_a_step_with_another_letter_is_not_ours(
    seen: tuple[str, str], place: int, letter: str, change: str
) -> None:
    dockerfile, description = seen
    begin = _begin(description)
    place = begin + place % (len(description) - begin)
    behind = place if change == "put in" else place + 1
    changed = description[:place] + ("" if change == "taken out" else letter) + description[behind:]
    assume(changed.split() != description.split())  # how many spaces there are says nothing
    assert step_of(changed) not in steps_of(dockerfile)


def _begin(description: str) -> int:
    """Return where a step's own words begin: behind its number, or the shell that runs it."""
    ends = [description.find(mark) + len(mark) for mark in ("] ", " exec ", " -c ") if mark in description]
    return max(ends[:1] if description.startswith("[") else ends[:2])
