from __future__ import annotations

import dataclasses
import json
import os
import shutil
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.errors import BackupDamaged, ContainerLost, DiskFull, SettingsError
from synos_tasks.images.base import BOOKWORM
from synos_tasks.maint import archiving, index, isos
from synos_tasks.maint.files import PARTIAL
from tests.iso_sets import lay_iso
from tests.unit.fake_volumes import NOW, Ground, ground
from tests.unit.fakes import FakeEngine
from tests.unit.projects import tree

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = 86400.0
OLD, NEW = "0" * 12, "1" * 12
NAME = f"synos-mini-{OLD}"


@pytest.fixture
def here(tmp_path: Path) -> Ground:
    made = ground(tmp_path)
    output = made.means.settings.output_dir
    lay_iso(output, "mini", OLD, NOW - 90 * DAY, report=True)
    lay_iso(output, "mini", NEW, NOW - 40 * DAY)
    return made


def output(here: Ground) -> Path:
    return here.means.settings.output_dir


def planned(here: Ground, days: float = 30, keep: int = 1) -> archiving.Plan:
    return archiving.plan(here.means.settings, older_than=days * DAY, keep_last=keep, now=NOW)


def run(here: Ground, days: float = 30, keep: int = 1) -> archiving.Archived:
    return archiving.archive(here.means, planned(here, days, keep))


def files(here: Ground, name: str = NAME) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output(here).glob(f"{name}.iso*")}


def test_an_old_one_goes_into_an_archive_with_all_that_belongs_to_it(here: Ground) -> None:
    before, young = files(here), files(here, f"synos-mini-{NEW}")
    done = run(here)
    assert [one.entry.name for one in done.archives] == [NAME]
    assert (files(here), files(here, f"synos-mini-{NEW}")) == ({}, young)
    folder = output(here) / "archive"
    assert {path.name for path in folder.iterdir()} == {".lock", "index.json", f"{NAME}.tar.zst"}
    told = json.loads((folder / "index.json").read_text())
    assert told["schema"] == "synos.archive/1"
    entry = told["archives"][NAME]
    assert {file["name"]: file["bytes"] for file in entry["files"]} == {k: len(v) for k, v in before.items()}
    assert (entry["profile"], entry["build_id"], entry["created"]) == ("mini", OLD, "2027-01-15T08:00:00Z")
    assert entry["archive"]["bytes"] == (folder / f"{NAME}.tar.zst").stat().st_size
    taken = sum(map(len, before.values())) - sum(path.stat().st_size for path in folder.iterdir())
    assert done.freed_bytes == taken


def test_restore_gives_back_every_byte_and_date(here: Ground) -> None:
    shutil.copytree(output(here), output(here).with_name("copy"), symlinks=True)
    wanted = tree(output(here).with_name("copy"))
    run(here)
    archiving.restore(here.means, f"mini-{OLD}")
    found = tree(output(here))
    assert {key: value for key, value in found.items() if not key.startswith("archive")} == wanted
    assert [one.entry.name for one in archiving.listing(here.means)] == [NAME]
    assert run(here).archives[0].entry.name == NAME  # and away again, without a new archive
    assert files(here) == {}


@pytest.mark.parametrize("name", [NAME, f"{NAME}.iso", f"{NAME}.tar.zst", f"mini-{OLD}"])
def test_an_archive_is_found_by_any_of_its_names(here: Ground, name: str) -> None:
    run(here)
    assert archiving.find(here.means, name).entry.name == NAME


def test_one_that_is_not_there_is_named(here: Ground) -> None:
    with pytest.raises(SettingsError, match="no archive 'x'") as refused:
        archiving.restore(here.means, "x")
    assert refused.value.hint == "nothing was archived yet"
    run(here)
    with pytest.raises(SettingsError) as refused:
        archiving.restore(here.means, "../x")
    assert refused.value.hint == f"there are: {NAME}"


