"""Settings: the defaults, what replaces them, and what a mistake in them says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from synos_tasks import settings
from synos_tasks.errors import SettingsError

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_given_means_the_defaults(tmp_path: Path) -> None:
    loaded = settings.load(tmp_path, {})
    assert loaded.build == settings.BuildSettings()
    assert loaded.boot == settings.BootSettings()
    assert loaded.project.state_dir == tmp_path / ".synos"
    assert loaded.output_dir == tmp_path.resolve() / "dist"
    changed = settings.load(tmp_path, {"build": {"cpus": 2, "output": "/elsewhere"}})
    assert changed.build == settings.BuildSettings(cpus=2, output="/elsewhere")
    assert changed.output_dir == Path("/elsewhere")


def test_invoke_yaml_names_every_setting_with_its_default() -> None:
    written = yaml.safe_load((ROOT / "invoke.yaml").read_text())["synos"]
    for section, cls in (("build", settings.BuildSettings), ("boot", settings.BootSettings)):
        assert written[section] == dataclasses.asdict(cls())


@pytest.mark.parametrize(
    ("values", "what", "hint"),
    [
        (["not", "a", "mapping"], "synos is a list, not a section with names", ""),
        ({"name": 7}, "synos.name is 7, not a text", ""),
        ({"biuld": {}}, "synos has no setting 'biuld'", "did you mean 'build'?"),
        ({"build": {"cpu": 2}}, "synos.build has no setting 'cpu'", "did you mean 'cpus'?"),
        ({"build": {"cpus": "2"}}, "synos.build.cpus is '2', not a whole number", "the default is 4"),
        ({"build": {"cpus": True}}, "synos.build.cpus is True, not a whole number", "the default is 4"),
        ({"build": {"mirror": 7}}, "synos.build.mirror is 7, not a text", "http://deb.debian.org/debian"),
        ({"build": {"pids": -1}}, "synos.build.pids is negative: -1", ""),
        ({"build": {"work": "disk"}}, "synos.build.work is 'disk'", "one of: auto, volume, tmpfs"),
        ({"boot": {"zzz": 1}}, "synos.boot has no setting 'zzz'", "there are: timeout, memory_mb"),
    ],
)
def test_a_mistake_is_named_with_a_hint(
    tmp_path: Path, values: dict[str, object] | list[str], what: str, hint: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings.load(tmp_path, values)  # type: ignore[arg-type]
    assert caught.value.what == what
    assert hint in caught.value.hint
