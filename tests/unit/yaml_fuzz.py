"""YAML files that are damaged in ways that a parser may not expect, or made from a schema."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
from hypothesis import strategies as st

from synos_tasks.errors import ProfileError, SynosError
from synos_tasks.iso import schema

SPECIALS = [
    b"\t", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xfe\xff", b"&a ", b"*a", b"<<: ", b"<<: *a\n", b"---\n", b"...\n",
    b"!!python/object:os.system ", b"!!python/object/apply:os.system [id] ", b"!!binary ", b"!!timestamp ",
    b"!!int ", b"!!float ", b"!!bool ", b"!!null ", b"!!set ", b"!!omap ", b"!!map ", b"!!seq ", b"!x ", b"!",
    b"%YAML 9.9\n---\n", b"%TAG ! x\n", b"? ", b": ", b"- ", b"| ", b">-\n", b"'", b'"', b"[", b"]", b"{", b"}", b"#",
    b"9" * 5000, b"0x" + b"f" * 5000, b"0b1", b"1:2:3", b".nan", b"-.inf", b"1e999", b"~", b"null", b"yes",
    b"2001-01-01", b"2001-99-99", b"[" * 100, b"{a: " * 100, b"[" * 5000, b"- " * 500, b'"\\ud800"', b'"\\0"',
    b"inherits: x\n", b"inherits: nowhere\n", b"\r", b"\r\n", b"\xc2\x85", b"\xe2\x80\xa8", b"\xf0\x9f\x98\x80", b"@", b"`", b"%",
]  # fmt: skip
VALUES = [
    b"debian", b"make", b"'1'", b"../x", b"1", b"1.5", b"yes", b"null", b"[]", b"{}", b"[a, [b]]", b"{a: b}", b"''",
    b"2001-01-01", b"a b", b"-x",
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Return one of some YAML files with one to four mutations."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        mutate = draw(st.sampled_from([_flip, _insert, _drop_line, _double_line, _swap, _value, _cut]))
        data = mutate(draw, data)
    return data


def _flip(draw: st.DrawFn, data: bytes) -> bytes:
    at = draw(st.integers(0, max(0, len(data) - 1)))
    return data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]


def _insert(draw: st.DrawFn, data: bytes) -> bytes:
    at = draw(st.integers(0, len(data)))
    return data[:at] + draw(st.sampled_from(SPECIALS)) + data[at:]


def _lines(draw: st.DrawFn, data: bytes) -> tuple[list[bytes], int]:
    """Return the lines, and the index of one of them."""
    lines = data.splitlines(keepends=True) or [b""]
    return lines, draw(st.integers(0, len(lines) - 1))


def _drop_line(draw: st.DrawFn, data: bytes) -> bytes:
    lines, at = _lines(draw, data)
    return b"".join([*lines[:at], *lines[at + 1 :]])


def _double_line(draw: st.DrawFn, data: bytes) -> bytes:
    lines, at = _lines(draw, data)
    lines.insert(draw(st.integers(0, len(lines))), lines[at])
    return b"".join(lines)


def _swap(draw: st.DrawFn, data: bytes) -> bytes:
    lines, one = _lines(draw, data)
    _, two = _lines(draw, data)
    lines[one], lines[two] = lines[two], lines[one]
    return b"".join(lines)


def _value(draw: st.DrawFn, data: bytes) -> bytes:
    """Replace what stands behind a colon or a dash."""
    lines, at = _lines(draw, data)
    new = draw(st.sampled_from(VALUES + SPECIALS))
    for mark in (b": ", b"- "):
        if mark in lines[at]:
            lines[at] = lines[at].partition(mark)[0] + mark + new + b"\n"
            break
    return b"".join(lines)


def _cut(draw: st.DrawFn, data: bytes) -> bytes:
    return data[: draw(st.integers(0, len(data)))]


LEAVES = st.one_of(
    st.sampled_from(
        ["a", "sudo", "-sudo", "Sudo", "", "1", "1.0", "release", "bios", "main", "bookworm", "xz", "../x", "/x", "x/y",
         "a b", "http://a.example/x", "ftp://x", "en_US.UTF-8", "Europe/Berlin", "$6$x", "de", "de,us", "a:b", "a\nb"]
    ),
    st.integers(-2, 30), st.booleans(), st.none(), st.floats(0.5, 9.5), st.text(max_size=5),
)  # fmt: skip


def values_of(kind: schema.Kind) -> st.SearchStrategy[Any]:
    """Values of the right form, with leaves that are now and then wrong."""
    if kind.short:
        return values_of(kind.fields[kind.short]) | values_of(dataclasses.replace(kind, short=""))
    if kind.type == "object":
        required = {key: values_of(kind.fields[key]) for key in kind.required}
        optional = {key: values_of(item) for key, item in kind.fields.items() if key not in required}
        return st.fixed_dictionaries(required, optional=optional)
    if kind.type == "array" and kind.items is not None:
        return st.lists(values_of(kind.items), max_size=3)
    if kind.type == "integer":
        return st.integers(0, 24) | LEAVES
    if kind.type == "boolean":
        return st.booleans() | LEAVES
    good = st.sampled_from(kind.choices) if kind.choices else st.from_regex(kind.pattern, fullmatch=True)
    return st.one_of(good, good, good, LEAVES)


def agreed(data: bytes, kind: schema.Kind) -> bool | None:
    """Return whether a file fits, as loader and JSON Schema must both say; None where it is not plain YAML."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x.yaml"
        path.write_bytes(data)
        try:
            source = schema.load(path)
        except ProfileError:
            return None
    seen = _plain(source)
    valid = jsonschema.Draft202012Validator(schema.json_schema(kind)).is_valid(seen)
    try:
        schema.check(source, kind)
    except ProfileError:
        assert _is_known_difference(seen) or not valid, seen
        return False
    assert valid, seen
    return True


def check_place(error: SynosError, path: Path, data: bytes) -> None:
    """Check that the error for a file has a line and a column of it, and can be shown."""
    name, line, column = error.where.rsplit(":", 2)
    assert name == str(path), f"no line and column in {error.where} of {error.what}"
    assert 1 <= int(line) <= data.count(b"\n") + data.count(b"\r") + 9
    assert int(column) >= 1
    assert len(error.what) < 300
    json.dumps(error.to_json(), ensure_ascii=False).encode()


def _plain(value: schema.Value) -> Any:  # noqa: ANN401
    """Return what an editor sees."""
    if isinstance(value.data, dict):
        return {key: _plain(item) for key, item in value.data.items()}
    return [_plain(item) for item in value.data] if isinstance(value.data, list) else value.data


def _is_known_difference(value: object) -> bool:
    """Return whether there is a 3.0, an integer to JSON Schema, or a text that ends in a newline, before which `$` matches."""
    if isinstance(value, dict | list):
        return any(map(_is_known_difference, value.values() if isinstance(value, dict) else value))
    return value.is_integer() if isinstance(value, float) else isinstance(value, str) and value.endswith("\n")
