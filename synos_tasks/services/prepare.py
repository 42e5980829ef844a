"""What a stack needs before its containers start: secrets that their users can read, and volumes they can write."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import subprocess
import tarfile
import uuid
from typing import TYPE_CHECKING, Any

from synos_tasks.engine.spec import Bind, ContainerSpec, labels
from synos_tasks.errors import HostUnfit, ServiceFailed
from synos_tasks.images.catalog import SERVICES
from synos_tasks.iso.scratch import write_whole
from synos_tasks.services.secrets import Secrets
from synos_tasks.services.stack import state_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from synos_tasks.engine.gateway import Engine
    from synos_tasks.services.session import Session
    from synos_tasks.services.stack import SecretFile, Service, Stack
    from synos_tasks.settings import Settings

STAMP = "prepared.json"
HELPER_TIMEOUT = 120
"""Seconds for what takes less than one."""
# Written over, not renamed: a running container's mount keeps the file it had. No "&&": in front of one, sh -e goes on.
# Whose clone it is may look whether a copy is there; to others the folder above is closed.
PLACE = """\
umask 077
cd /mounted
tar -xof -
while read -r owner file; do
    mkdir -p "${file%/*}"
    chmod 711 "${file%/*}"
    cat "new/$file" >"$file"
    chown "$owner" "$file"
    chmod 400 "$file"
done <list
rm -r new list
"""


def secrets_of(session: Session) -> Secrets:
    """Give the secrets of a stack, as this machine's user owns them."""
    return Secrets(state_folder(session.settings, session.stack.name) / "secrets")


def prepare(session: Session, services: Sequence[Service], running: Collection[str]) -> list[str]:
    """Make the secrets that are missing, hand each service its own, and volumes that its user can write.

    ``running`` are the names of services that run already: see behind(). Gives the names of the secrets that were made.

    A second time, with nothing changed, no container is started. Raises SecretsDamaged, ServiceFailed or HostUnfit.
    """
    own = secrets_of(session)
    names = secret_names(session.stack)
    own.check(names)
    made = own.ensure(names)
    make_readable(session.settings, services)
    hand_out(session, services[0].image, running)
    _volumes(session, services)
    return made


def secret_names(stack: Stack) -> list[str]:
    """Names of all secrets of a stack."""
    return sorted({secret.name for service in stack.services for secret in service.secrets})


def hand_out(session: Session, image: str, running: Collection[str]) -> bool:
    """Write each service's copy of its secrets: only its user can read it. Those that are proposed come first.

    ``image`` is any one that is there and has a shell. What is ``running`` is behind() from here on.

    Gives False where the copies are those already, and nothing was done. They go through standard input: no command line,
    environment or log has them. Raises SecretsDamaged or ServiceFailed.
    """
    own, stack = secrets_of(session), session.stack
    pending = own.pending()
    taken = {
        name: own.read_proposed(name) if name in pending else own.read(name) for name in secret_names(stack)
    }
    folder = state_folder(session.settings, stack.name)
    files = {
        str(secret.file.relative_to(folder / "mounted")): secret
        for service in stack.services
        for secret in service.secrets
    }
    if not files:
        return False
    stamp = _stamp_of(session)
    wanted = _digest(files, taken)
    if _stamped(stamp).get("secrets") == wanted and all(secret.file.is_file() for secret in files.values()):
        return False
    # before anything is written: whoever comes after a kill must know, and by then the copies are there again
    _stamp(stamp, secrets="", **_late(session, running))
    (folder / "mounted").mkdir(mode=0o700, parents=True, exist_ok=True)
    bind = Bind(source=folder / "mounted", target="/mounted", writable=True)
    spec = _helper(session, image, "secrets", PLACE, binds=(bind,))
    _once(session.engine, spec, _packed(files, taken), "the secrets could not be handed to the services")
    _stamp(stamp, secrets=wanted)
    return True


def behind(session: Session) -> list[str]:
    """Give the services that ran when secrets were handed out, and may not have taken them yet."""
    return list(_stamped(_stamp_of(session)).get("behind") or ())


def cut_off(session: Session) -> list[str]:
    """Give those that are behind() and cannot see them: the copy that they mounted at their start was deleted.

    A restart lets them see it, and take it.
    """
    return list(_stamped(_stamp_of(session)).get("cut_off") or ())


def caught_up(session: Session, services: Collection[str]) -> None:
    """Note that services have taken what was handed to them, or were started since, which is the same."""
    late = {"behind": behind(session), "cut_off": cut_off(session)}
    left = {what: [name for name in names if name not in services] for what, names in late.items()}
    if left != late:
        _stamp(_stamp_of(session), **left)


