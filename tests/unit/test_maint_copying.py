from __future__ import annotations

import errno
import fcntl
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from synos_tasks.engine.spec import LABEL_PROJECT, LABEL_ROLE
from synos_tasks.engine.volumes import User
from synos_tasks.errors import BackupDamaged, CacheUnusable, DiskFull, OutputNotWritable, SettingsError
from synos_tasks.maint import copying, exports, unfinished, volumes
from synos_tasks.maint.exports import fresh_export
from synos_tasks.maint.files import PARTIAL
from tests.unit.fake_volumes import NOW, PROJECT, Ground, ground
from tests.unit.projects import tree

RUNS = User(name="app", state="running")
HOUR = 3600.0


@pytest.fixture
def here(tmp_path: Path) -> Ground:
    made = ground(tmp_path)
    made.volumes.add("data", "a", "b", "c")
    return made


def test_an_export_is_an_archive_and_what_it_is(here: Ground) -> None:
    done = copying.export(here.means, "data")
    assert done.path == here.exports / "data-20270115T080000.tar.zst"
    told = json.loads(Path(f"{done.path}.json").read_text())
    assert told["schema"] == "synos.volume/1"
    assert (told["volume"], told["project"], told["role"]) == (f"{PROJECT}-data", PROJECT, "cache")
    assert (told["files"], told["bytes"]) == (3, done.path.stat().st_size)
    assert told["created"] == "2027-01-15T08:00:00Z"
    assert {path.name for path in here.exports.iterdir()} == {done.path.name, f"{done.path.name}.json"}
    assert done.path.stat().st_mode & 0o777 == 0o600
    assert exports.read(done.path) == done.record


