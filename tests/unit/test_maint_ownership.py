"""Whose a thing is: ours by what nobody else can have, and never by what it looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.engine.labels import (
    LABEL_BASE,
    LABEL_CONTAINER,
    LABEL_FOLDER,
    LABEL_IMAGE,
    LABEL_PROJECT,
    LABEL_ROLE,
    image_labels,
)
from synos_tasks.images.catalog import BOOKWORM, TRIXIE
from synos_tasks.images.dockerfile import steps_of
from synos_tasks.images.ledger import Ledger, Made
from synos_tasks.maint.ownership import labels_of, own_names, owned
from tests.unit.fake_inventory import (
    BUILDER,
    OLD,
    OURS,
    ROOT,
    THEIRS,
    altered,
    clone,
    container,
    image,
    inventory,
    network,
    our_base,
    our_image,
    record,
    volume,
)

if TYPE_CHECKING:
    from synos_tasks.engine.cache import Record
    from synos_tasks.engine.client import Container, Image
    from synos_tasks.maint.ownership import Clone

BASE = our_base()
IMAGE = our_image()
LOOKALIKES = (
    THEIRS, f"{OURS}0", f"{OURS}-", f"x{OURS}", f" {OURS}", OURS[:-1], OURS.upper(), OURS.replace("0", "O"),
    "synos", "",
)  # fmt: skip
"""Ids of projects that are not the clone's."""
OTHER_NAMES = (
    "theirs:latest",
    "synos-builder:bbbbbbbbbbbb",
    f"{BUILDER}0",
    BUILDER[:-1],
    f"x{BUILDER}",
    f"localhost:5000/{BUILDER}",
    f"docker.io/{BUILDER}",
    BUILDER.replace(":", "-"),
    f"{BUILDER.partition(':')[0]}:latest",
    "SYNOS-builder:aaaaaaaaaaaa",
)


def remembered(*images: Image) -> Ledger:
    return Ledger(images={one.id: Made(tag=BUILDER, seconds=1.0) for one in images})


def ours_of(*images: Image, of: Clone | None = None) -> list[Image]:
    found = owned(inventory(images=images), of or clone())
    return list(found.images)


# Images


@pytest.mark.parametrize(
    ("base", "step", "ours"),
    [
        ("from local ", "RUN make", True),
        ("pulled from docker.io/library/debian:bookworm-slim@sha256:1", "RUN make", True),
        ("pulled from docker.io/library/redis:7@sha256:1", "RUN make", False),
        ("from local ", "WORKDIR /data", False),
    ],
)
def test_a_like_step_on_another_image_is_not_ours(base: str, step: str, ours: bool) -> None:
    steps = steps_of(f"FROM debian:bookworm-slim AS a\n{step}\n")
    told = f"[a 2/2] {step}" if step.startswith("WORKDIR") else "mount / from exec /bin/sh -c make"
    records = (record("base", base), record("one", told, "base"))
    found = owned(inventory(records=records), clone(steps=steps))
    assert [one.id for one in found.usage.records] == (["one"] if ours else [])


def test_a_step_on_nothing_is_not_ours() -> None:
    steps = steps_of("FROM scratch AS a\nCOPY x /x\n")
    found = owned(inventory(records=(record("one", "[a 1/1] COPY x /x"),)), clone(steps=steps))
    assert found.usage.records == ()


@pytest.mark.parametrize("marked", ["synos-dev", f"{OURS}-dev", "synos-dev:latest"])
def test_the_name_in_the_label_may_lack_its_tag_or_have_it(marked: str) -> None:
    plain = marked.removesuffix(":latest")
    one = our_image("dev", f"{plain}:latest", labels=image_labels(OURS, "dev", plain))
    assert ours_of(one) == [one]
    assert own_names(one, clone()) == (f"{plain}:latest",)
    for wrong in (f"{plain}:newest", f"{plain}-x:latest", f"x{plain}:latest", f"{plain}:latest-x"):
        assert ours_of(altered(one, tags=(wrong,))) == []


