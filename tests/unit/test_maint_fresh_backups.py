"""Which volumes may go: those whose data a backup has that is fresh, whole, and of this very volume."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks import archive
from synos_tasks.engine.labels import LABEL_COMPOSE_PROJECT, LABEL_COMPOSE_VOLUME, labels
from synos_tasks.maint import exports
from synos_tasks.maint.exports import fresh_backups
from synos_tasks.settings import MaintSettings, Settings
from tests.unit.fake_inventory import OURS, THEIRS, volume
from tests.unit.projects import settings_in
from tests.unit.test_archive import edit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from synos_tasks.engine.client import Volume

HOUR = 3600.0
DAY = 24 * HOUR
NOW = 1_800_000_000.0


def fresh(settings: Settings, *volumes: Volume) -> dict[str, str]:
    """Return the names of the backups alone."""
    return {name: text.split()[1] for name, text in fresh_backups(settings, volumes, NOW).items()}


def moment(age: float) -> str:
    return dt.datetime.fromtimestamp(NOW - age, dt.UTC).strftime(archive.CREATED)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path, OURS, maint=MaintSettings(backup_hours=24))


def of_stack(name: str, stack: str = f"{OURS}-unified", **given: Any) -> Volume:  # noqa: ANN401
    marks = {LABEL_COMPOSE_PROJECT: stack, LABEL_COMPOSE_VOLUME: name}
    return volume(f"{stack}_{name}", labels={**labels(OURS, "services"), **marks}, **given)


NATS, POSTGRES, SPOOL = (of_stack(name) for name in ("nats", "postgres", "nats-spool"))


def back_up(
    settings: Settings,
    name: str = "one",
    *services: str,
    age: float = 0,
    lacks: Mapping[str, list[dict[str, Any]]] | None = None,
) -> Path:
    """Make a backup as the services do, and give it an age; ``lacks`` is what it left out of each service."""
    folder = settings.project.state_dir / "backups/unified"
    facts = {
        service: {"version": "1", "left_out": (lacks or {}).get(service)} for service in services or ("nats",)
    }
    with archive.create(folder, name, facts) as draft, draft.file("dump") as out:
        out.write(b"what the service holds")
    edit(folder / name, created=moment(age))
    archive.verify(folder / name)
    return folder / name


def export(settings: Settings, name: str, age: float = 0, content: bytes = b"archive", **given: Any) -> Path:  # noqa: ANN401
    folder = exports.folder_of(settings)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{age:.0f}{exports.SUFFIX}"
    path.write_bytes(content)
    facts = {
        "project": OURS,
        "role": "services",
        "files": 1,
        "unpacked": 10240,
        "users": (),
        "labels": {},
        **given,
    }
    told = {"name": facts.pop("volume", name), "bytes": facts.pop("bytes", len(content))}
    file = archive.File(path=exports.CONTENT, bytes=told["bytes"], sha256=hashlib.sha256(content).hexdigest())
    manifest = archive.Manifest(name=told["name"], created=moment(age), facts=facts, files=(file,))
    Path(f"{path}.json").write_text(manifest.text())
    return path


def test_a_volume_is_in_the_backup_that_has_its_service_or_in_an_export(settings: Settings) -> None:
    """A spool holds things for a moment only, and needs no backup of its own."""
    back_up(settings, "one", "nats", "redis", age=9.5 * HOUR)
    newest = export(settings, "synos-dev", HOUR)
    export(settings, "synos-dev", 3 * HOUR)
    others = volume("synos-dev"), volume("synos-dev2")
    assert fresh_backups(settings, [NATS, SPOOL, POSTGRES, *others], NOW) == {
        NATS.name: "backup one of 9.5 hours ago",
        SPOOL.name: "backup one of 9.5 hours ago",
        "synos-dev": f"export {newest.name} of 1.0 hours ago",
    }


@pytest.mark.parametrize(
    ("age", "hours", "is_fresh"),
    [(0, 24, True), (23.9 * HOUR, 24, True), (DAY + 60, 24, False), (-HOUR, 24, False), (60, 0, False)],
)
def test_a_backup_or_export_is_fresh_for_so_long_as_the_settings_say(
    tmp_path: Path, age: float, hours: int, is_fresh: bool
) -> None:
    settings = settings_in(tmp_path, OURS, maint=MaintSettings(backup_hours=hours))
    back_up(settings, age=age)
    export(settings, "synos-dev", age)
    assert [bool(fresh(settings, one)) for one in (NATS, volume("synos-dev"))] == [is_fresh] * 2


def damage(path: Path) -> None:
    """Change a byte, so that the size is as it was."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [damage, Path.unlink])
