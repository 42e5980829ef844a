"""`inv maint.gc-policy` on an engine of the test's own: what the engine does by rules, and what the verb writes."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from synos_tasks.images.base import BOOKWORM
from synos_tasks.maint import gc_rules
from tests.build_helpers import docker, wait_until
from tests.own_engine import PATIENCE, OwnEngine
from tests.own_engine import own_engine as own_engines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.build_helpers import Answer, Clone

pytestmark = pytest.mark.integration

# No image has these layers, or they would not count.
DOCKERFILE = f"""\
FROM {BOOKWORM.tag} AS work
RUN --mount=type=cache,id=synos-test,target=/c head -c 20000000 /dev/urandom >/c/kept
RUN head -c 30000000 /dev/urandom >/one
RUN head -c 30000000 /dev/urandom >/two
FROM scratch
COPY --from=work /etc/hostname /
"""
LIMIT = 12
"""MiB, by either policy. The mount has 19 of 76: alone it is above the limit, and below twice as much."""
KINDS = ("type==source.local", "type==exec.cachemount", "type==source.git.checkout")
OTHERS: dict[str, Any] = {"builder": {"entitlements": {"network-host": False}}, "max-concurrent-uploads": 3}


class Bench:
    """Fills the cache of an engine, and lets it go through its rules."""

    def __init__(self, engine: OwnEngine, folder: Path) -> None:
        self.engine, self.folder = engine, folder
        (folder / "Dockerfile").write_text(DOCKERFILE)

    def fill(self) -> None:
        """Lay a mount and layers into an empty cache.

        An engine that has just gone through its rules does not do so again within a minute.
        """
        self.docker("buildx", "prune", "--all", "--force")
        self.docker("buildx", "build", "--quiet", "--network=none", str(self.folder))
        assert self.sizes() == {"exec.cachemount": 20, "regular": 60}

    def configure(self, config: dict[str, Any]) -> None:
        """Restart the engine: it goes through its rules a second later."""
        self.engine.config.write_text(json.dumps(config))
        self.engine.restart()

    def left(self, expected: dict[str, int]) -> bool:
        return wait_until(lambda: self.sizes() == expected, PATIENCE)

    def sizes(self) -> dict[str, int]:
        """Give the sizes of records with a size to speak of, in MB, by kind."""
        found: dict[str, int] = {}
        for block in self.docker("buildx", "du", "--verbose").split("\n\n"):
            told = dict(line.split(":", 1) for line in block.splitlines() if ":" in line)
            size, kind = told.get("Size", "").strip(), told.get("Type", "").strip()
            if kind and size.endswith("MB"):
                found[kind] = found.get(kind, 0) + round(float(size.removesuffix("MB")))
        return found

    def in_force(self) -> list[gc_rules.Rule]:
        return gc_rules.parse(self.docker("buildx", "inspect", "default"))

    def docker(self, *words: str) -> str:
        return docker(*words, environment=self.engine.environment)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with own_engines(BOOKWORM.tag) as engine:
        yield Bench(engine, tmp_path_factory.mktemp("context"))


def policy(limit: int) -> dict[str, Any]:
    return {"builder": {"gc": gc_rules.to_config(gc_rules.proposal(limit, "MiB"))}}


def test_the_defaults_drop_the_mount_that_our_rules_keep_until_it_is_too_large_itself(bench: Bench) -> None:
    bench.fill()
    # The first rule of this engine's defaults, at a lower limit: its kinds are joined by commas, which mean 'and'.
    dead = {"keepStorage": "1MiB", "filter": [",".join(KINDS).replace("==", "=", 1)]}
    last = {"keepStorage": "50MiB", "filter": ["type=regular"]}  # tells when the rules were gone through
    bench.configure({"builder": {"gc": {"enabled": True, "policy": [dead, last]}}})
    assert bench.left({"exec.cachemount": 20, "regular": 30})

    bench.configure({"builder": {"gc": {"enabled": True, "defaultKeepStorage": f"{LIMIT}MiB"}}})
    first = bench.in_force()[0]
    assert (first.filters, first.unused_minutes, first.drops_mounts) == ((",".join(KINDS),), 48 * 60, False)
    assert bench.left({})

    bench.fill()
    bench.configure(policy(LIMIT))
    assert bench.left({"exec.cachemount": 20})
    bench.configure(policy(LIMIT // 2))
    assert bench.left({})


def test_what_the_verb_writes_is_what_the_engine_goes_by_from_its_next_start(
    bench: Bench, clone: Clone
) -> None:
    bench.engine.config.write_text(json.dumps(OTHERS))

    def run(*options: str, fails: bool = False) -> Answer:
        return clone.inv("maint.gc-policy", *options, fails=fails, **bench.engine.environment)

    before = bench.engine.config.read_bytes()
    found = run().json
    assert (found["file"], found["is_in_force"], found["written"]) == (str(bench.engine.config), False, None)
    refused = run("--write", fails=True)
    assert (refused.code, "nobody to ask" in refused.err) == (12, True)
    assert bench.engine.config.read_bytes() == before

    written = run("--write", "--yes")
    copies = list(bench.engine.folder.glob("daemon.json.before-*"))
    assert [path.read_bytes() for path in copies] == [before]
    assert [str(path) for path in copies] == [written.json["copy"]]
    assert f"process {bench.engine.process.pid}" in written.err
    now = json.loads(bench.engine.config.read_text())
    assert now["builder"].pop("gc") == found["proposed"]
    assert now == OTHERS

    bench.engine.restart()
    assert [rule.to_json() for rule in bench.in_force()] == found["proposed_rules"]
    again = run("--write", "--yes")
    assert (again.json["changed"], again.json["is_in_force"]) == (False, True)
    assert "nothing to do" in again.err


def test_dockerd_refuses_what_it_does_not_know_before_it_is_written(bench: Bench, clone: Clone) -> None:
    broken = '{"no-such-option": 1}'
    bench.engine.config.write_text(broken)
    answer = clone.inv("maint.gc-policy", "--write", "--yes", fails=True, **bench.engine.environment)
    assert "no-such-option" in answer.json["error"]["why"]
    assert bench.engine.config.read_text() == broken
    bench.engine.config.write_text("{}")


def test_a_user_who_is_not_root_may_have_a_file_checked(tmp_path: Path) -> None:
    """Without this, nobody but root could look before writing."""
    file = tmp_path / "daemon.json"
    file.write_text(json.dumps(policy(99)))
    for place in (tmp_path, *tmp_path.parents[:2]):
        place.chmod(0o755)
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    subprocess.run([*argv, "dockerd", "--validate", f"--config-file={file}"], check=True)