@pytest.mark.parametrize("order", [1, -1])
def test_a_second_name_is_not_ours_to_take(order: int) -> None:
    both = our_image("ours", *(BUILDER, "theirs:latest")[::order])
    assert ours_of(both) == [both]
    left = altered(both, tags=("theirs:latest",))
    assert ours_of(left) == []
    for of in (clone(), clone(ledger=remembered(both))):
        assert own_names(both, of) == (BUILDER,)
        assert own_names(left, of) == ()


def test_a_nameless_image_is_ours_if_it_is_remembered() -> None:
    nameless = altered(IMAGE, tags=())
    assert ours_of(nameless) == []
    assert ours_of(nameless, of=clone(ledger=remembered(nameless))) == [nameless]
    assert ours_of(nameless, of=clone(ledger=remembered(image("another")))) == []
    assert own_names(nameless, clone(ledger=remembered(nameless))) == ()


@pytest.mark.parametrize("name", [BOOKWORM, TRIXIE])
def test_a_base_image_is_not_ours_though_it_was_bootstrapped_here(name: str) -> None:
    assert ours_of(our_base(name)) == []


# Containers


def ours_among(*containers: Container, images: tuple[Image, ...] = (IMAGE,)) -> list[str]:
    found = owned(inventory(images=images, containers=containers), clone())
    return [one.name for one in found.containers]


def with_label(name: str, of: Image | str = IMAGE, project: str = OURS, **more: str) -> Container:
    return container(name, of, labels={LABEL_PROJECT: project, **more})


RAN = with_label(f"{OURS}-build-1234")
"""By this library."""
COMPOSED = (f"{OURS}-unified-nats-1", f"{OURS}-unified-nats-run-0123456789ab")
COMPOSE_LABELS = {"com.docker.compose.project": f"{OURS}-unified", "com.docker.compose.service": "nats"}


def composed(name: str, of: Image | str = IMAGE) -> Container:
    return with_label(name, of, **COMPOSE_LABELS, **{LABEL_CONTAINER: ""})


def test_a_container_is_known_by_its_own_name_in_its_labels() -> None:
    every = (RAN, *map(composed, COMPOSED))
    assert ours_among(*every) == [RAN.name, *COMPOSED]
    assert ours_among(*every, images=()) == [RAN.name, *COMPOSED]


@pytest.mark.parametrize(
    "name",
    ["silly_hopper", "synos", "synos-build", OURS, f"{OURS}x-build", f"x{OURS}-build", f"{OURS.upper()}-build", f"{THEIRS}-build"],
)  # fmt: skip
def test_a_container_by_hand_or_of_anothers_compose_project_has_our_images_label_and_is_not_ours(
    name: str,
) -> None:
    assert ours_among(container(name, IMAGE)) == []
    assert ours_among(container("nats-1", IMAGE, labels={"com.docker.compose.project": name})) == []


def test_a_container_that_was_named_by_hand_is_not_ours_whatever_its_image() -> None:
    """Where the image is gone, its label may be inherited all the same."""
    for of in (image("nats", "nats:2"), BASE, "sha256:gone"):
        there = () if isinstance(of, str) else (of,)
        assert ours_among(with_label("silly_hopper", of), images=there) == []
    assert ours_among(with_label(f"{OURS}-boot-1", "sha256:gone")) == [f"{OURS}-boot-1"]


def test_a_development_container_that_only_its_folder_marks_may_be_another_clones() -> None:
    one = container("quirky_euler", image("vsc"), labels={LABEL_FOLDER: str(ROOT)})
    assert ours_among(one, images=()) == []


# Build cache

