"""base: all that boots, laid down by mmdebstrap or debootstrap from the lock's packages, without mounting anything."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING, Any

from synos_tasks.iso import identities
from synos_tasks.iso.keys import debconf
from synos_tasks.iso.root import DPKG_CONF, DPKG_OPTIONS, clean, within
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.stages import packages
from synos_tasks.iso.stagespec import StageSpec
from synos_tasks.iso.tools import FAKETIME

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.iso.layers import StageInputs
    from synos_tasks.iso.tools import BuildContext

NAME = "base"
STAGE = StageSpec(order=0, fields=("suite", "architecture", "bootstrapper"))
APT_OPTIONS = ('Apt::Install-Recommends "false"', 'Acquire::Languages "none"')


def make(inputs: StageInputs, root: Path) -> Mapping[str, Any]:
    """Fill the empty ``root`` with the packages that the lock has for this stage."""
    context = inputs.context
    with inputs.repository() as (repository, sizes):
        if context.profile.bootstrapper == "mmdebstrap":
            _mmdebstrap(context, root, repository, list(sizes))
        else:
            _debootstrap(context, root, repository)
            packages.install(context, root, repository, NAME, debconf.answers(context.profile, sizes))
    # what the bootstrappers leave of themselves and of the machine they run on
    apt = ("etc/apt/sources.list", "etc/apt/apt.conf.d/99mmdebstrap", DPKG_CONF)
    for path in (*apt, "etc/hostname", "etc/hosts", FAKETIME.relative_to("/")):
        remove(within(root, str(path)))
    identities.leave_to_first_boot(context, root, NAME, 0)
    clean(root)
    return {"installed": sizes}


def _mmdebstrap(context: BuildContext, root: Path, repository: Path, names: list[str]) -> None:
    profile = context.profile
    conf = repository / "dpkg.conf"
    conf.write_text("".join(f"{option}\n" for option in DPKG_OPTIONS))
    # as a hook: given as --dpkgopt, its path-exclude would start a filter in Python for each package
    hook = f'mkdir -p "$1"/etc/dpkg/dpkg.cfg.d && cp {conf} "$1"/{DPKG_CONF}'
    if context.clock:
        hook += f' && mkdir -p "$1"{FAKETIME.parent} && cp {FAKETIME} "$1"{FAKETIME}'
    argv = ["mmdebstrap", "--mode=root", "--skip=check/canmount,cleanup/apt/lists", "--variant=apt"]
    argv += [f"--architectures={profile.architecture}", f"--include={','.join(names)}"]
    argv += ["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", f"--setup-hook={hook}"]
    argv += [f"--aptopt={option}" for option in APT_OPTIONS]
    if answers := debconf.answers(profile, names):
        (repository / "debconf").write_text("".join(f"{line}\n" for line in answers))
        argv.append(f'--essential-hook=chroot "$1" debconf-set-selections <{repository}/debconf')
    # the packages were verified against the lock when they left the pool
    source = f"deb [trusted=yes] copy://{repository} ./\n"
    context.run_apart(NAME, [*argv, profile.suite, str(root), "-"], _mounts(root, repository), stdin=source)


def _mounts(root: Path, repository: Path) -> list[tuple[str, str, bool]]:
    """Return what a bootstrapper works with: it runs the scripts of packages in ``root``."""
    return [(root.name, str(root), True), (repository.name, str(repository), False)]


def _debootstrap(context: BuildContext, root: Path, repository: Path) -> None:
    profile = context.profile
    suite = repository / f"dists/{profile.suite}"
    name = f"main/binary-{profile.architecture}/Packages"
    (suite / name).parent.mkdir(parents=True)
    shutil.copy(repository / "Packages", suite / name)
    index = (suite / name).read_bytes()
    (suite / "Release").write_text(
        f"Suite: {profile.suite}\nCodename: {profile.suite}\nComponents: main\nArchitectures: {profile.architecture}\n"
        f"SHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} {name}\n"
    )
    argv = ["debootstrap", f"--arch={profile.architecture}", "--variant=minbase", "--no-check-gpg"]
    # its scripts are all one file, but it has no name for suites that are newer than itself
    argv += [profile.suite, str(root), f"file://{repository}", "/usr/share/debootstrap/scripts/sid"]
    context.run_apart(NAME, argv, _mounts(root, repository))
