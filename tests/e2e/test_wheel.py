"""The built wheel in a fresh environment, and another distribution that is made with it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.build_helpers import ROOT, docker
from tests.conftest import remove_labelled

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e
NAME = "tuxos"


@dataclass(frozen=True)
class Distribution:
    """A project made by `inv init`, and the `inv` of the wheel."""

    root: Path
    inv: Path

    def run(self, *words: str, code: int = 0) -> str:
        """Run a verb and return all that it prints; ``code`` is the exit code that it must have."""
        done = subprocess.run(
            [self.inv, *words], cwd=self.root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, env={**os.environ, "PYTHONPATH": ""},
        )  # fmt: skip
        assert done.returncode == code, done.stdout[-3000:]
        assert "Traceback" not in done.stdout
        return done.stdout

    def answer(self, *words: str) -> dict[str, Any]:
        """Run a verb with --json."""
        shown = self.run(*words, "--json")
        found: dict[str, Any] = json.loads(shown[shown.index("{\n") :])
        return found

    @property
    def id(self) -> str:
        return (self.root / ".synos/id").read_text().splitlines()[0]


@pytest.fixture(scope="module")
def inv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, at most 1 MB; its `inv` is the one that knows `init`."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", f"--wheel-dir={folder}", ROOT], check=True)
    [wheel] = folder.glob("synos_tasks-*.whl")
    assert wheel.stat().st_size <= 1e6
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    subprocess.run([folder / "venv/bin/pip", "install", "--quiet", wheel], check=True)
    assert "synos_tasks" in (folder / "venv/bin/inv").read_text()
    return folder / "venv/bin/inv"


@pytest.fixture(scope="module")
def other(inv: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    made = Distribution(tmp_path_factory.mktemp("other"), inv)
    made.run("init", "--name", NAME)
    settings = made.root / "invoke.yaml"
    text = settings.read_text().replace("    cli: auto ", "    cli: docker ")
    settings.write_text(re.sub(r"(?m)_port: \d+", "_port: 0", text))
    yield made
    made.run("services.down", "--volumes", "--yes", "--no-backup")
    remove_labelled(made.id)


def test_an_empty_folder_offers_init_and_a_project_is_not_overwritten(inv: Path, tmp_path: Path) -> None:
    here = Distribution(tmp_path, inv)
    assert "init" in here.run("--list")
    assert "`inv init` makes one" in here.run("build.iso", code=47)
    here.run("--dry", "init")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "invoke.yaml").write_text("mine")
    assert "why: invoke.yaml" in here.run("init", code=48)
    assert [path.name for path in tmp_path.iterdir()] == ["invoke.yaml"]
    (tmp_path / "invoke.yaml").unlink()
    here.run("init", "--name", "tuxos")
    assert (tmp_path / "tasks.py").read_text() == "from synos_tasks import collection\nns = collection()\n"
    assert "build.iso" in here.run("--list")
    assert "docs " not in here.run("--list"), "that is for the library's own repository"


def test_it_builds_an_iso_of_that_name(other: Distribution) -> None:
    built = other.answer("build.iso")
    assert Path(built["iso"]).name == f"{NAME}-minimal-{built['build_id']}.iso"
    assert docker("image", "ls", "--quiet", f"{NAME}-builder")
    assert all(stage["hit"] for stage in other.answer("build.iso")["stages"])


def test_its_services_and_its_development_containers_have_its_name(other: Distribution) -> None:
    services = other.answer("services.config")["model"]["services"]
    assert {one["image"].partition(":")[0] for one in services.values()} == {
        f"{NAME}-{name}" for name in ("nats", "nats-box", "postgres", "redis")
    }  # fmt: skip
    assert "would start" in other.run("--dry", "services.up")
    assert {one["name"] for one in other.answer("dev.list")["containers"]} == {"c", "full", "python", "rust"}
    other.run("dev.prepare")
    assert f"{NAME}-dev-" in (other.root / ".synos/dev/python.yml").read_text()


@pytest.mark.long
def test_its_services_and_its_development_container_run(other: Distribution) -> None:
    other.run("services.up")
    found = other.answer("services.status")["services"]
    assert {(one["name"], one["health"]) for one in found} == {
        ("nats", "healthy"), ("postgres", "healthy"), ("redis", "healthy"),
    }  # fmt: skip
    other.run("dev.up")
    assert "dev" in other.run("dev.shell", "--", "id", "-un")
    other.run("dev.down")


def test_it_cleans_up_what_nobody_needs(other: Distribution) -> None:
    other.run("maint.prune", "--yes")
    assert docker("image", "ls", "--quiet", f"{NAME}-builder"), "it is the newest of its kind"
    assert other.answer("maint.disk")