def test_it_may_go_elsewhere_but_over_nothing(here: Ground, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.tar.zst"
    assert copying.export(here.means, "data", target).path == target
    before = tree(tmp_path)
    with pytest.raises(SettingsError, match="exists"):
        copying.export(here.means, "data", target)
    with pytest.raises(OutputNotWritable, match="no such folder"):
        copying.export(here.means, "data", tmp_path / "nowhere/x")
    assert tree(tmp_path) == before


def test_where_it_goes_elsewhere_nothing_else_is_touched(here: Ground, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    (folder / ".partial-folder").mkdir(parents=True)
    (folder / ".partial-link").symlink_to("none")
    for name in (".partial-firefox-download", f"{PARTIAL}of-another-clone"):
        (folder / name).write_text("half")
    before = {path.name for path in folder.iterdir()}
    copying.export(here.means, "data", folder / "x.tar.zst")
    assert {path.name for path in folder.iterdir()} == {*before, "x.tar.zst", "x.tar.zst.json"}


def test_one_in_use_is_warned_of_and_remembered(here: Ground) -> None:
    here.volumes.add("db", "a", role="services", users=(RUNS,))
    done = copying.export(here.means, "db")
    assert "in use by app" in here.said[0]
    assert "inv services.backup" in here.said[1]
    assert done.record.users == ("app",)


def test_its_time_is_that_of_before_it_was_read(here: Ground) -> None:
    """What is written meanwhile is not in it, so that it is no backup of it."""
    time = [NOW]
    here.volumes.on_stream = lambda _: time.append(NOW + HOUR)
    done = copying.export(replace(here.means, now=lambda: time[-1]), "data")
    assert done.record.time == NOW


def test_who_starts_while_it_is_read_is_remembered_too(here: Ground) -> None:
    later = User(name="later", state="running")
    full = here.volumes.add("db", "a", users=(RUNS,))

    def start(_: object) -> None:
        here.volumes.facts[full] = replace(here.volumes.facts[full], users=(later,))

    here.volumes.on_stream = start
    done = copying.export(here.means, "db")
    assert done.record.users == ("app", "later")
    assert ["in use by app:" in line for line in here.said] == [True, False]
    assert "in use by later:" in here.said[1]
    assert fresh_export(here.means.settings, full, 24, NOW) is None


def test_files_that_change_because_of_who_has_just_started_are_no_error(here: Ground) -> None:
    full = f"{PROJECT}-data"

    def start(_: object) -> None:
        here.volumes.facts[full] = replace(here.volumes.facts[full], users=(RUNS,))

    here.volumes.on_stream = start
    here.volumes.code, here.volumes.said = 1, "tar: ./a: file changed as we read it"
    assert copying.export(here.means, "data").record.users == ("app",)


def test_one_of_a_volume_that_has_gone_meanwhile_is_kept(here: Ground) -> None:
    here.volumes.on_stream = lambda _: here.volumes.facts.pop(f"{PROJECT}-data")
    assert copying.export(here.means, "data").path.exists()


def test_files_that_change_meanwhile_are_an_error_unless_it_is_in_use(here: Ground) -> None:
    here.volumes.add("db", "a", users=(RUNS,))
    here.volumes.code, here.volumes.said = 1, "tar: ./a: file changed as we read it"
    copying.export(here.means, "db")
    assert here.said[-1].endswith("file changed as we read it")
    with pytest.raises(CacheUnusable, match="could not be read"):
        copying.export(here.means, "data")


def test_an_export_that_fails_leaves_nothing(here: Ground) -> None:
    here.volumes.code, here.volumes.said = 2, "tar: ./a: Cannot open"
    with pytest.raises(CacheUnusable) as failed:
        copying.export(here.means, "data")
    assert failed.value.why == "tar: ./a: Cannot open"
    assert list(here.exports.iterdir()) == []


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, DiskFull), (errno.EACCES, OutputNotWritable)])
def test_a_disk_that_takes_no_more_leaves_nothing(
    here: Ground, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    def refuse(_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(kind, match="the export"):
        copying.export(here.means, "data")
    assert list(here.exports.iterdir()) == []


@pytest.mark.parametrize("at", ["rename", "replace", "unlink"])
def test_where_an_archive_has_its_name_its_record_is_there(
    here: Ground, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, at, die)
        with pytest.raises(KeyboardInterrupt):
            copying.export(here.means, "data")
    for archive in here.exports.glob("*.tar.zst"):
        exports.verify(archive, exports.read(archive))
    other = here.exports / "other.tar.zst"
    copying.export(here.means, "data", other)
    assert not list(here.exports.glob(f"{PARTIAL}*"))


def test_import_makes_a_labelled_volume_of_it(here: Ground) -> None:
    path = copying.export(here.means, "data").path
    done = copying.load(here.means, path, "copy")
    assert (done.volume, done.files) == (f"{PROJECT}-copy", 3)
    assert here.volumes.holds[done.volume] == ["a", "b", "c"]
    labels = here.volumes.facts[done.volume].labels
    assert (labels[LABEL_PROJECT], labels[LABEL_ROLE]) == (PROJECT, "cache")
    assert unfinished.marked(here.means.settings) == frozenset()
    spec = here.volumes.specs[-1]
    assert (spec.volumes, spec.network, spec.binds) == ({done.volume: "/volume"}, "none", ())
    assert "SYS_ADMIN" not in spec.capabilities


def test_one_that_is_gone_comes_back_as_it_was_labelled(here: Ground) -> None:
    compose = {"com.docker.compose.volume": "db", "com.docker.compose.project": f"{PROJECT}-unified"}
    full = here.volumes.add("db", "a", role="services", labels=compose)
    path = copying.export(here.means, "db").path
    here.volumes.remove(full)
    assert copying.load(here.means, path).volume == full
    labels = here.volumes.facts[full].labels
    assert {key: labels[key] for key in compose} == compose
    assert labels[LABEL_ROLE] == "services"


def test_a_copy_has_the_role_of_what_was_copied_and_none_where_that_had_none(here: Ground) -> None:
    bare = here.volumes.add("bare", "a")
    here.volumes.facts[bare] = replace(here.volumes.facts[bare], labels={LABEL_PROJECT: PROJECT})
    here.volumes.add("stack", "a", role="services")
    for name, role in (("bare", None), ("stack", "services"), ("data", "cache")):
        path = copying.export(here.means, name).path
        for made in (
            copying.clone(here.means, name, f"{name}-clone"),
            copying.load(here.means, path, f"{name}-import"),
        ):
            labels = here.volumes.facts[made.volume].labels
            assert (labels[LABEL_PROJECT], labels.get(LABEL_ROLE)) == (PROJECT, role)
            assert labels[unfinished.LABEL_MARK]


def test_no_copy_is_called_as_a_volume_that_one_command_left(here: Ground) -> None:
    path = copying.export(here.means, "data").path
    for name in ("once-copy", f"{PROJECT}-once-1-aaaaaaaa", "my-once-copy"):
        with pytest.raises(SettingsError, match="once"):
            copying.clone(here.means, "data", name)
        with pytest.raises(SettingsError, match="once"):
            copying.load(here.means, path, name)
    assert copying.clone(here.means, "data", "onces").volume == f"{PROJECT}-onces"


def test_one_of_another_clone_becomes_this_ones(here: Ground) -> None:
    path = copying.export(here.means, "data").path
    told = Path(f"{path}.json")
    told.write_text(told.read_text().replace(PROJECT, "synos-0123456789"))
    here.volumes.remove(f"{PROJECT}-data")
    assert copying.load(here.means, path).volume == f"{PROJECT}-data"


def test_a_name_that_is_taken_is_refused_whoevers_it_is(here: Ground) -> None:
    path = copying.export(here.means, "data").path
    here.volumes.facts["synos-strange"] = here.volumes.facts[f"{PROJECT}-data"]
    for name in ("", "data", "synos-strange"):
        with pytest.raises(SettingsError, match="already") as refused:
            copying.load(here.means, path, name)
        assert "--name" in refused.value.hint
    with pytest.raises(SettingsError, match="already"):
        copying.clone(here.means, "data", "data")
    assert here.volumes.holds[f"{PROJECT}-data"] == ["a", "b", "c"]


def spoil(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_damaged_one_is_refused_before_anything_is_made(here: Ground) -> None:
    path = copying.export(here.means, "data").path
    spoil(path)
    count = len(here.volumes.specs)
    with pytest.raises(BackupDamaged, match="damaged") as refused:
        copying.load(here.means, path, "copy")
    assert refused.value.why == "its SHA-256 differs"
    assert f"{PROJECT}-copy" not in here.volumes.facts
    assert len(here.volumes.specs) == count


def test_one_that_was_cut_is_refused_without_reading_it(here: Ground) -> None:
    path = copying.export(here.means, "data").path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BackupDamaged) as refused:
        copying.load(here.means, path, "copy")
    assert "bytes, not" in refused.value.why


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[" * 100_000, '{"schema": "synos.volume/2"}', "[]", "\0",
        '{"schema": "synos.volume/1"}',
    ],
)  # fmt: skip
def test_without_a_record_of_ours_nothing_is_imported(here: Ground, text: str) -> None:
    path = copying.export(here.means, "data").path
    Path(f"{path}.json").write_text(text)
    with pytest.raises(BackupDamaged):
        copying.load(here.means, path, "copy")
    Path(f"{path}.json").unlink()
    with pytest.raises(BackupDamaged, match="damaged"):
        copying.load(here.means, path, "copy")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("volume", "../x"), ("volume", 1), ("sha256", "x"), ("bytes", -1), ("bytes", True), ("files", "3"),
        ("created", "yesterday"), ("labels", {"a": 1}), ("users", [1]), ("users", None), ("role", None),
    ],
)  # fmt: skip
def test_a_record_with_a_value_that_cannot_be_is_damaged(here: Ground, key: str, value: object) -> None:
    path = copying.export(here.means, "data").path
    told = Path(f"{path}.json")
    told.write_text(json.dumps({**json.loads(told.read_text()), key: value}))
    with pytest.raises(BackupDamaged):
        exports.read(path)


