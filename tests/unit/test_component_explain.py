"""What real tools said of builds that fail, and what a person is told of it."""

# ruff: noqa: RUF001  (the quotes are those of gcc)

from __future__ import annotations

import string
import time
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synos_tasks.errors import ComponentFailed, DiskFull, SynosError
from synos_tasks.iso.components.explain import explain
from synos_tasks.iso.components.recipe import Component

TOOL = Component(name="tool", description="x", build="make", source=("folder", "src-of-tool", ""))
FOLDER = "docker/build/components/src-of-tool"
RECIPE = "docker/build/components/tool.yaml"
FAILS = "tool does not compile"
TESTS = "the tests of tool fail"
BUILD = "tool could not be built"
# what dh and dpkg say behind everything that fails
END = """\
make[1]: Leaving directory '/work/build/source'
dh_auto_build: error: make -j2 "INSTALL=install --strip-program=true" returned exit code 2
make: *** [debian/rules:3: binary] Error 25
dpkg-buildpackage: error: debian/rules binary subprocess returned exit status 2
"""


def missing(name: str) -> str:
    return f"a build dependency of tool is missing: {name}"


@dataclass(frozen=True)
class Case:
    """A log of gcc 12.2, ld 2.40, make 4.3, cmake 3.25, meson 1.0, cargo 1.65 or debhelper 13, and what it means."""

    log: str
    what: str
    where: str
    why: tuple[str, ...]
    """The first line, and what else must be among the others."""
    never: tuple[str, ...] = ()


