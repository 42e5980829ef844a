"""debian:bookworm-slim without a registry: bootstrapped from the Debian mirror, signatures checked by apt."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.engine.spec import labels
from synos_tasks.errors import HostUnfit, ImageBuildFailed, MirrorUnreachable

if TYPE_CHECKING:
    from synos_tasks.engine.gateway import Engine
    from synos_tasks.settings import Settings

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def bootstrap_argv(mirror: str, security_mirror: str, *, root: bool) -> list[str]:
    """Give the mmdebstrap command that writes a minimal root as a tar stream.

    Nothing of the host is mounted into it: as root all mounting is skipped, as a user it happens in
    namespaces of its own. With security updates, as the published image has them.
    """
    mode = ["--mode=root", "--skip=check/canmount,chroot/mount"] if root else ["--mode=unshare"]
    trim = ["rm -rf", '"$1"/usr/share/doc/*', '"$1"/usr/share/man/*', '"$1"/usr/share/locale/*']
    return [
        "mmdebstrap", *mode, "--variant=minbase", f"--keyring={KEYRING}",
        f"--customize-hook={' '.join(trim)}", "bookworm", "-",
        f"deb {mirror} bookworm main",
        f"deb {mirror} bookworm-updates main",
        f"deb {security_mirror} bookworm-security main",
    ]  # fmt: skip


def bootstrap(settings: Settings, engine: Engine, tag: str) -> None:
    """Make the base image. Raises HostUnfit without mmdebstrap or Debian's keys, MirrorUnreachable otherwise."""
    if not shutil.which("mmdebstrap") or not KEYRING.is_file():
        raise HostUnfit(
            "mmdebstrap or Debian's archive keys are missing",
            where=str(KEYRING),
            why="no registry answers, so the base image must be bootstrapped from the Debian mirror",
            hint="apt-get install mmdebstrap debian-archive-keyring (./scripts/synos does it)",
        )
    log = settings.state_dir / "logs" / "base-image.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as messages:
        process = subprocess.Popen(
            bootstrap_argv(settings.build.mirror, settings.build.security_mirror, root=os.geteuid() == 0),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=messages,
        )
        if process.stdout is None:
            raise ImageBuildFailed("mmdebstrap gave no output")
        # imported under a temporary name: a broken stream must not become the base image
        temporary = f"synos-base:{os.getpid()}"
        marks = [f"LABEL {key}={value}" for key, value in labels(settings.project_id, "build").items()]
        try:
            engine.import_image(process.stdout, temporary, [*marks, 'CMD ["bash"]'])
        finally:
            process.stdout.close()
            code = process.wait()
        if code == 0:
            engine.tag(temporary, tag)
        engine.untag(temporary)
    if code:
        raise MirrorUnreachable(
            "the base image could not be bootstrapped",
            where=settings.build.mirror,
            why="\n".join(log.read_text(errors="replace").splitlines()[-6:]),
            hint="check the network and synos.build.mirror in invoke.yaml",
        )
