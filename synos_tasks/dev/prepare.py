"""What has to be there before a container is made, whoever makes it: devcontainer.json's initializeCommand asks for it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from synos_tasks.dev import host, volumes
from synos_tasks.dev.variables import devcontainer_id
from synos_tasks.engine.spec import image_labels
from synos_tasks.errors import DevContainerMissing
from synos_tasks.images.base import BOOKWORM, ensure_base
from synos_tasks.iso.scratch import write_whole

if TYPE_CHECKING:
    from synos_tasks.dev.config import DevContainer
    from synos_tasks.dev.session import Session

SECRETS = "/run/synos-secrets"
"""Where a container that is joined to the services has their passwords."""


def prepare(session: Session, config: DevContainer) -> None:
    """Have the base image, the volumes, and what the image is told of the host. With all there it changes nothing.

    Raises DevContainerMissing where the services that it is to be joined to do not run, and what ensure_base() raises.
    """
    session.state.mkdir(parents=True, exist_ok=True)
    uid, gid = host.owner(config.root, host.ids(), rootless=session.containers.is_rootless())
    files = {
        "owner": f"{uid} {gid}\n",
        "certificates.pem": host.certificates(os.environ),
        "gitconfig": host.identity(config.root),
    }
    host.write(session.state / "host", files)
    ensure_base(session.settings, session.engine, BOOKWORM, session.say)
    sources = [*config.volumes()]
    generated = [path for path in config.compose_files if path.parent == session.state]
    if generated:
        sources += [f"synos-{devcontainer_id(config.labels)}-{kind}" for kind in _kinds()]
    wanted = volumes.plan(session.settings.project_id, sources, devcontainer_id(config.labels), uid)
    _ensure(session, wanted, (uid, gid))
    for path in generated:
        model = joined(session, config)
        write_whole(path, json.dumps(model, indent=1) + "\n")


def joined(session: Session, config: DevContainer) -> dict[str, Any]:
    """Give the part of a compose file that only this clone knows: where it is, and which network the services have."""
    stack = session.settings.services.stack
    network = f"{session.settings.compose_project(stack)}_data"
    if not session.containers.network_exists(network):
        raise DevContainerMissing(
            f"development container {config.name} is joined to services that do not run",
            where=f"network {network}",
            hint="inv services.up",
        )
    prefix = f"synos-{devcontainer_id(config.labels)}"
    root, targets = str(config.root), _kinds()
    secrets = session.settings.stack_dir(stack) / "secrets"
    caches = {kind: {"name": f"{prefix}-{kind}", "external": True} for kind in targets}
    project, service = session.settings.compose_project(f"dev-{config.name}"), config.values["service"]
    return {
        "name": project,
        "services": {
            service: {
                "build": {"labels": image_labels(session.settings.project_id, "dev", f"{project}-{service}")},
                "labels": dict(volumes.labels(session.settings.project_id, _OF_CONTAINER)),
                "working_dir": _literal(root),
                "volumes": [
                    {"type": "bind", "source": _literal(root), "target": _literal(root)},
                    {"type": "bind", "source": _literal(str(secrets)), "target": SECRETS, "read_only": True},
                    *(f"{kind}:{target}" for kind, target in targets.items()),
                ],
            }
        },
        "networks": {"data": {"name": network, "external": True}},
        "volumes": caches,
    }


def _literal(text: str) -> str:
    """Give a text as a compose file has it: there, ``$`` begins a variable."""
    return text.replace("$", "$$")


_OF_CONTAINER = volumes.Volume(name="", behind="", role="dev")


def _kinds() -> dict[str, str]:
    caches = {kind: f"/var/cache/{kind}" for kind in volumes.WITH_BUILD + volumes.BETWEEN}
    return {**caches, "history": "/var/lib/synos-history"}


def _ensure(session: Session, wanted: list[volumes.Volume], owner: tuple[int, int]) -> None:
    engine, project = session.engine, session.settings.project_id
    there = set(engine.volume_names(project))
    for volume in wanted:
        marks = volumes.labels(project, volume)
        first = volume.behind or volume.name
        if first not in there:
            engine.ensure_volume(first, marks)
            session.containers.give_volume(first, BOOKWORM.tag, owner)
            there.add(first)
        if volume.behind and volume.name not in there:
            session.containers.alias_volume(volume.name, volume.behind, marks)
