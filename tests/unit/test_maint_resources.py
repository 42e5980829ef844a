"""What is known of each thing: its size, its age, and what speaks against its going."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.engine.labels import LABEL_FOLDER, labels
from synos_tasks.images.ledger import Ledger, Made
from synos_tasks.maint import ownership, resources
from synos_tasks.maint.resources import Facts
from tests.iso_sets import lay_iso
from tests.unit.fake_inventory import (
    BUILDER,
    NOW,
    OLD,
    OURS,
    ROOT,
    THEIRS,
    altered,
    clone,
    container,
    inventory,
    network,
    our_image,
    record,
    volume,
)

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.engine.client import Container, Image
    from synos_tasks.maint.resources import Resource

STEPS = frozenset({"exec one", "exec two", "mount /c synos-c one"})


def found_of(about: Any = None, ledger: Ledger | None = None, **given: Any) -> dict[str, Resource]:  # noqa: ANN401
    """Give what is the clone's of an inventory, by name."""
    every, of = inventory(**given), clone(steps=STEPS, ledger=ledger or Ledger())
    facts = Facts(inventory=every, clone=of, owned=ownership.owned(every, of), now=NOW, **(about or {}))
    found = resources.resources(facts)
    assert len({one.id for one in found}) == len(found)
    return {one.name: one for one in found}


def ours(name: str, of: Image | str = "sha256:gone", role: str = "services", **given: Any) -> Container:  # noqa: ANN401
    return container(f"{OURS}-{name}", of, **{"labels": labels(OURS, role), **given})


# Containers


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (labels(OURS, "build"), "build container"),
        (labels(OURS, "services"), "container"),
        (labels(OURS, "dev"), "dev container"),
        ({**labels(OURS, "build"), LABEL_FOLDER: str(ROOT)}, "dev container"),
        (labels(OURS, "boot"), "container"),
    ],
)
def test_what_a_container_is_for_its_labels_tell(told: dict[str, str], kind: str) -> None:
    assert found_of(containers=[ours("x", labels=told)])[f"{OURS}-x"].kind == kind


@pytest.mark.parametrize(
    "state", ["running", "paused", "restarting", "removing", "created", "exited", "dead"]
)
def test_a_container_that_is_in_use_or_about_to_start_is_pinned(state: str) -> None:
    for age in (-5, 0, 599, 600):
        [found] = found_of(containers=[ours("x", state=state, created=NOW - age)]).values()
        unused = state in {"exited", "dead"} or (state == "created" and age == 600)
        assert bool(found.pinned) == (not unused)


# Who uses what


@pytest.mark.parametrize(
    ("state", "user"), [*((state, "theirs") for state in ("running", "exited", "created")), ("running", OURS)]
)
def test_what_runs_or_others_have_is_pinned_though_that_may_not_run(state: str, user: str) -> None:
    """A container of others could not start again."""
    one, net, vol = our_image(), network("net"), volume("vol")
    mark = labels(OURS, "services") if user == OURS else None
    uses = container(f"{user}-x", one, labels=mark, state=state, volumes=("vol",), networks=(net.name,))
    ended = ours("a", volumes=("vol",))
    found = found_of(images=[one], networks=[net], volumes=[vol], containers=[ended, uses])
    assert {found[name].pinned for name in (BUILDER, "net", "vol")} == {f"in use by {user}-x"}


def test_what_containers_of_ours_have_that_ended_goes_after_all_of_them() -> None:
    one, net, vol = our_image(), network("net"), volume("vol")
    ended = [ours(name, one, volumes=("vol",), networks=(net.name,)) for name in "ab"]
    found = found_of(images=[one], networks=[net], volumes=[vol], containers=ended)
    for name in (BUILDER, "net", "vol"):
        assert found[name].pinned == ""
        assert found[name].needed_by == tuple(each.id for each in ended)


# Images


def test_what_the_dockerfiles_give_now_is_held_by_any_of_its_names() -> None:
    now = {"current": frozenset({BUILDER})}
    for tags in ((BUILDER,), ("theirs:1", BUILDER)):
        found = found_of(now, images=[our_image("ours", *tags)])
        assert found[BUILDER].pinned == "what the Dockerfiles give now"
    assert found_of(images=[our_image()])[BUILDER].pinned == ""


def test_an_image_is_of_the_group_of_its_name_and_as_old_as_its_last_name() -> None:
    ledger = Ledger(images={"sha256:before": Made(tag="synos-builder:old", seconds=81.5)})
    found = found_of(images=[our_image(tagged=NOW - 7)], sizes={BUILDER: 44}, ledger=ledger)[BUILDER]
    assert (found.kind, found.group, found.names) == ("image", "synos-builder", (BUILDER,))
    assert (found.used, found.bytes, found.seconds) == (NOW - 7, 44, 81.5)
    assert found_of(images=[our_image()])[BUILDER].used == OLD
    assert found_of(images=[our_image()])[BUILDER].seconds is None


def test_an_image_that_others_gave_a_name_frees_nothing_and_keeps_that_name() -> None:
    found = found_of(images=[our_image("ours", "a-theirs:1", BUILDER)])[BUILDER]
    assert (found.bytes, found.names, found.pinned) == (0, (BUILDER,), "")


