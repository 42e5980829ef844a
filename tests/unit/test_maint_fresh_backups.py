"""Which volumes may go: those whose data a backup has that is fresh, whole, and of this very volume."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks import archive
from synos_tasks.engine.labels import LABEL_COMPOSE_PROJECT, labels
from synos_tasks.maint import exports
from synos_tasks.maint import fresh_backups as fresh
from synos_tasks.maint.fresh_backups import LABEL_COMPOSE_VOLUME
from synos_tasks.settings import MaintSettings, Settings
from tests.unit.fake_inventory import OURS, THEIRS, volume

if TYPE_CHECKING:
    from pathlib import Path

    from synos_tasks.engine.client import Volume

HOUR = 3600.0
DAY = 24 * HOUR


def fresh_backups(settings: Settings, volumes: list[Volume], now: float) -> dict[str, str]:
    """Give the names of the backups alone."""
    return {name: told.split()[1] for name, told in fresh.fresh_backups(settings, volumes, now).items()}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path, project_id=OURS, maint=MaintSettings(backup_hours=24))


@pytest.fixture
def now() -> float:
    return dt.datetime.now(dt.UTC).timestamp() // 1


def of_stack(name: str, stack: str = f"{OURS}-unified", **given: Any) -> Volume:  # noqa: ANN401
    marks = {LABEL_COMPOSE_PROJECT: stack, LABEL_COMPOSE_VOLUME: name}
    return volume(f"{stack}_{name}", labels={**labels(OURS, "services"), **marks}, **given)


NATS, POSTGRES, SPOOL = (of_stack(name) for name in ("nats", "postgres", "nats-spool"))


def back_up(
    settings: Settings, name: str = "one", *services: str, stack: str = "unified", age: float = 0
) -> Path:
    """Make a backup as the services do, and give it an age."""
    folder = settings.state_dir / "backups" / stack
    with (
        archive.create(folder, name, {service: {} for service in services or ("nats",)}) as draft,
        draft.file("dump") as out,
    ):
        out.write(b"what the service holds")
    manifest, total = folder / name / archive.MANIFEST, folder / name / archive.CHECKSUM
    told = json.loads(manifest.read_text())
    told["created"] = (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age)).strftime(archive.CREATED)
    manifest.write_text(json.dumps(told))
    total.write_text(f"{hashlib.sha256(manifest.read_bytes()).hexdigest()}  {archive.MANIFEST}\n")
    archive.verify(folder / name)
    return folder / name


def export(settings: Settings, name: str, age: float = 0, content: bytes = b"archive", **given: Any) -> Path:  # noqa: ANN401
    folder = exports.folder_of(settings)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{age:.0f}{exports.SUFFIX}"
    path.write_bytes(content)
    created = (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=age)).strftime(archive.CREATED)
    told = {
        "volume": name,
        "project": OURS,
        "role": "services",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "files": 1,
        "created": created,
        **given,
    }
    exports.manifest_path(path).write_text(exports.Export(**told).manifest.text())
    return path


def test_without_any_backup_none_has_one(settings: Settings, now: float) -> None:
    assert fresh_backups(settings, [NATS, POSTGRES, SPOOL, volume("x")], now) == {}
    assert not settings.state_dir.exists()


def test_a_volume_of_a_service_is_in_the_backup_that_has_that_service(settings: Settings, now: float) -> None:
    back_up(settings, "one", "nats", "redis", age=HOUR)
    assert fresh_backups(settings, [NATS, POSTGRES], now) == {NATS.name: "one"}


def test_what_a_service_lays_down_for_a_moment_needs_no_backup_of_its_own(
    settings: Settings, now: float
) -> None:
    back_up(settings, "one", "postgres", age=HOUR)
    assert fresh_backups(settings, [SPOOL, POSTGRES], now) == {SPOOL.name: "one", POSTGRES.name: "one"}


@pytest.mark.parametrize(("age", "fresh"), [(0, True), (23.9 * HOUR, True), (DAY + 60, False), (-HOUR, False), (300 * DAY, False)])  # fmt: skip
def test_a_backup_is_fresh_for_so_long_as_the_settings_say(
    settings: Settings, now: float, age: float, fresh: bool
) -> None:
    back_up(settings, age=age)
    assert bool(fresh_backups(settings, [NATS], now)) == fresh


def test_with_no_hours_a_backup_is_never_fresh(tmp_path: Path, now: float) -> None:
    settings = Settings(root=tmp_path, project_id=OURS, maint=MaintSettings(backup_hours=0))
    back_up(settings, age=60)
    export(settings, NATS.name, 60)
    assert fresh_backups(settings, [NATS], now) == {}


def test_the_newest_fresh_one_is_told(settings: Settings, now: float) -> None:
    for name, hours in (("older", 5), ("newest", 2), ("oldest", 9), ("future", -2)):
        back_up(settings, name, age=hours * HOUR)
    assert fresh_backups(settings, [NATS], now) == {NATS.name: "newest"}


def damage(path: Path) -> None:
    """Change a byte, so that the size is as it was."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["dump", archive.MANIFEST, archive.CHECKSUM])
