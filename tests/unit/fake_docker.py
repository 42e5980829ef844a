"""One Docker Engine in memory for all unit tests: real python-on-whales objects, no process."""

from __future__ import annotations

import hashlib
from typing import IO, TYPE_CHECKING, Any, cast

from python_on_whales.components.system.models import SystemInfo

from synos_tasks.engine.client import Docker, Kind
from synos_tasks.engine.labels import LABEL_CONTAINER
from synos_tasks.errors import EngineUnavailable, ImageBuildFailed
from tests.unit.guest import Guest, request_of

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.engine.spec import ContainerSpec

CREATED = "2026-01-31T12:00:00.123456789Z"


def digest(text: str) -> str:
    """Return an id that looks like the engine's."""
    return hashlib.sha256(text.encode()).hexdigest()


class FakeDocker(Docker):
    """Holds what `docker KIND inspect` would print; ``answers`` is False where no engine answers.

    ``refusals``: what the engine says when a thing is to be removed, by its name or id.
    ``on_run(spec, stdin)`` stands for a container that runs once: it returns (exit code, stdout, stderr).
    ``on_execute(command)`` stands for a command in a running container: it returns the exit code.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answers, self.rootless = True, False
        self.memory = 8000 * 2**20
        kinds: tuple[Kind, ...] = ("container", "image", "volume", "network")
        self.objects: dict[Kind, dict[str, dict[str, Any]]] = {kind: {} for kind in kinds}
        self.version, self.buildx, self.compose_version = "26.1.5+dfsg1", "0.13.1", "2.26.1-4"
        self.root_dir = "/nowhere/docker"
        self.removed: list[str] = []
        self.refusals: dict[str, str] = {}
        self.pullable: set[str] = set()
        self.built: list[dict[str, Any]] = []
        self.build_fails = False
        self.runs: list[ContainerSpec] = []
        """Containers that ran once, in order, with pipes or on the caller's streams."""
        self.on_run: Callable[[ContainerSpec, bytes], tuple[int, bytes, bytes]] = lambda *_: (0, b"", b"")
        self.on_execute: Callable[[Sequence[str]], int] = lambda _: 0
        self.printed: dict[tuple[str, ...], str] = {}
        """What a command prints in a throw-away container."""
        self.log_text: dict[str, str] = {}

    # ---- filling it

    def add_container(
        self,
        name: str,
        *,
        image: str = "sha256:none",
        state: str = "running",
        health: str = "",
        health_output: str = "",
        labels: Mapping[str, str] | None = None,
        ports: Mapping[str, tuple[str, int]] | None = None,
        volumes: Iterable[str] = (),
        binds: Iterable[str] = (),
        networks: Iterable[str] = (),
        exit_code: int = 0,
        restarts: int = 0,
        privileged: bool = False,
        created: str = CREATED,
        started: str = CREATED,
        **config: object,
    ) -> str:
        """Add a container and return its id; ``ports`` as {"5432/tcp": ("127.0.0.1", 5432)}.

        With ``labels`` it is one that this library made, which puts its name among them.
        """
        ident = digest(name)
        checks = [{"ExitCode": 0, "Output": health_output}] if health_output else []
        self.objects["container"][ident] = {
            "Id": ident,
            "Name": f"/{name}",
            "Created": created,
            "Image": image,
            "RestartCount": restarts,
            "State": {
                "Status": state,
                "Running": state in {"running", "paused", "restarting"},
                "ExitCode": exit_code,
                "OOMKilled": False,
                "StartedAt": started,
                "FinishedAt": "0001-01-01T00:00:00Z",
                **({"Health": {"Status": health, "Log": checks}} if health else {}),
            },
            "Config": {
                "Labels": {LABEL_CONTAINER: name, **labels} if labels else {},
                "Image": image,
                **config,
            },
            "HostConfig": {"Privileged": privileged},
            "Mounts": [
                *({"Type": "volume", "Name": one, "Destination": f"/{one}"} for one in volumes),
                *({"Type": "bind", "Source": one, "Destination": one} for one in binds),
            ],
            "NetworkSettings": {
                "Ports": {
                    inside: [{"HostIp": address, "HostPort": str(port)}]
                    for inside, (address, port) in (ports or {}).items()
                },
                "Networks": {one: {"NetworkID": digest(one)} for one in networks},
            },
        }
        return ident

    def add_image(
        self,
        *tags: str,
        ident: str = "",
        labels: Mapping[str, str] | None = None,
        size: int = 1000,
        created: str = CREATED,
        tagged: str = CREATED,
    ) -> str:
        """Add an image and return its id; without tags it needs ``ident``. Its tags leave other images."""
        for tag in tags:
            self._untag(tag)
        ident = ident or f"sha256:{digest(tags[0])}"
        self.objects["image"][ident] = {
            "Id": ident,
            "RepoTags": list(tags),
            "Created": created,
            "Size": size,
            "Config": {"Labels": dict(labels or {})},
            "Metadata": {"LastTagTime": tagged},
        }
        return ident

    def add_volume(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        created: str = "2026-01-31T12:00:00Z",
    ) -> str:
        """Add a volume and return its name."""
        self.objects["volume"][name] = {
            "Name": name,
            "Driver": "local",
            "CreatedAt": created,
            "Labels": dict(labels or {}),
            "Mountpoint": f"{self.root_dir}/volumes/{name}/_data",
            "Options": None,
        }
        return name

    def add_network(
        self, name: str, *, labels: Mapping[str, str] | None = None, created: str = CREATED
    ) -> str:
        """Add a network and return its id."""
        ident, marks = digest(name), dict(labels or {})
        self.objects["network"][ident] = {"Id": ident, "Name": name, "Created": created, "Labels": marks}
        return ident

    def names(self, kind: Kind) -> list[str]:
        """Return the names of what is there; of images all tags."""
        found = self.objects[kind].values()
        if kind == "image":
            return sorted(tag for one in found for tag in one["RepoTags"])
        return sorted(one["Name"].lstrip("/") for one in found)

    # ---- what Docker does with processes

    def image_id(self, ref: str) -> str | None:
        return self.image(ref).id if self.image(ref) else None  # type: ignore[union-attr]

    def info(self) -> SystemInfo:
        self._ask()
        versions = {"buildx": self.buildx, "compose": self.compose_version}
        plugins = [{"Name": name, "Version": version} for name, version in versions.items() if version]
        return SystemInfo.model_validate(
            {
                "ServerVersion": self.version,
                "NCPU": 4,
                "MemTotal": self.memory,
                "DockerRootDir": self.root_dir,
                "SecurityOptions": ["name=rootless"] if self.rootless else [],
                "ClientInfo": {"Plugins": plugins},
            }
        )

    def command(self, *arguments: str) -> list[str]:
        return ["docker", *arguments]

    def logs(self, ref: str, lines: int) -> str:
        return "\n".join(self.log_text.get(ref, "").splitlines()[-lines:])

    def pull(self, ref: str, *, timeout: float) -> bool:
        self._ask()
        if ref in self.pullable:
            self.add_image(ref)
        return ref in self.pullable

    def import_image(self, archive: IO[bytes], ref: str, changes: Sequence[str]) -> None:
        archive.read()
        self.add_image(ref)

    def build_image(self, folder: Path, say: Callable[[str], None], **options: Any) -> None:  # noqa: ANN401
        """Build an image with another id each time."""
        self._ask()
        self.built.append(options)
        if self.build_fails:
            raise ImageBuildFailed("an image could not be built")
        [tag] = options["tags"]
        ident = f"sha256:{digest(f'{tag} {len(self.built)}')}"
        self.add_image(tag, ident=ident, labels=options["labels"])

    def tag(self, ref: str, new_name: str) -> None:
        self._untag(new_name)
        self.objects["image"][self._ident("image", ref)]["RepoTags"].append(new_name)

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        self._ask()
        if name not in self.objects["volume"]:
            self.add_volume(name, labels=labels)

    def remove_container(self, ref: str, *, force: bool = False, volumes: bool = True) -> str:
        ident = self._ident("container", ref)
        if not force and ident and self.objects["container"][ident]["State"]["Running"]:
            return "cannot remove a running container"
        return self._remove("container", ref)

    def remove_image(self, ref: str) -> str:
        ident = self._ident("image", ref)
        image = self.objects["image"].get(ident)
        if image and ref in image["RepoTags"] and len(image["RepoTags"]) > 1 and ref not in self.refusals:
            image["RepoTags"].remove(ref)
            self.removed.append(ref)
            return ""
        return self._remove("image", ref)

    def remove_volume(self, name: str) -> str:
        return self._remove("volume", name)

    def remove_network(self, ref: str) -> str:
        return self._remove("network", ref)

    def create(self, spec: ContainerSpec) -> str:
        raise NotImplementedError("FakeDocker runs containers whole: see on_run")

    def attach(self, spec: ContainerSpec) -> subprocess.Popen[bytes]:
        self._ask()
        self.runs.append(spec)
        codes: list[int] = []

        def body(stdin: int, out: IO[bytes], err: IO[bytes]) -> None:
            code, printed, complaint = self.on_run(spec, request_of(stdin))
            codes.append(code)
            err.write(complaint)
            out.write(printed)

        return cast("subprocess.Popen[bytes]", Guest(body, codes))

    def pipe(
        self, spec: ContainerSpec, take: Callable[[bytes], object], stdin: bytes | IO[bytes] | None = None
    ) -> tuple[int, str]:
        self._ask()
        self.runs.append(spec)
        code, out, err = self.on_run(
            spec, stdin if isinstance(stdin, bytes) else stdin.read() if stdin else b""
        )
        take(out)
        return code, err.decode().strip()

    def output_of(self, image: str, command: Sequence[str]) -> str:
        self._ask()
        return self.printed.get(tuple(command), "")

    def start(self, ref: str) -> None:
        state = self.objects["container"][self._ident("container", ref)]["State"]
        state.update(Status="running", Running=True)

    def execute(
        self,
        ref: str,
        command: Sequence[str],
        *,
        user: str,
        workdir: str,
        environment: Mapping[str, str],
        attached: bool = False,
    ) -> int:
        return self.on_execute(command)

    def _refs(self, kind: Kind, labels: Mapping[str, str] | None) -> list[str]:
        self._ask()
        return [
            ident
            for ident, one in self.objects[kind].items()
            if (labels or {}).items()
            <= (one.get("Labels") or one.get("Config", {}).get("Labels", {})).items()
        ]

    def _inspect(self, kind: Kind, refs: Sequence[str]) -> list[dict[str, Any]]:
        self._ask()
        idents = (self._ident(kind, ref) for ref in refs)
        return [self.objects[kind][ident] for ident in idents if ident]

    def _ident(self, kind: Kind, ref: str) -> str:
        for ident, one in self.objects[kind].items():
            if ref in {ident, one.get("Name", "").lstrip("/"), *one.get("RepoTags", ())}:
                return ident
        return ""

    def _remove(self, kind: Kind, ref: str) -> str:
        if ref in self.refusals:
            return self.refusals[ref]
        if self.objects[kind].pop(self._ident(kind, ref), None) is not None:
            self.removed.append(ref)
        return ""

    def _untag(self, tag: str) -> None:
        for image in self.objects["image"].values():
            if tag in image["RepoTags"]:
                image["RepoTags"].remove(tag)

    def _ask(self) -> None:
        if not self.answers:
            raise EngineUnavailable("no Docker Engine answers", why="connection refused")
