"""A key of a profile: what it may be, how profiles that inherit add to it, and what contradicts it.

A key has one file, in iso/keys or, where it belongs to one stage, that of the stage. Nothing else lists them.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import ProfileError
from synos_tasks.iso.schema import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.schema import Kind
    from synos_tasks.iso.system import System

KEYS = "synos_tasks.iso.keys"


@dataclass(frozen=True)
class Said:
    """What a profile and its ancestors say together: each key's Value has the place of the profile that said it."""

    values: Mapping[str, Value]
    keys: Mapping[str, Key]

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401
        """Return plain data: what is said, or else the default; of a mapping the default of each part."""
        default, value = self.keys[key].default, self.values.get(key)
        if value is None:
            return default
        return {**default, **value.plain} if isinstance(default, dict) else value.plain

    def of(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return plain data of some keys; those without any are left out."""
        return {key: self[key] for key in keys if self[key] is not None}

    def value(self, *path: str) -> Value:
        """Return a part, as ("mirrors", "suites"); nothing is a Value of None."""
        found = Value({**self.values}, "")
        for part in path:
            found = found.value(part)
        return found


def replaces(_old: Value, new: Value) -> Value:
    """Let what a profile says take the place of what it inherits."""
    return new


def adds(old: Value, new: Value) -> Value:
    """Add to an inherited list."""
    return Value([*old.items, *new.items], new.where, new.key)


def updates(old: Value, new: Value) -> Value:
    """Replace parts of an inherited mapping."""
    return Value({**old.entries, **new.entries}, new.where, new.key)


def adds_each(old: Value, new: Value) -> Value:
    """Add to each list of an inherited mapping."""
    together = {key: adds(old.value(key), item) for key, item in new.entries.items()}
    return Value({**old.entries, **together}, new.where, new.key)


@dataclass(frozen=True)
class Expected:
    """What the running system must be: ``command``, for sh, prints ``value``. Neither has tabs or newlines."""

    what: str
    value: str
    command: str


def same_file(what: str, path: str, sha256: str) -> Expected:
    """Expect a file to have a SHA-256, given in hex; ``path`` as sh reads it."""
    return Expected(what, sha256[:16], f"sha256sum <{path} | cut -c 1-16")


def _nothing(*_: object) -> Iterator[Any]:
    return iter(())


@dataclass(frozen=True, kw_only=True)
class Key:
    """What a file says of its key."""

    kind: Kind
    """Its shape and documentation."""
    default: Any = None
    """Plain data, where no profile says anything."""
    merge: Callable[[Value, Value], Value] = replaces
    """How a profile's value and the inherited one become one."""
    check: Callable[[Said], Iterator[ProfileError]] = _nothing
    """Yield what is wrong although each key alone is right."""
    packages: Callable[[Any], Iterable[str]] = _nothing
    """Packages that a value needs; they are added to the profile that says it."""
    kernel_arguments: Callable[[Any], Iterable[str]] = _nothing
    """Kernel arguments that a value needs."""
    apply: Callable[[System, Any], None] | None = None
    """Set the system up as a value says, in the stage ``system``; only for a key in iso/keys."""
    expect: Callable[[Profile, Any], Iterable[Expected]] = _nothing
    """Say how the self-test checks a value in the running system."""
    aliases: tuple[str, ...] = ()
    """Words that other tools have for it."""
    example: str = ""
    """A value in YAML, for the template of a new profile."""


@functools.cache
def of_system() -> Mapping[str, Key]:
    """Return the keys of iso/keys by name."""
    folder = importlib.import_module(KEYS).__path__
    names = sorted(name for _, name, _ in pkgutil.iter_modules(folder))
    return {name: importlib.import_module(f"{KEYS}.{name}").KEY for name in names}


def repeated(values: Iterable[Value], same: Callable[[Any], object] = lambda data: data) -> list[Value]:
    """Return the values that repeat an earlier one; ``same`` makes what is compared."""
    seen: set[object] = set()
    found = []
    for one in values:
        if (data := same(one.data)) in seen:
            found.append(one)
        seen.add(data)
    return found


def mistake(value: Value, what: str, hint: str, why: str = "") -> ProfileError:
    """Return the error for a part of a profile."""
    return ProfileError(what, where=value.where, why=why, hint=hint)