@pytest.mark.parametrize("file", ["dump", archive.MANIFEST, archive.CHECKSUM])
def test_a_damaged_backup_is_none_and_the_one_before_is_taken(
    settings: Settings, file: str, harm: Callable[[Path], object]
) -> None:
    harm(back_up(settings, "damaged", age=HOUR) / file)
    assert fresh(settings, NATS) == {}
    back_up(settings, "whole", age=2 * HOUR)
    assert fresh(settings, NATS) == {NATS.name: "whole"}


@pytest.mark.parametrize("harm", [damage, Path.unlink])
def test_a_damaged_export_is_none_and_the_one_before_is_taken(
    settings: Settings, harm: Callable[[Path], object]
) -> None:
    harm(export(settings, "synos-dev", HOUR))
    assert fresh(settings, volume("synos-dev")) == {}
    whole = export(settings, "synos-dev", 2 * HOUR)
    assert fresh(settings, volume("synos-dev")) == {"synos-dev": whole.name}


def test_a_backup_that_lacks_data_of_a_service_is_none_of_its_volume(settings: Settings) -> None:
    """Of what was left out, the volume is the only copy. What is no data, as a temporary table, keeps no volume."""
    key, table = archive.left_out("key a", "too large", data=True), archive.left_out("table b", "temporary")
    back_up(settings, "whole", "nats", "postgres", "redis", age=2 * HOUR)
    lacks = {"nats": [table, key], "postgres": [table], "redis": []}
    back_up(settings, "newer", "nats", "postgres", "redis", age=HOUR, lacks=lacks)
    redis = of_stack("redis")
    named = {NATS.name: "whole", POSTGRES.name: "newer", redis.name: "newer", SPOOL.name: "newer"}
    assert fresh(settings, NATS, POSTGRES, redis, SPOOL) == named


@pytest.mark.parametrize(
    "stack", ["acme", f"{THEIRS}-unified", f"x{OURS}-unified", f"{OURS}-unified2", f"{OURS}-", OURS, "", ".."]
)
def test_a_backup_of_one_stack_is_none_of_another(settings: Settings, stack: str) -> None:
    back_up(settings, age=HOUR)
    assert fresh(settings, of_stack("nats", stack)) == {}


def test_a_volume_that_was_made_after_the_backup_is_not_in_it(settings: Settings) -> None:
    """The stack was thrown away and began anew: what it holds now is nowhere else."""
    back_up(settings, "before", age=2 * HOUR)
    assert fresh(settings, of_stack("nats", created=NOW - HOUR)) == {}
    assert fresh(settings, of_stack("nats", created=NOW - 3 * HOUR)) == {NATS.name: "before"}
    back_up(settings, "after")
    assert fresh(settings, of_stack("nats", created=NOW - HOUR)) == {NATS.name: "after"}
    export(settings, "synos-dev", 2 * HOUR)
    assert fresh(settings, volume("synos-dev", created=NOW - HOUR)) == {}


@pytest.mark.parametrize(
    "given", [{"project": THEIRS}, {"users": ("nats-1",)}, {"bytes": 3}, {"volume": "synos-dev2"}]
)
def test_an_export_of_another_clone_or_of_a_volume_in_use_is_none(
    settings: Settings, given: dict[str, Any]
) -> None:
    export(settings, "synos-dev", HOUR, **given)
    assert fresh(settings, volume("synos-dev")) == {}
