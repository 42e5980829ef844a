"""The system under construction, as the files of iso/keys set it up."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from synos_tasks.errors import ProfileError
from synos_tasks.iso.root import within, write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from synos_tasks.iso.profile import Profile
    from synos_tasks.iso.tools import BuildContext

STEP = "synos-step "


@dataclass
class System:
    """Files are written at once. Commands of the system itself run later, in one container."""

    context: BuildContext
    root: Path
    _steps: list[tuple[str, str]] = field(default_factory=list)

    @property
    def profile(self) -> Profile:
        """The profile."""
        return self.context.profile

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Put a file of root's in the place of what is there."""
        write(self.root, path, text, mode)

    def has(self, path: str) -> bool:
        """Tell whether there is something at a path, links followed."""
        return within(self.root, path, follow=True).exists()

    def names(self, path: str) -> list[str]:
        """Return the first fields of a file as etc/group."""
        text = within(self.root, path, follow=True).read_text()
        return [line.partition(":")[0] for line in text.splitlines()]

    def run(self, argv: Sequence[str], *, key: str, stdin: str = "") -> None:
        """Run a command of the system once all keys are applied; ``key``, as users[0], is blamed if it fails."""
        pipe = f"printf %s {shlex.quote(stdin)} | " if stdin else ""
        self._steps.append((key, f"{pipe}{shlex.join(argv)}"))

    def mistake(self, key: str, what: str, hint: str, why: str = "") -> ProfileError:
        """Return the error for what only shows in the system."""
        return ProfileError(what, where=self.profile.origins.get(key, key), why=why, hint=hint)

    def finish(self, stage: str) -> None:
        """Run the commands; raise ProfileError for the key whose command failed."""
        if not self._steps:
            return
        script = "".join(f"echo {STEP}{index}\n{line}\n" for index, (_, line) in enumerate(self._steps))

        def failed(code: int, lines: Sequence[str]) -> ProfileError | None:
            steps = [index for index, line in enumerate(lines) if line.startswith(STEP)]
            if not steps:
                return None
            key, _ = self._steps[int(lines[steps[-1]].removeprefix(STEP))]
            said = "\n".join(lines[steps[-1] + 1 :])
            return self.mistake(key, f"{key} could not be set ({code})", "the log has all it said", said)

        # from standard input: what is in it must not be in the log
        self.context.run_inside(stage, self.root, ["sh", "-eu"], stdin=script, on_failure=failed)
