"""Shapes of JSON: the fields, and their types, that a file must have before it is used."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, TypeAlias

from synos_tasks.iso.inputs import opened

if TYPE_CHECKING:
    from pathlib import Path

Shape: TypeAlias = Any
"""`str`, `bool`, `int` (from 0), a range, a pattern, `dict` (anything in it), `[shape]`, `(shape,)`, which may be missing or
null, or `{"key": shape}`, in which the key `str` stands for all other keys."""
LARGEST = 2**24
"""Bytes that are read of a file."""


def fit(data: Any, shape: Shape, name: str = "it") -> Any:  # noqa: ANN401
    """Return what a shape has of JSON data; raise ValueError where the data lacks it, or has something else there."""
    if isinstance(shape, tuple):
        return None if data is None else fit(data, shape[0], name)
    if isinstance(shape, re.Pattern) and isinstance(data, str) and shape.fullmatch(data):
        return data
    if isinstance(shape, range) and type(data) is int and data in shape:
        return data
    if isinstance(shape, dict) and isinstance(data, dict):
        keys = data if str in shape else shape
        return {key: fit(data.get(key), shape.get(key, shape.get(str)), f"{name}.{key}") for key in keys}
    if isinstance(shape, list) and isinstance(data, list):
        return [fit(one, shape[0], name) for one in data]
    if type(data) is not shape or (shape is int and not 0 <= data < 2**63):
        raise ValueError(f"{name} is missing, or of another kind")
    return data


def read(path: Path) -> bytes:
    """Read a small file; raise ValueError where that is impossible."""
    try:
        with opened(path) as stream:
            return stream.read(LARGEST)
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from error


def read_json(path: Path, shape: Shape) -> Any:  # noqa: ANN401
    """Return what a shape has of a file of JSON; raise ValueError where it is another file."""
    try:
        return fit(json.loads(read(path)), shape, path.name)
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error
