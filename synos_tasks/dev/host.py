"""What an image of docker/dev is told of the host: whose files the project is, whom it trusts, who commits."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from synos_tasks.iso.scratch import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def owner(root: Path, caller: tuple[int, int], *, rootless: bool) -> tuple[int, int]:
    """Give uid and gid that the user in a container has, so that its files are the host user's.

    The caller's own, but where that is root whoever owns the project: root itself, or who called sudo. Where the
    engine runs without root it maps the host's user to 0.
    """
    if rootless:
        return 0, 0
    if caller[0] != 0:
        return caller
    found = root.stat()
    return found.st_uid, found.st_gid


def certificates(environment: Mapping[str, str], default: Path = CERTIFICATES) -> str:
    """Give the certificates that this host trusts, as PEM; '' where they are not in one file."""
    path = Path(environment.get("SSL_CERT_FILE") or default)
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def identity(root: Path) -> str:
    """Give the name and the address that git has for commits here, as git's configuration has them."""
    lines = []
    for key in ("name", "email"):
        argv = ["git", "-C", str(root), "config", "--get", f"user.{key}"]
        try:
            told = subprocess.run(argv, check=False, capture_output=True, text=True).stdout.strip()
        except FileNotFoundError:
            break
        if told:
            quoted = told.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            lines.append(f'\t{key} = "{quoted}"')
    return "\n".join(["[user]", *lines, ""]) if lines else ""


def write(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Write files that differ from what is there, so that an image is not made anew for nothing; gives their names."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = [name for name, text in files.items() if _read(folder / name) != text]
    for name in changed:
        write_whole(folder / name, files[name])
    return changed


def ids() -> tuple[int, int]:
    """Uid and gid of who runs this command."""
    return os.geteuid(), os.getegid()


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
