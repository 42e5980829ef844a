"""What real tools said of builds that fail, and what a person reads about it."""

# ruff: noqa: RUF001  (the quotes are those of gcc)

from __future__ import annotations

import string
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synos_tasks.errors import ComponentFailed, DiskFull, SynosError
from synos_tasks.iso.components.context import explain
from synos_tasks.iso.components.recipe import Component

TOOL = Component(name="tool", description="x", build="make", source=("folder", "src-of-tool", ""))
FOLDER = "docker/build/components/src-of-tool"
RECIPE = "docker/build/components/tool.yaml"
FAILS = "tool does not compile"
TESTS = "the tests of tool fail"
BUILD = "tool could not be built"
# what dh and dpkg print after everything that fails
END = """\
make[1]: Leaving directory '/work/build/source'
dh_auto_build: error: make -j2 "INSTALL=install --strip-program=true" returned exit code 2
make: *** [debian/rules:3: binary] Error 25
dpkg-buildpackage: error: debian/rules binary subprocess returned exit status 2
"""
GCC = """\
make[1]: Entering directory '/work/build/source'
cc -g -O2 -ffile-prefix-map=/work/build/source=. -Wformat -Werror=format-security -c -o src/x.o src/x.c
src/x.c:1:11: warning: initialization of ‘int’ from ‘char *’ makes integer from pointer [-Wint-conversion]
src/x.c: In function ‘main’:
src/x.c:2:10: error: ‘nope’ undeclared (first use in this function)
    2 |   return nope;
      |          ^~~~
src/x.c:2:10: note: each undeclared identifier is reported only once for each function it appears in
make[1]: *** [<builtin>: src/x.o] Error 1
"""
RUST = """\
   Compiling x v1.0.0 (/work/build/source)
warning: unused variable: `y`
 --> src/main.rs:2:9
error[E0425]: cannot find value `nope` in this scope
 --> src/main.rs:3:20
  |
3 |     println!("{}", nope);
  |                    ^^^^ not found in this scope
For more information about this error, try `rustc --explain E0425`.
error: could not compile `x` due to previous error
"""
# logs of gcc 12.2, ld 2.40, make 4.3, cmake 3.25, meson 1.0, cargo 1.65 and debhelper 13:
# what failed, where, and texts of the explanation
CASES = {
    "gcc": (GCC, FAILS, f"{FOLDER}/src/x.c:2:10", ("‘nope’ undeclared", "return nope;")),
    "ninja": (
        "../src/x.c: In function ‘main’:\n../src/x.c:1:23: error: ‘nope’ undeclared\n",
        FAILS, f"{FOLDER}/src/x.c:1:23", ("‘nope’ undeclared",),
    ),
    "cmake's make": (
        "/work/build/source/src/x.c:1:23: error: ‘nope’ undeclared\n",
        FAILS, f"{FOLDER}/src/x.c:1:23", ("‘nope’ undeclared",),
    ),
    "header": (
        "src/x.c:2:10: fatal error: nosuch/curl.h: No such file or directory\n    2 | #include <nosuch/curl.h>\n",
        "a build dependency of tool is missing: nosuch/curl.h", f"{FOLDER}/src/x.c:2:10", ("#include <nosuch",),
    ),
    "ld": (
        "/usr/bin/ld: x.o: in function `main':\n./src/./x.c:3: undefined reference to `nosuch'\n",
        FAILS, f"{FOLDER}/src/x.c:3", ("undefined reference to `nosuch'",),
    ),
    "make": ("Makefile:2: *** missing separator.  Stop.\n", FAILS, f"{FOLDER}/Makefile:2", ("missing separator",)),
    "cmake": (
        "CMake Error at CMakeLists.txt:4 (message):\n  You need a\n  better thing.\nCall Stack (most recent call first):\n",
        FAILS, f"{FOLDER}/CMakeLists.txt:4", ("You need a", "better thing."),
    ),
    "meson": (
        '../meson.build:2:0: ERROR: Dependency "nosuch-lib" not found, tried pkgconfig and cmake\n',
        FAILS, f"{FOLDER}/meson.build:2:0", ('Dependency "nosuch-lib" not found',),
    ),
    "rustc": (RUST, FAILS, f"{FOLDER}/src/main.rs:3:20", ("cannot find value `nope`", "^^^^ not found in this scope")),
    "of another package": (
        "/usr/include/curl/curl.h:9:1: error: ‘nope’ undeclared\n", FAILS, "/usr/include/curl/curl.h:9:1", ("nope",),
    ),
    "a rule": (
        "make[1]: *** No rule to make target 'y.o', needed by 'x'.  Stop.\n", BUILD, RECIPE, ("No rule to make target",),
    ),
    "configure": (
        "configure: error: libnosuch is needed\nconftest.c:47:10: fatal error: nosuch/a.h: No such file or directory\n",
        BUILD, RECIPE, ("libnosuch is needed",),
    ),
    "cargo's tests": (
        "test one ... FAILED\nthread 'one' panicked at 'x', src/main.rs:3:12\nerror: test failed, to rerun pass `--bin x`\n",
        TESTS, RECIPE, ("test one ... FAILED", "src/main.rs:3:12"),
    ),
    "make's tests": (
        "one is not two\nmake[1]: *** [Makefile:4: check] Error 1\ndh_auto_test: error: make -j2 check returned exit code 2\n",
        TESTS, RECIPE, ("one is not two",),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a source tree with the files that the logs name."""
    found = tmp_path_factory.mktemp("tree")
    for name in ("src/x.c", "src/main.rs", "Makefile", "CMakeLists.txt", "meson.build"):
        (found / name).parent.mkdir(exist_ok=True)
        (found / name).touch()
    return found


def explained(lines: list[str], tree: Path, component: Component = TOOL) -> SynosError:
    return explain(component, ["dpkg-buildpackage"], 2, lines, tree)


def lines_of(log: str, tree: Path = Path("/work/build/source")) -> list[str]:
    """Return the lines of a log as a build gives them: without the empty ones."""
    return [line for line in log.replace("/work/build/source", str(tree)).split("\n") if line.strip()]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("end", ["", END], ids=["", "dh"])
def test_an_error_has_its_place_and_its_lines(tree: Path, name: str, end: str) -> None:
    log, what, where, why = CASES[name]
    error = explained(lines_of(log + end, tree), tree)
    assert isinstance(error, ComponentFailed)
    assert (error.what, error.where) == (what, where)
    assert [text for text in why if text not in error.why] == []
    assert not {"note:", "warning:", "Leaving", "exit code"} & set(error.why.split())
    assert ("`build_depends:`" in error.hint) == ("missing:" in what)
    assert ("`tests: skip`" in error.hint) == (what == TESTS)


FULL = [
    "/usr/bin/ld: final link failed: No space left on device",
    "/tmp/a.c:1:1: fatal error: error closing /tmp/cc9V5hcA.s: No space left on device",
    "dpkg-deb: error: unable to write file '/full/x.deb': No space left on device",
]


@pytest.mark.parametrize("line", FULL)
def test_a_full_disk_is_one(tree: Path, line: str) -> None:
    assert isinstance(explained(lines_of(f"cc -c -o x.o x.c\n{line}\n{END}"), tree), DiskFull)


def test_source_code_that_mentions_full_disks_does_not_fill_one(tree: Path) -> None:
    log = 'checking for ENOSPC... yes\nsrc/x.c:2:10: error: x\n    2 |   nope("No space left on device");\n'
    assert explained(lines_of(log), tree).what == FAILS


def test_a_file_of_a_git_repository_is_not_in_the_project(tree: Path) -> None:
    component = replace(TOOL, source=("git", "https://a.example/x", "0"))
    assert explained(lines_of(GCC), tree, component).where == "src/x.c:2:10"


def test_without_a_place_the_last_lines_are_shown(tree: Path) -> None:
    error = explained([f"line {i}" for i in range(100)], tree)
    assert error.why.splitlines() == [f"line {i}" for i in range(88, 100)]
    assert explain(TOOL, ["make"], 137, [], tree).why == "make ended with 137"


CHATTER = st.lists(st.text(alphabet=string.ascii_lowercase + " ./", min_size=1, max_size=20), max_size=5)
PLACED = [name for name, case in CASES.items() if case[2].startswith(FOLDER)]
PIECES = st.sampled_from(sorted({piece for case in CASES.values() for piece in lines_of(case[0] + END)}))
CUT = st.builds(lambda line, start, end: line[start:end], PIECES, st.integers(0, 30), st.integers(0, 90))


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(PLACED), CHATTER, CHATTER)
def test_other_output_around_an_error_does_not_matter(
    tree: Path, name: str, before: list[str], after: list[str]
) -> None:
    lines = lines_of(CASES[name][0], tree)
    assert explained([*before, *lines, "--", *after], tree).lines() == explained(lines, tree).lines()


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.one_of(st.text(), PIECES, CUT), max_size=12), st.sampled_from(["folder", "git", "package"])
)
def test_arbitrary_lines_are_explained_somehow(lines: list[str], kind: str) -> None:
    error = explain(replace(TOOL, source=(kind, "a", "b")), ["make"], 2, lines, Path("/work/build/source"))
    assert error.what
    assert error.where
    assert type(error) is DiskFull or (error.why.strip() and error.why.count("\n") < 13)


@pytest.mark.parametrize(
    "line", ["a" * 200_000, "a:" * 100_000, " " * 200_000, "make" * 4_000, "(" * 200_000]
)
def test_a_long_line_costs_no_time(tree: Path, line: str) -> None:
    began = time.monotonic()
    explained([line, f"{line}: undefined reference to `nosuch'"], tree)
    assert time.monotonic() - began < 2