DOCKERFILE = """\
FROM debian AS runtime
COPY dpkg.conf /etc/
RUN --mount=type=cache,id=synos-apt,target=/var/cache/apt apt-get update
RUN make
"""
FROM = record("base", "pulled from docker.io/library/debian:bookworm-slim@sha256:00")
LOCAL = record("base", "from local ")
COPY = record("copy", "[runtime 2/4] COPY dpkg.conf /etc/", "base")
UPDATE = record("update", "mount / from exec /bin/sh -c apt-get update", "copy")
MAKE = record("make", "mount / from exec /bin/bash -o pipefail -c make", "update")
MOUNT_TEXT = 'cached mount /var/cache/apt from exec /bin/sh -c apt-get update with id "/synos-apt"'
MOUNT = record("mount", MOUNT_TEXT, type="exec.cachemount")


def records_of(*records: Record, **given: Any) -> set[str]:  # noqa: ANN401
    steps = given.pop("steps", steps_of(DOCKERFILE))
    return {one.id for one in owned(inventory(records=records), clone(steps=steps, **given)).usage.records}


@pytest.mark.parametrize("base", [FROM, LOCAL])
@pytest.mark.parametrize("order", [1, -1])
def test_the_steps_of_our_dockerfiles_down_to_their_image_are_ours(base: Record, order: int) -> None:
    every = (base, COPY, UPDATE, MAKE, MOUNT)[::order]
    assert records_of(*every) == {"copy", "update", "make", "mount"}
    assert records_of(*every, steps=frozenset()) == set()


def test_the_steps_of_dockerfiles_of_before_are_remembered() -> None:
    ledger = Ledger(steps=tuple(steps_of(DOCKERFILE)))
    assert records_of(FROM, COPY, UPDATE, steps=frozenset(), ledger=ledger) == {"copy", "update"}


def test_what_is_built_on_a_record_that_nobody_knows_is_not_ours() -> None:
    assert records_of(UPDATE, MAKE) == set()
    assert records_of(FROM, record("copy", COPY.description, "base", "gone")) == set()


def test_images_and_what_a_build_was_given_are_nobodys() -> None:
    context = record("a", "local source for context", type="source.local")
    assert records_of(context, record("b", "[internal] load .dockerignore"), record("c", ""), FROM) == set()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *(("/synos-apt", other) for other in ("/synos-apt-2", "/xsynos-apt", "/synos-ap", "/SYNOS-apt")),
        ("mount /var/cache/apt", "mount /var/cache/apt2"),
        ("apt-get update", "apt-get update -y"),
    ],
)
def test_a_cache_mount_that_looks_like_ours_is_not(old: str, new: str) -> None:
    assert records_of(record("mount", MOUNT_TEXT.replace(old, new), type="exec.cachemount")) == set()


def test_a_chain_as_long_as_an_image_can_have_is_no_trouble() -> None:
    step = "mount / from exec /bin/sh -c step"
    chain = [record(str(n), f"{step} {n}", str(n - 1) if n else "base") for n in range(127)]
    steps = frozenset(f"exec step {n}" for n in range(127))
    assert len(records_of(*reversed(chain), FROM, steps=steps)) == 127
    assert records_of(*reversed(chain), steps=steps) == set()


# Whatever there is

NAMES = st.sampled_from([*OTHER_NAMES, BUILDER, BOOKWORM, TRIXIE, f"{OURS}-dev:latest"])
ROLES = st.sampled_from(["build", "services", "dev", "cache"])
FOREIGN_LABELS = st.fixed_dictionaries(
    {},
    optional={
        LABEL_PROJECT: st.sampled_from(LOOKALIKES) | st.text(max_size=20).filter(lambda text: text != OURS),
        LABEL_BASE: st.sampled_from(LOOKALIKES),
        LABEL_ROLE: ROLES,
        LABEL_IMAGE: NAMES,
        LABEL_FOLDER: st.sampled_from([f"{ROOT}2", str(ROOT.parent), f"{ROOT}/x", OURS]),
        "com.docker.compose.project": st.sampled_from([OURS, f"{OURS}-unified"]),
    },
)
OWN_LABELS = {LABEL_ROLE, LABEL_PROJECT, LABEL_BASE}
CONTAINER_NAMES = st.sampled_from([f"{OURS}-build-1", f"{OURS}-unified-nats-1", OURS, "x"])


