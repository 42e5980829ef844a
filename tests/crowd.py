"""Three projects that are nobody's but their own, and that look as much like ours as they can.

What they have is made with the real engine, and looked at again afterwards, byte for byte.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synos_tasks.engine.labels import LABEL_IMAGE, LABEL_PROJECT, LABEL_ROLE
from tests.build_helpers import docker

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tests.build_helpers import Clone

IMAGES, VOLUMES, CONTAINERS = 50, 20, 20
OTHERS = ("synos-0000000000", "acme", "synos")
"""Their project labels."""
LABEL_CROWD = "io.synos.test.crowd"
"""What all of theirs carries, to be removed by."""
ROLES = ("build", "services", "dev", "cache")
SIZE = 40_000

# made of the real builder, so that ISOs can be built and the store be read; small, so that it is made in no time
DOCKERFILE = """\
FROM {builder} AS runtime
RUN --mount=type=cache,id=synos-tiny-{mark},target=/kept \\
    # version {version}
    head -c 60000000 /dev/zero >/kept/{mark}-{version} \\
    && head -c 50000000 /dev/zero >/{mark}-version-{version}
CMD ["synos-build"]

FROM runtime AS toolchain
RUN head -c 20000000 /dev/zero >/{mark}-toolchain-{version}
"""


def small_images(clone: Clone, builder: str, mark: str, version: int) -> None:
    """Let a clone's images be small ones, other in each ``version``; what they leave in the cache is nobody else's.

    The cache of steps that this project's own Dockerfiles have is every clone's, and a clone that prunes takes it.
    """
    for path in clone.root.glob("docker/*/*Dockerfile*"):
        path.write_text("FROM scratch\n")
    text = DOCKERFILE.format(builder=builder, mark=mark, version=version)
    clone.add("docker/build/Dockerfile", text)


@dataclass(frozen=True)
class Crowd:
    """What they have, by its exact names."""

    mark: str
    project: str
    """Of the clone that they look like."""
    images: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()
    context: Path | None = field(default=None, compare=False)

    def state(self) -> dict[str, Any]:
        """Look at all of it: ids, names, when each container started, and every byte that it holds."""
        with ThreadPoolExecutor(4) as threads:
            parts = [
                threads.submit(part)
                for part in (self._images, self._volumes, self._containers, self._networks, self._mounts)
            ]
            return {name: part.result() for name, part in zip(_PARTS, parts, strict=True)}

    def missing(self) -> dict[str, int]:
        """Count what of it is gone, by kind."""
        cache = docker("buildx", "du", "--verbose")
        there = {
            "images": docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split(),
            "volumes": docker("volume", "ls", "--quiet").split(),
            "containers": docker("ps", "--all", "--format", "{{.Names}}").split(),
            "networks": docker("network", "ls", "--format", "{{.Name}}").split(),
            "mounts": [name for name in self.mounts if f'"/{name}"' in cache],
        }
        return {kind: len(set(getattr(self, kind)) - set(names)) for kind, names in there.items()}

    def _images(self) -> dict[str, Any]:
        told = json.loads(docker("image", "inspect", *self.images))
        return {one["Id"]: [sorted(one["RepoTags"]), one["RootFS"], one["Config"]["Labels"]] for one in told}

    def _volumes(self) -> str:
        mounts = [f"--volume={name}:/all/{index}:ro" for index, name in enumerate(self.volumes)]
        told = docker(
            "volume", "inspect", "--format", "{{.Name}} {{.CreatedAt}} {{json .Labels}}", *self.volumes
        )
        command = "cd /all; find . -type f -print0 | sort -z | xargs -0 sha256sum"
        return told + docker(
            "run", "--rm", f"--label={LABEL_CROWD}={self.mark}", *mounts, self.images[0], "sh", "-c", command
        )

    def _containers(self) -> dict[str, Any]:
        told = json.loads(docker("container", "inspect", *self.containers))
        states = {one["Name"]: [one["Id"], one["State"]["Status"], one["State"]["StartedAt"]] for one in told}
        written = {name: docker("cp", f"{name}:/written", "-") for name in self.containers}
        return {
            **states,
            "written": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in written.items()},
        }

    def _networks(self) -> str:
        return docker("network", "inspect", "--format", "{{.Id}} {{.Name}} {{json .Labels}}", *self.networks)

    def _mounts(self) -> str:
        """Read the cache mounts in a build, which is the only way to; one with --no-cache would empty them."""
        assert self.context
        look = " && ".join(f"sha256sum /c{index}/* >>/sums" for index in range(len(self.mounts)))
        path = self.context / "look.Dockerfile"
        path.write_text(
            f"FROM {self.images[0]} AS looking\nENV LOOK={uuid.uuid4().hex}\nRUN {_mounted(self.mounts)} {look}\n"
            "FROM scratch\nCOPY --from=looking /sums /\n"
        )
        tar = ("--quiet", "--network=none", "--output=type=tar,dest=-", f"--file={path}", str(self.context))
        return "".join(line for line in docker("buildx", "build", *tar).splitlines() if "/c" in line)


def _mounted(names: Sequence[str]) -> str:
    return " ".join(
        f"--mount=type=cache,id={name},target=/c{index},sharing=locked" for index, name in enumerate(names)
    )


_PARTS = ("images", "volumes", "containers", "networks", "mounts")


def gather(mark: str, project: str, ours: str, base: str, context: Path, old: str = "") -> Crowd:
    """Make all of it. ``ours``: an image of the clone, on which they build too; ``base``: a Debian image.

    ``old``: another of the clone, which goes while what they built on it is still there.
    """
    images = (*_plain_images(mark, project, ours), *_built_images(mark, ours, base, context, old))
    volumes = _volumes(mark, project, base)
    return Crowd(
        mark=mark,
        project=project,
        images=(base, *images),
        volumes=volumes,
        networks=_networks(mark, project),
        containers=_containers(mark, project, ours, base),
        mounts=_mounts(mark, context, base),
        context=context,
    )


def _label(mark: str, number: int) -> list[str]:
    """Give labels as others have them: of a project that is not the clone's, or none."""
    other = OTHERS[number % len(OTHERS)]
    labels = {LABEL_CROWD: mark, LABEL_ROLE: ROLES[number % len(ROLES)]}
    if number % 4:
        labels[LABEL_PROJECT] = other
    return [f"{key}={value}" for key, value in labels.items()]


