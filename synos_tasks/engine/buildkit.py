"""What BuildKit prints while it builds an image."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from synos_tasks.engine.failures import reason
from synos_tasks.errors import ImageBuildFailed, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_STEP = re.compile(r"(#\d+) (?:(\[(?!internal\]).+)|DONE (\S+)|(CACHED))")
_FAILED = re.compile(r"^ > (?P<step>.*):\n(?P<output>.*?)^------$", re.DOTALL | re.MULTILINE)
_TIME = re.compile(r"^\d+\.\d+ ", re.MULTILINE)
"""What BuildKit says of a step, and of the one that failed; the time in front of each line that a step prints."""


def follow_build(lines: Iterable[str], say: Callable[[str], None]) -> None:
    """Say each step of an image's build that is done, by BuildKit's plain progress; raise ImageBuildFailed."""
    from python_on_whales.exceptions import DockerException  # noqa: PLC0415  (slow to import)

    steps: dict[str, str] = {}
    try:
        for line in lines:
            if found := _STEP.match(line):
                number, step, seconds, cached = found.groups()
                if step:
                    steps[number] = step
                elif step := steps.pop(number, ""):
                    say(f"  {seconds or cached.lower():>7}  {printable(step).split(' && ')[0][:90]}")
    except DockerException as error:
        text = reason(error)
        failed = _FAILED.search(text)
        last = text.splitlines()[-1]
        where, output = (failed["step"], _TIME.sub("", failed["output"]) + last) if failed else ("", text)
        why = "\n".join(output.splitlines()[-9:])
        raise ImageBuildFailed("an image could not be built", where=where, why=why) from error
