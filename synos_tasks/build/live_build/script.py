"""Options of live-build, read out of shell scripts that are never run."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Leave = Callable[[str, str, str], None]

COMPUTED = "\0"
"""Marks what only a shell could know."""
LONGEST = 200
"""Lines of one command."""
LARGEST = 2**16
"""Bytes of a script, and letters of one command with the values of its variables."""
_ALIASES = {
    "a": "architecture", "b": "binary-image", "c": "conffile", "d": "distribution", "k": "linux-flavours",
    "m": "parent-mirror-bootstrap", "s": "source-images", "architectures": "architecture",
    "binary-images": "binary-image", "image-type": "binary-image", "bootloader": "bootloaders",
    "linux-flavours-with-arch": "linux-flavours", "config-version": "configuration-version",
}  # fmt: skip
_FLAGS = {
    "breakpoints", "clean", "color", "debug", "dm-verity", "dump", "force", "help", "ignore-system-defaults", "no-color",
    "quiet", "usage", "validate", "verbose",
}  # fmt: skip
# a quoted text, or one without quotes
_PART = re.compile(r"'[^']*'|\"(?:\\.|\$\([^()]*\)|[^\"\\])*\"|(?:\$\([^()]*\)|[^'\"])+|.", re.DOTALL)
_VARIABLE = re.compile(
    r"\$\((?P<command>[^()]*)\)|`(?P<old>[^`]*)`|\$\{(?P<array>\w+)\[[@*]\]\}"
    r"|\$\{(?P<name>\w+)(?::?[-=?](?P<default>[^}]*))?\}|\$(?P<plain>[A-Za-z_]\w*)|\$\{(?!@\})[^}]*\}"
)


def assignments(text: str, where: str, leave: Leave) -> Iterator[tuple[str, str, str]]:
    """Yield option, value and place from a file of LB_NAME="value"."""
    for place, words, _ in commands(text, where, leave):
        for word in words:
            name, is_set, value = word.partition("=")
            if is_set and re.fullmatch(r"\w+", name):
                yield option_of(name), value, place


def option_of(name: str) -> str:
    """Return the option of a variable as LB_ARCHIVE_AREAS."""
    option = name.lower().removeprefix("lb_").removeprefix("_").replace("_", "-")
    return _ALIASES.get(option, option)


def script(text: str, where: str, leave: Leave) -> Iterator[tuple[str, str, str]]:
    """Yield option, value and place of each `lb config` in a script."""
    found = branches = False
    for place, words, line in commands(text, where, leave):
        branches = branches or words[0] in {"if", "case", "for", "while"}
        joined = "\n".join(words)
        start = re.search(
            r"^(?:(?:lb|lh|live-build)\nconfig|lb_config|lh_config)(?:\n|$)", joined, re.MULTILINE
        )
        if start:
            found = True
            yield from _options(joined[start.end() :].split("\n"), place, leave)
        elif words[0].startswith("--"):
            leave(place, line.strip(), "behind-comment")
    if branches:
        leave(where, "branches and loops", "branches")
    if not found:
        leave(where, "the script", "no-config")


def _options(words: list[str], where: str, leave: Leave) -> Iterator[tuple[str, str, str]]:
    rest = iter(words)
    for word in rest:
        if word in {";", "&&", "||", "|"}:
            return
        name, has_value, value = word.lstrip("-").partition("=")
        if word in {"noauto", "$@", "${@}", "$*", ""}:
            continue
        if not word.startswith("-"):
            leave(where, word.replace(COMPUTED, ""), "word")
        elif name in _FLAGS:
            yield name, "true", where
        else:
            yield _ALIASES.get(name, name), value if has_value else next(rest, ""), where


def commands(text: str, where: str, leave: Leave) -> Iterator[tuple[str, list[str], str]]:
    """Yield place, words and text of each command, with the values of variables in it."""
    lines, at, variables = text.splitlines(), 0, dict[str, str]()
    while at < len(lines):
        size, words, command = _command(lines[at : at + LONGEST], variables)
        place = f"{where}:{at + 1}"
        if words is None:
            leave(place, command.strip()[:80], "open")
        elif words:
            yield place, words, command
        at += size
        document = re.search(r"<<-?\s*(['\"]?)(\w+)\1", command)
        if document and document[2] in (rest := [line.strip() for line in lines[at:]]):
            at += rest.index(document[2]) + 1


def _command(lines: list[str], variables: dict[str, str]) -> tuple[int, list[str] | None, str]:
    """Return how many lines the first command has, its words and its text; None and one line where it does not end."""
    so_far = ""
    for size, line in enumerate(lines, 1):
        ends = line.lstrip().startswith("#")
        so_far += "" if ends else line
        if not ends and so_far.endswith("\\"):
            so_far = so_far[:-1] + " "
            continue
        words = _words(so_far, variables)
        if words is not None:
            return size, words, so_far
        so_far += "\n"
    words = _words(so_far, variables)  # the last line may end with a backslash
    return (len(lines), words, so_far) if words is not None else (1, None, lines[0])


def _words(line: str, variables: dict[str, str]) -> list[str] | None:
    """Return the words of a command that is no assignment, or None where a quote or a bracket is open."""
    array = re.match(r"\s*(\w+)(\+?)=\((.*?)(\)\s*)?$", line, re.DOTALL)
    if array:
        name, more, inner, end = array.groups()
        if not end:
            return None
        variables[name] = (f"{variables.get(name, '')} " if more else "") + _expand(inner, variables)
        return []
    line = re.sub(r"\b(?:export|readonly|local)\s+(?=\w+=)", "", line)
    for name, value in re.findall(r"\$\{(\w+):?=([^}]*)\}", line):
        variables.setdefault(name, value.strip("\"'"))
    try:
        lexer = shlex.shlex(_expand(line, variables), posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        words = [*lexer]
    except ValueError:
        return None
    for word in words:
        name, is_set, value = word.partition("=")
        if not (is_set and re.fullmatch(r"[A-Za-z_]\w*\+?", name)):
            if word == ";":
                continue
            break
        variables[name.rstrip("+")] = (variables.get(name[:-1], "") if name.endswith("+") else "") + value
    return words


def _expand(line: str, variables: Mapping[str, str]) -> str:
    """Put the values of variables in; what only a shell could know is marked."""
    room = LARGEST

    def value(match: re.Match[str], *, quoted: bool) -> str:
        nonlocal room
        default: str | None = match["default"]
        known = variables.get(match["name"] or match["plain"] or match["array"] or "", default)
        if "print-architecture" in match[0]:
            return "amd64"
        room -= len(known or "")
        if known is None or room < 0:
            return COMPUTED + re.sub(r'(["\\])' if quoted else r"(\W)", r"\\\1", match[0])
        return re.sub(r'(["\\])', r"\\\1", known) if quoted and not match["array"] else known

    def part(match: re.Match[str]) -> str:
        text = match[0]
        if text.startswith("'"):
            return text
        quoted = text.startswith('"')
        if quoted and re.fullmatch(r"\"\$\{\w+\[[@*]\]\}\"", text):
            text = text[1:-1]
        return _VARIABLE.sub(lambda one: value(one, quoted=quoted), text)

    return _PART.sub(part, line)
