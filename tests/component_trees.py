"""Components for tests: small trees of every build system, and what their recipes say."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.build_helpers import Clone

FOLDER = "docker/build/components"
C_MAIN = """\
#include <stdio.h>
int main(void) { puts("hello from %s"); return 0; }
"""
TREES: dict[str, dict[str, str]] = {
    "make": {
        "hello-make.c": C_MAIN % "make",
        "Makefile": """\
PREFIX ?= /usr/local
hello-make: hello-make.o
check: hello-make
\t./hello-make | grep -q make
install: hello-make
\tinstall -D -t $(DESTDIR)$(PREFIX)/bin hello-make
clean:
\trm -f hello-make hello-make.o
""",
    },
    "cmake": {
        "hello-cmake.c": C_MAIN % "cmake",
        "CMakeLists.txt": """\
cmake_minimum_required(VERSION 3.16)
project(hello C)
add_executable(hello-cmake hello-cmake.c)
install(TARGETS hello-cmake DESTINATION bin)
""",
    },
    "meson": {
        "hello-meson.c": C_MAIN % "meson",
        "meson.build": "project('hello', 'c')\nexecutable('hello-meson', 'hello-meson.c', install: true)\n",
    },
    "cargo": {
        "Cargo.toml": """\
[package]
name = "hello-cargo"
version = "1.0.0"
edition = "2021"
""",
        "src/lib.rs": """\
pub fn greeting() -> &'static str {
    "hello from cargo"
}
#[test]
fn one_is_one() {
    assert_eq!(1, 1);
}
""",
        "src/main.rs": """\
fn main() {
    println!("{}", hello_cargo::greeting());
}
""",
    },
}


def recipe(build: str, name: str, more: str = "") -> str:
    """Give the recipe of a component whose source is the folder of its own name."""
    return f"description: A test\nbuild: {build}\nversion: '1.0'\nsource:\n  folder: {name}\n{more}"


def add(clone: Clone, build: str, name: str = "", more: str = "", **changed: str) -> str:
    """Add a component of a build system to a clone; ``changed`` files replace or join those of its tree."""
    name = name or f"hello-{build}"
    for path, text in {**TREES[build], **changed}.items():
        clone.add(f"{FOLDER}/{name}/{path}", text)
    clone.add(f"{FOLDER}/{name}.yaml", recipe(build, name, more))
    return name