GCC = """\
make[1]: Entering directory '/work/build/source'
cc -g -O2 -ffile-prefix-map=/work/build/source=. -Wformat -Werror=format-security -c -o src/x.o src/x.c
src/x.c: In function ‘main’:
src/x.c:2:10: error: ‘nope’ undeclared (first use in this function)
    2 |   return nope;
      |          ^~~~
src/x.c:2:10: note: each undeclared identifier is reported only once for each function it appears in
make[1]: *** [<builtin>: src/x.o] Error 1
"""
NOPE = "‘nope’ undeclared (first use in this function)"
CURL = """\
CMake Error at /usr/share/cmake-3.25/Modules/FindPackageHandleStandardArgs.cmake:230 (message):
  Could NOT find CURL (missing: CURL_LIBRARY CURL_INCLUDE_DIR)
Call Stack (most recent call first):
  /usr/share/cmake-3.25/Modules/FindPackageHandleStandardArgs.cmake:600 (_FPHSA_FAILURE_MESSAGE)
  /usr/share/cmake-3.25/Modules/FindCURL.cmake:182 (find_package_handle_standard_args)
  sub/CMakeLists.txt:1 (find_package)
-- Configuring incomplete, errors occurred!
See also "/work/build/source/obj-x86_64-linux-gnu/CMakeFiles/CMakeOutput.log".
"""
NOSUCH = """\
By not providing "FindNosuch.cmake" in CMAKE_MODULE_PATH this project has
  asked CMake to find a package configuration file provided by "Nosuch", but
  CMake did not find one.
  Could not find a package configuration file provided by "Nosuch" with any
  of the following names:
    NosuchConfig.cmake
    nosuch-config.cmake
"""
RUST = """\
   Compiling x v1.0.0 (/work/build/source)
error[E0425]: cannot find value `nope` in this scope
 --> src/main.rs:3:20
  |
3 |     println!("{}", nope);
  |                    ^^^^ not found in this scope
For more information about this error, try `rustc --explain E0425`.
error: could not compile `x` due to previous error
"""
PKG_CONFIG = """\
Package nosuch-lib was not found in the pkg-config search path.
Perhaps you should add the directory containing `nosuch-lib.pc'
to the PKG_CONFIG_PATH environment variable
Package 'nosuch-lib', required by 'virtual:world', not found
"""
CONFIG_LOG = """\
\ttail -v -n \\+0 config.log
==> config.log <==
configure:3235: checking for nosuch/a.h
conftest.c:47:10: fatal error: nosuch/a.h: No such file or directory
   47 | #include <nosuch/a.h>
      |          ^~~~~~~~~~~~
compilation terminated.
configure:3265: gcc -o conftest -g -O2 conftest.c -lnosuch
/usr/bin/ld: cannot find -lnosuch: No such file or directory
collect2: error: ld returned 1 exit status
configure: exit 1
dh_auto_configure: error: ./configure --build=x86_64-linux-gnu --prefix=/usr returned exit code 1
"""
CASES = {
    "gcc": Case(GCC, FAILS, f"{FOLDER}/src/x.c:2:10", (NOPE, "return nope;"), ("note:",)),
    "gcc, a warning before it": Case(
        "src/a.c:2:11: warning: initialization of ‘int’ from ‘char *’ makes integer from pointer [-Wint-conversion]\n"
        "    2 |   int x = \"a\"\n      |           ^~~\n"
        "src/a.c:3:3: error: expected ‘,’ or ‘;’ before ‘return’\n    3 |   return x;\n      |   ^~~~~~\n",
        FAILS, f"{FOLDER}/src/a.c:3:3", ("expected ‘,’ or ‘;’ before ‘return’", "return x;"), ("warning",),
    ),
    "gcc, in a header of its own": Case(
        "In file included from src/a.c:1:\nsrc/b.h:1:1: error: unknown type name ‘typo’; did you mean ‘typeof’?\n"
        "    1 | typo x;\n      | ^~~~\n      | typeof\nsrc/a.c: In function ‘main’:\n",
        FAILS, f"{FOLDER}/src/b.h:1:1", ("unknown type name ‘typo’; did you mean ‘typeof’?", "typo x;"),
    ),
    "gcc, called by a make that make called": Case(
        "make[1]: Entering directory '/work/build/source'\nmake -C doc\n"
        "make[2]: Entering directory '/work/build/source/doc'\nmake[2]: Leaving directory '/work/build/source/doc'\n"
        "make -C src\nmake[2]: Entering directory '/work/build/source/src'\ncc -g -O2 -c -o x.o x.c\n"
        f"x.c: In function ‘main’:\nx.c:2:10: error: {NOPE}\n    2 |   return nope;\n",
        FAILS, f"{FOLDER}/src/x.c:2:10", (NOPE,),
    ),
    "gcc, after the make that make called": Case(
        "make[1]: Entering directory '/work/build/source'\nmake[2]: Entering directory '/work/build/source/doc'\n"
        f"make[2]: Leaving directory '/work/build/source/doc'\nsrc/x.c:2:10: error: {NOPE}\n",
        FAILS, f"{FOLDER}/src/x.c:2:10", (NOPE,),
    ),
    "gcc, called by ninja": Case(
        "\tcd obj-x86_64-linux-gnu && LC_ALL=C.UTF-8 ninja -j2 -v\nFAILED: x.p/src_x.c.o \n"
        f"../src/x.c: In function ‘main’:\n../src/x.c:1:23: error: {NOPE}\n    1 | int main(void){{return nope;}}\n",
        FAILS, f"{FOLDER}/src/x.c:1:23", (NOPE,),
    ),
    "gcc, called by ninja, of whom the start is cut off": Case(
        f"../src/x.c:1:23: error: {NOPE}\n", FAILS, f"{FOLDER}/src/x.c:1:23", (NOPE,),
    ),
    "gcc, called by cmake's make": Case(
        "make[3]: Entering directory '/work/build/source/obj-x86_64-linux-gnu'\n"
        f"/work/build/source/x.c:1:23: error: {NOPE}\n    1 | int main(void){{return nope;}}\n",
        FAILS, f"{FOLDER}/x.c:1:23", (NOPE,),
    ),
    "gcc, in colours": Case(
        "\x1b[01m\x1b[K/work/build/source/src/x.c:1:23:\x1b[m\x1b[K \x1b[01;31m\x1b[Kerror: \x1b[m\x1b[K‘\x1b[01m\x1b[Knope"
        "\x1b[m\x1b[K’ undeclared (first use in this function)\n"
        "    1 | int main(void){return \x1b[01;31m\x1b[Knope\x1b[m\x1b[K;}\n",
        FAILS, f"{FOLDER}/src/x.c:1:23", (NOPE, "int main(void){return nope;}"), ("\x1b",),
    ),
    "gcc, a name that is that of an error": Case(
        "src/x.c: In function ‘f’:\nsrc/x.c:3:10: error: expected ‘:’ before ‘return’\n    3 |     case ENOSPC return 1;\n",
        FAILS, f"{FOLDER}/src/x.c:3:10", ("expected ‘:’ before ‘return’", "case ENOSPC return 1;"),
    ),
    "a header": Case(
        "a.c:2:10: fatal error: nosuch/curl.h: No such file or directory\n    2 | #include <nosuch/curl.h>\n"
        "      |          ^~~~~~~~~~~~~~~\ncompilation terminated.\n",
        missing("nosuch/curl.h"), f"{FOLDER}/a.c:2:10",
        ("nosuch/curl.h: No such file or directory", "#include <nosuch/curl.h>"),
    ),
    "a header without an ending": Case(
        "a.cpp:1:10: fatal error: QtCore: No such file or directory\n    1 | #include <QtCore>\n",
        missing("QtCore"), f"{FOLDER}/a.cpp:1:10", ("QtCore: No such file or directory",),
    ),
    "a header that pkg-config was asked for": Case(
        PKG_CONFIG + "src/x.c:1:10: fatal error: nosuch.h: No such file or directory\n    1 | #include <nosuch.h>\n",
        missing("nosuch.h"), f"{FOLDER}/src/x.c:1:10", ("nosuch.h: No such file or directory",),
    ),
    "gcc, after pkg-config missed what can be done without": Case(
        PKG_CONFIG + GCC, FAILS, f"{FOLDER}/src/x.c:2:10", (NOPE,),
    ),
    "ld, a library": Case(
        "cc -o x src/x.o -lnosuch\n/usr/bin/ld: cannot find -lnosuch: No such file or directory\n"
        "collect2: error: ld returned 1 exit status\nmake[1]: *** [Makefile:2: x] Error 1\n",
        missing("-lnosuch"), RECIPE, ("/usr/bin/ld: cannot find -lnosuch: No such file or directory",),
    ),
    "ld, called by rustc": Case(
        "error: linking with `cc` failed: exit status: 1\n  |\n  = note: \"cc\" \"-m64\" \"-lnosuch\"\n"
        "  = note: /usr/bin/ld: cannot find -lnosuch: No such file or directory\n"
        "          collect2: error: ld returned 1 exit status\nerror: could not compile `x` due to previous error\n",
        missing("-lnosuch"), RECIPE, ("= note: /usr/bin/ld: cannot find -lnosuch: No such file or directory",),
    ),
    "ld, a function": Case(
        "/usr/bin/ld: a.o: in function `main':\n/work/build/source/a.c:2: undefined reference to `nosuch'\n"
        "collect2: error: ld returned 1 exit status\n",
        FAILS, f"{FOLDER}/a.c:2", ("undefined reference to `nosuch'",),
    ),
    "ld, a function, paths mapped": Case(
        "make[2]: Entering directory '/work/build/source/src'\n/usr/bin/ld: x.o: in function `main':\n"
        "./src/./src/x.c:3: undefined reference to `nosuch'\ncollect2: error: ld returned 1 exit status\n",
        FAILS, f"{FOLDER}/src/x.c:3", ("undefined reference to `nosuch'",),
    ),
    "ld, a function, without debug information": Case(
        "/usr/bin/ld: a.o: in function `main':\na.c:(.text.startup+0x1): undefined reference to `nosuch'\n",
        FAILS, f"{FOLDER}/a.c", ("undefined reference to `nosuch'",),
    ),
    "ld, a function, at link time optimised": Case(
        "/usr/bin/ld: /tmp/ccSjBM26.ltrans0.ltrans.o: in function `main':\n"
        "/work/build/source/<artificial>:2: undefined reference to `nosuch'\n",
        BUILD, RECIPE, ("/usr/bin/ld: ", "undefined reference to `nosuch'"),
    ),
    "ld, a function twice": Case(
        "/usr/bin/ld: /tmp/ccvbjUbn.o: in function `f':\n"
        "/work/build/source/b.c:1: multiple definition of `f'; /tmp/cceJBNiw.o:/work/build/source/a.c:1: first defined here\n",
        FAILS, f"{FOLDER}/b.c:1", ("multiple definition of `f'; ",),
    ),
    "make, a separator": Case(
        "Makefile:2: *** missing separator.  Stop.\n", FAILS, f"{FOLDER}/Makefile:2", ("*** missing separator.  Stop.",),
    ),
    "make, a separator further down": Case(
        "make[1]: Entering directory '/work/build/source/sub'\nMakefile:7: *** missing separator.  Stop.\n",
        FAILS, f"{FOLDER}/sub/Makefile:7", ("*** missing separator.  Stop.",),
    ),
    "make, a rule": Case(
        "make[1]: *** No rule to make target 'y.o', needed by 'x'.  Stop.\n",
        BUILD, RECIPE, ("make[1]: *** No rule to make target 'y.o', needed by 'x'.  Stop.",), ("returned exit", "Leaving"),
    ),
    "make, a program": Case(
        "nosuchtool --x\nmake[1]: nosuchtool: No such file or directory\nmake[1]: *** [Makefile:2: x] Error 127\n",
        missing("nosuchtool"), RECIPE, ("make[1]: nosuchtool: No such file or directory",),
    ),
    "the shell, a program": Case(
        "cd src && nosuchtool --x | cat && false\n/bin/sh: 1: nosuchtool: not found\n"
        "make[1]: *** [Makefile:2: x] Error 1\n",
        missing("nosuchtool"), RECIPE, ("/bin/sh: 1: nosuchtool: not found",),
    ),
    "make, what a command said": Case(
        "cp x /usr/bin/x\ncp: cannot create regular file '/usr/bin/x': Permission denied\n"
        "make[1]: *** [Makefile:4: install] Error 1\n",
        BUILD, RECIPE, ("cp x /usr/bin/x", "cp: cannot create regular file '/usr/bin/x': Permission denied"),
        ("***", "dpkg-buildpackage"),
    ),
    "dh, an addon": Case(
        "dh clean --with nosuchaddon\n"
        "dh: error: unable to load addon nosuchaddon: Can't locate Debian/Debhelper/Sequence/nosuchaddon.pm in @INC\n",
        BUILD, RECIPE, ("dh: error: unable to load addon nosuchaddon: ",),
    ),
    "dpkg-shlibdeps": Case(
        "   dh_shlibdeps -a -O--buildsystem=makefile\n"
        "dpkg-shlibdeps: error: cannot find library libown.so.1 needed by debian/xx/usr/bin/x (ELF format: 'elf64-x86-64')\n"
        "dh_shlibdeps: error: Aborting due to earlier error\n",
        BUILD, RECIPE, ("dpkg-shlibdeps: error: cannot find library libown.so.1 needed by debian/xx/usr/bin/x",),
    ),
    "pkg-config": Case(
        PKG_CONFIG, missing("nosuch-lib"), RECIPE, ("Package 'nosuch-lib', required by 'virtual:world', not found",),
    ),
    "pkg-config, a version": Case(
        "Package dependency requirement 'zlib >= 99' could not be satisfied.\n"
        "Package 'zlib' has version '1.2.13', required version is '>= 99'\n",
        missing("zlib >= 99"), RECIPE, ("Package dependency requirement 'zlib >= 99' could not be satisfied.",),
    ),
    "configure": Case(
        "checking for f in -lnosuch... no\nconfigure: error: libnosuch is needed\n" + CONFIG_LOG,
        BUILD, RECIPE, ("checking for f in -lnosuch... no", "configure: error: libnosuch is needed"), ("conftest",),
    ),
    "configure, pkg-config": Case(
        "checking for nosuch-lib... no\nconfigure: error: Package requirements (nosuch-lib) were not met:\n"
        "Package 'nosuch-lib', required by 'virtual:world', not found\n" + CONFIG_LOG,
        missing("nosuch-lib"), RECIPE, ("Package 'nosuch-lib', required by 'virtual:world', not found",),
    ),
    "cmake, a module": Case(
        "\tcd obj-x86_64-linux-gnu && cmake -DCMAKE_INSTALL_PREFIX=/usr ..\n" + CURL,
        missing("CURL"), f"{FOLDER}/sub/CMakeLists.txt:1",
        ("Could NOT find CURL (missing: CURL_LIBRARY CURL_INCLUDE_DIR)",), ("(message)",),
    ),
    "cmake, a package": Case(
        f"CMake Error at CMakeLists.txt:3 (find_package):\n  {NOSUCH}-- Configuring incomplete, errors occurred!\n",
        missing("Nosuch"), f"{FOLDER}/CMakeLists.txt:3", ("By not providing", "NosuchConfig.cmake"),
    ),
    "cmake, pkg-config": Case(
        "-- Checking for module 'other'\n--   Package 'other', required by 'virtual:world', not found\n"
        "-- Checking for module 'nosuch-lib'\n--   Package 'nosuch-lib', required by 'virtual:world', not found\n"
        "CMake Error at /usr/share/cmake-3.25/Modules/FindPkgConfig.cmake:607 (message):\n"
        "  A required package was not found\nCall Stack (most recent call first):\n"
        "  /usr/share/cmake-3.25/Modules/FindPkgConfig.cmake:829 (_pkg_check_modules_internal)\n"
        "  CMakeLists.txt:4 (pkg_check_modules)\n",
        missing("nosuch-lib"), f"{FOLDER}/CMakeLists.txt:4", ("A required package was not found",),
    ),
    "gcc, after cmake missed what can be done without": Case(
        "-- Could NOT find CURL (missing: CURL_LIBRARY CURL_INCLUDE_DIR) \n"
        f"CMake Warning at CMakeLists.txt:4 (find_package):\n  {NOSUCH}-- Configuring done\n{GCC}",
        FAILS, f"{FOLDER}/src/x.c:2:10", (NOPE,),
    ),
    "make, after cmake missed what can be done without": Case(
        "-- Could NOT find CURL (missing: CURL_LIBRARY CURL_INCLUDE_DIR) \n"
        f"CMake Warning at CMakeLists.txt:4 (find_package):\n  {NOSUCH}-- Configuring done\n"
        "make[1]: *** No rule to make target 'y.o', needed by 'x'.  Stop.\n",
        BUILD, RECIPE, ("-- Could NOT find CURL", "make[1]: *** No rule to make target 'y.o', needed by 'x'.  Stop."),
    ),
    "cmake, its own words": Case(
        "CMake Error at CMakeLists.txt:4 (message):\n  You need a\n  better thing.\n"
        "Call Stack (most recent call first):\n  CMakeLists.txt:7 (need)\n-- Configuring incomplete, errors occurred!\n",
        FAILS, f"{FOLDER}/CMakeLists.txt:4", ("You need a\nbetter thing.",), ("Call Stack",),
    ),
    "cmake, a parenthesis": Case(
        'CMake Error at CMakeLists.txt:4:\n  Parse error.  Function missing ending ")".  End of file reached.\n',
        FAILS, f"{FOLDER}/CMakeLists.txt:4", ('Parse error.  Function missing ending ")".  End of file reached.',),
    ),
    "meson, a dependency": Case(
        "\tcd obj-x86_64-linux-gnu && LC_ALL=C.UTF-8 meson setup .. --wrap-mode=nodownload\n"
        "Run-time dependency nosuch-lib found: NO (tried pkgconfig and cmake)\n"
        '../meson.build:2:0: ERROR: Dependency "nosuch-lib" not found, tried pkgconfig and cmake\n'
        "\tcd obj-x86_64-linux-gnu && tail -v -n \\+0 meson-logs/meson-log.txt\n==> meson-logs/meson-log.txt <==\n"
        "dh_auto_configure: error: cd obj-x86_64-linux-gnu && meson setup .. returned exit code 1\n",
        missing("nosuch-lib"), f"{FOLDER}/meson.build:2:0", ('Dependency "nosuch-lib" not found, tried pkgconfig and cmake',),
    ),
    "meson, a version": Case(
        "meson.build:2:0: ERROR: Dependency lookup for zlib with method 'pkgconfig' failed: Invalid version, "
        "need 'zlib' ['>=99'] found '1.2.13'.\n",
        missing("zlib"), f"{FOLDER}/meson.build:2:0", ("Dependency lookup for zlib with method 'pkgconfig' failed",),
    ),
    "meson, a library": Case(
        "meson.build:2:0: ERROR: C shared or static library 'nosuch' not found\n",
        missing("nosuch"), f"{FOLDER}/meson.build:2:0", ("C shared or static library 'nosuch' not found",),
    ),
    "meson, a program": Case(
        "Program nosuchtool found: NO\nmeson.build:2:0: ERROR: Program 'nosuchtool' not found or not executable\n",
        missing("nosuchtool"), f"{FOLDER}/meson.build:2:0", ("Program 'nosuchtool' not found or not executable",),
    ),
    "gcc, after meson missed what can be done without": Case(
        "Run-time dependency nosuch-lib found: NO (tried pkgconfig and cmake)\n" + GCC,
        FAILS, f"{FOLDER}/src/x.c:2:10", (NOPE,),
    ),
    "meson, a comma": Case(
        "meson.build:2:15: ERROR: Expecting rparen got string.\nexecutable('x' 'x.c')\n          ^____^\n",
        FAILS, f"{FOLDER}/meson.build:2:15", ("Expecting rparen got string.",),
    ),
    "rustc": Case(
        RUST, FAILS, f"{FOLDER}/src/main.rs:3:20",
        ("error[E0425]: cannot find value `nope` in this scope", '3 |     println!("{}", nope);', "^^^^ not found in this scope"),
        ("For more information", "could not compile"),
    ),
    "rustc, warnings before it": Case(
        "warning: unused variable: `y`\n --> src/main.rs:2:9\n  |\n2 |     let y = 1;\n"
        "error[E0382]: borrow of moved value: `a`\n --> src/main.rs:5:20\n  |\n3 |     let a = String::new();\n",
        FAILS, f"{FOLDER}/src/main.rs:5:20", ("error[E0382]: borrow of moved value: `a`", "3 |     let a = String::new();"),
    ),
    "rustc, without a number": Case(
        "error: expected expression, found `}`\n --> src/main.rs:3:1\n  |\n3 | }\n  | ^ expected expression\n",
        FAILS, f"{FOLDER}/src/main.rs:3:1", ("error: expected expression, found `}`", "3 | }"),
    ),
    "rustc, in a test": Case(
        RUST + "make[1]: *** [debian/rules:10: override_dh_auto_test] Error 101\n",
        FAILS, f"{FOLDER}/src/main.rs:3:20", ("error[E0425]: cannot find value `nope` in this scope",),
    ),
    "cargo, a crate": Case(
        "error: no matching package named `nosuchcrate` found\nlocation searched: registry `crates-io`\n"
        "required by package `x v1.0.0 (/work/build/source)`\n",
        missing("nosuchcrate"), RECIPE, ("error: no matching package named `nosuchcrate` found",),
    ),
    "cargo, the version of a crate": Case(
        'error: failed to select a version for the requirement `serde_json = "^99"`\n'
        "candidate versions found which didn't match: 1.0.87\n",
        BUILD, RECIPE,
        ('error: failed to select a version for the requirement `serde_json = "^99"`', "candidate versions found"),
    ),
    "cargo, its tests": Case(
        "     Running unittests src/main.rs (target/release/deps/x-9c2d8149fc852a8c)\ntest one ... FAILED\nfailures:\n"
        "---- one stdout ----\nthread 'one' panicked at 'assertion failed: `(left == right)`\n  left: `1`,\n"
        " right: `2`', src/main.rs:3:12\nfailures:\n    one\ntest result: FAILED. 0 passed; 1 failed\n"
        "error: test failed, to rerun pass `--bin x`\nmake[1]: *** [debian/rules:10: override_dh_auto_test] Error 101\n",
        TESTS, RECIPE, ("     Running unittests", "test one ... FAILED", "src/main.rs:3:12"), ("***",),
    ),
    "make, its tests": Case(
        "   dh_auto_test -O--buildsystem=makefile\n\tmake -j2 check\n./x\none is not two\n"
        "make[1]: *** [Makefile:4: check] Error 1\ndh_auto_test: error: make -j2 check returned exit code 2\n",
        TESTS, RECIPE, ("\tmake -j2 check", "one is not two"), ("***", "dh_auto_test"),
    ),
    "make, an assertion in its tests": Case(
        "./x\nx: src/x.c:3: main: Assertion `1 == 2' failed.\nmake[1]: *** [Makefile:4: test] Aborted\n"
        "dh_auto_test: error: make -j2 test returned exit code 2\n",
        TESTS, RECIPE, ("./x", "x: src/x.c:3: main: Assertion `1 == 2' failed."),
    ),
    "make, its tests, one of which missed a program": Case(
        "/bin/sh: 1: valgrind: not found\none is not two\ndh_auto_test: error: make -j2 check returned exit code 2\n",
        TESTS, RECIPE, ("/bin/sh: 1: valgrind: not found", "one is not two"),
    ),
    "meson, its tests": Case(
        "1/1 one FAIL            0.00s   exit status 3\n\tcd obj-x86_64-linux-gnu && tail -v -n \\+0 meson-logs/testlog.txt\n"
        "==> meson-logs/testlog.txt <==\ntest:         one\n"
        "----------------------------------- stdout -----------------------------------\nbad luck\n"
        "Summary of Failures:\n1/1 one FAIL            0.00s   exit status 3\n"
        "dh_auto_test: error: cd obj-x86_64-linux-gnu && LC_ALL=C.UTF-8 MESON_TESTTHREADS=2 meson test returned exit code 1\n",
        TESTS, RECIPE, ("1/1 one FAIL", "bad luck"),
    ),
    "ctest": Case(
        "1: bad luck\n1/1 Test #1: one ..............................***Failed    0.00 sec\n"
        "The following tests FAILED:\n\t  1 - one (Failed)\nErrors while running CTest\n"
        "make[1]: *** [Makefile:74: test] Error 8\n"
        "dh_auto_test: error: cd obj-x86_64-linux-gnu && make -j2 test ARGS\\+=--verbose returned exit code 2\n",
        TESTS, RECIPE, ("1: bad luck", "\t  1 - one (Failed)"),
    ),
    "dpkg-checkbuilddeps": Case(
        "dpkg-checkbuilddeps: error: Unmet build dependencies: nosuch-dev libfoo-bar-dev (>= 2)\n",
        missing("nosuch-dev libfoo-bar-dev (>= 2)"), RECIPE, ("dpkg-checkbuilddeps: error: Unmet build dependencies: ",),
    ),
    "apt-get build-dep": Case(
        "The following packages have unmet dependencies:\n"
        " builddeps:./ : Depends: zlib1g-dev (>= 99:1) but 1:1.2.13.dfsg-1 is to be installed\n"
        "E: Unable to correct problems, you have held broken packages.\n",
        BUILD, RECIPE, ("The following packages have unmet", "zlib1g-dev (>= 99:1) but 1:1.2.13.dfsg-1 is to be installed"),
    ),
}  # fmt: skip


