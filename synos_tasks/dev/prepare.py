"""What a container is made from, by either tool: devcontainer.json's initializeCommand calls this."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

from synos_tasks.dev.config import FOLDER
from synos_tasks.engine.labels import image_labels, labels
from synos_tasks.errors import DevContainerMissing, HostUnfit
from synos_tasks.images.base import ensure_base
from synos_tasks.images.catalog import BOOKWORM
from synos_tasks.images.uplink import build_secrets, host_certificates
from synos_tasks.iso.scratch import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from synos_tasks.dev.config import DevContainer
    from synos_tasks.dev.containers import Context

SECRETS = "/run/synos-secrets"
"""Where a container that joins the services has their passwords."""
BUILDER_UID = 1000
"""The user of `build.shell --toolchain`: sccache lets nobody else read what that user has cached."""
NOTHING_TO_MAKE = "SYNOS_DEV_RUNNING"
"""Variable that `dev.up` sets for the initializeCommand of a container that runs: the engine need not be asked."""
CACHES = ("ccache", "sccache", "uv", "cargo")
NO_VALUE = 1
"""Exit code of `git config` for a name that is not set."""
HISTORY = "/var/lib/synos-history"


def prepare(context: Context, config: DevContainer) -> None:
    """Make everything that a container needs first; where all is there it changes nothing.

    Raises DevContainerMissing where the services that it joins do not run, and what ensure_base() raises.
    """
    if os.environ.get(NOTHING_TO_MAKE):
        return
    owner = owner_of(config.root, rootless=is_rootless(context))
    settings, host = context.settings, context.state / "host"
    write_changed(host / "owner", "{} {}\n".format(*owner))
    trusted = host_certificates()
    write_changed(host / "certificates.pem", (trusted.is_file() and _read(trusted)) or "")
    write_changed(host / "gitconfig", git_identity(config.root))
    ensure_base(context, BOOKWORM)
    path = context.state / f"{config.name}.yml"
    if path not in config.compose_files:
        return
    services = settings.project.resource(settings.services.stack)
    network = f"{services}_data" if config.joins_services else ""
    if network and context.docker.network(network) is None:
        raise DevContainerMissing(
            f"development container {config.name} joins services that do not run",
            where=f"network {network}",
            hint="inv services.up",
        )
    project = settings.project.id
    # another user than the shell's can neither write its caches nor read all of them
    suffix = "" if owner[0] == BUILDER_UID else f"-{owner[0]}"
    volumes = {kind: f"{project}-{kind}{suffix}" for kind in CACHES}
    volumes["history"] = f"{project}-history-{config.name}"
    for kind, name in volumes.items():
        context.docker.create_volume(name, labels(project, "cache" if kind in CACHES else "dev"))
    write_changed(path, json.dumps(compose_model(context, config, volumes, network), indent=1) + "\n")


def owner_of(root: Path, *, rootless: bool) -> tuple[int, int]:
    """Return uid and gid that the user in a container gets, so that its files are the host user's.

    The caller's own; for root those of the project's folder: root itself, or who called sudo. 0 where the
    engine runs without root, because it maps the host's user to 0.
    """
    if rootless:
        return 0, 0
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    status = root.stat()
    return status.st_uid, status.st_gid


def is_rootless(context: Context) -> bool:
    """Return whether the engine runs without root."""
    return any("rootless" in option for option in context.docker.info().security_options or ())


def git_identity(root: Path) -> str:
    """Return the name and the address that git has for commits here, in git's own format; '' without git or names.

    Raises HostUnfit where git cannot tell.
    """
    lines = []
    for key in ("name", "email"):
        argv = ["git", "-C", str(root), "config", "--get", f"user.{key}"]
        try:
            done = subprocess.run(argv, check=False, capture_output=True, text=True)
        except FileNotFoundError:
            break
        if done.returncode not in (0, NO_VALUE):
            what = "git cannot tell who makes commits here"
            raise HostUnfit(
                what, where=" ".join(argv), why=done.stderr.strip(), hint="correct git's configuration"
            )
        if value := done.stdout.strip():
            quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            lines.append(f'\t{key} = "{quoted}"')
    return "\n".join(["[user]", *lines, ""]) if lines else ""


def write_changed(path: Path, text: str) -> None:
    """Write a file only where it differs, because an image is rebuilt when one of its files is newer."""
    if _read(path) != text:
        write_whole(path, text)


def image_of(context: Context, config: DevContainer) -> str:
    """Return the name of a container's image."""
    return context.settings.project.image(f"dev-{config.name}", context.settings.project.id)


def compose_model(
    context: Context, config: DevContainer, volumes: Mapping[str, str], network: str
) -> dict[str, Any]:
    """Return the part of the compose file that only this clone knows."""
    settings = context.settings
    root = escaped(str(config.root))
    own = config.path.with_name("Dockerfile")
    build = {"dockerfile": f"{FOLDER}/{config.name}/Dockerfile"} if own.exists() else {"target": config.name}
    # compose takes a value that is not here from its environment: no password gets into this file
    args = {name: None if "@" in value else value for name, value in context.proxies.variables.items()}
    shown = (secret.split(",src=") for secret in build_secrets(settings.project.root))
    secrets = {ident.removeprefix("id="): {"file": escaped(path)} for ident, path in shown}
    image = image_of(context, config)
    passwords = escaped(str(settings.stack_dir(settings.services.stack) / "secrets"))
    mounted = {"type": "bind", "source": passwords, "target": SECRETS, "read_only": True}
    return {
        "name": settings.project.resource(f"dev-{config.name}"),
        "services": {
            config.service: {
                "image": image,
                "build": {
                    **build,
                    "labels": image_labels(settings.project.id, "dev", image),
                    "args": args,
                    "secrets": list(secrets),
                },
                "labels": labels(settings.project.id, "dev"),
                "working_dir": root,
                "volumes": [
                    {"type": "bind", "source": root, "target": root},
                    *([mounted] if network else []),
                    *(f"{kind}:/var/cache/{kind}" for kind in CACHES),
                    f"history:{HISTORY}",
                ],
                **({"networks": ["default", "data"]} if network else {"network_mode": "bridge"}),
            }
        },
        "volumes": {kind: {"name": name, "external": True} for kind, name in volumes.items()},
        "secrets": secrets,
        **({"networks": {"data": {"name": network, "external": True}}} if network else {}),
    }


def escaped(text: str) -> str:
    """Return a text as a compose file has it, in which ``$`` begins a variable."""
    return text.replace("$", "$$")


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
