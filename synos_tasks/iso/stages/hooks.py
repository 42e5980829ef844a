"""hooks: a profile's scripts, run in the root."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.errors import HookFailed
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.stages import devices
from synos_tasks.iso.stages.clean import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from synos_tasks.iso.tools import Workshop

STAGE = "hooks"
RESOLVER = "etc/resolv.conf"


def make(shop: Workshop, root: Path) -> None:
    """Run the profile's hooks in order, as root of the container, which is less than root of the host."""
    devices.make(root)
    wanted = overlaid(shop.docker_build / name for name in shop.profile.overlays)
    if RESOLVER not in wanted:
        with suppress(FileNotFoundError):  # there is none without a network
            remove(root / RESOLVER)  # it may be a link
            shutil.copyfile(f"/{RESOLVER}", root / RESOLVER)
    for hook in shop.profile.hooks:
        _run(shop, root, hook)
    clean(root, keep=wanted)


def overlaid(folders: Iterable[Path]) -> set[str]:
    """Give the paths that a profile's own files have in the root: these are wanted, whatever they are."""
    return {str(path.relative_to(folder)) for folder in folders for path in folder.rglob("*")}


def _run(shop: Workshop, root: Path, hook: str) -> None:
    inside = Path("/tmp") / f"synos-hook-{Path(hook).name}"  # noqa: S108  (in the root under construction)
    target = root / inside.relative_to("/")
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(shop.docker_build / hook, target)
    target.chmod(0o755)

    def failed(code: int, lines: Sequence[str]) -> Exception:
        return HookFailed(
            f"hook {hook} ended with {code}",
            where=shop.profile.origins.get(hook, hook),
            why="\n".join(lines[-10:]),
            hint="the full log has all it printed",
        )

    shop.run(STAGE, ["chroot", str(root), str(inside)], on_failure=failed)
    target.unlink(missing_ok=True)