def lines_of(log: str) -> list[str]:
    """Give the lines of a log as Workshop.run() gives them: without the empty ones."""
    return [line for line in log.split("\n") if line.strip()]


def explained(log: str, component: Component = TOOL) -> SynosError:
    return explain(component, ["dpkg-buildpackage"], 2, lines_of(log))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("end", ["", END], ids=["", "dh"])
def test_what_people_are_told(name: str, end: str) -> None:
    case = CASES[name]
    error = explained(case.log + end)
    assert isinstance(error, ComponentFailed)
    assert (error.what, error.where) == (case.what, case.where)
    first, *others = case.why
    assert error.why.startswith(first)
    assert [text for text in others if text not in error.why] == []
    assert [text for text in case.never if text in error.why] == []


@pytest.mark.parametrize("name", CASES)
def test_people_are_told_what_to_do_where_there_is_something(name: str) -> None:
    case = CASES[name]
    hint = explained(case.log).hint
    if "is missing" in case.what:
        assert "`build_depends:`" in hint
    elif case.what == TESTS:
        assert "`tests: skip`" in hint
    else:
        assert hint == ""


FULL = {
    "ld": "/usr/bin/ld: final link failed: No space left on device\ncollect2: error: ld returned 1 exit status\n",
    "cc1": "/tmp/a.c:1:1: fatal error: error closing /tmp/cc9V5hcA.s: No space left on device\n    1 | int main(void)\n",
    "rustc": "LLVM ERROR: IO failure on output stream: No space left on device\n",
    "dpkg-deb": "dpkg-deb: error: unable to write file '/full/x.deb': No space left on device\n",
}


