"""ccache and sccache: they outlive containers, one component's are no other's; full, damaged or killed they cost time only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from synos_tasks.build.containers import compiler_cache_volumes
from tests import component_trees as trees
from tests.build_helpers import copy_project, docker
from tests.conftest import remove_labelled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.build_helpers import Clone

pytestmark = pytest.mark.integration
# ends every sccache server it sees, one before its crate is compiled, more in the middle of that; a server has no
# arguments, its clients have
KILLER = """\
use std::{env, fs, process::Command, process::Stdio, thread, time::Duration};
fn kill_servers() -> bool {
    let mut killed = false;
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        if line.ends_with(b"sccache\\0") && line.iter().filter(|byte| **byte == 0).count() == 1 {
            let pid = process.file_name().into_string().unwrap();
            killed |= Command::new("kill").args(["-9", &pid]).status().map_or(false, |status| status.success());
        }
    }
    killed
}
fn main() {
    if env::args().nth(1).is_some() {
        for _ in 0..100 {
            kill_servers();
            thread::sleep(Duration::from_millis(100));
        }
        return;
    }
    while !kill_servers() {
        thread::sleep(Duration::from_millis(20));
    }
    println!("cargo:warning=killed a server");
    Command::new(env::current_exe().unwrap()).arg("again").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
}
"""


@pytest.fixture
def lone(toolchain_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A clone whose caches are empty."""
    copy = copy_project(tmp_path_factory.mktemp("lone"))
    yield copy
    remove_labelled(copy.settings.project.id)


def volume_of(clone: Clone, cache: str, component: str) -> str:
    volumes = compiler_cache_volumes(clone.settings, component)
    return next(name for name, path in volumes.items() if path == f"/var/cache/{cache}")


def again(clone: Clone, build: str, times: int) -> dict[str, dict[str, int]]:
    """Compile a component that is new to the store, and whose source is not new to the caches; gives their counts."""
    more = f"depends: [base-files{', bash' * (times % 2)}]\n" if times else ""
    name = trees.add(clone, build, more=more)
    found = clone.inv("build.component", name).json["components"][0]
    assert not found["hit"]
    counts: dict[str, dict[str, int]] = found["caches"]
    return counts


@pytest.mark.parametrize(("build", "cache"), [("make", "ccache"), ("cargo", "sccache")])
def test_a_new_container_finds_what_an_earlier_one_compiled(lone: Clone, build: str, cache: str) -> None:
    cold = again(lone, build, 0)[cache]
    assert cold["hits"] == 0
    assert cold["misses"] > 0
    assert not docker("ps", "--all", "--quiet", f"--filter=label={lone.label}")
    warm = again(lone, build, 1)[cache]
    assert (warm["hits"], warm["misses"]) == (cold["misses"], 0)
    other = trees.add(lone, build, "other")
    own = lone.inv("build.component", other).json["components"][0]["caches"][cache]
    assert own == cold, "the same source in another component found what it did not compile"


@pytest.mark.long
@pytest.mark.parametrize(("build", "cache"), [("make", "ccache"), ("cargo", "sccache")])
def test_a_damaged_cache_costs_time_only(lone: Clone, toolchain_image: str, build: str, cache: str) -> None:
    again(lone, build, 0)
    damage = (
        "find /c -type f -exec sh -c 'for f; do head -c 300 /dev/urandom >\"$f\"; done' sh {} + ; "
        "echo 'no = such setting' >/c/ccache.conf; rm -rf /c/tmp; touch /c/tmp"
    )
    docker(
        "run", "--rm", "--user=0:0", f"--label={lone.label}", f"--volume={volume_of(lone, cache, f'hello-{build}')}:/c",
        toolchain_image,
        "sh", "-euc", damage,
    )  # fmt: skip
    damaged, mended = again(lone, build, 1)[cache], again(lone, build, 2)[cache]
    assert damaged["hits"] == 0
    assert damaged["misses"] > 0
    assert (mended["hits"], mended["misses"]) == (damaged["misses"], 0)


@pytest.mark.parametrize(
    ("build", "cache", "options"),
    [("make", "ccache", "size=600k"), ("cargo", "sccache", "size=8m,nr_inodes=6")],
)
def test_a_full_cache_volume_costs_time_only(lone: Clone, build: str, cache: str, options: str) -> None:
    """Of 600 kB none is used; with six inodes it fills in the middle of a build."""
    docker(
        "volume", "create", f"--label={lone.label}", "--opt=type=tmpfs", "--opt=device=tmpfs", f"--opt=o={options}",
        volume_of(lone, cache, f"hello-{build}"),
    )  # fmt: skip
    answer = lone.inv("build.component", trees.add(lone, build))
    assert answer.json["components"][0]["packages"]
    assert ("which costs time" in answer.err) == (options == "size=600k")


def test_a_killed_sccache_server_costs_time_only(lone: Clone) -> None:
    name = trees.add(lone, "cargo", "killer", **{"build.rs": KILLER})
    assert lone.inv("build.component", name).json["components"][0]["packages"]
    assert "killed a server" in lone.newest_log()


def test_components_of_two_commands_at_once_wait_for_each_other(lone: Clone) -> None:
    names = [trees.add(lone, "cargo", f"pair-{number}") for number in range(2)]
    with ThreadPoolExecutor() as threads:
        answers = list(threads.map(lambda name: lone.inv("build.component", name), names))
    assert all(answer.json["components"][0]["packages"] for answer in answers)
