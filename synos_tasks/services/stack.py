"""Stacks of services: a compose file of docker/services each, resolved once for a command."""

from __future__ import annotations

import dataclasses
import stat
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synos_tasks.engine.client import Docker
from synos_tasks.engine.compose import Compose, replica_names
from synos_tasks.engine.labels import LABEL_URL
from synos_tasks.errors import HostUnfit, ImageBuildFailed, ServiceFailed, SettingsError, unknown
from synos_tasks.images import Context
from synos_tasks.images.catalog import SERVICES, raw_services, replacement, service_recipes, stack_files
from synos_tasks.iso.digests import digest, of_folder
from synos_tasks.iso.scratch import write_whole
from synos_tasks.locks import exclusive
from synos_tasks.settings import ServicesSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from synos_tasks.engine.client import Container
    from synos_tasks.images.catalog import Recipe
    from synos_tasks.settings import Settings

TOOLS_PROFILE = "tools"
WORKERS = "ray-worker"
"""The service that --workers scales."""
WORKERS_VARIABLE = "SYNOS_RAY_WORKERS"
PULL_TIMEOUT = 30.0
"""Seconds that a registry has to answer for an image of the settings."""


@dataclass(frozen=True, kw_only=True)
class Port:
    """A published port. ``address`` is '' for all; ``host_port`` is 0 where the engine takes a free one."""

    address: str
    host_port: int
    container_port: int
    protocol: str = "tcp"


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service of a stack. ``user`` is as in the compose file; ``secrets`` are those that this library makes."""

    name: str
    image: str
    user: str
    ports: tuple[Port, ...]
    url: str
    """SCHEME://USER@/DATABASE for applications; '' where the file does not say."""
    secrets: tuple[str, ...]
    volumes: Mapping[str, str]
    """Names in the engine, by where the service has them."""
    tool: bool
    """Runs for one command at a time, and is not started."""
    scale: int = 1

    @property
    def containers(self) -> list[str]:
        """Names that Compose.containers() has for its containers."""
        return replica_names(self.name, self.scale)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A resolved stack."""

    name: str
    services: tuple[Service, ...]
    digest: str
    """Of all that compose reads of it."""

    def __getitem__(self, name: str) -> Service:
        """Return the service of that name; raises SettingsError with a suggestion."""
        named = {service.name: service for service in self.services}
        if name not in named:
            raise unknown("service", name, named, f"stack {self.name}")
        return named[name]

    @property
    def long_running(self) -> tuple[Service, ...]:
        """The services that `up` starts."""
        return tuple(service for service in self.services if not service.tool)

    @property
    def secrets(self) -> list[str]:
        """Names of the secrets of all services."""
        return sorted({secret for service in self.services for secret in service.secrets})

    def chosen(self, only: str) -> tuple[Service, ...]:
        """Return the services named in ``only``, separated by commas, in the order of the file; all for ''.

        Raises SettingsError on an unknown one.
        """
        names = [name.strip() for name in only.split(",") if name.strip()]
        known = [service.name for service in self.long_running]
        for name in set(names).difference(known):
            raise unknown("service", name, known, f"stack {self.name}")
        return tuple(service for service in self.long_running if service.name in names) or self.long_running


@dataclass(frozen=True, kw_only=True)
class StackContext(Context):
    """What every command on a stack needs."""

    compose: Compose
    stack: Stack
    recipes: Mapping[str, Recipe]
    """How images of this project are built, by service."""
    timeout: float
    """Seconds that services have to get healthy."""

    @property
    def folder(self) -> Path:
        """Secrets and state of the stack, which belong to this clone."""
        return self.settings.stack_dir(self.stack.name)

    @property
    def option(self) -> str:
        """What a command of a hint needs to mean this stack; '' for the settings' own."""
        name = self.stack.name
        return "" if name == self.settings.services.stack else f" --stack {name}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other command change this stack meanwhile; waits for the one that does, and says so."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        waits = f"another command works on stack {self.stack.name}: waiting for it"
        with exclusive(self.folder / "lock", lambda: self.say(waits)):
            yield

    def running(self, service: str) -> Container:
        """Return the running container of a service; raises SettingsError or ServiceFailed."""
        container = self.compose.containers().get(self.stack[service].name)
        if container is not None and container.state.status == "running":
            return container
        where, hint = self.compose.project, f"inv services.up{self.option} starts it"
        raise ServiceFailed(f"service {service} is not running", where=where, hint=hint)

    def ensure_images(self, services: Iterable[str]) -> None:
        """Build or pull the images of services that are missing.

        Raises ImageBuildFailed, MirrorUnreachable, HostUnfit, EngineUnavailable or EngineTooOld.
        """
        from synos_tasks.images.building import ensure_image  # noqa: PLC0415  (services.status needs none of it)

        for name in services:
            image = replacement(self.settings, name)
            if name in self.recipes:
                ensure_image(self, self.recipes[name])
            elif image and not self.docker.image_id(image):
                self.say(f"pulling {image}")
                if not self.docker.pull(image, timeout=PULL_TIMEOUT):
                    what = f"the image of service {name} is missing, and no registry offers it"
                    hint = f"`docker load` it, or take synos.services.{name}_image out of invoke.yaml"
                    raise ImageBuildFailed(what, where=image, hint=hint)

    def takes_secrets(self, service: str) -> bool:
        """Tell whether a running service can take a new secret, by its script `apply`."""
        return (self.settings.project.root / SERVICES / service / "apply").is_file()

    def make_readable(self, services: Iterable[Service]) -> None:
        """Let the users of containers read what is mounted into them, which a clone under umask 077 denies.

        These are files of the repository, and no secrets. Raises HostUnfit.
        """
        for service in services:
            folder = self.settings.project.root / SERVICES / service.name
            for path in [folder, *folder.iterdir()] if folder.is_dir() else []:
                mode = stat.S_IMODE(path.stat().st_mode)
                needed = mode | (0o555 if path.is_dir() else 0o444)
                try:
                    if mode != needed:
                        path.chmod(needed)
                except PermissionError as error:
                    raise HostUnfit(
                        f"service {service.name} could not read its configuration",
                        where=str(path),
                        why=f"others may not read it (mode {mode:04o}), and another user owns it",
                        hint=f"chmod a+rX {path}",
                    ) from error

    def write_variables(self) -> None:
        """Write the compose file's variables, none of them a secret, to a file for plain `docker compose`."""
        variables = self.compose.environment.items()
        text = "".join(f"{key}={quoted(value)}\n" for key, value in variables)
        write_whole(self.folder / "compose.env", text)
        if workers := self.compose.environment.get(WORKERS_VARIABLE):
            write_whole(self.folder / "workers", f"{workers}\n")

    def with_image(self, service: str, image: str) -> StackContext:
        """Return a context in which a service has another image."""
        variables = {**self.compose.environment, f"{variable(service)}_IMAGE": image}
        return replace(self, compose=replace(self.compose, environment=variables))