@pytest.mark.parametrize("name", FULL)
def test_a_full_disk_is_one(name: str) -> None:
    error = explained("cc -c -o x.o x.c\n" + FULL[name] + END)
    assert isinstance(error, DiskFull)
    assert error.where == "component-tool"
    assert error.why == FULL[name].partition("\n")[0]
    assert error.hint


def test_a_source_that_writes_of_full_disks_does_not_fill_one() -> None:
    log = f'src/x.c:2:10: error: {NOPE}\n    2 |   return nope("No space left on device");\n      |          ^~~~\n'
    assert explained("checking for ENOSPC... yes\n" + log).what == FAILS


def test_a_file_of_a_git_repository_is_none_of_the_project() -> None:
    component = Component(
        name="tool", description="x", build="make", source=("git", "https://a.example/x", "0" * 40)
    )
    assert explained(GCC, component).where == "src/x.c:2:10"


def test_a_file_of_a_library_is_where_it_is() -> None:
    log = f"In file included from src/x.c:1:\n/usr/include/curl/curl.h:9:1: error: {NOPE}\n"
    assert explained(log).where == "/usr/include/curl/curl.h:9:1"


def test_the_first_error_is_the_one_that_counts() -> None:
    """What comes behind it often follows from it."""
    assert explained(GCC + RUST).where == f"{FOLDER}/src/x.c:2:10"
    assert explained(RUST + GCC).where == f"{FOLDER}/src/main.rs:3:20"


