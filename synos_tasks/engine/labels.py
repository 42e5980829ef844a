"""Labels and names that mark what this library creates, and the capabilities of its builders."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synos_tasks.engine.client import Container, Volume

LABEL_PROJECT = "io.synos.project"
LABEL_ROLE = "io.synos.role"
LABEL_IMAGE = "io.synos.image"
"""The name under which an image was built. Images built on it inherit the label, but not the name."""
LABEL_CONTAINER = "io.synos.container"
"""The name under which a container was made. Containers of an image committed from it inherit the label, but not the name."""
LABEL_MARK = "io.synos.filled-by"
"""On a copy of a volume: the name of a file in .synos/volumes that is there until the copy is whole."""
LABEL_BASE = "io.synos.base"
"""On a bootstrapped base image, in place of the project's label, which images built on it would inherit."""
LABEL_URL = "io.synos.url"
"""On a service: SCHEME://USER@/DATABASE, what applications connect to; its host and port are published ones."""
LABEL_FOLDER, LABEL_FILE = "devcontainer.local_folder", "devcontainer.config_file"
"""On development containers, by VS Code, the official CLI and us: see https://containers.dev."""
LABEL_COMPOSE_PROJECT = "com.docker.compose.project"
LABEL_COMPOSE_VOLUME = "com.docker.compose.volume"
LABEL_COMPOSE_SERVICE = "com.docker.compose.service"
LABEL_COMPOSE_ONE_OFF = "com.docker.compose.oneoff"
LABEL_COMPOSE_NUMBER = "com.docker.compose.container-number"

# Verified to be enough for mmdebstrap, debootstrap, mksquashfs, GRUB and xorriso. Notably absent: SYS_ADMIN.
BUILDER_CAPABILITIES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "SETFCAP",
    "SETGID",
    "SETUID",
    "SYS_CHROOT",
)

LEASE_CAPABILITY = "SETPCAP"
"""Only the first process of a container of foreign code has it, so that nothing there can trace it: see docker/build/image/enter."""

# Of these, what installing build dependencies through sudo needs: nothing bootable is made there.
TOOLCHAIN_CAPABILITIES = tuple(name for name in BUILDER_CAPABILITIES if name not in {"MKNOD", "SYS_CHROOT"})


def labels(project: str, role: str) -> dict[str, str]:
    """Return the labels of a container, volume or network of this project."""
    return {LABEL_PROJECT: project, LABEL_ROLE: role}


def image_labels(project: str, role: str, tag: str) -> dict[str, str]:
    """Return the labels of an image of this project that is built under the name ``tag``."""
    return {**labels(project, role), LABEL_IMAGE: tag}


def is_own_container(container: Container, project: str) -> bool:
    """Tell whether a container was made by this project: its labels may come from an image, but not with its name in them.

    Compose makes PROJECT-SERVICE-NUMBER, and PROJECT-SERVICE-run-NUMBER of what runs once.
    """
    name, labels = container.name, container.config.labels or {}
    composed = f"{labels.get(LABEL_COMPOSE_PROJECT)}-{labels.get(LABEL_COMPOSE_SERVICE)}-"
    named = name == labels.get(LABEL_CONTAINER) or name.startswith(composed)
    return labels.get(LABEL_PROJECT) == project and named and name.startswith(f"{project}-")


ONCE = "-once-"
"""In the name of a volume for one command, after the project's id."""


def is_temporary(volume: Volume, project: str) -> bool:
    """Tell whether a volume is for one command, or a container's own, which the engine names by 64 hex digits."""
    if (volume.labels or {}).get(LABEL_ROLE) not in {"cache", "build"}:
        return False
    return volume.name.startswith(f"{project}{ONCE}") or bool(re.fullmatch("[0-9a-f]{64}", volume.name))
