"""`inv build.iso`: a profile becomes a plan, the plan goes into a builder container, events come out."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from synos_tasks import errors
from synos_tasks.build import preflight
from synos_tasks.build.image import ensure_image, tag_of
from synos_tasks.build.progress import History, View, view_for
from synos_tasks.build.publish import publish, staging
from synos_tasks.engine.leased import leased
from synos_tasks.engine.spec import BUILDER_CAPABILITIES, Bind, ContainerSpec, labels
from synos_tasks.iso import plan as planning
from synos_tasks.iso import profile as profiles
from synos_tasks.iso.stages.customise import BASE_OVERLAY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from synos_tasks.engine.gateway import Engine, EngineFacts
    from synos_tasks.iso.profile import Profile
    from synos_tasks.settings import Settings


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """A finished build. ``iso`` is absolute; the stages are as scripts get them."""

    iso: Path
    sha256: str
    build_id: str
    profile: str
    seconds: float
    stages: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Give the fields that `build.iso --json` promises."""
        return {**self.__dict__, "iso": str(self.iso)}


def profile_folder(settings: Settings) -> Path:
    """Where profiles are: docker/build/profiles."""
    return settings.root / "docker/build/profiles"


def plan_build(settings: Settings, name: str) -> planning.Plan:
    """Read a profile and plan its build; raises ProfileError or ProfileNotFound."""
    profile = profiles.load(profile_folder(settings), name)
    docker_build = settings.root / "docker/build"
    files = {path: _digest_input(docker_build, path, profile) for path in (*profile.overlays, *profile.hooks)}
    code = _digest_tree(settings.root / "synos_tasks/iso", "**/*.py")
    base = _digest_tree(docker_build / BASE_OVERLAY, "**/*")
    owner = (int(os.environ.get("SUDO_UID", os.getuid())), int(os.environ.get("SUDO_GID", os.getgid())))
    tools = planning.digest([code, base, tag_of(settings, "builder")])
    return planning.make(profile, files=files, tools=tools, owner=owner)


def builder_spec(settings: Settings, facts: EngineFacts | None, image: str, output: Path) -> ContainerSpec:
    """Give the default builder: unprivileged, project read-only, output folder alone writable, limited."""
    build = settings.build
    cpus = min(build.cpus, facts.cpus) if facts else build.cpus
    memory = min(build.memory_mb, facts.memory_mb) if facts else build.memory_mb
    work_mb = build.work_mb or memory * 3 // 4
    on_tmpfs = build.work == "tmpfs"
    return ContainerSpec(
        name=f"{settings.project_id}-build-{uuid.uuid4().hex[:8]}",
        image=image,
        command=("python3", "-m", "synos_tasks.iso"),
        labels=labels(settings.project_id, "build"),
        capabilities=BUILDER_CAPABILITIES,
        binds=(
            Bind(source=settings.root, target="/project"),
            Bind(source=output, target="/output", writable=True),
        ),
        # dev, suid, exec: a root file system has device nodes, sudo and programs
        tmpfs={"/work": f"rw,dev,suid,exec,size={work_mb}m"} if on_tmpfs else {},
        anonymous_volumes=() if on_tmpfs else ("/work",),
        cpus=cpus,
        memory_mb=memory,
        pids=build.pids,
    )


def build_iso(
    settings: Settings, engine: Engine, name: str, output: Path, say: Callable[[str], None]
) -> BuildResult:
    """Build a profile's ISO into ``output``; raises a SynosError, and then earlier ISOs are untouched."""
    began = time.monotonic()
    plan = plan_build(settings, name)
    facts = preflight.check(settings, engine, output)
    image = ensure_image(settings, engine, "builder", say)
    history = History(settings.state_dir / "history.json", name)
    with staging(output) as folder:
        spec = builder_spec(settings, facts, image, folder)
        run = _Run(log=_log_path(settings, name, spec.name))
        with run.log.open("w", encoding="utf-8") as log, view_for(plan.stage_names, history) as view:
            run.follow(engine, spec, plan, view, log)
        iso = publish(folder, name, run.delivered)
    history.save(run.stages)
    return BuildResult(
        iso=iso,
        sha256=run.delivered["sha256"],
        build_id=run.delivered["build_id"],
        profile=name,
        seconds=round(time.monotonic() - began, 3),
        stages=run.stages,
    )


@dataclass(kw_only=True)
class _Run:
    """One builder container, from its start to what it delivered."""

    log: Path
    stages: list[dict[str, Any]] = field(default_factory=list)
    delivered: dict[str, str] = field(default_factory=dict)

    def follow(
        self, engine: Engine, spec: ContainerSpec, plan: planning.Plan, view: View, log: IO[str]
    ) -> None:
        """Run the container to its end; raises the error that it met, or ContainerLost."""
        with leased(engine, spec, plan.to_json()) as container:
            for event in container.events():
                view.handle(event)
                _write_log(log, event)
                self._note(event)
            if not self.delivered:
                raise container.lost(
                    "the builder container went away before it was done",
                    hint="nothing was published; run the command again. `inv doctor` checks the engine",
                )

    def _note(self, event: dict[str, Any]) -> None:
        if event["event"] == "done":
            self.stages.append({key: event[key] for key in ("name", "key", "hit", "seconds", "bytes")})
        elif event["event"] == "delivered":
            self.delivered = {key: event[key] for key in ("build_id", "sha256")}
        elif event["event"] == "error":
            raise _error_of(event, self.log)


def _log_path(settings: Settings, profile: str, container: str) -> Path:
    folder = settings.state_dir / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{time.strftime('%Y%m%dT%H%M%S')}-{profile}-{container.rpartition('-')[2]}.log"


def _write_log(log: IO[str], event: dict[str, Any]) -> None:
    if event["event"] == "log":
        log.write(f"[{event['stage']}] {event['line']}\n")
    elif event["event"] in {"start", "done", "error", "delivered"}:
        log.write(json.dumps(event) + "\n")


def _error_of(event: dict[str, Any], log: Path) -> errors.SynosError:
    """Make the error again that the container met; where the log is goes into its hint."""
    hint = "\n".join(part for part in (event.get("hint", ""), f"full log: {log}") if part)
    cls = errors.by_name(event.get("kind", ""))
    return cls(
        event.get("error", "failed"), where=event.get("where", ""), why=event.get("why", ""), hint=hint
    )


def _digest_input(docker_build: Path, path: str, profile: Profile) -> str:
    target = docker_build / path
    if not target.exists():
        raise errors.ProfileError(
            f"there is no {path}", where=profile.origins.get(path, ""), why=f"looked for {target}"
        )
    return _digest_tree(target, "**/*") if target.is_dir() else _digest_file(target)


def _digest_tree(folder: Path, pattern: str) -> str:
    parts = [(str(path.relative_to(folder)), _digest_file(path)) for path in sorted(folder.glob(pattern))]
    return planning.digest(parts)


def _digest_file(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    if path.is_dir():
        return "folder"
    mode = "x" if os.access(path, os.X_OK) else "-"
    return mode + hashlib.sha256(path.read_bytes()).hexdigest()
