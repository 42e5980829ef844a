"""packages: what a profile adds to the layers below, installed by the system's own apt."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from synos_tasks.iso import identities
from synos_tasks.iso.keys import debconf
from synos_tasks.iso.root import DPKG_CONF, DPKG_OPTIONS, clean, make_devices, no_services, within, write
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.stagespec import StageSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from synos_tasks.iso.layers import StageInputs
    from synos_tasks.iso.tools import BuildContext, OnFailure

STAGE = StageSpec(order=10)
INSIDE = "var/cache/synos"


def make(inputs: StageInputs, root: Path) -> Mapping[str, Any]:
    """Install the packages that the lock has for this stage; there may be none."""
    with inputs.repository() as (repository, sizes):
        if sizes:
            install(
                inputs.context,
                root,
                repository,
                inputs.stage.name,
                debconf.answers(inputs.context.profile, sizes),
            )
    return {"installed": sizes}


def install(
    context: BuildContext,
    root: Path,
    repository: Path,
    stage: str,
    answers: Sequence[str] = (),
    on_failure: OnFailure | None = None,
) -> None:
    """Install every .deb of a repository in ``root``; nothing is fetched.

    ``answers`` are for debconf. ``on_failure`` may know a better error than the usual one.
    """
    make_devices(root)
    began = time.time()
    write(root, DPKG_CONF, "".join(f"{option}\n" for option in DPKG_OPTIONS))
    remove(within(root, INSIDE))
    within(root, INSIDE).mkdir()
    names = sorted(f"/{INSIDE}/{path.name}" for path in repository.glob("*.deb"))
    # local files, so apt orders them as dependencies ask
    argv = ["apt-get", "install", "--yes", "-qq", "--no-install-recommends", "--allow-downgrades"]
    argv += ["-oAPT::Sandbox::User=root", *names]
    if answers:
        argv = ["sh", "-c", 'debconf-set-selections && exec "$@"', "sh", *argv]
    stdin = "".join(f"{line}\n" for line in answers)
    reading = {INSIDE: repository}
    with no_services(root):
        context.run_inside(stage, root, argv, reading=reading, stdin=stdin, on_failure=on_failure)
        identities.leave_to_first_boot(context, root, stage, began)
    for path in (INSIDE, DPKG_CONF):
        remove(within(root, path))
    clean(root)
