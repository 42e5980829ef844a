"""The commands of a devcontainer.json, in their order: https://containers.dev/implementors/spec/#lifecycle.

Each that runs once for a container leaves the marker that the official CLI leaves, so that neither runs it again.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import HookFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from synos_tasks.dev.config import DevContainer
    from synos_tasks.dev.session import Session
    from synos_tasks.engine.running import Running

ONCE = ("onCreateCommand", "updateContentCommand", "postCreateCommand")
STARTED = "postStartCommand"
ATTACHED = "postAttachCommand"
# in the words of the official CLI's own marker; whether it was there is told by the exit code
MARK = """\
mark="$HOME/.devcontainer/.$1Marker"
mkdir -p "${mark%/*}"
[ "$(cat "$mark" 2>/dev/null)" = "$2" ] && exit 1
printf '%s\\n' "$2" >"$mark"
"""


def commands(value: Any) -> list[tuple[str, list[str]]]:  # noqa: ANN401
    """Read a lifecycle command: a line for a shell, words, or several of these by name; gives names and words."""
    if isinstance(value, dict):
        return [(name, words) for name, told in value.items() for _, words in commands(told)]
    if isinstance(value, str):
        return [("", ["/bin/sh", "-c", value])] if value else []
    return [("", [str(word) for word in value])] if value else []


def initialize(session: Session, config: DevContainer) -> None:
    """Run what is to happen on this machine before a container is made or started. Raises HookFailed."""

    def run(words: Sequence[str]) -> int:
        try:
            done = subprocess.run(
                words, cwd=config.root, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False
            )
        except OSError as error:
            session.say(str(error))
            return 127
        return done.returncode

    _run(session, config, "initializeCommand", run)


def run_all(session: Session, config: DevContainer, container: Running) -> None:
    """Run what is due in a container that runs. Raises HookFailed; what comes after that is not run."""

    def run(words: Sequence[str]) -> int:
        return session.containers.told(container.id, config.inside, words)

    for stage in ONCE:
        if _is_due(session, config, container, stage, container.created):
            _run(session, config, stage, run)
    if _is_due(session, config, container, STARTED, container.started):
        _run(session, config, STARTED, run)
    _run(session, config, ATTACHED, run)


def _is_due(session: Session, config: DevContainer, container: Running, stage: str, life: str) -> bool:
    words = ["/bin/sh", "-c", MARK, "sh", stage, life]
    return session.containers.output(container.id, config.inside, words).returncode == 0


def _run(session: Session, config: DevContainer, stage: str, run: Callable[[Sequence[str]], int]) -> None:
    """Run a stage's commands, those with names side by side."""
    wanted = commands(config.values.get(stage, ""))
    if not wanted:
        return
    for name, words in wanted:
        session.say(
            f"{stage}{f' {name}' if name else ''}: {words[-1] if words[:2] == ['/bin/sh', '-c'] else shlex.join(words)}"
        )
    with ThreadPoolExecutor(max_workers=len(wanted)) as pool:
        codes = list(pool.map(run, [words for _, words in wanted]))
    for (name, words), code in zip(wanted, codes, strict=True):
        if code:
            raise HookFailed(
                f"{stage}{f' {name}' if name else ''} failed with exit code {code}",
                where=str(config.path),
                why=shlex.join(words),
                hint="what it printed is above; inv dev.shell looks into the container",
            )
