"""What a profile may say: one table, from which the loader checks and the JSON Schema is made."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import ProfileError, guess

if TYPE_CHECKING:
    from collections.abc import Mapping

    from synos_tasks.iso.yaml_source import Value


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of value. ``pattern`` is a full match; ``shape`` says it in words."""

    type: str
    doc: str = ""
    pattern: str = ".+"
    shape: str = "text"
    choices: tuple[str, ...] = ()
    items: Kind | None = None
    fields: Mapping[str, Kind] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    minimum: int = 0
    maximum: int = 100


def text(pattern: str, shape: str, doc: str = "") -> Kind:
    """Return text that matches a pattern."""
    return Kind(type="string", pattern=pattern, shape=shape, doc=doc)


def choice(*choices: str, doc: str = "") -> Kind:
    """Return one of a few words."""
    return Kind(type="string", choices=choices, shape=" or ".join(choices), doc=doc)


def list_of(items: Kind, doc: str = "") -> Kind:
    """Return a list of one kind."""
    return Kind(type="array", items=items, shape="a list", doc=doc)


def mapping(fields: Mapping[str, Kind], doc: str = "", required: tuple[str, ...] = ()) -> Kind:
    """Return a mapping with these keys."""
    return Kind(type="object", fields=fields, shape="a mapping", doc=doc, required=required)


def url(doc: str) -> Kind:
    """Return an address."""
    return text(r"https?://[A-Za-z0-9.\[\]:-]+(/[A-Za-z0-9._~/%-]*)?", "an http or https address", doc)


PACKAGE = r"-?[a-z0-9][a-z0-9+.-]+"
RELATIVE = r"(?!/)(?!(.*/)?\.\.(/|$))[A-Za-z0-9._/+-]+"
_MIRRORS = mapping(
    {
        "main": url("The Debian archive."),
        "security": url("Security updates."),
        "suites": list_of(
            choice("release", "updates", "security"),
            "Which of the suite, its -updates and its -security are used.",
        ),
        "components": list_of(
            choice("main", "contrib", "non-free", "non-free-firmware"), "Archive components."
        ),
    },
    "Where packages come from.",
)
_USER = mapping(
    {
        "name": text(r"[a-z][a-z0-9_-]{0,30}", "a user name", "Login name."),
        "full_name": text(r'[^:,"$`\\\x00-\x1f]{1,60}', "a name without : , and quotes", "For people."),
        "groups": list_of(text(r"[a-z_][a-z0-9_-]{0,30}", "a group"), "Further groups."),
        "password_hash": text(r"\$(y|6)\$[A-Za-z0-9./$=,]+", "a crypt(3) hash", "Without it: locked."),
    },
    required=("name",),
)
_KEYBOARD = mapping(
    {
        "layout": text(r"[a-z]{2,6}(,[a-z]{2,6}){0,3}", "an XKB layout as us", "Layout."),
        "variant": text(r"[a-z0-9_-]{0,30}", "an XKB variant", "Variant."),
        "model": text(r"[a-z0-9_-]{1,30}", "an XKB model as pc105", "Model."),
    },
    "Keyboard, in XKB's terms.",
)
_COMPRESSION = mapping(
    {
        "algorithm": choice("zstd", "xz", doc="zstd is fast, xz is small."),
        "level": Kind(type="integer", minimum=1, maximum=22, shape="1 to 22", doc="zstd only."),
    },
    "How the root file system is compressed.",
)
PROFILE = mapping(
    {
        "description": text(r"[^\x00-\x1f]{1,200}", "one line of text", "One line for people."),
        "inherits": text(r"[a-z][a-z0-9-]*", "the name of a profile", "Another profile to start from."),
        "suite": choice("bookworm", "trixie", doc="Debian suite."),
        "architecture": choice("amd64", doc="Debian architecture."),
        "bootstrapper": choice("mmdebstrap", "debootstrap", doc="What lays the root file system down."),
        "mirrors": _MIRRORS,
        "packages": list_of(
            text(PACKAGE, "a Debian package name, or -name to take an inherited one out"),
            "Packages; those of an inherited profile come first, -name takes one out.",
        ),
        "components": list_of(
            text(PACKAGE, "a component, or -name to take an inherited one out"),
            "Components of docker/build/components, compiled where they are needed.",
        ),
        "users": list_of(_USER, "Users. The first is the live user, whom live-config makes at boot."),
        "hostname": text(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "a host name", "Host name."),
        "locale": text(r"(C|[a-z]{2,3}_[A-Z]{2})\.UTF-8", "a UTF-8 locale as en_US.UTF-8", "Locale."),
        "timezone": text(r"[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}", "a zone as Europe/Berlin", "Zone."),
        "keyboard": _KEYBOARD,
        "kernel_arguments": list_of(
            text(r"[A-Za-z0-9_.,=:/@%+-]+", "one kernel argument without spaces"),
            "Added to the kernel command line.",
        ),
        "overlay": text(RELATIVE, "a folder relative to docker/build", "Files copied over the root."),
        "hooks": list_of(
            text(RELATIVE, "a script relative to docker/build"), "Scripts run in the root, in this order."
        ),
        "compression": _COMPRESSION,
        "boot": list_of(choice("bios", "uefi", "secure-boot"), "Firmware the ISO boots on."),
    },
    "A SynOS profile: what goes into an ISO.",
)