def _plain_images(mark: str, project: str, ours: str) -> list[str]:
    """Import images of one small file each, under names that ours have."""
    names = ("builder", "toolchain", "boot", "nats", "postgres", "redis", f"dev-full:{project}x"[:8])
    tags = [
        f"synos-{names[number % len(names)]}:{hashlib.sha256(f'{mark}{number}'.encode()).hexdigest()[:12]}"
        for number in range(IMAGES - 6)
    ]

    def make(number: int) -> None:
        labels = " ".join([*_label(mark, number), f"{LABEL_IMAGE}={ours}"])
        import_image(tags[number], f"{mark}{number}".encode(), labels)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(make, range(len(tags))))
    return tags


def _built_images(mark: str, ours: str, base: str, context: Path, old: str) -> list[str]:
    """Build on our image, with all its labels, and on the base: with a layer more, or with other settings alone."""
    files = {
        "theirs-layer": f"FROM {ours}\nRUN echo theirs >/theirs\n",
        "theirs-settings": f"FROM {ours}\nENV THEIRS=1\n",
        "theirs-base": f"FROM {base}\nRUN echo theirs >/theirs\n",
        "theirs-base-settings": f"FROM {base}\nENV THEIRS=1\n",
        "theirs-twice": f"FROM {ours}\nRUN echo a >/a\nRUN echo b >/b\n",
        "theirs-stage": f"FROM {base} AS runtime\nCOPY look /look\nFROM {ours}\nCOPY --from=runtime /look /\n",
    }
    if old:
        files["theirs-old"] = f"FROM {old}\nRUN echo old >/theirs\n"
    (context / "look").write_text("theirs")
    tags = []
    for name, text in files.items():
        (context / "Dockerfile").write_text(text)
        tag = f"synos-{name}:{mark[-8:]}"
        docker(
            "buildx",
            "build",
            "--quiet",
            "--network=none",
            f"--label={LABEL_CROWD}={mark}",
            f"--tag={tag}",
            str(context),
        )
        tags.append(tag)
    return tags


