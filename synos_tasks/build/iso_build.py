"""`inv build.iso`: a profile becomes a plan, the plan goes into a builder container, events come out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import subprocess
import threading
import time
import uuid
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from synos_tasks import errors
from synos_tasks.build import preflight
from synos_tasks.build.image import ensure_image, tag_of
from synos_tasks.build.progress import History, View, view_for
from synos_tasks.engine.spec import BUILDER_CAPABILITIES, Bind, ContainerSpec, labels
from synos_tasks.iso import plan as planning
from synos_tasks.iso import profile as profiles
from synos_tasks.iso.stages.customise import BASE_OVERLAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from synos_tasks.engine.gateway import Engine, EngineFacts
    from synos_tasks.iso.profile import Profile
    from synos_tasks.settings import Settings

LEASE_SECONDS = 2.0


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
    spec = builder_spec(settings, facts, image, output)
    history = History(settings.state_dir / "history.json", name)
    log = settings.state_dir / "logs" / f"{time.strftime('%Y%m%dT%H%M%S')}-{name}-{spec.name[-8:]}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        log.open("w", encoding="utf-8") as log_file,
        view_for([stage.name for stage in plan.stages], history) as view,
    ):
        stages, published = _run(engine, spec, plan, view, log_file)
    history.save(stages)
    return BuildResult(
        iso=output / published["iso"],
        sha256=published["sha256"],
        build_id=published["build_id"],
        profile=name,
        seconds=round(time.monotonic() - began, 3),
        stages=stages,
    )


def _run(
    engine: Engine, spec: ContainerSpec, plan: planning.Plan, view: View, log: IO[str]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run one builder container to its end; whatever happens, it is gone afterwards."""
    process = engine.start(spec)
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise errors.ContainerLost("docker run has no streams", where=spec.name)
    stages: list[dict[str, Any]] = []
    published: dict[str, Any] = {}
    complaint = _drain(process.stderr)
    ended = threading.Event()
    try:
        process.stdin.write(json.dumps(plan.to_json()).encode() + b"\n")
        process.stdin.flush()
        threading.Thread(target=_renew_lease, args=(process.stdin, ended), daemon=True).start()
        for event in _events(process.stdout):
            view.handle(event)
            _write_log(log, event)
            if event["event"] == "done":
                stages.append({key: event[key] for key in ("name", "key", "hit", "seconds", "bytes")})
            elif event["event"] == "published":
                published = {key: event[key] for key in ("iso", "sha256", "build_id")}
            elif event["event"] == "error":
                raise _error_of(event, log.name)
    except BrokenPipeError:
        pass  # docker run ended at once: explained below
    finally:
        ended.set()
        with contextlib.suppress(BrokenPipeError):  # what could not be written is tried once more
            process.stdin.close()
        _end(engine, spec, process)
    if not published:
        raise errors.ContainerLost(
            "the builder container went away before it was done",
            where=spec.name,
            why="".join(complaint).strip() or f"docker run ended with {process.returncode}",
            hint="nothing was published; run the command again. `inv doctor` checks the engine",
        )
    return stages, published


def _renew_lease(stdin: IO[bytes], ended: threading.Event) -> None:
    """Write a newline every two seconds: the container stops at end-of-file, or after ten seconds of silence.

    End-of-file alone is not enough: when the engine is killed, the container never sees one.
    """
    with contextlib.suppress(OSError, ValueError):  # why it went away is told by those who read from it
        while not ended.wait(LEASE_SECONDS):
            stdin.write(b"\n")
            stdin.flush()


def _end(engine: Engine, spec: ContainerSpec, process: Any) -> None:  # noqa: ANN401
    """End the container: by its lease, or by force after a few seconds."""
    try:
        process.wait(timeout=4)
    except subprocess.TimeoutExpired:
        _force(engine, spec, process)
    except KeyboardInterrupt:  # a second Ctrl-C
        _force(engine, spec, process)
        raise


def _force(engine: Engine, spec: ContainerSpec, process: Any) -> None:  # noqa: ANN401
    engine.remove_container(spec.name)
    process.kill()
    process.wait()


def _events(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Events of the container, with a tick every half second so that clocks move."""
    lines: queue.Queue[bytes | None] = queue.Queue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=0.5)
        except queue.Empty:
            yield {"event": "tick"}
            continue
        if line is None:
            return
        try:
            event = json.loads(line)
        except ValueError:
            event = {"event": "log", "stage": "engine", "line": line.decode(errors="replace").rstrip()}
        yield event


def _drain(stream: IO[bytes]) -> list[str]:
    """Collect what docker run complains of, in a thread."""
    lines: list[str] = []

    def read() -> None:
        lines.extend(line.decode(errors="replace") for line in stream)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _write_log(log: IO[str], event: dict[str, Any]) -> None:
    if event["event"] == "log":
        log.write(f"[{event['stage']}] {event['line']}\n")
    elif event["event"] in {"start", "done", "error", "published"}:
        log.write(json.dumps(event) + "\n")


def _error_of(event: dict[str, Any], log: str) -> errors.SynosError:
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