def _late(session: Session, running: Collection[str]) -> dict[str, list[str]]:
    """Give what behind() and cut_off() are when secrets are handed out now."""
    late = [one for one in session.stack.running if one.name in running and one.secrets]
    blind = [one.name for one in late if not all(secret.file.is_file() for secret in one.secrets)]
    return {
        "behind": sorted({*behind(session), *(one.name for one in late)}),
        "cut_off": sorted({*cut_off(session), *blind}),
    }


def make_readable(settings: Settings, services: Iterable[Service]) -> None:
    """Let the users of containers read what is mounted into them, which a clone under umask 077 denies.

    These are files of the repository, and no secrets. Raises HostUnfit.
    """
    for service in services:
        folder = settings.root / SERVICES / service.name
        for path in [folder, *folder.iterdir()] if folder.is_dir() else []:
            mode = stat.S_IMODE(path.stat().st_mode)
            needed = 0o555 if path.is_dir() else 0o444
            if mode & needed != needed:
                try:
                    path.chmod(mode | needed)
                except PermissionError as error:
                    raise HostUnfit(
                        f"service {service.name} could not read its configuration",
                        where=str(path),
                        why=f"others may not read it (mode {mode:04o}), and it is not yours to change",
                        hint=f"chmod a+rX {path}",
                    ) from error


def _volumes(session: Session, services: Sequence[Service]) -> None:
    """Make volumes that the users of their services can write.

    By itself a volume has the owner that the image's folder has: root, in an official image that starts as root.
    Compose makes the volumes, with the containers, so that they are what the file says.
    """
    stamp = _stamp_of(session)
    ready = _stamped(stamp).get("volumes") or []
    owners = {volume: service for service in services for volume in service.volumes}
    missing = [name for name in owners if name not in ready or not session.engine.volume_exists(name)]
    if not missing:
        return
    names = sorted({owners[volume].name for volume in missing})
    session.compose.run("up", "--no-start", "--no-build", "--no-deps", *names)
    places = {volume: f"/volumes/{number}" for number, volume in enumerate(missing)}
    steps = [
        f"chown {owners[one].uid}:{owners[one].gid} {place}; chmod 700 {place}"
        for one, place in places.items()
    ]
    spec = _helper(session, services[0].image, "volumes", "; ".join(steps), volumes=places)
    _once(session.engine, spec, b"", "the volumes could not be made ready")
    _stamp(stamp, volumes=sorted({*ready, *missing}))


def _helper(
    session: Session,
    image: str,
    what: str,
    script: str,
    **mounts: Any,  # noqa: ANN401
) -> ContainerSpec:
    return ContainerSpec(
        name=f"{session.compose.file.project}-{what}-{uuid.uuid4().hex[:8]}",
        image=image,
        command=("-euc", script),
        entrypoint="sh",
        user="0:0",
        labels=labels(session.settings.project_id, "services"),
        capabilities=("CHOWN", "DAC_OVERRIDE", "FOWNER"),
        network="none",
        **mounts,
    )


def _once(engine: Engine, spec: ContainerSpec, given: bytes, trouble: str) -> None:
    process = engine.start(spec)
    try:
        _, said = process.communicate(given, timeout=HELPER_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise ServiceFailed(
            trouble, where=spec.image, why=f"a container for it did not end in {HELPER_TIMEOUT} s"
        ) from error
    finally:
        process.kill()
        engine.remove_container(spec.name)
    if process.returncode:
        raise ServiceFailed(trouble, where=spec.image, why=said.decode(errors="replace").strip())


def _packed(files: Mapping[str, SecretFile], values: Mapping[str, str]) -> bytes:
    stream = io.BytesIO()
    listed = "".join(f"{secret.uid}:{secret.gid} {file}\n" for file, secret in files.items())
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, text in [
            ("list", listed),
            *((f"new/{file}", values[one.name] + "\n") for file, one in files.items()),
        ]:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(text), 0o600
            tar.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()


def _digest(files: Mapping[str, SecretFile], values: Mapping[str, str]) -> str:
    told = [(file, one.uid, one.gid, values[one.name]) for file, one in sorted(files.items())]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _stamp_of(session: Session) -> Path:
    return state_folder(session.settings, session.stack.name) / STAMP


def _stamped(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


def _stamp(path: Path, **told: Any) -> None:  # noqa: ANN401
    write_whole(path, json.dumps({**_stamped(path), **told}), 0o600)  # it has a digest of the secrets
