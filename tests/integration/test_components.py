"""Components, compiled by the public commands in the real toolchain image: every kind, every way to fail."""

from __future__ import annotations

import functools
import hashlib
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from synos_tasks.images.catalog import TOOLCHAIN
from synos_tasks.iso import deb
from tests import component_trees as trees
from tests.build_helpers import docker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.build_helpers import Answer, Clone

pytestmark = pytest.mark.integration


def compiled(clone: Clone, name: str, *options: str) -> Answer:
    return clone.inv("build.component", name, *options)


def refused(clone: Clone, name: str, kind: str = "ComponentFailed") -> dict[str, str]:
    """Compile what cannot be compiled: gives the error, after a look at its log."""
    answer = clone.inv("build.component", name, fails=True)
    error: dict[str, str] = answer.json["error"]
    assert error["kind"] == kind, answer.err
    if kind == "ComponentFailed":
        log = error["hint"].rpartition("full log: ")[2]
        assert f"[component-{name}] " in Path(log).read_text()
        assert len(answer.err.splitlines()) < 40
    return error


def package_of(answer: Answer) -> Path:
    """Give the .deb of a compiled component, whose digest is what was told."""
    component = answer.json["components"][0]
    path: Path = Path(answer.json["output"]) / component["packages"][0]["file"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == component["packages"][0]["sha256"]
    return path


def run_installed(clone: Clone, package: Path, program: str) -> str:
    """Install a .deb in a throw-away container, and give what a program of it prints."""
    script = f"dpkg -i /debs/{package.name} >/dev/null && {program}"
    return docker(
        "run", "--rm", f"--label={clone.label}", "--network=none", "--user=0:0",
        f"--mount=type=bind,source={package.parent},target=/debs,readonly", TOOLCHAIN.tag(clone.settings.project),
        "sh", "-euc", script,
    )  # fmt: skip


@pytest.mark.parametrize("build", ["make", "cmake", "meson", "cargo"])
def test_every_build_system_gives_a_package(clone: Clone, toolchain_image: str, build: str) -> None:
    name = trees.add(clone, build)
    package = package_of(compiled(clone, name))
    fields = deb.fields(deb.control(package))
    assert (fields["Package"], fields["Version"], fields["Architecture"]) == (name, "1.0", "amd64")
    assert build in run_installed(clone, package, name)
    assert compiled(clone, name).json["components"][0]["hit"]


@pytest.mark.long
def test_a_debian_source_package_is_patched(clone: Clone, toolchain_image: str) -> None:
    listed = docker(
        "run", "--rm", f"--label={clone.label}", toolchain_image, "sh", "-euc",
        "sudo apt-get update -qq 2>/dev/null && apt-cache showsrc --only-source hello | sed -n 's/^Version: //p'",
    )  # fmt: skip
    version = listed.splitlines()[-1]
    clone.add(
        f"{trees.FOLDER}/hello/greeting.patch",
        "--- a/src/hello.c\n+++ b/src/hello.c\n@@ -59,3 +59,3 @@\n"
        "   /* Having initialized gettext, get the default message. */\n"
        '-  greeting_msg = _("Hello, world!");\n+  greeting_msg = _("Hello, SynOS!");\n \n',
    )
    text = (
        f"description: A test\nbuild: debian\nsource:\n  package: hello\n  version: '{version}'\n"
        "patches: [hello/greeting.patch]\ntests: skip\n"
    )
    clone.add(f"{trees.FOLDER}/hello.yaml", text)
    package = package_of(compiled(clone, "hello"))
    assert deb.fields(deb.control(package))["Version"] == f"{version}+synos1"
    assert run_installed(clone, package, "hello") == "Hello, SynOS!"

    clone.add(f"{trees.FOLDER}/hello.yaml", text.replace(version, "1:0.0-1"))
    error = refused(clone, "hello")
    assert "no source package hello 1:0.0-1" in error["error"]
    assert version in error["why"]

    clone.add(
        f"{trees.FOLDER}/hello/greeting.patch",
        "--- a/src/hello.c\n+++ b/src/hello.c\n@@ -1 +1 @@\n-no\n+yes\n",
    )
    clone.add(f"{trees.FOLDER}/hello.yaml", text)
    error = refused(clone, "hello")
    assert "does not apply" in error["error"]
    assert error["where"].endswith("hello/greeting.patch")
    assert "src/hello.c" in error["why"]


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A git repository behind a plain web server on the bridge: its address, and a commit that is not the newest."""
    work = tmp_path / "work"
    for path, text in trees.TREES["make"].items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(text)

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid"]
        argv = ["git", "-C", str(work), *who, *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message=first")
    commit = git("rev-parse", "HEAD")
    (work / "Makefile").write_text("broken\n")
    git("commit", "--quiet", "--all", "--message=second")
    subprocess.run(["git", "clone", "--quiet", "--bare", work, tmp_path / "hello.git"], check=True)
    subprocess.run(["git", "-C", tmp_path / "hello.git", "update-server-info"], check=True)
    bridge = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = ThreadingHTTPServer((bridge, 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{bridge}:{server.server_port}/hello.git", commit
    server.shutdown()
    server.server_close()


def test_a_pinned_commit_is_compiled(clone: Clone, toolchain_image: str, repository: tuple[str, str]) -> None:
    address, commit = repository
    text = (
        f"description: A test\nbuild: make\nversion: '1.0'\nsource:\n  git: {address}\n  commit: '{commit}'\n"
    )
    clone.add(f"{trees.FOLDER}/hello-git.yaml", text)
    package = package_of(compiled(clone, "hello-git"))
    assert "make" in run_installed(clone, package, "hello-make")

    clone.add(f"{trees.FOLDER}/hello-git.yaml", text.replace(commit, "0" * 40))
    error = refused(clone, "hello-git")
    assert "commit 000000000000 of hello-git" in error["error"]
    assert error["where"] == address


def test_a_compiler_error_is_told_with_its_place(clone: Clone, toolchain_image: str) -> None:
    broken = "#include <stdio.h>\nint main(void)\n{\n    return missing_name;\n}\n"
    name = trees.add(clone, "make", "broken-c", **{"hello-make.c": broken})
    error = refused(clone, name)
    assert error["where"] == f"{trees.FOLDER}/broken-c/hello-make.c:4:12"
    assert "missing_name" in error["why"].splitlines()[0]
    assert "undeclared" in error["why"]

    name = trees.add(clone, "cargo", "broken-rust", **{"src/main.rs": "fn main() {\n    nothing();\n}\n"})
    error = refused(clone, name)
    assert error["where"] == f"{trees.FOLDER}/broken-rust/src/main.rs:2:5"
    assert "cannot find function `nothing`" in error["why"]

    wrong = "cmake_minimum_required(VERSION 3.16)\nproject(hello C)\nno_such_command()\n"
    name = trees.add(clone, "cmake", "broken-cmake", **{"CMakeLists.txt": wrong})
    assert refused(clone, name)["where"] == f"{trees.FOLDER}/broken-cmake/CMakeLists.txt:3"


def test_a_missing_build_dependency_is_named(clone: Clone, toolchain_image: str) -> None:
    header = f"#include <sqlite3.h>\n{trees.TREES['make']['hello-make.c']}"
    name = trees.add(clone, "make", "needs-header", **{"hello-make.c": header})
    error = refused(clone, name)
    assert "sqlite3.h" in error["error"]
    assert error["where"].endswith("hello-make.c:1:10")
    assert "build_depends" in error["hint"]

    trees.add(clone, "make", name, "build_depends: [libsqlite3-dev]\n", **{"hello-make.c": header})
    assert compiled(clone, name).json["components"][0]["packages"]

    trees.add(clone, "make", name, "build_depends: [no-such-library-dev]\n")
    error = refused(clone, name)
    assert "no-such-library-dev" in error["error"]


def test_failing_tests_are_told(clone: Clone, toolchain_image: str) -> None:
    source = trees.TREES["cargo"]["src/lib.rs"].replace("assert_eq!(1, 1)", "assert_eq!(1, 2)")
    name = trees.add(clone, "cargo", "fails-test", **{"src/lib.rs": source})
    error = refused(clone, name)
    assert "tests of fails-test fail" in error["error"]
    assert "one_is_one" in error["why"]
    trees.add(clone, "cargo", name, "tests: skip\n", **{"src/lib.rs": source})
    assert compiled(clone, name).json["components"]


def test_unknown_and_wrong_recipes_are_refused_before_anything_runs(
    clone: Clone, toolchain_image: str
) -> None:
    trees.add(clone, "make")
    error = refused(clone, "helo-make", "ComponentError")
    assert "hello-make" in error["hint"]
    clone.add(f"{trees.FOLDER}/wrong.yaml", trees.recipe("make", "wrong") + "bild_depends: [x]\n")
    error = refused(clone, "wrong", "ComponentError")
    assert error["where"].endswith("wrong.yaml:6:1")
    assert "build_depends" in error["hint"]
    clone.add(f"{trees.FOLDER}/wrong.yaml", trees.recipe("make", "nowhere"))
    assert "nowhere" in refused(clone, "wrong", "ComponentError")["error"]
    (clone.root / trees.FOLDER / "wrong.yaml").unlink()


PROBE = """\
all:
\tid -un >who
\tsudo id -un >>who
\tgrep CapBnd /proc/self/status >>who
\tls /dev >>who
\tsudo find /cache /output /project -mindepth 1 -not -path '*/synos_tasks/*' >found 2>&1 || true
install:
\tinstall -D -m 644 -t $(DESTDIR)/usr/share/probe who found
"""


@pytest.fixture(scope="module")
def probed(clone: Clone, toolchain_image: str) -> dict[str, list[str]]:
    """What a component's build sees: lines of who it is, and of the files that it finds, beside a neighbour."""
    trees.add(clone, "make", "neighbour")
    package = package_of(compiled(clone, trees.add(clone, "make", "probe", Makefile=PROBE)))
    printed = run_installed(clone, package, "cd /usr/share/probe; cat who; echo --; cat found")
    who, _, found = printed.partition("\n--\n")
    return {"who": who.splitlines(), "found": found.splitlines()}


def test_compilers_run_as_the_builder_without_privileges(probed: dict[str, list[str]]) -> None:
    user, root, bound, *devices = probed["who"]
    assert (user, root) == ("builder", "root")
    allowed = int(bound.split()[1], 16)
    assert not allowed & (1 << 21 | 1 << 27 | 1 << 18)  # SYS_ADMIN, MKNOD, SYS_CHROOT: see capabilities(7)
    assert not {"sda", "vda", "mem", "kmsg", "loop-control"} & set(devices)


def test_what_compiles_reaches_neither_the_store_nor_other_parts_of_the_project(
    probed: dict[str, list[str]],
) -> None:
    place = f"/project/{trees.FOLDER}/probe"
    assert place in probed["found"]
    above = map(str, Path(place).parents)
    others = {path for path in probed["found"] if path.startswith("/") and not path.startswith(place)}
    assert others - {*above} == {"/project/synos_tasks"}


@pytest.mark.parametrize("what", ["ln -s /etc/shadow", "mkfifo"])
def test_what_is_no_package_gets_nowhere(clone: Clone, toolchain_image: str, what: str) -> None:
    name = f"hostile-{what.split(maxsplit=1)[0]}"
    file = f"{name}_1.0_amd64.deb"
    makefile = f"all:\ninstall:\n\tsudo {what} /packages/{file}\n"
    trees.add(clone, "make", name, Makefile=makefile)
    answer = clone.inv("build.component", name, fails=True)
    assert answer.json["error"]["kind"] in {"ComponentFailed", "StageFailed"}, answer.err
    output = clone.settings.output_dir / "components"
    assert not list(output.glob(f"{name}*"))
    assert file not in clone.in_store("find /cache/objects")


FORGE = """\
made='{"event": "done", "name": "component-other", "key": "k", "hit": true, "seconds": 1, "bytes": 1}'
gone='{"event": "error", "kind": "PackageVanished", "error": "bash is gone"}'
for where in /proc/*/fd/1; do printf '%s\\n' "$made" "$gone" >"$where"; done
sleep 9
"""


def test_what_a_build_says_for_the_engine_is_not_heard(clone: Clone, toolchain_image: str) -> None:
    name = trees.add(clone, "make", "forger", **{"Makefile": "all:\n\tsudo sh forge.sh\n", "forge.sh": FORGE})
    answer = clone.inv("build.component", name, fails=True)
    error = answer.json["error"]
    assert (error["kind"], error["error"]) == ("ComponentFailed", "bash is gone")
    assert "component-other" not in answer.err


def test_the_bytes_are_the_same_from_caches_and_from_nothing(clone: Clone, toolchain_image: str) -> None:
    name = trees.add(clone, "cargo", "same")
    first = package_of(compiled(clone, name)).read_bytes()
    assert package_of(compiled(clone, name, "--no-cache")).read_bytes() == first
    volumes = docker("volume", "ls", "--quiet", f"--filter=label={clone.label}").split()
    assert not [volume for volume in volumes if "-once-" in volume]


def test_all_of_them_are_compiled_and_shown(warm: Clone, toolchain_image: str) -> None:
    answer = warm.inv("build.components")
    told = {component["name"]: component for component in answer.json["components"]}
    assert {"synos-agent", "synos-welcome"} <= set(told)
    assert {"desktop", "standard"} <= set(told["synos-agent"]["profiles"])
    assert sorted(path.name for path in Path(answer.json["output"]).glob("synos-*")) == [
        "synos-agent_1.0.0_amd64.deb", "synos-welcome_1.0.0_amd64.deb",
    ]  # fmt: skip
