"""What is promised of `inv dev.*`: how quickly a container that is there is there again, and how quickly one goes in."""

from __future__ import annotations

import tempfile
from pathlib import Path

from scripts.benchmarks.workbench import INV, median, report, seconds
from tests.conftest import remove_labelled
from tests.dev_clones import dev_clone, made_by, remove_dev_containers

NAMES = ("python", "c", "rust", "full")
ROUNDS = 15


def bench_dev() -> None:
    """Warm `dev.up` of each container, and `dev.shell -- true` against `docker exec`."""
    with tempfile.TemporaryDirectory() as folder:
        clone = dev_clone(Path(folder).resolve(), services=True)
        try:
            made_by(clone, "auto")
            for name in NAMES:
                container = clone.inv("dev.up", "--name", name).json["container"]
                warm = [
                    seconds([str(clone.root / "scripts/synos"), "dev.up", "--name", name], clone.root)
                    for _ in range(5)
                ]
                report(f"warm dev.up of {name}, seconds", 3.0, median(warm), all=warm)
                if name == "python":
                    _bench_shell(clone.root, container)
        finally:
            remove_dev_containers(clone)
            clone.inv("services.down", "--volumes", "--yes", "--no-backup")
            remove_labelled(clone.settings.project.id)


def _bench_shell(root: Path, container: str) -> None:
    """In turns, so that what else the machine does hits all of them."""
    commands = {
        "plain": ["docker", "exec", container, "true"],
        "scripts/synos": ["./scripts/synos", "dev.shell", "--", "true"],
        "inv": [str(INV), "dev.shell", "--", "true"],
        "inv --version": [str(INV), "--version"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, argv in commands.items():
            times[name].append(seconds(argv, root))
    plain = median(times["plain"])
    found = {f"{name} seconds": median(taken) for name, taken in times.items()}
    report(
        "./scripts/synos dev.shell -- true / docker exec",
        1.3,
        median(times["scripts/synos"]) / plain,
        **found,
    )
    report("inv dev.shell -- true / docker exec", 1.3, median(times["inv"]) / plain, **found)
