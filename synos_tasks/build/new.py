"""`inv build.new`: the profile, overlay and hook that a new distribution starts with."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from synos_tasks.build import planning
from synos_tasks.builder import owner
from synos_tasks.errors import ProfileNotFound, WouldOverwrite, guess, writing
from synos_tasks.iso import profile as profiles

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.iso.key import Key
    from synos_tasks.settings import Settings

PROFILE = """\
# yaml-language-server: $schema=profile.schema.json
# What goes into the ISO, besides what {start} says. In full: docs/profile.md of SynOS tasks. An editor with a YAML
# language server knows the keys too, from profile.schema.json.
{live}
# ---- All other keys, each with an example: take its # away.
{others}"""
LIVE = """\
description: {name}, made of {start}
inherits: {start}
hostname: {name}
users:
  - name: user
    groups: [audio, cdrom, plugdev, video]
    sudo: nopasswd
    autologin: true # no password is right, so nobody can log in but this one, at the console
packages:
  - tree
overlays:
  - overlays/{name}
hooks:
  - hooks/{name}
"""
"""What a newcomer changes first."""
MOTD = """\
Welcome to {name}. This text is docker/build/overlays/{name}/etc/motd.
"""
HOOK = """\
#!/bin/sh
# Runs as root in the new system, with network, when packages, users and overlays are there; what it writes is in the ISO.
# To try commands first: inv build.shell --in {name}
set -eu

echo "This system has $(dpkg-query --show | wc -l) packages." >>/etc/motd
"""


def plan(settings: Settings, name: str, start: str) -> Mapping[Path, tuple[str, int]]:
    """Return text and mode of the files of a new profile that inherits from ``start``, the profile itself last.

    Raises ProfileError for a name that no profile can have, ProfileNotFound, or WouldOverwrite.
    """
    folder, data = planning.profile_folder(settings), settings.project.build_data
    profiles.refuse_wrong_name(name)
    if start not in profiles.names(folder):
        what, hint = f"there is no profile {start[:80]!r} to start from", guess(start, profiles.names(folder))
        raise ProfileNotFound(what, where=str(folder), hint=hint)
    profiles.load(folder, start)
    overlay, hook, profile = data / "overlays" / name, data / "hooks" / name, folder / f"{name}.yaml"
    parts = overlay, hook, profile, planning.lock_path(settings, name)
    if taken := [str(path) for path in parts if os.path.lexists(path)]:
        what = f"there is something called {name} already; nothing was written"
        hint = "choose another name, or remove it"
        raise WouldOverwrite(what, where=taken[0], why="\n".join(taken[1:]), hint=hint)
    return {
        overlay / "etc/motd": (MOTD.format(name=name), 0o644),
        hook: (HOOK.format(name=name), 0o755),
        profile: (text_of(name, start), 0o644),
    }


def text_of(name: str, start: str) -> str:
    """Return a profile that has every key: a few as they are wanted, the others as comments."""
    live = ""
    for line in LIVE.format(name=name, start=start).splitlines(keepends=True):
        key = profiles.keys().get(line.partition(":")[0])
        live += f"\n{_documented(key)}{line}" if key else line
    others = [
        f"\n{_documented(key)}#{word}: {key.example}\n"
        for word, key in profiles.keys().items()
        if f"\n{word}:" not in live
    ]
    return PROFILE.format(start=start, live=live, others="".join(others))


def _documented(key: Key) -> str:
    kind = key.kind.items or key.kind
    more = f" Parts: {', '.join(kind.fields)}." if kind.fields else ""
    if len(kind.choices) > 1:
        more = f" {kind.shape[0].upper()}{kind.shape[1:]}."
    return f"# {key.kind.doc}{more}\n"


def write(texts: Mapping[Path, tuple[str, int]]) -> None:
    """Write the files; raises OutputNotWritable, and then none of them is there."""
    with ExitStack() as undo:
        for path, (text, mode) in texts.items():
            with writing("the files of a profile cannot be written; none is there", path):
                for folder in reversed([one for one in path.parents if not one.exists()]):
                    folder.mkdir()
                    undo.callback(folder.rmdir)
                    os.chown(folder, *owner())
                with path.open("x", encoding="utf-8") as file:
                    undo.callback(path.unlink)
                    file.write(text)
                path.chmod(mode)
                os.chown(path, *owner())
        undo.pop_all()