@given(st.data())
def test_nothing_without_our_label_or_folder_is_ours_whatever_its_names(data: st.DataObject) -> None:
    labels = data.draw(st.lists(FOREIGN_LABELS, min_size=4, max_size=4))
    images = [
        image(str(n), *data.draw(st.lists(NAMES, max_size=3, unique=True)), labels=labels[n])
        for n in range(4)
    ]  # fmt: skip
    drawn = [(data.draw(CONTAINER_NAMES), data.draw(st.sampled_from(images))) for _ in labels]
    containers = [container(name, of, labels=one) for (name, of), one in zip(drawn, labels, strict=True)]
    volumes = [volume(f"{OURS}-store", labels=one) for one in labels]
    networks = [network(f"{OURS}-unified_data", labels=one) for one in labels]
    every = inventory(images=images, containers=containers, volumes=volumes, networks=networks)
    found = owned(every, clone(steps=steps_of(DOCKERFILE), ledger=remembered(IMAGE)))
    assert not any((found.images, found.containers, found.volumes, found.networks))


GONE = [
    image("squashed", labels={LABEL_BASE: OURS}),
    image("inherits", labels={LABEL_PROJECT: OURS, LABEL_ROLE: "build"}),
]
"""What others built where the image that had the labels may be gone by now."""


@st.composite
def built_by_others(draw: st.DrawFn) -> Image:
    """An image that others built: on ours, on our base, on one of theirs, or on nothing; under a name of theirs."""
    below = draw(st.sampled_from([IMAGE, BASE, *GONE, image("x")]))
    own = draw(FOREIGN_LABELS)
    tags = draw(st.lists(st.sampled_from(OTHER_NAMES), max_size=2, unique=True))
    return image(
        draw(st.text(min_size=1, max_size=8)) + "!",
        *tags,
        labels={**labels_of(below), **{key: own[key] for key in own.keys() & OWN_LABELS}},
        created=OLD + draw(st.sampled_from([-1e6, -1, 0, 1])),
    )


@given(
    st.lists(built_by_others(), max_size=6),
    st.sampled_from([(), (IMAGE,)]),
    st.randoms(use_true_random=False),
)
def test_whatever_others_build_nothing_of_theirs_becomes_ours_and_ours_stays_ours(
    theirs: list[Image],
    ours: tuple[Image, ...],
    order: Any,  # noqa: ANN401
) -> None:
    every = [*theirs, *ours]
    order.shuffle(every)
    for of in (clone(), clone(ledger=remembered(IMAGE))):
        found = owned(inventory(images=tuple(every)), of)
        assert sorted(one.id for one in found.images) == sorted(one.id for one in ours)
        assert not any(own_names(one, of) for one in theirs)


DESCRIPTIONS = [
    *(one.description for one in (COPY, UPDATE, MAKE)),
    "mount / from exec theirs",
    "[1/2] COPY x /",
]


@given(
    st.lists(st.tuples(st.sampled_from(DESCRIPTIONS), st.integers(0, 9)), max_size=10),
    st.permutations(range(3)),
)
def test_what_is_built_on_theirs_is_never_ours_whatever_else_it_is_built_on(
    steps: list[tuple[str, int]], order: list[int]
) -> None:
    below = record("theirs", "mount / from exec /bin/sh -c theirs", "base")
    names = ["theirs", *map(str, range(len(steps)))]
    records = []
    for number, (text, parent) in enumerate(steps):
        parents = (names[min(parent, number)], "base", "copy")
        records.append(record(str(number), text, *(parents[one] for one in order)))
    assert records_of(FROM, COPY, below, *records) == {"copy"}
