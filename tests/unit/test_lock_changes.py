"""What a lock is for, what its layers have, and how it differs from another."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from synos_tasks.iso import lock as locks
from synos_tasks.iso.lock import Change, Lock, Package
from synos_tasks.iso.profile import Profile


def package(name: str, version: str, *, archive: str = "main", layer: str = "base") -> Package:
    path = f"pool/{name}.deb"
    return Package(
        name=name,
        version=version,
        architecture="amd64",
        layer=layer,
        size=1,
        sha256="",
        archive=archive,
        path=path,
    )


def lock(*packages: Package) -> Lock:
    return Lock(request="0123456789abcdef", epoch=0, packages=packages)


LOCK = lock(
    package("apt", "2.6.1"),
    package("libc6", "2.36", archive="security", layer="packages-x"),
    package("sudo", "1:1.9"),
)
PROFILE = Profile(name="x", layers=(("base", ("sudo",)),))


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        ({"mirror": "http://a.example"}, False),
        ({"security_mirror": "http://a.example"}, False),
        ({"name": "y"}, False),
        ({"hostname": "y"}, False),
        ({"suites": ("security", "updates", "release")}, False),
        ({"suite": "trixie"}, True),
        ({"suites": ("release",)}, True),
        ({"areas": ("main", "contrib")}, True),
        ({"components": ("tool",)}, False),
        ({"architecture": "arm64"}, True),
        ({"bootstrapper": "debootstrap"}, True),
        ({"layers": (("base", ("sudo", "vim")),)}, True),
        ({"layers": (("base", ()), ("packages-x", ("sudo",)))}, True),
    ],
    ids=str,
)
def test_a_lock_is_for_what_decides_over_packages(change: dict[str, Any], matters: bool) -> None:
    request = locks.request_of(PROFILE)
    assert re.fullmatch(r"[0-9a-f]{16}", request)
    assert (locks.request_of(dataclasses.replace(PROFILE, **change)) != request) is matters


def test_changes_are_listed_by_name() -> None:
    new = lock(
        package("apt", "2.6.2", archive="security"),
        package("bash", "5", archive="security"),
        package("libc6", LOCK.packages[1].version),
    )
    assert locks.changes(LOCK, new) == [
        Change(name="apt", old="2.6.1", new="2.6.2", security=True),
        Change(name="bash", old="", new="5", security=False),
        Change(name="sudo", old="1:1.9", new="", security=False),
    ]
    assert locks.changes(LOCK, LOCK) == []


def test_without_an_earlier_lock_all_is_new() -> None:
    found = locks.changes(None, LOCK)
    assert [(c.name, c.old, c.security) for c in found] == [(p.name, "", False) for p in LOCK.packages]


def test_an_update_counts_as_security_by_where_it_comes_from_now() -> None:
    found = locks.version_changes(
        {"a": ("1", True), "b": ("1", False)}, {"a": ("2", False), "b": ("2", True)}
    )
    assert [(change.name, change.security) for change in found] == [("a", False), ("b", True)]
