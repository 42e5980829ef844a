"""Secrets and names that must differ from machine to machine: left out of the layers, and made at first boot.

They are found by what they are, not by a list: a file that no package ships, which looks random, and which comes out
differently when its package is configured once more. What must make it at boot is then known as well.
"""

from __future__ import annotations

import re
import shlex
import stat
from typing import TYPE_CHECKING

from synos_tasks.iso.root import DPKG_INFO, lists_of_packages, within, write
from synos_tasks.iso.scratch import remove
from synos_tasks.iso.tree import walk

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from synos_tasks.iso.tools import BuildContext

FOLDERS = ("etc", "var/lib")
OF_SYSTEMD = ("etc/machine-id", "var/lib/dbus/machine-id")
"""Every layer has these empty, or not at all: see machine-id(5)."""
LARGEST = 16384
"""Bytes: an identity is small."""
FIRST_BOOT = "usr/lib/synos/first-boot"
"""A file for each package: a command, and the paths that it makes."""
UNITS = "usr/lib/systemd/system"
_SECRET = re.compile(rb"PRIVATE KEY-----")
_RANDOM = re.compile(
    rb"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}"  # a UUID
    rb"|(?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{10,}|(?=[A-Za-z]*\d)(?=[^A-Z]*[A-Z])(?=[^a-z]*[a-z])[A-Za-z0-9+/]{20,}"
)
UNIT = "synos-first-boot@.service"
"""Started for each package; docker/build/overlays/synos-base has it."""
TRY = """\
again() {{ # FOLDER: put away what is there, and let the package make it once more
    for file in {files}; do
        mkdir -p "$1/${{file%/*}}"
        [ ! -e "/$file" ] || mv "/$file" "$1/$file"
    done
    {command} >&2 || true
}}
old=/run/synos-old
again $old/0
again $old/1
for file in {files}; do
    # what is another one each time is random; what only differs from the first depends on what was there
    if [ -e "$old/1/$file" ] && [ -e "/$file" ] && ! cmp -s "/$file" "$old/1/$file"; then
        rm -f "/$file"
        echo "synos-made {package} $file"
    else
        mv -f "$old/0/$file" "/$file"
        echo "synos-kept $file"
    fi
done
rm -rf $old
"""


def leave_to_first_boot(context: BuildContext, root: Path, stage: str, since: float) -> None:
    """Take out what configuring packages has made since a time (of time.time()) and would make differently again."""
    packages: dict[str, list[str]] = {}
    candidates = [*_candidates(root, since)]
    if not candidates:
        return
    lists = lists_of_packages(root)
    shipped = {line for lines in lists.values() for line in lines}
    scripts = {name: within(root, f"{DPKG_INFO}/{name}.postinst") for name in lists}
    texts = {name: script.read_text(errors="replace") for name, script in scripts.items() if script.is_file()}
    for path in candidates:
        if f"/{path}" not in shipped and (package := _maker(path, lists, texts)):
            packages.setdefault(package, []).append(path)
    script = "".join(
        TRY.format(files=shlex.join(files), command=_command(package, files), package=package)
        for package, files in packages.items()
    )
    if not script:
        return
    made: dict[str, list[str]] = {}
    for line in context.run_inside(stage, root, ["sh", "-u"], stdin=script):
        word, *rest = line.split(" ")
        if word == "synos-made":
            made.setdefault(rest[0], []).append(rest[1])
        elif word == "synos-kept" and _SECRET.search(within(root, rest[0]).read_bytes()):
            context.events.warn(f"/{rest[0]} is a secret that is the same on every machine")
    for package, files in made.items():
        _remove_links_to(root, files)
        _plan_first_boot(root, package, files, lists)


def _candidates(root: Path, since: float) -> Iterable[str]:
    """Yield paths of small new files that look random or secret."""
    for folder in (one for one in FOLDERS if within(root, one).is_dir()):
        for path, status in walk(within(root, folder)):
            new = stat.S_ISREG(status.st_mode) and status.st_ctime >= since and 0 < status.st_size <= LARGEST
            if not new or path.startswith("dpkg/") or f"{folder}/{path}" in OF_SYSTEMD:
                continue
            data = (within(root, folder) / path).read_bytes()
            if _is_key(data, status.st_mode) or _SECRET.search(data) or _RANDOM.search(data):
                yield f"{folder}/{path}"


def _is_key(data: bytes, mode: int) -> bool:
    """Tell whether a file is not for everyone, and no text."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return not mode & 0o004
    return False


def _maker(path: str, lists: dict[str, list[str]], texts: dict[str, str]) -> str:
    """Return the package whose configuration probably makes a file: its script names it, or its folder is the package's.

    ``lists`` has the paths of packages by name, ``texts`` their scripts.
    """
    folder = f"/{path.rpartition('/')[0]}"
    owners = [name for name, lines in lists.items() if folder in lines] if folder != "/etc" else []
    naming = [name for name, text in texts.items() if f"/{path}" in text]
    return next((name for name in (*naming, *owners) if name in texts), "")


def _command(package: str, files: list[str]) -> str:
    """Return the command that makes a package's files."""
    if all(path.startswith("etc/ssh/ssh_host_") for path in files):
        return "/usr/bin/ssh-keygen -A"  # what its script does, among slower things
    # without the version that was configured before: some make a secret at the very first time only
    return f"/{DPKG_INFO}/{package}.postinst configure"


def _remove_links_to(root: Path, files: list[str]) -> None:
    """Remove links to files that are gone, such as those that OpenSSL names by a certificate's digest."""
    for folder in {path.rpartition("/")[0] for path in files}:
        for link in within(root, folder, follow=True).iterdir():
            if link.is_symlink() and link.readlink().name in {path.rpartition("/")[2] for path in files}:
                remove(link)


def _plan_first_boot(root: Path, package: str, files: list[str], lists: dict[str, list[str]]) -> None:
    """Let a unit make the files of a package before the package's own units start, and nearly all others.

    SSH host keys, which take seconds, are for OpenSSH alone. A certificate is not: PostgreSQL has that of ssl-cert.
    """
    paths = "".join(f"/{path}\n" for path in sorted(files))
    write(root, f"{FIRST_BOOT}/{package}", f"{_command(package, files)}\n{paths}")
    units = {
        line.rpartition("/")[2] for line in lists[package] if "/systemd/system/" in line and "@" not in line
    }
    before = " ".join(sorted(name for name in units if name.endswith((".service", ".socket"))))
    unit = UNIT.replace("@", f"@{package.replace('+', '_')}")  # a unit's name has no +, a package's no _
    write(root, f"{UNITS}/{unit}.d/before.conf", f"[Unit]\nBefore={before}\n")
    target = "multi-user" if package.startswith("openssh") else "sysinit"
    wanted = within(root, f"{UNITS}/{target}.target.wants/{unit}")
    wanted.parent.mkdir(exist_ok=True)
    remove(wanted)
    wanted.symlink_to(f"../{UNIT}")