def test_an_image_with_names_of_others_only_stays() -> None:
    left = our_image("ours", "theirs:1", "a:2")
    [found] = found_of(images=[left], ledger=Ledger(images={left.id: Made(tag=BUILDER, seconds=1)})).values()
    assert (found.pinned, found.names, found.bytes) == ("has only names of others, as a:2", (), 0)


def test_a_nameless_image_is_in_no_group() -> None:
    lost = altered(our_image(), tags=())
    [found] = found_of(images=[lost], ledger=Ledger(images={lost.id: Made(tag=BUILDER, seconds=9)})).values()
    assert (found.group, found.names, found.pinned, found.bytes) == ("", (), "", 40)
    assert found.name == f"nameless {lost.id[7:19]}"


# Volumes

ANONYMOUS = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("name", "role", "kind"),
    [
        (f"{OURS}-store", "cache", "cache volume"),
        (f"{OURS}-ccache", "cache", "cache volume"),
        (f"{OURS}-work", "build", "cache volume"),
        (f"{OURS}-once-1-deadbeef", "cache", "scratch volume"),
        (ANONYMOUS, "build", "scratch volume"),
        *((f"{OURS}-dev", role, "data volume") for role in ("dev", "", "Cache")),
        (ANONYMOUS, "dev", "data volume"),
        # what holds data is not for one command, whatever it is called: an import may give any name
        *((name, "services", "data volume") for name in (
            f"{OURS}-unified_nats", f"{OURS}-nonce-1", f"{OURS}-once-upon-a-time", f"x{OURS}-once-1",
            f"{THEIRS}-once-1", ANONYMOUS, ANONYMOUS[1:], ANONYMOUS.upper(),
        )),
    ],
)  # fmt: skip
def test_what_a_volume_holds(name: str, role: str, kind: str) -> None:
    assert found_of(volumes=[volume(name, role=role)])[name].kind == kind


def test_the_store_goes_piece_by_piece_and_as_a_volume_only_for_a_reset() -> None:
    one = volume(f"{OURS}-store", role="cache")
    assert found_of(volumes=[one])[one.name].pinned == "the store: its content is removed with --store"
    whole = {"factory_reset": True}
    assert found_of(whole, volumes=[one])[one.name].pinned == ""
    used = container("theirs", volumes=(one.name,))
    assert found_of(whole, volumes=[one], containers=[used])[one.name].pinned == "in use by theirs"
    for other in (f"{OURS}-store2", f"{THEIRS}-store", "store"):
        assert found_of(volumes=[volume(other, role="cache")])[other].pinned == ""


# Build cache


def test_a_record_says_what_it_frees_and_what_stands_on_it() -> None:
    records = [
        record("base", "from local "),
        record("a", "mount / from exec /bin/sh -c one", "base", used=NOW - 3),
        record("b", "mount / from exec /bin/sh -c two", "a", shared=True),
        record("c", "mount / from exec /bin/sh -c theirs", "a", "b"),
        record("m", 'cached mount /c from exec /bin/sh -c one with id "/synos-c"', type="exec.cachemount", in_use=True),
    ]  # fmt: skip
    found = {one.id: one for one in found_of(records=records).values()}
    assert {ident: (one.bytes, one.needed_by, one.pinned) for ident, one in found.items()} == {
        "a": (5, ("b", "c"), ""),
        "b": (0, ("c",), ""),
        "m": (5, (), "a build is using it"),
    }
    assert found["m"].name == "cache mount synos-c"
    assert found["a"].used == NOW - 3


# ISOs


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        ("", "somebody worked on it"),
        (".sha256", "0" * 64 + "  synos-minimal-000000000000.iso\n"),
        *(
            (".manifest.json", text)
            for text in ("", "[]", "null", '{"schema": "synos.manifest/2"}', "[" * 100_000)
        ),
    ],
)
def test_an_iso_whose_files_do_not_fit_is_none_of_ours(tmp_path: Path, ending: str, text: str) -> None:
    iso = lay_iso(tmp_path, "minimal", "0" * 12, NOW)
    other = lay_iso(tmp_path, "minimal", "1" * 12, NOW, report=True)
    iso.with_name(f"{iso.name}{ending}").write_text(text)
    (tmp_path / "synos-minimal.iso").symlink_to(iso.name)
    [found] = resources.isos(tmp_path)
    assert (found.id, found.group, found.used, found.pinned) == (str(other), "minimal", NOW, "")
    assert [name.removeprefix(str(other)) for name in found.names] == ["", *resources.ISO_FILES]


def test_an_iso_whose_files_cannot_be_read_stays(tmp_path: Path) -> None:
    iso = lay_iso(tmp_path, "minimal", "0" * 12, NOW)
    manifest = iso.with_name(f"{iso.name}.manifest.json")
    manifest.unlink()
    manifest.mkdir()  # which root cannot read either
    [found] = resources.isos(tmp_path)
    assert (found.id, found.pinned) == (str(iso), f"{manifest} cannot be read: Is a directory")


def test_an_iso_under_another_name_or_behind_a_link_is_none_of_ours(tmp_path: Path) -> None:
    output = tmp_path
    iso = lay_iso(output, "minimal", "0" * 12, NOW)
    for ending in ("", ".sha256", ".manifest.json"):
        iso.with_name(f"{iso.name}{ending}").rename(output / f"mine.iso{ending}")
    (output / "synos-linked-000000000000.iso").symlink_to("mine.iso")
    assert list(resources.isos(output)) == []
