"""Errors of python-on-whales and of engines that do not fit, as errors of this library."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from synos_tasks.errors import EngineTooOld, EngineUnavailable
from synos_tasks.project import engine_hint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from python_on_whales.components.system.models import SystemInfo

# 26.0 brought volume-subpath: what a container of foreign code gets of a build's work
MINIMUM = {"engine version": (26, 0), "buildx": (0, 13), "compose": (2, 0)}
NO_ENGINE = (
    "cannot connect to the docker daemon",
    "error during connect",
    "failed to connect to the docker api",
    "unable to resolve docker endpoint",
    "context not found",
)
DEFAULT_SOCKET = "unix:///var/run/docker.sock"


@contextmanager
def errors_as_ours(what: str, *, where: str = "") -> Iterator[None]:
    """Turn errors of python-on-whales into EngineUnavailable."""
    from python_on_whales.client_config import ClientNotFoundError, ParsingError
    from python_on_whales.exceptions import DockerException

    try:
        yield
    except ClientNotFoundError as error:
        raise EngineUnavailable("there is no `docker` command", hint=engine_hint()) from error
    except ParsingError as error:
        why = str(error)
        raise EngineUnavailable("the engine's answer could not be read", where=where, why=why) from error
    except DockerException as error:
        why, place = reason(error), where or " ".join(map(str, error.docker_command))[:600]
        raised = unanswered(why=why) if no_engine(why) else EngineUnavailable(what, where=place, why=why)
        raise raised from error


def unanswered(*, where: str = "", why: str = "") -> EngineUnavailable:
    """Return the error for an engine that does not answer at the address that the environment gives, or else ``where``."""
    name, value = address()
    return EngineUnavailable(
        "no Docker Engine answers",
        where=f"{name}={value}" if name else where or DEFAULT_SOCKET,
        why=why,
        hint=f"{address_hint() or engine_hint()}; `inv doctor` tells more",
    )


def address() -> tuple[str, str]:
    """Return the variable that tells the client where the engine is, and its value; '' for none."""
    names = (name for name in ("DOCKER_HOST", "DOCKER_CONTEXT") if os.environ.get(name))
    name = next(names, "")
    return name, os.environ.get(name, "")


def address_hint() -> str:
    """Return what to do about a variable that names another engine than the machine's own; '' where none is set."""
    name, value = address()
    return f"correct {name}, or unset it for this machine's own engine" if name and value != "default" else ""


def no_engine(text: str) -> bool:
    """Tell whether the client's words mean that no engine answers."""
    return any(words in text.lower() for words in NO_ENGINE)


def reason(error: Any) -> str:
    """Return what the engine said when a command failed."""
    text = (error.stderr or error.stdout or "").strip()
    return text.removeprefix("Error response from daemon: ") or f"exit code {error.return_code}"


def refusal(remove: Callable[[], object]) -> str:
    """Return '' where something was removed, or was gone already, else the engine's reason; raises EngineUnavailable."""
    from python_on_whales.exceptions import DockerException

    with errors_as_ours("nothing could be removed"):
        try:
            remove()
        except DockerException as error:
            if no_engine(
                reason(error)
            ):  # whatever its class: that goes by words that an address may have too
                raise
            return "" if isinstance(error, gone()) else reason(error)
    return ""


def gone() -> tuple[type[Exception], ...]:
    """Return the errors of python-on-whales for what is not there."""
    from python_on_whales.exceptions import NoSuchContainer, NoSuchImage, NoSuchNetwork, NoSuchVolume

    return NoSuchContainer, NoSuchImage, NoSuchNetwork, NoSuchVolume


def check_versions(info: SystemInfo) -> None:
    """Raise EngineTooOld, naming every part that is missing or too old."""
    wrong = [f"{name} {problem}" for name, _, problem in versions(info) if problem]
    if wrong:
        raise EngineTooOld("the engine is too old", why="; ".join(wrong), hint=engine_hint())


def versions(info: SystemInfo) -> Iterator[tuple[str, str, str]]:
    """Yield each part's name, its version ('' where it is missing), and what is wrong with it ('' for nothing)."""
    plugins = (info.client_info.plugins if info.client_info else None) or ()
    found = {str(one.name): (one.version or "").lstrip("v") for one in plugins}
    found["engine version"] = info.server_version or ""
    for name, least in MINIMUM.items():
        version = found.get(name, "")
        problem = f"{version or 'missing'}, needed: {'.'.join(map(str, least))}"
        yield name, version, "" if version_tuple(version) >= least else problem


def version_tuple(text: str) -> tuple[int, ...]:
    """Return (26, 1, 5) for '26.1.5+dfsg1'; () where there is no number."""
    found = re.match(r"\s*v?(\d+(?:\.\d+){0,2})", text, re.ASCII)
    return tuple(map(int, found[1].split("."))) if found else ()
