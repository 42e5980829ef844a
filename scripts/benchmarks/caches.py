"""What caches save: steps of images, and compilers' results for two of Debian's source packages."""

from __future__ import annotations

import tempfile
import time
import uuid
from pathlib import Path

from scripts.benchmarks.workbench import INV, report, seconds
from synos_tasks import settings as settings_module
from synos_tasks.engine.labels import labels
from synos_tasks.images.catalog import BUILDER, TOOLCHAIN
from synos_tasks.iso.components import caches
from tests.build_helpers import ROOT, copy_project, docker

EDITED = "docker/build/components/synos-welcome/src/main.c"
SETTINGS = settings_module.load(ROOT, {"name": "synos"}, record=False)
MARKS = [f"--label={key}={value}" for key, value in labels(SETTINGS.project.id, "build").items()]
# Fetching, installing, tests and packaging do not count: the last line has the seconds, hits and misses of the compilation.
SCRIPTS = {
    "ccache": r"""set -eu
cd /work
sudo apt-get -qq update
apt-get -qq source --only-source git >/dev/null 2>&1
cd git-*/
sudo apt-get -qq install zlib1g-dev >/dev/null 2>&1
ccache --zero-stats >/dev/null
began=$(date +%s.%N)
make -s all NO_CURL=1 NO_EXPAT=1 NO_OPENSSL=1 NO_GETTEXT=1 NO_TCLTK=1 NO_PERL=1 NO_PYTHON=1 -j$(nproc) >/dev/null
date +%s.%N | awk -v began=$began '{print $1 - began}'
ccache --print-stats | awk '/_cache_hit/ && !/storage/ {h += $2} /^cache_miss/ {m = $2} END {print h, m}'
""",
    # link-time optimisation is work of the linker, which no compiler cache spares; the crates are Debian's
    "sccache": r"""set -eu
cd /work
sudo apt-get -qq update
apt-get -qq source --only-source rust-bat >/dev/null 2>&1
cd rust-bat-*/
sudo DEBIAN_FRONTEND=noninteractive apt-get -qq build-dep ./ >/dev/null 2>&1
rm -f Cargo.lock
python3 - <<'END'
import re
from pathlib import Path
path = Path("Cargo.toml")
parts = re.split(r"(?m)^(?=\[)", path.read_text())
path.write_text("".join(p for p in parts if "dev-dependencies" not in p.split("]")[0] and not p.startswith("[[bench")))
END
mkdir -p ~/.cargo
printf '[source.crates-io]\nreplace-with="d"\n[source.d]\ndirectory="/usr/share/cargo/registry"\n' >~/.cargo/config.toml
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
began=$(date +%s.%N)
cargo build --quiet --release --offline -j$(nproc) 2>/dev/null
date +%s.%N | awk -v began=$began '{print $1 - began}'
sccache --show-stats --stats-format=json | python3 -c 'import json, sys
stats = json.load(sys.stdin)["stats"]
print(*(sum(stats[name]["counts"].values()) for name in ("cache_hits", "cache_misses")))'
""",
}


def bench_caches() -> None:
    """Times with a filled cache by times with an empty one, and the builder image's size by the toolchain's."""
    seconds([str(INV), "build.image"])
    _images()
    _compiler("ccache", "git", 0.20)
    _compiler("sccache", "rust-bat", 0.25)
    sizes = [
        int(docker("image", "inspect", "--format={{.Size}}", recipe.tag(SETTINGS.project)))
        for recipe in (BUILDER, TOOLCHAIN)
    ]
    report("builder image / toolchain image, size", 0.40, sizes[0] / sizes[1], bytes=sizes)


def _images() -> None:
    """Build all stages from nothing, again, and after an edit of a component."""
    tag = f"synos-bench:{uuid.uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory(prefix="synos-bench-") as folder:
        root = copy_project(Path(folder, "clone")).root

        def build(*options: str) -> float:
            return seconds(
                [
                    "docker",
                    "build",
                    *options,
                    f"--tag={tag}",
                    *MARKS,
                    f"--file={root}/docker/build/Dockerfile",
                    str(root),
                ]
            )

        try:
            first, again = build("--no-cache"), build()
            with (root / EDITED).open("a") as stream:
                stream.write(f"/* {time.time_ns()} */\n")
            edited = build()
        finally:
            docker("image", "rm", tag)
    report("image built again / from nothing", 0.05, again / first, seconds=[first, again])
    report("image after an edit / from nothing", 0.50, edited / first, seconds=[first, edited])


def _compiler(cache: str, package: str, promised: float) -> None:
    """Compile a source package with an empty cache, and with the one that this left, each in a new container."""
    volume, target = f"{SETTINGS.project.id}-bench-{cache}", f"/var/cache/{cache}"
    variables = caches.environment(Path("/tmp"), ccache=cache == "ccache", sccache=cache == "sccache")
    environment = [f"--env={key}={value}" for key, value in variables.items()]
    docker("volume", "create", *MARKS, volume)
    try:
        found = []
        for _ in range(2):
            printed = docker(
                "run", "--rm", f"--name={volume}", *MARKS, *environment, f"--volume={volume}:{target}", TOOLCHAIN.tag(SETTINGS.project),
                "bash", "-c", SCRIPTS[cache],
            )  # fmt: skip
            found.append([float(number) for number in printed.split()[-3:]])
    finally:
        docker("rm", "--force", volume)  # an interrupted measurement leaves it at work
        docker("volume", "rm", volume)
    (empty, _, _), (filled, hits, misses) = found
    calls = {"hits": hits, "misses": misses}
    report(
        f"{cache}, {package} compiled again / first",
        promised,
        filled / empty,
        **calls,
        seconds=[empty, filled],
    )
