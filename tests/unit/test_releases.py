"""A mirror's signed files are those that were asked for, and indexes are those that they vouch for."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

from synos_tasks.errors import BadSignature
from synos_tasks.iso import releases, resolve
from synos_tasks.iso.profile import Profile
from tests.unit.contexts import build_context, fake_tools, warnings
from tests.unit.signed_lists import PACKAGES, SIGNED, lay_lists, named, release

PROFILE = Profile(name="x", suite="bookworm", layers=(("base", ("vim",)),))
MAIN, SECURITY = PROFILE.mirror, PROFILE.security_mirror
SUITES = {"bookworm": MAIN, "bookworm-updates": MAIN, "bookworm-security": SECURITY}
FORGED = PACKAGES.replace("vim", "bad")


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    folder = tmp_path / "lists"
    folder.mkdir()
    lay_lists(folder, PROFILE)
    return folder


def test_what_was_asked_for_is_taken_signed_in_one_file_or_in_two(lists: Path) -> None:
    dates, dropped = releases.verify(PROFILE, lists)
    assert list(dates) == list(SUITES)
    for suite, mirror in SUITES.items():
        inline = named(lists, mirror, f"{suite}/InRelease")
        text = inline.read_text().partition("\n\n")[2].partition("\n-----BEGIN")[0]
        inline.unlink()
        named(lists, mirror, f"{suite}/Release").write_text(text)
    assert releases.verify(PROFILE, lists) == (dates, dropped) == (dates, [])


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        *itertools.permutations(SUITES, 2),
        *((asked, f"trixie{asked.removeprefix('bookworm')}") for asked in SUITES),
    ],
)
def test_a_signed_file_of_another_suite_is_refused(lists: Path, asked: str, served: str) -> None:
    text = release(served)
    named(lists, SUITES[asked], f"{asked}/InRelease").write_text(SIGNED.format(text=text))
    with pytest.raises(BadSignature) as caught:
        releases.verify(PROFILE, lists)
    assert f"asked for: {asked}; served: {served} or " in caught.value.why
    assert caught.value.where == f"{SUITES[asked]}/dists/{asked}"
    assert caught.value.hint


def test_a_component_that_the_mirror_lacks_is_refused_with_what_it_has(lists: Path) -> None:
    for areas in (("main", "contrib"), ("main",)):
        releases.verify(dataclasses.replace(PROFILE, areas=areas), lists)
    with pytest.raises(BadSignature, match="not all components of bookworm") as caught:
        releases.verify(dataclasses.replace(PROFILE, areas=("main", "non-free")), lists)
    assert caught.value.why == "asked for: main non-free; served: main contrib"
    assert caught.value.where == f"{MAIN}/dists/bookworm"


@pytest.mark.parametrize("path", ["%7ea_b-c/debian", "~a_b-c/debian"])
def test_apts_names_for_what_it_fetched_are_known(tmp_path: Path, path: str) -> None:
    """As apt 2.6 names them."""
    profile = dataclasses.replace(PROFILE, mirror=f"http://[::1]:80/{path}", suites=("release",))
    (tmp_path / "%5b::1%5d:80_%7ea%5fb-c_debian_dists_bookworm_InRelease").write_text(release("bookworm"))
    assert list(releases.verify(profile, tmp_path)[0]) == ["bookworm"]


def test_apts_lists_keep_nothing_that_no_release_file_vouches_for(lists: Path) -> None:
    kept = sorted(path.name for path in lists.iterdir())
    (lists / "partial").mkdir()
    (lists / "lock").touch()
    named(lists, SECURITY, "bookworm-security/main/binary-amd64/Packages").write_text(FORGED)
    for planted in ("binary-all/Packages", "binary-amd64/Packages.xz", "i18n/Translation-en"):
        named(lists, SECURITY, f"bookworm-security/main/{planted}").write_text(FORGED)
    named(lists, "http://other.example/debian", "bookworm/InRelease").write_text("Codename: bookworm\n")
    named(lists, MAIN, "bookworm/Release").write_text("Codename: bookworm\n")
    _, (forged,) = releases.verify(PROFILE, lists)
    assert sorted(path.name for path in lists.iterdir()) == sorted({*kept, "partial", "lock"} - {forged})
    assert forged.endswith("bookworm-security_main_binary-amd64_Packages")


@pytest.mark.parametrize("again", [False, True], ids=["once", "always"])
def test_an_index_that_was_changed_in_the_store_is_fetched_again_before_anything_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """apt finds an index in its lists and does not hash it."""
    lists = tmp_path / "lists"
    index = named(lists, MAIN, "bookworm/main/binary-amd64/Packages")

    def act(argv: list[str]) -> list[str]:
        if "update" in argv:
            forged = index.exists() or again
            lay_lists(lists, PROFILE)
            index.write_text(FORGED if forged else PACKAGES)
        else:
            assert index.read_text() == PACKAGES
        return []

    lists.mkdir()
    index.write_text(FORGED)
    ran = fake_tools(monkeypatch, act)
    with build_context(tmp_path / "context", PROFILE) as context:
        if again:
            with pytest.raises(BadSignature, match="not what its Release file says"):
                resolve.resolve(context, lists, None)
        else:
            resolve.resolve(context, lists, None)
    assert [index.name in text for text in warnings(context)] == [True] * (1 + again)
    assert ["update" in argv for argv in ran] == [True, True] + [False] * (not again)


def test_the_mirror_is_always_asked_for_its_release_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ "Not modified" must not leave an old one, which was signed once and then put into the store."""
    lists = tmp_path / "lists"
    lists.mkdir()
    lay_lists(lists, PROFILE)
    times: list[float] = []

    def act(argv: list[str]) -> None:
        if "update" in argv:
            times.extend(path.stat().st_mtime for path in lists.glob("*Release"))

    fake_tools(monkeypatch, act)
    with build_context(tmp_path / "context", PROFILE) as context:
        resolve.resolve(context, lists, None)
    assert times == [0, 0, 0], "apt asks for what changed since that time, and here for all"