def open_stack(
    settings: Settings, name: str, say: Callable[[str], None], timeout: float = 0, workers: int = 0
) -> StackContext:
    """Resolve a stack. Without a name or a timeout those of the settings count; ``workers`` 0 keeps the number of the last `up`.

    Raises SettingsError, ServiceFailed where its file has a mistake, ImageBuildFailed where a Dockerfile is missing,
    or EngineUnavailable.
    """
    name = name or settings.services.stack
    project, mounted = settings.project, settings.stack_dir(name) / "mounted"
    path = file_of(settings, name)
    services = raw_services(path)
    recipes = service_recipes(settings, services)
    # none is a secret: variables are in the containers' labels and in `services.config`
    variables = {
        "SYNOS_STACK": project.resource(name),
        "SYNOS_PROJECT": project.id,
        "SYNOS_SECRETS": str(mounted),
    }
    for one in services:
        key, own = variable(one), recipes.get(one)
        variables[f"{key}_IMAGE"] = own.tag(project) if own else replacement(settings, one)
        variables[f"{key}_FILES"] = of_folder(path.parent / one)[:12]  # an edit makes a new container
        for setting in port_settings(one):
            variables[f"SYNOS_{setting.upper()}"] = str(getattr(settings.services, setting))
    variables |= _workers(settings.stack_dir(name) / "workers", name, services, workers)
    compose = Compose(project=project.resource(name), path=path, environment=variables)
    return StackContext(
        settings=settings,
        docker=Docker(),
        compose=compose,
        stack=resolve(name, compose.config(), mounted),
        recipes=recipes,
        timeout=timeout or settings.services.wait_timeout,
        say=say,
    )


