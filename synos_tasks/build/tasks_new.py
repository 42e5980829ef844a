"""Verbs of `inv build.*` that make profiles."""

from __future__ import annotations

import os
from pathlib import Path

from synos_tasks import console
from synos_tasks.cli import Command, verb


@verb(
    "build.new",
    positional=["name"],
    help={
        "name": "of the profile",
        "from": "the profile that it inherits from (default: synos.build.profile of invoke.yaml)",
    },
    example="kiosk --from minimal",
)
def new(command: Command, name: str, from_: str = "") -> None:
    """Write a profile of your own with an example of each key, an overlay and a hook: see docs/your-own-distribution.md."""
    from synos_tasks.build import new as news
    from synos_tasks.project import launcher

    start = from_ or command.settings.build.profile
    texts = news.plan(command.settings, name, start)
    files = [str(path) for path in texts]
    command.would(f"write {', '.join(files)}", profile=name, inherits=start, files=files)
    news.write(texts)
    console.say("\n".join(f"wrote {os.path.relpath(path)}" for path in files))
    then = [
        f"  {launcher()} build.{verb}"
        for verb in (f"plan --profile {name}", f"iso --profile {name} --boot", "run")
    ]
    console.say("\n".join(["Next: edit the last one, then", *then]))
    command.result({"profile": name, "inherits": start, "files": files})


@verb(
    "build.import-live-build",
    positional=["folder"],
    help={
        "folder": "a live-build configuration: the folder that has config/ and auto/config",
        "name": "the new profile (default: the folder's name)",
    },
)
def import_live_build(command: Command, folder: str, name: str = "") -> None:
    """Make a profile from a live-build configuration, and list what could not be converted."""
    from synos_tasks.build import live_build

    made = live_build.import_folder(command.settings, Path(folder), name, dry=command.dry)
    rows = [[one.where, one.what, one.why, one.hint] for one in made.left]
    command.table("not converted, or not as it was", ["where", "what", "why", "what to do"], rows)
    path = command.settings.project.build_data / f"profiles/{made.profile}.yaml"
    fields = {
        "profile": made.profile,
        "path": str(path),
        "files": made.files,
        "left": [vars(one) for one in made.left],
    }
    if command.dry:
        command.show(made.text)
    command.would(f"write {path} and {made.files} files", **fields)
    console.say(f"{path}  and {made.files} files; {len(rows)} notes, which are in it too")
    command.result(fields)