def check(value: Value, kind: Kind, name: str = "") -> Any:  # noqa: ANN401
    """Turn a Value into plain data if it is of a kind; raises ProfileError with its place otherwise."""
    data = value.data
    if kind.type == "object" and isinstance(data, dict):
        return _check_mapping(value, kind, name)
    if kind.items and isinstance(data, list):
        return [check(item, kind.items, f"{name}[{index}]") for index, item in enumerate(data)]
    if kind.type == "integer":
        good = type(data) is int and kind.minimum <= data <= kind.maximum
    elif kind.choices:
        good = data in kind.choices
    else:
        good = kind.type == "string" and isinstance(data, str) and bool(re.fullmatch(kind.pattern, data))
    if not good:
        kinds = {type(None): "empty", list: "a list", dict: "a mapping"}
        shown = kinds.get(type(data), repr(data)[:80])
        what = f"{name} is {shown}" if name else f"the file holds {shown}"
        raise ProfileError(f"{what}, not {kind.shape}", where=value.where, hint=_how_to_write(data, kind))
    return data


def _check_mapping(value: Value, kind: Kind, name: str) -> dict[str, Any]:
    checked = {}
    for key, item in value.entries.items():
        if key not in kind.fields:
            raise ProfileError(f"unknown key {key[:80]!r}", where=item.key, hint=guess(key, kind.fields))
        checked[key] = check(item, kind.fields[key], f"{name}.{key}".lstrip("."))
    for key in kind.required:
        if key not in checked:
            raise ProfileError(
                f"{name or 'the file'} has no {key!r}", where=value.where, hint=f"add `{key}: …`"
            )
    return checked


def json_schema(kind: Kind = PROFILE) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a kind, for editors."""
    schema: dict[str, Any] = {"type": kind.type}
    if kind.doc:
        schema["description"] = kind.doc
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
    else:
        schema["pattern"] = f"^({kind.pattern})$"
    return schema


def _how_to_write(data: object, kind: Kind) -> str:
    if kind.type == "array":
        return "write it as a list: a line `- entry` for each"
    if kind.type == "object":
        return "write it as a mapping: a line `key: value` for each"
    if kind.type == "integer":
        return f"a whole number from {kind.minimum} to {kind.maximum}, without quotes"
    if isinstance(data, list | dict):
        return f"write {kind.shape} behind the colon, without a list or mapping"
    if isinstance(data, bool | int | float):
        return "put it in quotes"
    return guess(str(data), kind.choices) if kind.choices else f"allowed: {kind.pattern}"
