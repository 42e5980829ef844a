"""YAML with positions: a tree of plain values in which each mistake can be pointed at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from synos_tasks.errors import ProfileError

if TYPE_CHECKING:
    from pathlib import Path

MAXIMUM_BYTES = 256 * 1024


@dataclass(frozen=True)
class Value:
    """A scalar, a list of Values, or a mapping of Values, with its place ``file:line:column``."""

    data: str | int | float | bool | list[Value] | dict[str, tuple[str, Value]] | None
    """A mapping holds, by key, the key's own place and the value."""
    where: str


def load(path: Path) -> Value:
    """Read one YAML document. Raises ProfileError on anything that is not plain, finite YAML.

    Aliases are refused: they allow a small file to become endless.
    """
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8")
    except OSError as error:
        raise ProfileError("the file cannot be read", where=str(path), why=str(error)) from error
    except UnicodeDecodeError as error:
        raise ProfileError("the file is not UTF-8 text", where=str(path), why=str(error)) from error
    if len(raw) > MAXIMUM_BYTES:
        raise ProfileError(f"the file has {len(raw)} bytes", where=str(path), hint=f"{MAXIMUM_BYTES} at most")
    try:
        _refuse_aliases(text, path)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            raise ProfileError("the file is empty", where=f"{path}:1:1", hint="`suite: bookworm` is enough")
        return _value(node, path)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ProfileError("not valid YAML", where=where, why=error.problem or str(error)) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ProfileError("not valid YAML", where=str(path), why=str(error)) from error
    except RecursionError as error:
        raise ProfileError("nested too deeply", where=str(path)) from error


def _refuse_aliases(text: str, path: Path) -> None:
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ProfileError(
                f"alias *{event.anchor} is not allowed",
                where=_place(path, event),
                hint="use `inherits:` to share parts of profiles",
            )


def _value(node: yaml.Node, path: Path) -> Value:
    where = _place(path, node)
    if isinstance(node, yaml.SequenceNode):
        return Value([_value(item, path) for item in node.value], where)
    if isinstance(node, yaml.MappingNode):
        return Value(_mapping(node, path), where)
    constructor = yaml.SafeLoader("")
    try:
        data = constructor.construct_object(node)
    except (ValueError, TypeError, OverflowError, KeyError) as error:
        raise ProfileError(f"{node.value!r} cannot be read", where=where, why=str(error)) from error
    if not isinstance(data, str | int | float | bool | None):
        # dates, binary, sets: read as the text that stands there
        data = str(node.value)
    return Value(data, where)


def _mapping(node: yaml.MappingNode, path: Path) -> dict[str, tuple[str, Value]]:
    found: dict[str, tuple[str, Value]] = {}
    for key_node, value_node in node.value:
        place = _place(path, key_node)
        if not isinstance(key_node, yaml.ScalarNode):
            raise ProfileError("a key must be a word", where=place)
        key = str(key_node.value)
        if key in found:
            raise ProfileError(f"key {key!r} stands twice", where=place, why=f"first at {found[key][0]}")
        found[key] = (place, _value(value_node, path))
    return found


def _place(path: Path, thing: yaml.Node | yaml.Event) -> str:
    mark = thing.start_mark
    return f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
