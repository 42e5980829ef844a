"""YAML files that are damaged in ways that a parser may not expect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

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