def test_no_archive_is_no_damage(here: Ground, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no export"):
        copying.load(here.means, tmp_path / "none.tar.zst")


def test_an_import_that_fails_leaves_no_volume(here: Ground) -> None:
    path = copying.export(here.means, "data").path
    here.volumes.code, here.volumes.said = 2, "tar: ./a: Cannot mknod"
    with pytest.raises(CacheUnusable):
        copying.load(here.means, path, "copy")
    here.volumes.said = "tar: ./a: Cannot write: No space left on device"
    with pytest.raises(DiskFull):
        copying.load(here.means, path, "copy")
    assert list(here.volumes.facts) == [f"{PROJECT}-data"]
    assert unfinished.marked(here.means.settings) == frozenset()


def test_an_import_that_lacks_files_leaves_no_volume(here: Ground) -> None:
    path = copying.export(here.means, "data").path
    here.volumes.lost = 1
    with pytest.raises(BackupDamaged, match="damaged") as failed:
        copying.load(here.means, path, "copy")
    assert failed.value.why == "it has 2 files, not 3"
    with pytest.raises(CacheUnusable, match="of 3 files"):
        copying.clone(here.means, "data", "copy")
    assert list(here.volumes.facts) == [f"{PROJECT}-data"]


def test_one_that_changes_after_it_was_checked_leaves_no_volume(here: Ground) -> None:
    path = copying.export(here.means, "data").path
    here.volumes.on_stream = lambda _: path.write_bytes(b"other")
    with pytest.raises((BackupDamaged, CacheUnusable)):
        copying.load(here.means, path, "copy")
    here.volumes.on_stream = lambda _: path.unlink()
    with pytest.raises(BackupDamaged):
        copying.load(here.means, path, "copy")
    assert list(here.volumes.facts) == [f"{PROJECT}-data"]


def test_an_interrupted_one_leaves_no_volume(here: Ground) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    here.volumes.on_stream = interrupt
    with pytest.raises(KeyboardInterrupt):
        copying.clone(here.means, "data", "copy")
    assert list(here.volumes.facts) == [f"{PROJECT}-data"]


def killed(here: Ground, name: str) -> None:
    """Leave what a command leaves that was killed while it filled a volume."""
    full = f"{PROJECT}-{name}"
    here.volumes.create(full, {LABEL_PROJECT: PROJECT, unfinished.LABEL_MARK: "token"})
    here.exports.mkdir(parents=True, exist_ok=True)
    (here.exports / f"{unfinished.MARK}{full}").write_text("token")


def test_what_a_killed_one_left_is_shown_and_removed_by_the_next(here: Ground) -> None:
    path = copying.export(here.means, "data").path
    killed(here, "half")
    assert [one.unfinished for one in volumes.listed(here.means)] == [False, True]
    copying.load(here.means, path, "half")
    assert here.volumes.holds[f"{PROJECT}-half"] == ["a", "b", "c"]
    assert unfinished.marked(here.means.settings) == frozenset()


def test_what_is_not_whole_is_not_copied(here: Ground) -> None:
    """The clone would remove it first, and the engine make an empty one of that name for it to read."""
    killed(here, "half")
    before = dict(here.volumes.facts)
    for copy in (
        lambda: copying.clone(here.means, "half", "copy"),
        lambda: copying.export(here.means, "half"),
    ):
        with pytest.raises(SettingsError, match="not whole") as refused:
            copy()
        assert "import or clone of another" in refused.value.hint
    assert (here.volumes.facts, here.volumes.specs) == (before, [])


def test_a_mark_is_no_reason_to_remove_what_was_not_made_for_it(here: Ground) -> None:
    killed(here, "half")
    here.volumes.facts.pop(f"{PROJECT}-half")
    here.volumes.add("half", "precious")
    copying.clone(here.means, "data", "copy")
    assert here.volumes.holds[f"{PROJECT}-half"] == ["precious"]
    assert unfinished.marked(here.means.settings) == frozenset()


def test_what_a_container_still_has_stays_for_the_next_time(here: Ground) -> None:
    killed(here, "half")
    full = f"{PROJECT}-half"
    facts = here.volumes.facts[full]
    here.volumes.facts[full] = facts.__class__(**{**vars(facts), "users": (RUNS,)})
    copying.clone(here.means, "data", "copy")
    with pytest.raises(SettingsError, match="already"):
        copying.clone(here.means, "data", "half")
    assert unfinished.marked(here.means.settings) == {full}


def test_one_that_another_command_is_filling_is_not_touched(here: Ground) -> None:
    killed(here, "half")
    mark = here.exports / f"{unfinished.MARK}{PROJECT}-half"
    with mark.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        copying.clone(here.means, "data", "copy")
        assert f"{PROJECT}-half" in here.volumes.facts
        here.volumes.facts.pop(f"{PROJECT}-half")
        with pytest.raises(SettingsError, match="another command"):
            copying.clone(here.means, "data", "half")
    assert mark.exists()


def test_clone_copies_into_a_new_one(here: Ground) -> None:
    done = copying.clone(here.means, "data", "copy")
    assert (done.volume, done.files) == (f"{PROJECT}-copy", 3)
    assert here.volumes.holds[done.volume] == ["a", "b", "c"]
    [spec] = here.volumes.specs
    assert spec.read_only_volumes == {f"{PROJECT}-data": "/volume"}
    assert spec.volumes == {done.volume: "/target"}


def exported(here: Ground, created: str, **changed: object) -> Path:
    here.exports.mkdir(parents=True, exist_ok=True)
    path = here.exports / f"data-{created}.tar.zst"
    copying.export(here.means, "data", path)
    told = Path(f"{path}.json")
    told.write_text(json.dumps({**json.loads(told.read_text()), "created": created, **changed}))
    return path


def test_the_newest_export_that_is_young_enough_is_fresh(here: Ground) -> None:
    exported(here, "2027-01-15T05:00:00Z")
    newest = exported(here, "2027-01-15T07:00:00Z")
    exported(here, "2027-01-15T09:00:00Z")  # of tomorrow: a clock was wrong
    settings, full = here.means.settings, f"{PROJECT}-data"
    assert fresh_export(settings, full, 24, NOW) == newest
    assert fresh_export(settings, full, 1, NOW) is None
    assert fresh_export(settings, f"{PROJECT}-other", 24, NOW) is None
    newest.write_bytes(newest.read_bytes() + b"x")
    assert fresh_export(settings, full, 2.5, NOW) is None


def test_one_of_a_volume_in_use_or_of_another_clone_is_not_fresh(here: Ground) -> None:
    exported(here, "2027-01-15T07:00:00Z", users=["app"])
    exported(here, "2027-01-15T07:00:01Z", project="synos-other")
    assert fresh_export(here.means.settings, f"{PROJECT}-data", 24, NOW) is None
