"""hooks: a profile's scripts, run in the root."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.errors import HookFailed
from synos_tasks.iso.inputs import copy, walk
from synos_tasks.iso.root import clean, make_devices, within, write
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.stagespec import StageSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from synos_tasks.iso.layers import StageInputs
    from synos_tasks.iso.tools import BuildContext

NAME = "hooks"
STAGE = StageSpec(
    order=50, files=lambda profile: profile.hooks, is_wanted=lambda profile: bool(profile.hooks)
)
RESOLVER = "etc/resolv.conf"


def make(inputs: StageInputs, root: Path) -> None:
    """Run the profile's hooks in order, as root of the container, which is less than root of the host."""
    context = inputs.context
    make_devices(root)
    # a profile's own files are wanted, whatever they are
    overlays = [context.find(name, folder=True) for name in context.profile.overlays]
    wanted = {str(path.relative_to(folder)) for folder in overlays for path in walk(folder)}
    if RESOLVER not in wanted:
        with suppress(FileNotFoundError):  # there is none without a network
            write(root, RESOLVER, Path(f"/{RESOLVER}").read_text())
    for hook in context.profile.hooks:
        _run(context, root, hook)
    clean(root, keep=wanted)


def _run(context: BuildContext, root: Path, hook: str) -> None:
    inside = f"tmp/synos-hook-{Path(hook).name}"
    target = within(root, inside)
    target.parent.mkdir(exist_ok=True)
    remove(target)
    copy(context.find(hook), target)
    target.chmod(0o755)

    def failed(code: int, lines: Sequence[str]) -> Exception:
        return HookFailed(
            f"hook {hook} ended with {code}",
            where=context.profile.origins.get(hook, hook),
            why="\n".join(lines[-10:]),
            hint="the full log has all it printed",
        )

    context.run_inside(NAME, root, [f"/{inside}"], network=True, on_failure=failed)
    remove(within(root, inside))
