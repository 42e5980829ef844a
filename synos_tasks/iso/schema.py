"""YAML in which each mistake has a place: read, checked against a table, and the table as JSON Schema for editors."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import yaml

from synos_tasks.errors import ProfileError, guess, raise_all
from synos_tasks.iso import inputs
from synos_tasks.iso.suites import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MAXIMUM_BYTES = 256 * 1024
MAXIMUM_DEPTH = 16
MAXIMUM_SCALAR = 64 * 1024
MAXIMUM_NUMBER = 2**63
YAML = "tag:yaml.org,2002:"
SCALAR_TAGS = {f"{YAML}{name}" for name in ("str", "int", "float", "bool", "null", "timestamp")}
PLAIN_TAGS = {
    yaml.MappingNode: {f"{YAML}map"},
    yaml.SequenceNode: {f"{YAML}seq"},
    yaml.ScalarNode: SCALAR_TAGS,
}
KEY_TAGS = {f"{YAML}str", f"{YAML}merge"}  # a merge key is then an unknown key like any other
RULES = "indent with spaces, close brackets and quotes, write `key: value` with a space, and put text that has `: ` in quotes"
RELATIVE = r"(?!/)(?!(.*/)?\.\.(/|$))[A-Za-z0-9._/+-]+"


@dataclass(frozen=True)
class Value:
    """A scalar, a list of Values, or a mapping of Values, with its place ``file:line:column``."""

    data: str | int | float | bool | list[Value] | dict[str, Value] | None
    where: str
    key: str = ""
    """Place of its key in a mapping."""

    @property
    def entries(self) -> dict[str, Value]:
        """What a mapping holds; anything else holds nothing."""
        return self.data if isinstance(self.data, dict) else {}

    def value(self, key: str) -> Value:
        """Return what a mapping has for a key; nothing is a Value of None."""
        return self.entries.get(key) or Value(None, "")

    @property
    def items(self) -> list[Value]:
        """What a list holds; anything else holds nothing."""
        return self.data if isinstance(self.data, list) else []

    @property
    def plain(self) -> Any:  # noqa: ANN401
        """The data without places."""
        if isinstance(self.data, dict):
            return {key: item.plain for key, item in self.data.items()}
        return [item.plain for item in self.data] if isinstance(self.data, list) else self.data

    def walk(self, name: str = "") -> Iterator[tuple[str, Value]]:
        """Yield this and all in it, with names as ``users[0].name``."""
        yield name, self
        for key, item in self.entries.items():
            yield from item.walk(f"{name}.{key}".lstrip("."))
        for index, item in enumerate(self.items):
            yield from item.walk(f"{name}[{index}]")


def load(
    path: Path,
    maximum_bytes: int = MAXIMUM_BYTES,
    loader: Any = yaml.SafeLoader,  # noqa: ANN401
    example: str = f"`suite: {DEFAULT}`",
) -> Value:
    """Read one YAML document; ``loader`` may be libyaml's, which is ten times as fast on long files. Raises ProfileError on anything that is not plain, finite YAML.

    Aliases are refused: they allow a small file to become endless.
    """
    text = _text(path, maximum_bytes)
    try:
        _refuse_excess(text, path, loader)
        node = yaml.compose(text, Loader=loader)
        if node is None:
            raise ProfileError("the file is empty", where=f"{path}:1:1", hint=f"{example} is enough")
        return _value(node, path)
    except (yaml.YAMLError, ValueError) as error:
        where = str(path)
        if isinstance(error, yaml.MarkedYAMLError):
            where = _place(path, error.problem_mark or error.context_mark)
        elif isinstance(error, yaml.reader.ReaderError):
            where = _offset(path, text[: error.position])
        raise ProfileError("not valid YAML", where=where, why=_reason(error), hint=RULES) from error


def _reason(error: Exception) -> str:
    """Return what is wrong, and the line in which that part begins; without the excerpt that PyYAML adds."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem:
        begin = error.context_mark
        return error.problem + (f", {error.context} that begins in line {begin.line + 1}" if begin else "")
    return error.reason if isinstance(error, yaml.reader.ReaderError) else str(error)


def _text(path: Path, maximum_bytes: int) -> str:
    raw = inputs.read(inputs.find(path.parent.parent, f"{path.parent.name}/{path.name}"), maximum_bytes)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProfileError(
            "the file is not UTF-8 text",
            where=_offset(path, raw[: error.start].decode("utf-8")),
            why=str(error),
            hint="save it as UTF-8",
        ) from error


def _offset(path: Path, before: str) -> str:
    """Return the place that comes right after a piece of text."""
    lines = re.split(r"\r\n|[\r\n\x85\u2028\u2029]", before)  # as YAML counts lines
    return f"{path}:{len(lines)}:{len(lines[-1]) + 1}"