def _workers(remembered: Path, stack: str, services: Mapping[str, Any], workers: int) -> dict[str, str]:
    """Return the variable with the number of workers, {} for the compose file's own; raises SettingsError."""
    if WORKERS not in services:
        if workers:
            what, hint = f"stack {stack} has no workers", "--workers is for the stack ray: --stack ray"
            raise SettingsError(what, where="--workers", hint=hint)
        return {}
    count = str(workers) if workers else remembered.read_text().strip() if remembered.exists() else ""
    return {WORKERS_VARIABLE: count} if count else {}


def port_settings(service: str) -> list[str]:
    """Return the settings that have ports of a service: they begin with the first word of its name."""
    word = service.partition("-")[0]
    names = [field.name for field in dataclasses.fields(ServicesSettings)]
    return [name for name in names if name.startswith(f"{word}_") and name.endswith("_port")]


def file_of(settings: Settings, stack: str) -> Path:
    """Return the path of a stack's compose file; raises SettingsError, with a suggestion, where there is none."""
    known = stack_files(settings.project.root)
    if stack not in known:
        raise unknown("stack", stack, known, settings.project.root / SERVICES)
    return known[stack]


def started_services(path: Path) -> list[str]:
    """Return the services of a compose file that `up` starts, in its order; the file is not resolved."""
    services = raw_services(path).items()
    return [name for name, value in services if TOOLS_PROFILE not in (value.get("profiles") or ())]


def variable(service: str) -> str:
    """Return the beginning of a service's variables, as SYNOS_NATS_BOX."""
    return f"SYNOS_{service.upper().replace('-', '_')}"


def quoted(value: str) -> str:
    """Return a value as compose reads it from a file: without quotes, ``$`` and `` #`` in a path would be syntax."""
    return "'" + value.replace("'", "\\'") + "'"


def resolve(name: str, model: Mapping[str, Any], mounted: Path) -> Stack:
    """Read the model that `docker compose config` prints; secrets are the files in folder ``mounted``."""
    secrets = {
        key
        for key, value in model.get("secrets", {}).items()
        if Path(value.get("file", "").replace("$$", "$")) == mounted / key
    }
    volumes = {key: value["name"] for key, value in model.get("volumes", {}).items()}
    found = (_service(key, value, secrets, volumes) for key, value in sorted(model["services"].items()))
    return Stack(name=name, services=tuple(found), digest=digest(model))


def _service(name: str, value: Mapping[str, Any], secrets: set[str], volumes: Mapping[str, str]) -> Service:
    return Service(
        name=name,
        image=value.get("image", ""),
        user=str(value.get("user", "")),
        ports=tuple(map(_port, value.get("ports", ()))),
        url=(value.get("labels") or {}).get(LABEL_URL, ""),
        secrets=tuple(one["source"] for one in value.get("secrets", ()) if one["source"] in secrets),
        volumes={
            mount["target"]: volumes[mount["source"]]
            for mount in value.get("volumes", ())
            if mount["type"] == "volume" and mount.get("source")
        },
        tool=TOOLS_PROFILE in value.get("profiles", ()),
        scale=int(value.get("scale", 1)),
    )


def _port(value: Mapping[str, Any]) -> Port:
    published = str(value.get("published", ""))  # none, or a range to choose from: the engine does
    return Port(
        address=value.get("host_ip", ""),
        host_port=int(published) if published.isdecimal() else 0,
        container_port=int(value.get("target", 0)),
        protocol=value.get("protocol", "tcp"),
    )
