"""Debian's base images: local, else from a registry, else bootstrapped from the mirror, signatures checked by apt."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.engine.labels import LABEL_BASE
from synos_tasks.errors import BadSignature, HostUnfit, MirrorUnreachable
from synos_tasks.images.uplink import USUAL, host_certificates, host_proxies
from synos_tasks.iso.diagnose import mirror_failure, uplink_failure
from synos_tasks.iso.suites import SUITES, base_image

if TYPE_CHECKING:
    from synos_tasks.images import Context

APT_OPTIONS = "etc/apt/apt.conf.d/99mmdebstrap"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def ensure_base(context: Context, base: str) -> None:
    """Get a base image unless it is there; raises as renew() does."""
    if context.docker.image_id(base) is None:
        renew(context, base)


def renew(context: Context, base: str) -> None:
    """Get the newest base image from a registry, else bootstrap it from the Debian mirror.

    Raises HostUnfit, MirrorUnreachable, BadSignature or ImageBuildFailed; an image that was there stays as it was then.
    """
    build = context.settings.build
    context.say(f"base image {base}: asking the registry")
    if context.docker.pull(base, timeout=build.registry_timeout):
        context.say(f"base image {base}: pulled")
    else:
        context.say(f"base image {base}: no registry answers; bootstrapping it from {build.mirror}")
        bootstrap(context, base)


def suite_of(base: str) -> str:
    """Return the suite of Debian that a base image is of."""
    return next(suite for suite in SUITES if base_image(suite) == base)


def bootstrap_argv(
    suite: str, mirror: str, security_mirror: str, *, root: bool, certificates: Path | None = None
) -> list[str]:
    """Return the mmdebstrap command that writes a minimal root of a suite, with its updates, as a tar stream.

    Nothing of the host is mounted into it: as root all mounting is skipped, as a user it happens in name spaces.
    apt trusts mirrors by ``certificates``, None for its usual file.
    """
    mode = ["--mode=root", "--skip=check/canmount,chroot/mount"] if root else ["--mode=unshare"]
    # of a mirror that serves another suite apt only warns, and mmdebstrap drops that
    ends = {"release": "", "updates": "-updates", "security": "-security"}
    served = {f"{suite}{ends[name]}": name for name in SUITES[suite].archives}
    check = (
        f'for suite in {" ".join(served)}; do grep -qsx "Codename: $suite" "$1"/var/lib/apt/lists/*_dists_"$suite"_*Release || '
        '{ echo "E: Conflicting distribution: another one is served as $suite" >&2; exit 1; }; done'
    )
    trim = 'rm -rf "$1"/usr/share/doc/* "$1"/usr/share/man/* "$1"/usr/share/locale/*'
    secure = []
    if any(address.startswith("https:") for address in (mirror, security_mirror)):
        secure = ["--include=ca-certificates"]  # or the root could not ask its own mirror
        if certificates:
            secure += [
                f'--aptopt=Acquire::https::CaInfo "{certificates.resolve()}"',
                f"--customize-hook=rm $1/{APT_OPTIONS}",
            ]
    return [
        "mmdebstrap", *mode, *secure, "--variant=minbase", f"--keyring={KEYRING}", f"--customize-hook={check}",
        f"--customize-hook={trim}", suite, "-",
        *(f"deb {security_mirror if name == 'security' else mirror} {one} main" for one, name in served.items()),
    ]  # fmt: skip


def bootstrap(context: Context, base: str) -> None:
    """Make a base image. Raises HostUnfit without mmdebstrap or Debian's keys, else BadSignature or MirrorUnreachable.

    What mmdebstrap prints is kept in the log ``base-image-SUITE.log``.
    """
    if not shutil.which("mmdebstrap") or not KEYRING.is_file():
        raise HostUnfit(
            "mmdebstrap or Debian's archive keys are missing",
            where=str(KEYRING),
            why="no registry answers, so the base image must be bootstrapped from the Debian mirror",
            hint="apt-get install mmdebstrap debian-archive-keyring",
        )
    settings = context.settings
    suite = suite_of(base)
    log = settings.project.state_dir / "logs" / f"base-image-{suite}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    mirrors = settings.build.mirror, settings.build.security_mirror
    proxies, trust = host_proxies(), host_certificates()
    own = trust if trust != Path(USUAL) and trust.is_file() else None
    argv = bootstrap_argv(suite, *mirrors, root=os.geteuid() == 0, certificates=own)
    changes = [f"LABEL {LABEL_BASE}={settings.project.id}", 'CMD ["bash"]']
    # a file, not a pipe: a stream that breaks must not become the base image
    with log.open("wb") as messages, tempfile.TemporaryFile(dir=settings.project.state_dir) as archive:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=archive,
            stderr=messages,
            check=False,
            env={**os.environ, **proxies.variables},
        )
        if done.returncode == 0:
            archive.seek(0)
            context.docker.import_image(archive, base, changes)
            return
    text = proxies.masked(log.read_text(errors="replace"))
    log.write_text(text)
    lines = text.splitlines()
    mirror = settings.build.mirror
    if uplink := uplink_failure(lines, [], mirror, proxies):
        raise uplink
    if isinstance(failure := mirror_failure(lines, [], mirror), BadSignature):
        raise failure
    raise MirrorUnreachable(
        f"the base image {base} could not be bootstrapped",
        where=settings.build.mirror,
        why="\n".join(lines[-6:]),
        hint="check the network and synos.build.mirror in invoke.yaml",
    )
