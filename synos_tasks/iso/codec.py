"""Frozen dataclasses as JSON and back. What is read is checked against the types of the fields."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

from synos_tasks.iso.proxies import NO_PROXIES, Proxies

T = TypeVar("T")
# modules import these for their annotations only
_NAMES = {"Mapping": Mapping, "Sequence": Sequence, "Path": Path, "Any": Any}
_hints = functools.cache(functools.partial(get_type_hints, localns=_NAMES))


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Message:
    """Base of what goes through a pipe; each is a frozen dataclass, ``sent_as`` its name on the wire."""

    sent_as: ClassVar[str]
    known: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, *, name: str = "") -> None:
        if name:
            cls.sent_as = name
            cls.known[name] = dataclasses.dataclass(frozen=True, kw_only=True)(cls)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request(Message):
    """Base of what a container is asked."""

    known: ClassVar[dict[str, type[Request]]] = {}
    proxies: Proxies = NO_PROXIES
    """Of the host; none for a container without a network."""

    def accepted(self, event: Event) -> Event:
        """Return an event of the container as far as it may report this."""
        return event


class Event(Message):
    """Base of what a container reports."""

    known: ClassVar[dict[str, type[Event]]] = {}


def encode(message: Request | Event) -> dict[str, Any]:
    """Return a message as an object for JSON, with its name as ``request`` or ``event``."""
    kind = "request" if isinstance(message, Request) else "event"
    return {kind: message.sent_as, **to_data(message)}


def decode_request(line: bytes) -> Request:
    """Read a request; raises ValueError."""
    fields = json.loads(line)
    return from_data(Request.known[fields.pop("request")], fields)


def write_event(event: Event) -> None:
    """Write an event to standard output, which nothing else may write to. The stream itself lets one thread write."""
    sys.stdout.buffer.write(json.dumps(encode(event), ensure_ascii=False).encode() + b"\n")
    sys.stdout.buffer.flush()


def to_data(value: Any) -> dict[str, Any]:  # noqa: ANN401  (a dataclass)
    """Return a dataclass, and all in it, as what json.dumps() takes."""

    def object_of(fields: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: str(item) if isinstance(item, Path) else item for name, item in fields}

    return dataclasses.asdict(value, dict_factory=object_of)


def from_data(cls: type[T], data: object) -> T:
    """Read back what to_data() gave of an instance of ``cls``; raises ValueError where it is anything else.

    Fields with a default may be missing.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{cls.__name__} is {data!r:.80}, not an object")  # noqa: TRY004  (so that there is one error)
    hints = _hints(cls)  # type: ignore[arg-type]  # a class is hashable
    try:
        fields = {name: _read(hints[name], item, f"{cls.__name__}.{name}") for name, item in data.items()}
        return cls(**fields)
    except (TypeError, KeyError) as error:  # one is missing, or unknown
        raise ValueError(f"{cls.__name__}: {error}") from error


def _read(hint: Any, data: Any, name: str) -> Any:  # noqa: ANN401, PLR0911
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any or (hint is float and type(data) is int):
        return data
    if origin in {Union, UnionType}:
        if data is None and NoneType in arguments:
            return None
        [hint] = [one for one in arguments if one is not NoneType]
        return _read(hint, data, name)
    if origin is tuple and isinstance(data, list | tuple):
        items = arguments[:1] * len(data) if arguments[-1] is Ellipsis else arguments
        return tuple(_read(item, one, name) for item, one in zip(items, data, strict=True))
    if origin in {Mapping, dict} and isinstance(data, dict):
        return {key: _read(arguments[1], item, name) for key, item in data.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_data(hint, data)
    if hint is Path and isinstance(data, str):
        return Path(data)
    if isinstance(hint, type) and type(data) is hint:
        return data
    raise ValueError(f"{name} is {data!r:.80}, not {getattr(hint, '__name__', hint)}")
