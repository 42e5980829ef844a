"""The steps of a Dockerfile, as BuildKit's cache records describe them. Pure.

Build cache has no labels, but the description of a record follows from the Dockerfile whose step made it. So the
records of this project's Dockerfiles can be recognised. See `docker buildx du --verbose`.
"""

from __future__ import annotations

import json
import re

from synos_tasks.iso.suites import SUITES

_SHELL = re.compile(r"\A/\S+(?: \S+){0,3}? -c ")
"""The shell that runs a command: it depends on the base image too, which is not in the Dockerfile."""
_FLAGS = re.compile(r"\A(?:--[a-z-]+(?:=\S+)?\s+)+")
_CONTINUED = re.compile(r"\\[^\S\n]*\n")
_MADE_BY = re.compile(r"mount / from exec (?P<text>.*)", re.DOTALL)
_STEP = re.compile(r"\[(?:(?P<stage>\S+) +)?\d+/\d+\] (?P<text>.*)", re.DOTALL)
_MOUNT = re.compile(
    r'cached mount (?P<target>\S+) from exec (?P<text>.*) with id "/(?P<id>[^"]*)"', re.DOTALL
)


def steps_of(dockerfile: str) -> frozenset[str]:
    """Return the steps of a Dockerfile, as step_of() names them."""
    instructions = _instructions(dockerfile)
    alone = sum(word == "FROM" for word, _ in instructions) == 1
    stage, count, found = "", 0, set()
    for word, text in instructions:
        if word == "FROM":
            stage, count = _stage(text, count), count + 1
        elif word == "RUN":
            found |= _run(text)
        elif word in {"COPY", "ADD", "WORKDIR"}:
            step = _plain(f"{word} {text}")
            found |= {f"[{stage}] {step}", *([f"[] {step}"] if alone else [])}  # both are seen
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
    command = _FLAGS.sub("", text)
    form = _exec_form(command)
    line = _command(form) if form else _plain(command)  # a shell in words for a shell is one of them
    found = {f"exec {line}"}
    for flag in text.removesuffix(command).split():
        mount = dict(part.partition("=")[::2] for part in flag.removeprefix("--mount=").split(","))
        if flag.startswith("--mount=type=cache,") and "target" in mount:
            ident = mount.get("id", mount["target"])
            found |= {
                f"mount {mount['target']} {ident.replace('${SUITE}', suite)} {line}" for suite in SUITES
            }
    return found


def _command(text: str) -> str:
    return _SHELL.sub("", _plain(text))


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


def _instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Return word and text of each instruction, as BuildKit does: comments go, a backslash at the end joins lines."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = _CONTINUED.sub(" ", "\n".join([*lines, ""])).splitlines()
    instructions = (line.split(maxsplit=1) for line in joined if line.strip())
    return [(word.upper(), "".join(text).strip()) for word, *text in instructions]


def _plain(text: str) -> str:
    return " ".join(text.split())