def test_restore_goes_over_nothing_that_differs(here: Ground) -> None:
    run(here)
    (output(here) / f"{NAME}.iso.log").write_text("another")
    before = tree(output(here))
    with pytest.raises(SettingsError, match="another file") as refused:
        archiving.restore(here.means, NAME)
    assert refused.value.where == str(output(here) / f"{NAME}.iso.log")
    assert tree(output(here)) == before


def test_a_damaged_archive_gives_back_nothing(here: Ground) -> None:
    run(here)
    path = output(here) / "archive" / f"{NAME}.tar.zst"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    for damaged in (bytes(content), bytes(content[:-20]), path.read_bytes() + b"x", b""):
        path.write_bytes(damaged)
        before = tree(output(here))
        with pytest.raises(BackupDamaged, match="damaged"):
            archiving.restore(here.means, NAME)
        assert {k: v[1] for k, v in tree(output(here)).items()} == {k: v[1] for k, v in before.items()}
    path.unlink()
    assert archiving.trouble(here.means.settings, archiving.listing(here.means)[0]) == "it is not there"
    with pytest.raises(BackupDamaged):
        archiving.restore(here.means, NAME)


def test_the_newest_of_each_profile_stay(here: Ground) -> None:
    lay_iso(output(here), "other", OLD, NOW - 900 * DAY)
    for keep, chosen in ((1, [OLD]), (2, [])):
        assert [one.build_id for one in planned(here, keep=keep).builds] == chosen
    assert [one.profile for one in planned(here).builds] == ["mini"]
    for keep in (0, -1):
        with pytest.raises(SettingsError, match="would keep none"):
            planned(here, keep=keep)


def test_one_that_is_young_or_that_a_link_points_to_stays(here: Ground) -> None:
    assert planned(here, days=91).builds == ()
    (output(here) / "synos-mini.iso").symlink_to(f"{NAME}.iso")
    assert planned(here).builds == ()


def edit_manifest(here: Ground, **fields: object) -> None:
    path = output(here) / f"{NAME}.iso.manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


NOT_OURS: list[Callable[[Ground], object]] = [
    lambda here: (output(here) / f"{NAME}.iso.manifest.json").unlink(),
    lambda here: (output(here) / f"{NAME}.iso.sha256").unlink(),
    lambda here: (output(here) / f"{NAME}.iso.manifest.json").write_text("{"),
    lambda here: (output(here) / f"{NAME}.iso.manifest.json").write_text("[]"),
    lambda here: (output(here) / f"{NAME}.iso.sha256").write_text("0\n"),
    lambda here: (output(here) / f"{NAME}.iso").write_bytes(b"short"),
    lambda here: edit_manifest(here, profile="other"),
    lambda here: edit_manifest(here, build_id=NEW),
    lambda here: edit_manifest(here, schema="synos.manifest/2"),
    lambda here: edit_manifest(here, bytes=None),
    lambda here: edit_manifest(here, sha256="0" * 64),
]


@pytest.mark.parametrize("spoil", NOT_OURS)
def test_one_whose_manifest_does_not_fit_is_left_alone_and_told(
    here: Ground, spoil: Callable[[Ground], object]
) -> None:
    spoil(here)
    before = tree(output(here))
    plan = planned(here, days=0)
    assert [one.name for one in plan.left] == [f"{NAME}.iso"]
    assert archiving.archive(here.means, plan).archives == ()
    assert tree(output(here)) == before


def test_what_is_not_named_as_ours_is_nobodys_business(here: Ground, tmp_path: Path) -> None:
    for name in ("debian.iso", "synos-mini.iso", "synos-mini-12.iso", f"synos-{OLD}.iso"):
        (output(here) / name).write_text("x")
    (output(here) / f"synos-far-{OLD}.iso").symlink_to(tmp_path)
    found, left = isos.builds(output(here))
    assert [one.build_id for one in found] == [OLD, NEW]
    assert left == []


def test_a_damaged_iso_is_not_archived(here: Ground) -> None:
    iso = output(here) / f"{NAME}.iso"
    content = iso.read_bytes()
    iso.write_bytes(b"X" + content[1:])
    os.utime(iso, (NOW - 90 * DAY, NOW - 90 * DAY))
    done = run(here)
    assert [one.why for one in done.left] == ["its SHA-256 is not what its manifest says: it is damaged"]
    assert len(files(here)) == 5