def _refuse_excess(text: str, path: Path, loader: Any) -> None:  # noqa: ANN401
    """Refuse aliases and deep nesting, before either costs time: composing recurses."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            raise ProfileError(
                f"alias *{str(event.anchor)[:80]} is not allowed",
                where=_place(path, event.start_mark),
                hint="use `inherits:` to share parts of profiles",
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAXIMUM_DEPTH:
            raise ProfileError(
                "nested too deeply",
                where=_place(path, event.start_mark),
                hint=f"{MAXIMUM_DEPTH} levels at most",
            )


def _value(node: yaml.Node, path: Path, key: str = "") -> Value:
    where = _place(path, node.start_mark)
    if node.tag not in PLAIN_TAGS[type(node)]:
        raise ProfileError(
            f"tag {node.tag[:80]} is not allowed here",
            where=where,
            hint="leave the tag out; for plain text put it in quotes",
        )
    if isinstance(node, yaml.MappingNode):
        return Value(_mapping(node, path), where, key)
    if isinstance(node, yaml.SequenceNode):
        return Value([_value(item, path) for item in node.value], where, key)
    return Value(_scalar(node, where), where, key)


def _scalar(node: yaml.Node, where: str) -> str | int | float | bool | None:
    try:
        data = _constructed(node)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise ProfileError(
            f"{node.value[:80]!r} cannot be read",
            where=where,
            why=str(error),
            hint="for plain text put it in quotes",
        ) from error
    return data if isinstance(data, str | int | float | bool | None) else str(node.value)


def _constructed(node: yaml.Node) -> object:
    if len(node.value) > MAXIMUM_SCALAR:
        raise ValueError(f"{len(node.value)} characters, {MAXIMUM_SCALAR} at most")
    if node.tag == f"{YAML}str":
        data: object = node.value
    else:
        data = yaml.SafeLoader("").construct_object(node)
    if isinstance(data, str):
        data.encode()  # "\ud800" is half a character
    if isinstance(data, int) and abs(data) > MAXIMUM_NUMBER:
        raise ValueError("the number is too large")
    return data


def _mapping(node: yaml.MappingNode, path: Path) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for key_node, value_node in node.value:
        place = _place(path, key_node.start_mark)
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag not in KEY_TAGS:
            raise ProfileError("a key must be a word", where=place, hint="write `key: value`")
        key = str(key_node.value)
        if key in found:
            raise ProfileError(
                f"key {key[:80]!r} appears twice",
                where=place,
                why=f"first at {found[key].key}",
                hint="remove one of them",
            )
        found[key] = _value(value_node, path, place)
    return found


def _place(path: Path, mark: Any) -> str:  # noqa: ANN401  (two classes, of PyYAML and of libyaml)
    return f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of value. ``pattern`` is a full match; ``shape`` says it in words, ``allowed`` what may be in it."""

    type: str
    doc: str = ""
    pattern: str = ".+"
    shape: str = "text"
    allowed: str = ""
    choices: tuple[str, ...] = ()
    items: Kind | None = None
    fields: Mapping[str, Kind] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    short: str = ""
    """The field of a mapping that text alone stands for."""
    minimum: int = 0
    maximum: int = 0
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Words that other tools have for a key, as bare() returns them, and the key with an example."""
    listed: str = ""
    """Where all keys of a long mapping are listed."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Hints for values that people may expect to be allowed."""


def text(pattern: str, shape: str, doc: str = "", *, allowed: str = "") -> Kind:
    """Return text that matches a pattern."""
    return Kind(type="string", pattern=pattern, shape=shape, doc=doc, allowed=allowed)


def boolean(doc: str) -> Kind:
    """Return true or false."""
    return Kind(type="boolean", shape="true or false", doc=doc)


def integer(minimum: int, maximum: int, doc: str = "") -> Kind:
    """Return a whole number within limits."""
    shape = f"{minimum} to {maximum}"
    return Kind(type="integer", minimum=minimum, maximum=maximum, shape=shape, doc=doc)


def choice(*choices: str, doc: str = "", refused: Mapping[str, str] = {}) -> Kind:
    """Return one of a few words; ``refused`` has hints for others."""
    shape = " or ".join(choices)
    return Kind(type="string", choices=choices, shape=shape, doc=doc, refused=refused)


def list_of(items: Kind, doc: str = "") -> Kind:
    """Return a list of one kind."""
    return Kind(type="array", items=items, shape="a list", doc=doc)


def mapping(
    fields: Mapping[str, Kind],
    doc: str = "",
    required: tuple[str, ...] = (),
    *,
    allowed: str = "",
    short: str = "",
) -> Kind:
    """Return a mapping with these keys; ``short`` names the one that text alone stands for."""
    shape = f"{fields[short].shape}, or a mapping" if short else "a mapping"
    return Kind(
        type="object", fields=fields, shape=shape, doc=doc, required=required, allowed=allowed, short=short
    )


