"""Volumes: which there are, what is never touched, and copies that are whole or absent."""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from invoke.config import Config
from invoke.context import Context as Invoked

from synos_tasks import archive, locks
from synos_tasks.engine import cache
from synos_tasks.engine.labels import LABEL_MARK
from synos_tasks.errors import BackupDamaged, CacheUnusable, DiskFull, OutputNotWritable, SettingsError
from synos_tasks.maint import exports, tasks, volumes
from synos_tasks.maint.volumes import MARK, PARTIAL
from tests.unit.fake_volumes import NOW, PROJECT, Ground, ground
from tests.unit.projects import tree

if TYPE_CHECKING:
    from collections.abc import Callable

DATA, COPY, HALF = (f"{PROJECT}-{name}" for name in ("data", "copy", "half"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    """A project with one volume."""
    made = ground(tmp_path, monkeypatch)
    made.add("data", "a", "b", "c")
    return made


@pytest.fixture
def exported(here: Ground) -> Path:
    return volumes.export(here.context, "data")[0]


def spoil(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def killed(here: Ground) -> Path:
    """Leave what a command leaves that was killed while it filled a volume; return its mark."""
    mark = f"{MARK}token"
    here.add("half", "x", labels={LABEL_MARK: mark})
    here.exports.mkdir(parents=True, exist_ok=True)
    (here.exports / mark).touch()
    return here.exports / mark


def unfinished(here: Ground) -> list[str]:
    return [one.short for one in volumes.listing(here.context) if one.unfinished]


# which there are


def test_all_of_the_project_are_listed_and_no_others(here: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    here.use(here.add("store", size=5), "a")
    here.use(f"{PROJECT}-store", "b", "exited")
    here.add("stack", size=7, role="services")
    here.add("store", project="synos-other", size=1000)
    data, stack, store = volumes.listing(here.context)
    assert [(one.short, one.role, one.bytes) for one in (data, stack, store)] == [
        ("data", "cache", 100), ("stack", "services", 7), ("store", "cache", 5),
    ]  # fmt: skip
    assert store.users == ("a (runs)", "b")
    assert store.created == "2027-01-15T08:00:00Z"
    monkeypatch.setattr(cache, "socket_path", lambda: None)  # sizes that are not known are not made up
    assert volumes.listing(here.context)[0].bytes is None


def test_one_is_found_by_either_name_or_named_with_what_there_is(
    here: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert volumes.find(here.context, "data").name == volumes.find(here.context, DATA).name == DATA
    with pytest.raises(SettingsError, match="no volume 'dta'") as refused:
        volumes.find(here.context, "dta")
    assert refused.value.hint == "there are: data"
    here.docker.objects["volume"].clear()
    monkeypatch.setattr(cache, "disk_usage", Mock(side_effect=AssertionError("there is nothing to measure")))
    assert volumes.listing(here.context) == []


@pytest.mark.parametrize(
    "given", ["a/b", "ä", "a b", "x" * 255, "once-copy", f"{PROJECT}-once-1-aaaa", "my-once-x"]
)
def test_a_name_that_cannot_be_or_that_others_would_remove_is_refused(here: Ground, given: str) -> None:
    with pytest.raises(SettingsError):
        volumes.free_name(here.context, given)


def test_inspect_shows_all_about_one(here: Ground) -> None:
    stack = {"com.docker.compose.project": f"{PROJECT}-unified"}
    here.add("db", "a", "b", role="services", labels=stack)
    path, _ = volumes.export(here.context, "db")
    folder = here.context.settings.project.state_dir / "backups/unified"
    with archive.create(folder, "monday", {}) as draft, draft.file("x"):
        pass
    found = volumes.inspect(here.context, "db")
    assert (found.files, found.folders, found.changed) == (2, 1, "2027-01-15T08:00:00Z")
    assert (found.exports, found.backups, found.damaged) == ([str(path)], ["monday"], [])
    assert not here.docker.runs[-1].logged, "its content is in no log"
    here.code, here.message = 1, "find: Input/output error"
    with pytest.raises(CacheUnusable, match="cannot be read"):
        volumes.inspect(here.context, "db")


def test_what_is_damaged_is_not_taken_for_absent(here: Ground, exported: Path) -> None:
    folder = here.context.settings.project.state_dir / "backups/-"
    with archive.create(folder, "monday", {}) as draft, draft.file("x"):
        pass
    short, bare = exported.with_name("short.tar.zst"), exported.with_name("bare.tar.zst")
    bare.touch()
    Path(f"{exported}.json").rename(f"{short}.json")
    short.touch()
    exported.unlink()
    (folder / "monday/x").unlink()
    found = volumes.inspect(here.context, "data")
    assert (found.exports, found.backups) == ([], [])
    assert found.damaged == [
        f"{bare}: bare.tar.zst.json cannot be read: No such file or directory",
        f"{short}: it has another size than its manifest says",
        "backup monday: x: is missing",
    ]


# export


def test_an_export_is_an_archive_and_its_manifest(here: Ground) -> None:
    path, done = volumes.export(here.context, "data")
    assert path == here.exports / "data-20270115T080000.tar.zst"
    assert {one.name for one in here.exports.iterdir()} == {path.name, f"{path.name}.json"}
    assert [one.stat().st_mode & 0o777 for one in here.exports.iterdir()] == [0o600, 0o600]
    manifest = archive.parse(Path(f"{path}.json").read_bytes())
    assert (manifest.name, manifest.created) == (DATA, "2027-01-15T08:00:00Z")
    assert manifest.bytes == path.stat().st_size
    assert (done.facts["project"], done.facts["role"], done.facts["files"]) == (PROJECT, "cache", 3)
    assert exports.read(path).text() == done.text()
    with exports.verified(path, done) as stream:
        assert stream.tell() == 0


def test_it_may_go_elsewhere_where_nothing_else_is_touched(here: Ground, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / ".partial-firefox-download").touch()
    (folder / f"{PARTIAL}killed").mkdir()
    volumes.export(here.context, "data", folder / "x.tar.zst")
    before = tree(tmp_path)
    assert {path.name for path in folder.iterdir()} == {
        ".partial-firefox-download", "x.tar.zst", "x.tar.zst.json",
    }  # fmt: skip
    with pytest.raises(SettingsError, match="exists"):
        volumes.export(here.context, "data", folder / "x.tar.zst")
    with pytest.raises(OutputNotWritable, match="no such folder"):
        volumes.export(here.context, "data", tmp_path / "nowhere/x")
    assert tree(tmp_path) == before


def test_containers_that_run_before_or_after_are_warned_of_and_remembered(here: Ground) -> None:
    full = here.add("db", "a", role="services")
    here.use(full, "ended", "exited")
    here.use(full)
    moments = [NOW]

    def meanwhile() -> None:
        here.use(full, "later")
        moments.append(NOW + 3600)

    here.while_it_runs = meanwhile
    _, done = volumes.export(replace(here.context, now=lambda: moments[-1]), "db")
    assert done.time == NOW  # what is written meanwhile may not be in it
    assert done.facts["users"] == ("app", "later")
    assert [text for text in ("app", "inv services.backup", "later") if text in " ".join(here.said)]
    assert ["later" in line for line in here.said] == [False, False, True]


def test_files_that_change_meanwhile_are_an_error_unless_it_is_in_use(here: Ground) -> None:
    here.code, here.message = 1, "tar: ./a: file changed as we read it"
    with pytest.raises(CacheUnusable, match="could not be read"):
        volumes.export(here.context, "data")
    here.while_it_runs = lambda: here.use(DATA)
    volumes.export(here.context, "data")
    assert here.said[-1].endswith("file changed as we read it")


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, DiskFull), (errno.EACCES, OutputNotWritable)])
def test_a_disk_that_takes_no_more_leaves_nothing(
    here: Ground, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    monkeypatch.setattr(os, "fsync", Mock(side_effect=OSError(number, os.strerror(number))))
    with pytest.raises(kind, match="the export"):
        volumes.export(here.context, "data")
    assert list(here.exports.iterdir()) == []


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_where_an_archive_has_its_name_its_manifest_is_there(
    here: Ground, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    rename = Path.rename
    done: list[Path] = []

    def die(self: Path, target: Path) -> Path:
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(target)
        return rename(self, target)

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(Path, "rename", die)
        volumes.export(here.context, "data")
    found = list(here.exports.glob("*.tar.zst"))
    assert len(found) == renames // 2
    for path in found:
        with exports.verified(path, exports.read(path)):
            pass
    assert not list(here.exports.glob(f"{PARTIAL}*"))


# import and clone


def test_one_of_another_clone_becomes_this_ones(here: Ground, exported: Path) -> None:
    manifest = Path(f"{exported}.json")
    manifest.write_text(manifest.read_text().replace(PROJECT, "synos-0123456789"))
    here.docker.remove_volume(DATA)
    assert volumes.load(here.context, exported)[0] == DATA


def test_a_name_that_is_taken_is_refused_whoevers_it_is(here: Ground, exported: Path) -> None:
    here.docker.add_volume(f"{PROJECT}-strange")
    for name in ("", "data", "strange"):
        with pytest.raises(SettingsError, match="already") as refused:
            volumes.load(here.context, exported, name)
        assert "--name" in refused.value.hint
    with pytest.raises(SettingsError, match="already"):
        volumes.clone(here.context, "data", "data")
    assert here.contents[DATA] == ["a", "b", "c"]


def test_a_name_that_another_command_takes_meanwhile_is_left_to_it(
    here: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = here.docker.create_volume

    def late(name: str, labels: dict[str, str]) -> None:
        here.add("copy", "precious")
        create(name, labels)

    monkeypatch.setattr(here.docker, "create_volume", late)
    with pytest.raises(SettingsError, match="already"):
        volumes.clone(here.context, "data", "copy")
    assert (here.contents[COPY], COPY in here.volumes) == (["precious"], True)
    assert not list(here.exports.glob(f"{MARK}*"))


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (spoil, "its SHA-256 differs"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes, not"),
        (lambda path: Path(f"{path}.json").unlink(), "No such file"),
        (lambda path: Path(f"{path}.json").write_text("{}"), "not valid"),
        (lambda path: Path(f"{path}.json").write_text("[" * 100_000), "not valid"),
        (lambda path: Path(f"{path}.json").write_text('{"schema": "synos.volume/2"}'), "its schema is"),
    ],
)
def test_a_damaged_one_is_refused_before_anything_is_made(
    here: Ground, exported: Path, harm: Callable[[Path], object], why: str
) -> None:
    harm(exported)
    here.docker.runs.clear()
    with pytest.raises(BackupDamaged, match="damaged") as refused:
        volumes.load(here.context, exported, "copy")
    assert why in refused.value.why
    assert (here.volumes, here.docker.runs) == ([DATA], [])


def test_an_archive_that_unpacks_to_fewer_files_than_it_says_is_refused(here: Ground, exported: Path) -> None:
    here.lost = 1
    with pytest.raises(BackupDamaged) as refused:
        volumes.load(here.context, exported, "copy")
    assert (refused.value.why, here.volumes) == ("it has 2 files, not 3", [DATA])


def test_what_was_verified_is_what_is_unpacked(
    here: Ground, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = here.docker.create_volume

    def late(name: str, labels: dict[str, str]) -> None:
        exported.unlink()
        exported.write_bytes(b"x y z")
        create(name, labels)

    monkeypatch.setattr(here.docker, "create_volume", late)
    volumes.load(here.context, exported, "copy")
    assert here.contents[COPY] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("tar: ./a: Cannot mknod", CacheUnusable),
        ("tar: ./a: Cannot write: No space left on device", DiskFull),
        ("interrupted", KeyboardInterrupt),
    ],
)
def test_a_copy_that_fails_or_is_interrupted_leaves_no_volume(
    here: Ground,
    exported: Path,
    monkeypatch: pytest.MonkeyPatch,
    message: str,
    kind: type[BaseException],
) -> None:
    here.code, here.message = 2, message
    if kind is KeyboardInterrupt:
        monkeypatch.setattr(here.docker, "pipe", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(kind):
        volumes.load(here.context, exported, "copy")
    with pytest.raises(kind):
        volumes.clone(here.context, "data", "copy")
    assert (here.volumes, list(here.exports.glob(f"{MARK}*"))) == ([DATA], [])


# what killed commands leave


def test_a_mark_is_no_reason_to_remove_what_was_not_made_for_it(here: Ground) -> None:
    mark = killed(here)
    here.docker.remove_volume(HALF)
    here.add("half", "precious", labels={LABEL_MARK: f"{MARK}another"})
    volumes.clone(here.context, "data", "copy")
    assert (here.contents[HALF], HALF in here.volumes, mark.exists()) == (["precious"], True, False)


def test_what_a_container_still_uses_stays_for_the_next_time(here: Ground) -> None:
    mark = killed(here)
    here.use(HALF)
    volumes.clone(here.context, "data", "copy")
    with pytest.raises(SettingsError, match="already"):
        volumes.clone(here.context, "data", "half")
    assert (unfinished(here), mark.exists()) == (["half"], True)


def test_one_that_another_command_is_filling_is_not_touched(here: Ground) -> None:
    mark = killed(here)
    with locks.exclusive(mark):
        volumes.clone(here.context, "data", "copy")
        with pytest.raises(SettingsError, match="already"):
            volumes.clone(here.context, "data", "half")
    assert (here.contents[HALF], unfinished(here), mark.exists()) == (["x"], ["half"], True)


# The verb


@pytest.fixture
def there(here: Ground, monkeypatch: pytest.MonkeyPatch, keep_signals: None) -> Ground:
    """Let the verb have a volume that is in use."""
    monkeypatch.setattr(tasks, "context_of", lambda command: replace(here.context, would=command.would))
    monkeypatch.setattr("synos_tasks.settings.load", lambda *_, **__: here.context.settings)
    here.use(here.add("data", "a", "b"))
    return here


def run(**options: Any) -> None:  # noqa: ANN401
    tasks.volumes(Invoked(Config(overrides={"run": {"dry": options.pop("dry", False)}})), **options)


def told(capfd: pytest.CaptureFixture[str], **options: Any) -> dict[str, Any]:  # noqa: ANN401
    """Run a verb with --json; one object and nothing else is on standard output."""
    capfd.readouterr()
    run(json=True, **options)
    found: dict[str, Any] = json.loads(capfd.readouterr().out)
    return found


def refused(capfd: pytest.CaptureFixture[str], code: int = 12, **options: Any) -> str:  # noqa: ANN401
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        run(**options)
    assert ended.value.code == code
    return capfd.readouterr().err


def test_volumes_are_listed(there: Ground, capfd: pytest.CaptureFixture[str]) -> None:
    run()
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == f"volumes of {PROJECT}: 0 kB"
    assert lines[2].split() == ["data", "cache", "0", "kB", "2027-01-15T08:00:00Z", "app", "(runs)"]
    run(inspect="data")
    assert "newest change: 2027-01-15T08:00:00Z" in capfd.readouterr().out
    found = told(capfd)
    assert (found["schema"], found["bytes"]) == ("synos.maint.volumes/1", 100)
    assert [one["short"] for one in found["volumes"]] == ["data"]


def test_a_sum_of_sizes_that_are_not_known_is_not_known(
    there: Ground, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "socket_path", lambda: None)
    run()
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == f"volumes of {PROJECT}: not known"
    assert lines[2].split()[:4] == ["data", "cache", "not", "known"]
    found = told(capfd)
    assert (found["bytes"], found["volumes"][0]["bytes"]) == (None, None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"inspect": "data", "export": "data"}, "--inspect and --export cannot be combined"),
        ({"to": "x"}, "--to is only valid with --export or --clone"),
        ({"inspect": "data", "name": "x"}, "--name is only valid with --import"),
        ({"clone": "data"}, "--clone needs a name"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    there: Ground, capfd: pytest.CaptureFixture[str], options: dict[str, str], said: str
) -> None:
    assert said in refused(capfd, 2, **options)


def test_what_is_not_there_is_named(there: Ground, capfd: pytest.CaptureFixture[str]) -> None:
    assert "there is no volume 'none'" in refused(capfd, clone="none", to="x")
    assert "there is no export none" in refused(capfd, import_="none")


def test_dry_changes_nothing(there: Ground, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    export = told(capfd, export="data")["file"]
    before = tree(tmp_path), there.volumes, len(there.docker.runs)
    for options in (
        {"inspect": "data"},
        {"export": "data", "to": str(tmp_path / "x")},
        {"import_": export, "name": "new"},
        {"clone": "data", "to": "new"},
    ):
        told(capfd, dry=True, **options)
        run(dry=True, **options)
        assert "would" in capfd.readouterr().err
    assert (tree(tmp_path), there.volumes, len(there.docker.runs)) == before
