"""What BuildKit says of the cache that a Dockerfile's steps leave. Pure.

Build cache carries no labels. A record tells the step that made it, in words that follow from the Dockerfile: by
them ours are known from those of everybody else. See `docker buildx du --verbose`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_SHELL = re.compile(r"/\S+(?: \S+){0,3}? -c ")
"""What runs a command: it follows from the base image too, which is not in the Dockerfile."""
_FLAG = re.compile(r"--[a-z-]+(?:=\S+)?\s+")
_MADE_BY = re.compile(r"mount / from exec (?P<text>.*)", re.DOTALL)
_STEP = re.compile(r"\[(?:(?P<stage>\S+) +)?\d+/\d+\] (?P<text>.*)", re.DOTALL)
_MOUNT = re.compile(
    r'cached mount (?P<target>\S+) from exec (?P<text>.*) with id "/(?P<id>[^"]*)"', re.DOTALL
)


@dataclass(frozen=True)
class _Instruction:
    word: str
    text: str


def steps_of(dockerfile: str) -> frozenset[str]:
    """Return the steps of a Dockerfile, as step_of() names them."""
    instructions = _instructions(dockerfile)
    alone = sum(one.word == "FROM" for one in instructions) == 1
    stage, count, found = "", 0, set()
    for one in instructions:
        if one.word == "FROM":
            stage, count = _stage(one.text, count), count + 1
        elif one.word == "RUN":
            found |= _run(one.text)
        elif one.word in {"COPY", "ADD", "WORKDIR"}:
            text = _plain(f"{one.word} {one.text}")
            found |= {f"[{stage}] {text}", *([f"[] {text}"] if alone else [])}  # both are seen
    return frozenset(found)


def step_of(description: str) -> str:
    """Return the step that a record of the cache is of, by its description; '' where it is of none."""
    if found := _MOUNT.fullmatch(description):
        return f"mount {found['target']} {found['id']} {_command(found['text'])}"
    if found := _MADE_BY.fullmatch(description):
        return f"exec {_command(found['text'])}"
    if found := _STEP.fullmatch(description):
        return f"[{found['stage'] or ''}] {_plain(found['text'])}"
    return ""


def cache_id(description: str) -> str:
    """Return the id of a cache mount; '' where a record is none."""
    found = _MOUNT.fullmatch(description)
    return found["id"] if found else ""


def _run(text: str) -> set[str]:
    mounts, command = [], text
    while found := _FLAG.match(command):
        mounts.append(found[0].strip())
        command = command[found.end() :]
    form = _exec_form(command)
    line = _command(form) if form else _plain(command)  # a shell in words for a shell is one of them
    fields = [_fields(one) for one in mounts if one.startswith("--mount=type=cache,")]
    return {f"exec {line}"} | {
        f"mount {mount['target']} {mount.get('id', mount['target'])} {line}"
        for mount in fields
        if "target" in mount
    }


def _command(text: str) -> str:
    return _SHELL.sub("", _plain(text), count=1) if _SHELL.match(_plain(text)) else _plain(text)


def _fields(mount: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in mount.removeprefix("--mount=").split(","))
    return {key: value for key, _, value in pairs}


def _exec_form(command: str) -> str:
    try:
        words = json.loads(command)
    except ValueError:
        return ""
    return " ".join(words) if isinstance(words, list) and all(isinstance(w, str) for w in words) else ""


def _stage(text: str, number: int) -> str:
    """Return the name of a stage."""
    words = [word for word in text.split() if not word.startswith("--")]
    return words[2].lower() if len(words) > 2 and words[1].upper() == "AS" else f"stage-{number}"


def _instructions(dockerfile: str) -> list[_Instruction]:
    """Split a Dockerfile as BuildKit does: comments go, a backslash at the end joins lines."""
    found, gathered = [], ""
    for line in dockerfile.splitlines():
        if line.lstrip().startswith("#") or (not gathered and not line.strip()):
            continue
        if line.rstrip().endswith("\\"):
            gathered += line.rstrip()[:-1] + " "
            continue
        word, *text = (gathered + line).split(maxsplit=1) or [""]
        found.append(_Instruction(word.upper(), "".join(text).strip()))
        gathered = ""
    return found


def _plain(text: str) -> str:
    return " ".join(text.split())