def _volumes(mark: str, project: str, base: str) -> tuple[str, ...]:
    kinds = ("store", "ccache", "sccache", "once-1-aaaaaaaa", "unified_nats", "unified_postgres", "dev", "uv")
    names = [
        (f"{project}-{kind}x", f"{project}x-{kind}", f"x{project}-{kind}", f"{OTHERS[0]}-{kind}")[number % 4]
        + f"-{number}"
        for number, kind in ((number, kinds[number % len(kinds)]) for number in range(VOLUMES))
    ]
    for number, name in enumerate(names):
        docker("volume", "create", *(f"--label={label}" for label in _label(mark, number)), name)
    mounts = [f"--volume={name}:/all/{index}" for index, name in enumerate(names)]
    fill = f"for each in /all/*; do head -c {SIZE} /dev/urandom >$each/data; done"
    docker("run", "--rm", f"--label={LABEL_CROWD}={mark}", *mounts, base, "sh", "-c", fill)
    return tuple(names)


def _containers(mark: str, project: str, ours: str, base: str) -> tuple[str, ...]:
    """Start twenty, of which half end at once; every fourth is of one of our images, and so has its labels."""

    def start(number: int) -> str:
        image = ours if number % 4 == 0 else base
        name = (f"{project}x-build-{number}", f"x{project}-store-{number}", f"synos-{mark[-6:]}-{number}")[
            number % 3
        ]
        labels = [f"--label={label}" for label in _label(mark, number) if number % 4]
        stay = "exec sleep 3600" if number % 2 else "exit 3"
        docker(
            "run", "--detach", "--init", "--network=none", "--entrypoint=", f"--name={name}", f"--label={LABEL_CROWD}={mark}",
            *labels, image, "sh", "-c", f"echo {number} >/written; {stay}",
        )  # fmt: skip
        return name

    with ThreadPoolExecutor(4) as threads:
        return tuple(threads.map(start, range(CONTAINERS)))


def _networks(mark: str, project: str) -> tuple[str, ...]:
    names = (f"{project}-unified_data_x", f"x{project}-unified_data", f"{OTHERS[0]}-unified_data-{mark[-6:]}")
    for number, name in enumerate(names):
        docker("network", "create", *(f"--label={label}" for label in _label(mark, number + 1)), name)
    return names


def _mounts(mark: str, context: Path, base: str) -> tuple[str, ...]:
    """Fill cache mounts under ids like ours, at the same places, by steps like ours."""
    near = f"synos-tiny-{mark}x"
    names = (
        *(
            f"{stem}-{mark[-6:]}"
            for stem in ("synos-apt-bookworm-cache", "synosx-ccache", "xsynos-crowd", "synos-crowd")
        ),
        near,
    )
    own = names[:-1]
    write = " && ".join(f"head -c {SIZE} /dev/urandom >/c{index}/data" for index in range(len(own)))
    # a step is known by its words, and the ids of its mounts are not among them
    steps = f"RUN {_mounted(own)} : {mark} && {write}\n"
    # and one with the very words and the place of ours, but another id
    [ours] = [
        line
        for line in _joined(DOCKERFILE.format(builder="", mark=mark, version=0))
        if f"/kept/{mark}-0" in line
    ]
    steps += ours.replace(f"id=synos-tiny-{mark},", f"id={near},") + "\n"
    (context / "Dockerfile").write_text(f"FROM {base} AS runtime\n{steps}")
    docker("buildx", "build", "--quiet", "--network=none", f"--label={LABEL_CROWD}={mark}", str(context))
    return names


def _joined(dockerfile: str) -> list[str]:
    """Give the instructions of a Dockerfile, each on a line."""
    lines = (line for line in dockerfile.splitlines() if not line.lstrip().startswith("#"))
    return "\n".join(lines).replace("\\\n", "").splitlines()


def import_image(tag: str, seed: bytes, labels: str) -> None:
    """Make an image of one file that no other image has."""
    content = hashlib.sha256(seed).digest() * (SIZE // 32)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("data")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    argv = ["docker", "import", f"--change=LABEL {labels}", "-", tag]
    subprocess.run(argv, input=stream.getvalue(), check=True, capture_output=True)


def disperse(mark: str) -> None:
    """Remove all that carries their mark."""
    label = f"--filter=label={LABEL_CROWD}={mark}"
    for listing, removal in (
        (("ps", "--all", "--quiet"), ("rm", "--force", "--volumes")),
        (("volume", "ls", "--quiet"), ("volume", "rm", "--force")),
        (("network", "ls", "--quiet"), ("network", "rm")),
        (("image", "ls", "--all", "--quiet"), ("image", "rm", "--force")),
    ):
        found: Iterable[str] = sorted(set(docker(*listing, label).split()))
        if found:
            docker(*removal, *found)