def test_without_an_old_one_nothing_is_made(here: Ground) -> None:
    before = tree(here.means.settings.root)
    assert run(here, days=365).archives == ()
    assert tree(here.means.settings.root) == before
    shutil.rmtree(output(here))
    assert run(here).archives == ()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": "synos.archive/1"}', "\0", "[" * 100_000])
def test_a_damaged_index_is_made_anew_of_the_archives(here: Ground, content: str) -> None:
    run(here)
    path = output(here) / "archive/index.json"
    before = path.read_text()
    path.write_text(content)
    assert [one.entry.name for one in archiving.listing(here.means)] == [NAME]
    assert path.read_text() == content
    run(here)
    assert path.read_text() == before
    assert any("damaged" in line for line in here.said)


def test_an_index_that_is_lost_is_made_anew(here: Ground) -> None:
    run(here)
    path = output(here) / "archive/index.json"
    before = path.read_text()
    path.unlink()
    (path.parent / f"synos-mini-{NEW}.tar.zst").write_text("none")
    run(here)
    assert path.read_text() == before
    assert any("no archive of ours" in line for line in here.said)


def test_without_the_image_that_reads_archives_none_is_built_to_look(here: Ground) -> None:
    run(here)
    path = output(here) / "archive/index.json"
    path.unlink()
    engine = FakeEngine(images={BOOKWORM.tag: "sha256:0"})
    means = dataclasses.replace(here.means, engine=engine)
    count = len(here.volumes.specs)
    assert archiving.listing(means) == []
    assert here.said[-2].startswith("warning: 1 archives are not in")
    assert here.said[-2].endswith(NAME)
    assert "inv build.image" in here.said[-1]
    for name in (NAME, f"mini-{OLD}"):
        with pytest.raises(SettingsError, match="cannot be looked into") as refused:
            archiving.find(means, name)
        assert "inv build.image" in refused.value.hint
    with pytest.raises(SettingsError, match="there is no archive 'x'"):
        archiving.find(means, "x")
    assert (engine.built, len(here.volumes.specs)) == ([], count)
    archiving.restore(means, NAME)
    assert len(engine.built) == 1
    assert len(files(here)) == 5


def test_what_the_index_knows_is_told_without_an_image(here: Ground) -> None:
    run(here)
    means = dataclasses.replace(here.means, engine=FakeEngine())
    assert [one.entry.name for one in archiving.listing(means)] == [NAME]
    assert archiving.find(means, NAME).entry.name == NAME


def edited(entry: dict[str, Any], **fields: object) -> dict[str, Any]:
    return {**entry, **fields}


@pytest.mark.parametrize(
    "edit",
    [
        lambda entry: edited(entry, name="synos-other-000000000000"),
        lambda entry: edited(entry, profile="other"),
        lambda entry: edited(entry, created="once"),
        lambda entry: edited(entry, files=[]),
        lambda entry: edited(entry, files=[{**entry["files"][0], "name": "../../x"}, *entry["files"][1:]]),
        lambda entry: edited(entry, files=[*entry["files"], entry["files"][0]]),
        lambda entry: edited(entry, files=[{**entry["files"][0], "bytes": -1}, *entry["files"][1:]]),
        lambda entry: edited(entry, files=[{**entry["files"][0], "mtime_ns": "x"}, *entry["files"][1:]]),
        lambda entry: edited(entry, files="x"),
        lambda entry: edited(entry, archive={}),
        lambda entry: edited(entry, archive=None),
    ],
)
def test_an_index_that_was_edited_is_damaged(
    here: Ground, tmp_path: Path, edit: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    run(here)
    path = output(here) / "archive/index.json"
    told = json.loads(path.read_text())
    told["archives"][NAME] = edit(told["archives"][NAME])
    path.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"."):
        index.read(path)


def test_packing_that_fails_removes_nothing(here: Ground) -> None:
    before = files(here)
    here.volumes.code, here.volumes.said = 137, "killed"
    with pytest.raises(ContainerLost):
        run(here)
    assert files(here) == before
    assert not list((output(here) / "archive").glob(f"*{NAME}*"))


def test_a_full_disk_removes_nothing(here: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(here)

    def refuse(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DiskFull, match="the archive"):
        run(here)
    assert files(here) == before


def test_one_that_cannot_be_read_back_removes_nothing(here: Ground) -> None:
    before = files(here)

    def spoil(spec: object) -> None:
        for path in (output(here) / "archive").glob(f"{PARTIAL}*"):
            if path.stat().st_size:
                path.write_bytes(path.read_bytes()[:-30])

    here.volumes.on_stream = spoil
    with pytest.raises(BackupDamaged):
        run(here)
    assert files(here) == before
    here.volumes.on_stream = lambda _: None
    assert len(run(here).archives) == 1


def test_a_file_that_changes_meanwhile_stays(here: Ground) -> None:
    log = output(here) / f"{NAME}.iso.log"
    here.volumes.on_stream = lambda _: log.write_text("other words\n")
    with pytest.raises(BackupDamaged, match="changed while"):
        run(here)
    assert len(files(here)) == 5


def test_an_archive_that_is_damaged_is_made_anew_while_the_iso_is_there(here: Ground) -> None:
    before = files(here)
    run(here)
    path = output(here) / "archive" / f"{NAME}.tar.zst"
    archiving.restore(here.means, NAME)
    path.write_bytes(b"nothing")
    run(here)
    assert files(here) == {}
    archiving.restore(here.means, NAME)
    assert files(here) == before


def test_dry_reads_and_nothing_else(here: Ground) -> None:
    before = tree(here.means.settings.root)
    plan = planned(here)
    assert plan.bytes == sum(map(len, files(here).values()))
    assert archiving.listing(here.means) == []
    assert tree(here.means.settings.root) == before
    assert here.volumes.specs == []


def test_the_second_of_two_at_once_leaves_what_the_first_has_archived(here: Ground) -> None:
    for number in range(2, 5):
        lay_iso(output(here), "mini", f"{number:012x}", NOW - number * DAY)
    first, second = planned(here, days=1), planned(here, days=1)
    assert len(archiving.archive(here.means, first).archives) == 4
    before = tree(output(here))
    done = archiving.archive(here.means, second)
    assert done.archives == ()
    assert [one.why for one in done.left] == ["another command archived it"] * 4
    assert tree(output(here)) == before


def test_what_changed_since_the_plan_is_left_alone(here: Ground) -> None:
    plan = planned(here)
    (output(here) / "synos-mini.iso").symlink_to(f"{NAME}.iso")
    done = archiving.archive(here.means, plan)
    assert (done.archives, [one.name for one in done.left]) == ((), [f"{NAME}.iso"])
    assert "not as it was" in done.left[0].why
    (output(here) / "synos-mini.iso").unlink()
    lay_iso(output(here), "mini", OLD, NOW - 90 * DAY, content=b"another" * 1000)
    assert archiving.archive(here.means, plan).archives == ()
    assert len(files(here)) == 5


def test_nothing_goes_that_the_plan_has_not_shown(here: Ground) -> None:
    plan = planned(here)
    lay_iso(output(here), "mini", "2" * 12, NOW - 80 * DAY)
    assert [one.entry.name for one in archiving.archive(here.means, plan).archives] == [NAME]


@pytest.mark.allow_process(reason="a race needs two")
def test_two_processes_at_once_end_well(tmp_path: Path) -> None:
    here = ground(tmp_path)
    for number in range(8):
        lay_iso(output(here), "mini", f"{number:012x}", NOW - (90 - number) * DAY)
    plan = planned(here)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                archiving.archive(here.means, plan)
                code = 0
            except BaseException:  # noqa: BLE001  (a fork of pytest must not go on as one)
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    assert len(archiving.listing(here.means)) == 7
    assert len(list(output(here).glob("*.iso"))) == 1


# Every call that changes the disk, and every start of a container, is a moment to be killed at.
STEPS = [
    (os, "fsync"), (Path, "replace"), (Path, "rename"), (Path, "unlink"), (Path, "mkdir"), (os, "utime"),
]  # fmt: skip


class Cut(BaseException):
    """What no code can take for an error that it knows."""


def cutting(patch: pytest.MonkeyPatch, here: Ground, number: int, act: Callable[[], None]) -> list[int]:
    """Act before the step of that number; gives a list whose length tells how many steps there were."""
    seen: list[int] = []

    def step(*_: object) -> None:
        seen.append(1)
        if len(seen) == number:
            act()

    for owner, name in STEPS:
        real = getattr(owner, name)

        def stepped(*args: Any, _real: Any = real, **kwargs: Any) -> Any:  # noqa: ANN401
            step()
            return _real(*args, **kwargs)

        patch.setattr(owner, name, stepped)
    here.volumes.on_stream = step
    return seen


def raised(here: Ground, work: Callable[[], object], number: int) -> bool:
    """Do the work and cut it short by an exception; False where it had fewer steps."""

    def act() -> None:
        raise Cut

    with pytest.MonkeyPatch.context() as patch:
        seen = cutting(patch, here, number, act)
        try:
            work()
        except Cut:
            pass
        finally:
            here.volumes.on_stream = lambda _: None
    return len(seen) >= number


def killed(here: Ground, work: Callable[[], object], number: int) -> bool:
    """The same in a process of its own that is gone from one step to the next: nothing tidies up."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with pytest.MonkeyPatch.context() as patch:
                cutting(patch, here, number, lambda: os._exit(9))
                work()
            code = 0
        except BaseException:  # noqa: BLE001  (a fork of pytest must not go on as one)
            traceback.print_exc()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in {0, 9}
    return code == 9


@pytest.mark.allow_process(reason="a kill cannot be tried in the process of the tests")
@pytest.mark.parametrize("cut", [raised, killed])
def test_cut_short_at_any_step_nothing_is_lost_and_the_next_finishes(
    tmp_path: Path, cut: Callable[[Ground, Callable[[], object], int], bool]
) -> None:
    for number in range(1, 100):
        here = ground(tmp_path / str(number))
        lay_iso(output(here), "mini", OLD, NOW - 90 * DAY, report=True)
        lay_iso(output(here), "mini", NEW, NOW - 40 * DAY)
        before = files(here)
        more = cut(here, lambda here=here: run(here), number)  # type: ignore[misc]
        left = files(here)
        if left != before:  # then all of it is in the archive already
            copy = dataclasses.replace(here.means.settings, root=tmp_path / f"{number}-copy")
            shutil.copytree(here.means.settings.root, copy.root)
            archiving.restore(dataclasses.replace(here.means, settings=copy), NAME)
            assert {p.name: p.read_bytes() for p in copy.output_dir.glob(f"{NAME}.iso*")} == before
        assert left.items() <= before.items()
        run(here)
        assert files(here) == {}, number
        archiving.restore(here.means, NAME)
        assert files(here) == before
        assert not list(output(here).rglob(".*partial-*"))
        if not more:
            assert number > 15
            return
    pytest.fail("there is no end of steps")


@pytest.mark.allow_process(reason="a kill cannot be tried in the process of the tests")
@pytest.mark.parametrize("cut", [raised, killed])
def test_a_restore_that_was_cut_short_is_done_again(
    tmp_path: Path, cut: Callable[[Ground, Callable[[], object], int], bool]
) -> None:
    for number in range(1, 100):
        here = ground(tmp_path / str(number))
        lay_iso(output(here), "mini", OLD, NOW - 90 * DAY)
        lay_iso(output(here), "mini", NEW, NOW - 40 * DAY)
        before = files(here)
        run(here)
        more = cut(here, lambda here=here: archiving.restore(here.means, NAME), number)  # type: ignore[misc]
        assert files(here).items() <= before.items()
        archiving.restore(here.means, NAME)
        assert files(here) == before
        if not more:
            assert number > 5
            return
    pytest.fail("there is no end of steps")