def test_a_damaged_backup_is_none_and_the_one_before_is_taken(
    settings: Settings, now: float, file: str
) -> None:
    damage(back_up(settings, "damaged", age=HOUR) / file)
    assert fresh_backups(settings, [NATS], now) == {}
    back_up(settings, "whole", age=2 * HOUR)
    assert fresh_backups(settings, [NATS], now) == {NATS.name: "whole"}


@pytest.mark.parametrize("file", ["dump", archive.MANIFEST, archive.CHECKSUM])
def test_a_backup_that_lacks_a_file_is_none(settings: Settings, now: float, file: str) -> None:
    (back_up(settings, age=HOUR) / file).unlink()
    assert fresh_backups(settings, [NATS], now) == {}


@pytest.mark.parametrize(
    "stack", ["acme", f"{THEIRS}-unified", f"x{OURS}-unified", f"{OURS}-unified2", f"{OURS}-", OURS, "", ".."]
)
def test_a_backup_of_one_stack_is_none_of_another(settings: Settings, now: float, stack: str) -> None:
    back_up(settings, age=HOUR)
    assert fresh_backups(settings, [of_stack("nats", stack)], now) == {}


def test_a_volume_that_was_made_after_the_backup_is_not_in_it(settings: Settings, now: float) -> None:
    """The stack was thrown away and began anew: what it holds now is nowhere else."""
    back_up(settings, "before", age=2 * HOUR)
    assert fresh_backups(settings, [of_stack("nats", created=now - HOUR)], now) == {}
    assert fresh_backups(settings, [of_stack("nats", created=now - 3 * HOUR)], now) == {NATS.name: "before"}
    back_up(settings, "after")
    assert fresh_backups(settings, [of_stack("nats", created=now - HOUR)], now) == {NATS.name: "after"}


def test_a_backup_is_told_by_the_name_that_it_has_now(settings: Settings, now: float) -> None:
    back_up(settings, "one", age=HOUR).rename(settings.state_dir / "backups/unified/renamed")
    assert fresh_backups(settings, [NATS], now) == {NATS.name: "renamed"}


def test_each_stack_is_read_through_once(
    settings: Settings, now: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(settings, "one", "nats", "postgres")
    verify, read = archive.verify, list[str]()

    def count(backup: Path) -> archive.Manifest:
        read.append(backup.name)
        return verify(backup)

    monkeypatch.setattr(archive, "verify", count)
    assert len(fresh_backups(settings, [NATS, POSTGRES, SPOOL], now)) == 3
    assert read == ["one"]


def test_an_export_counts_as_a_backup(settings: Settings, now: float) -> None:
    newest = export(settings, "synos-dev", HOUR)
    export(settings, "synos-dev", 3 * HOUR)
    assert fresh_backups(settings, [volume("synos-dev"), volume("synos-dev2")], now) == {
        "synos-dev": newest.name
    }


def test_an_export_counts_where_the_services_backup_does_not(settings: Settings, now: float) -> None:
    back_up(settings, "one", "nats", age=HOUR)
    newest = export(settings, POSTGRES.name, HOUR)
    assert fresh_backups(settings, [NATS, POSTGRES], now) == {NATS.name: "one", POSTGRES.name: newest.name}


@pytest.mark.parametrize("age", [DAY + 60, -HOUR])
def test_an_export_that_is_not_fresh_is_none(settings: Settings, now: float, age: float) -> None:
    export(settings, "synos-dev", age)
    assert fresh_backups(settings, [volume("synos-dev")], now) == {}


def test_a_damaged_export_is_none_though_its_size_is_right(settings: Settings, now: float) -> None:
    damage(export(settings, "synos-dev", HOUR))
    assert fresh_backups(settings, [volume("synos-dev")], now) == {}


@pytest.mark.parametrize(
    "given", [{"project": THEIRS}, {"users": ("nats-1",)}, {"bytes": 3}, {"volume": "synos-dev2"}]
)
def test_an_export_of_another_clone_or_of_a_volume_in_use_is_none(
    settings: Settings, now: float, given: dict[str, Any]
) -> None:
    export(settings, "synos-dev", HOUR, **given)
    assert fresh_backups(settings, [volume("synos-dev")], now) == {}


def test_a_volume_that_was_made_after_the_export_is_not_in_it(settings: Settings, now: float) -> None:
    export(settings, "synos-dev", 2 * HOUR)
    assert fresh_backups(settings, [volume("synos-dev", created=now - HOUR)], now) == {}
    assert fresh_backups(settings, [volume("synos-dev", created=now - 3 * HOUR)], now)


def test_how_old_a_backup_is_is_told_with_its_name(settings: Settings, now: float) -> None:
    back_up(settings, "one", "nats", age=9.5 * HOUR)
    assert fresh.fresh_backups(settings, [NATS], now) == {NATS.name: "backup one of 9.5 hours ago"}