def test_a_tool_that_says_nothing() -> None:
    error = explain(TOOL, ["dpkg-buildpackage", "--build=binary"], 137, [])
    assert (error.what, error.where, error.why) == (BUILD, RECIPE, "dpkg-buildpackage ended with 137")


def test_only_the_last_words_are_shown() -> None:
    why = explained("".join(f"line {i}\n" for i in range(100))).why.splitlines()
    assert why == [f"line {i}" for i in range(88, 100)]


CHATTER = st.lists(st.text(alphabet=string.ascii_lowercase + " ./", min_size=1, max_size=20), max_size=5)
PLACED = [name for name, case in CASES.items() if case.where.startswith(FOLDER)]


@settings(deadline=None)
@given(st.sampled_from(PLACED), CHATTER, CHATTER)
def test_what_is_said_before_and_after_does_not_matter(
    name: str, before: list[str], after: list[str]
) -> None:
    alone = explained(CASES[name].log)
    behind = ["--", *after]
    amid = explain(TOOL, ["dpkg-buildpackage"], 2, [*before, *lines_of(CASES[name].log), *behind])
    assert amid.lines() == alone.lines()


PIECES = st.sampled_from(
    sorted({piece for case in CASES.values() for piece in lines_of(case.log + END + FULL["ld"])})
)
CUT = st.builds(lambda line, start, end: line[start:end], PIECES, st.integers(0, 30), st.integers(0, 90))


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.one_of(st.text(), PIECES, CUT), max_size=12), st.sampled_from(["folder", "git", "package"])
)
def test_arbitrary_lines_are_explained_somehow(lines: list[str], kind: str) -> None:
    component = Component(name="tool", description="x", build="make", source=(kind, "a", "b"))
    error = explain(component, ["make"], 2, lines)
    assert type(error) in {ComponentFailed, DiskFull}
    assert error.what
    assert error.where
    assert error.why.strip()
    assert error.why.count("\n") < 13


@pytest.mark.parametrize(
    "line", ["a" * 200_000, "a:" * 100_000, " " * 200_000, "makefile" * 4_000, "(" * 200_000]
)
def test_a_long_line_costs_no_time(line: str) -> None:
    began = time.monotonic()
    explained(f"{line}\n{line}: undefined reference to `nosuch'\n")
    assert time.monotonic() - began < 2