def relative(shape: str, doc: str = "") -> Kind:
    """Return a path inside docker/build."""
    return text(RELATIVE, shape, doc, allowed="a path inside docker/build of letters, digits, . _ + - and /")


def url(doc: str) -> Kind:
    """Return an address."""
    return text(r"https?://[A-Za-z0-9.\[\]:-]+(/[A-Za-z0-9._~/%-]*)?", "an http or https address", doc)


def check(value: Value, kind: Kind) -> Any:  # noqa: ANN401
    """Turn a Value into plain data if it is of a kind; raise ProfileError with the place of each mistake otherwise."""
    raise_all([*mistakes(value, kind)])
    return value.plain


def mistakes(value: Value, kind: Kind, name: str = "") -> Iterator[ProfileError]:
    """Yield where a Value is not of a kind."""
    data = value.data
    if kind.short and isinstance(data, str):
        kind = kind.fields[kind.short]
    if kind.type == "object" and isinstance(data, dict):
        yield from _mistakes_of_mapping(value, kind, name)
        return
    if kind.items and isinstance(data, list):
        for index, item in enumerate(data):
            yield from mistakes(item, kind.items, f"{name}[{index}]")
        return
    if kind.type == "integer":
        good = type(data) is int and kind.minimum <= data <= kind.maximum
    elif kind.type == "boolean":
        good = type(data) is bool
    elif kind.choices:
        good = data in kind.choices
    else:
        good = kind.type == "string" and isinstance(data, str) and bool(re.fullmatch(kind.pattern, data))
    if not good:
        kinds = {type(None): "empty", list: "a list", dict: "a mapping", bool: str(data).lower()}
        shown = kinds.get(type(data), repr(data)[:80])
        what = f"{name} is {shown}" if name else f"the file holds {shown}"
        yield ProfileError(f"{what}, not {kind.shape}", where=value.where, hint=_how_to_write(data, kind))


def _mistakes_of_mapping(value: Value, kind: Kind, name: str) -> Iterator[ProfileError]:
    for key, item in value.entries.items():
        if key in kind.fields:
            yield from mistakes(item, kind.fields[key], f"{name}.{key}".lstrip("."))
        else:
            yield ProfileError(f"unknown key {key[:80]!r}", where=item.key, hint=_right_key(key, kind))
    for key in kind.required:
        if key not in value.entries:
            yield ProfileError(
                f"{name or 'the file'} has no {key!r}",
                where=value.where,
                hint=f"add `{key}: …`, {kind.fields[key].shape}",
            )


def bare(word: str) -> str:
    """Return the letters and digits of a word in lower case: KernelCommandLine is also kernel-command_line."""
    return re.sub(r"[^a-z0-9]", "", word.lower())


def _right_key(key: str, kind: Kind) -> str:
    if example := kind.aliases.get(bare(key)):
        return f"did you mean `{example}`?"
    hint = guess(key, kind.fields)
    return hint if hint.startswith("did") or not kind.listed else kind.listed


def json_schema(kind: Kind) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a kind, for editors."""
    schema: dict[str, Any] = {"type": kind.type}
    if kind.doc:
        schema["description"] = kind.doc
    if kind.short:
        return {"anyOf": [json_schema(kind.fields[kind.short]), json_schema(replace(kind, short=""))]}
    if kind.type == "object" and kind.choices:
        return {"anyOf": [{"enum": list(kind.choices)}, json_schema(replace(kind, choices=()))]}
    if kind.type == "object":
        schema["additionalProperties"] = False
        schema["properties"] = {key: json_schema(item) for key, item in kind.fields.items()}
        if kind.required:
            schema["required"] = list(kind.required)
    elif kind.items is not None:
        schema["items"] = json_schema(kind.items)
    elif kind.type == "integer":
        schema |= {"minimum": kind.minimum, "maximum": kind.maximum}
    elif kind.choices:
        schema["enum"] = list(kind.choices)
    elif kind.type == "string":
        schema["pattern"] = f"^({kind.pattern})$"
    return schema


def _how_to_write(data: object, kind: Kind) -> str:
    of_type = {
        "array": "write it as a list: a line `- entry` for each",
        "object": "write it as a mapping: a line `key: value` for each",
        "integer": f"a whole number from {kind.minimum} to {kind.maximum}, without quotes",
        "boolean": "write true or false, without quotes",
    }
    if kind.type in of_type:
        return kind.allowed or of_type[kind.type]
    if isinstance(data, list | dict):
        return f"write {kind.shape} after the colon, without a list or mapping"
    if kind.choices:
        return kind.refused.get(str(data)) or guess(str(data), kind.choices)
    if isinstance(data, bool | int | float):
        return f"put it in quotes: {kind.allowed}" if kind.allowed else "put it in quotes"
    return f"allowed: {kind.allowed}" if kind.allowed else f"write {kind.shape}"
