"""Volumes that need no Docker: what is in one is a list of names, and an archive of them is compressed for real."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from synos_tasks.engine.spec import LABEL_PROJECT
from synos_tasks.engine.streams import Ended, Stream
from synos_tasks.engine.volumes import User, VolumeFacts, Volumes
from synos_tasks.images.catalog import RECIPES
from synos_tasks.images.recipe import tag_of
from synos_tasks.maint.means import Means
from tests.unit.fakes import FakeEngine
from tests.unit.projects import project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from synos_tasks.engine.spec import ContainerSpec

NOW = 1_800_000_000.0
PROJECT = "synos-test"


@dataclass
class FakeStream:
    """A container that has done all that it does."""

    out: io.BytesIO
    ended: Ended
    failed: BaseException | None = None

    def finish(self) -> Ended:
        if self.failed:
            raise self.failed
        return self.ended


@dataclass
class FakeVolumes:
    """Volumes by name, and what is in them."""

    facts: dict[str, VolumeFacts] = field(default_factory=dict)
    holds: dict[str, list[str]] = field(default_factory=dict)
    specs: list[ContainerSpec] = field(default_factory=list)
    code: int = 0
    said: str = ""
    """How every container ends, where that is not well."""
    lost: int = 0
    """Names that are not unpacked."""
    on_stream: Callable[[ContainerSpec], object] = lambda _: None

    def add(
        self,
        name: str,
        *names: str,
        role: str = "cache",
        project: str = PROJECT,
        device: str = "",
        size: int | None = 100,
        users: tuple[User, ...] = (),
        labels: Mapping[str, str] | None = None,
    ) -> str:
        """Let there be a volume with files; gives its full name."""
        full = f"{project}-{name}"
        self.facts[full] = VolumeFacts(
            name=full,
            labels={LABEL_PROJECT: project, "io.synos.role": role, **(labels or {})},
            created=NOW,
            place=f"/engine/{full}",
            device=device,
            bytes=size,
            users=users,
        )
        self.holds[full] = list(names)
        return full

    def listing(self, project: str) -> list[VolumeFacts]:
        found = [one for one in self.facts.values() if one.labels.get(LABEL_PROJECT) == project]
        return sorted(found, key=lambda one: one.name)

    def find(self, name: str) -> VolumeFacts | None:
        found = self.facts.get(name)
        return replace(found, bytes=None) if found else None

    def create(self, name: str, labels: Mapping[str, str]) -> None:
        if name not in self.facts:
            self.facts[name] = VolumeFacts(
                name=name, labels=dict(labels), created=NOW, place=f"/engine/{name}"
            )
            self.holds[name] = []

    def remove(self, name: str) -> str:
        found = self.facts.get(name)
        if found and found.users:
            return "volume is in use"
        self.facts.pop(name, None)
        self.holds.pop(name, None)
        return ""

    @contextmanager
    def stream(self, spec: ContainerSpec, given: Iterable[bytes] = ()) -> Iterator[Stream]:
        self.specs.append(spec)
        self.on_stream(spec)
        failed: BaseException | None = None
        try:
            taken = b"".join(given)
        except OSError as error:
            taken, failed = b"", error
        out, files, code, said = self._ran(spec, taken)
        ended = Ended(code=self.code or code, said=self.said or said, files=files)
        yield FakeStream(io.BytesIO(out), ended, failed)

    def _ran(self, spec: ContainerSpec, given: bytes) -> tuple[bytes, int, int, str]:
        """Do what tar or zstd would do: output, files told on standard error, exit code, message."""
        script = " ".join(spec.command)
        source = next((self.holds[name] for name in spec.read_only_volumes), [])
        target = next(iter(spec.volumes), "")
        if script.startswith("zstd"):
            return _zstd(given, unpack="-d" in spec.command)
        if "--create" in script and not target:
            return gzip.compress(json.dumps(source).encode(), mtime=0), len(source), 0, ""
        if "--extract" in script:
            names = source or _names(given)
            if names is None:
                return b"", 0, 2, "tar: Unexpected EOF in archive"
            self.holds[target] = names[self.lost :]
            listing = "".join(f"./{name}\n" for name in ["", *names[self.lost :]])
            return listing.encode(), len(source), 0, ""
        return f"1 {len(source)} {NOW}".encode(), 0, 0, ""


def _names(archive: bytes) -> list[str] | None:
    try:
        found: list[str] = json.loads(gzip.decompress(archive))
    except (OSError, EOFError, ValueError, zlib.error):
        return None
    return found


def _zstd(given: bytes, *, unpack: bool) -> tuple[bytes, int, int, str]:
    if not unpack:
        return gzip.compress(given, compresslevel=1, mtime=0), 0, 0, ""
    reader = gzip.GzipFile(fileobj=io.BytesIO(given))
    out = b""
    try:
        while part := reader.read(1000):
            out += part
    except (OSError, EOFError, zlib.error) as error:
        return out, 0, 1, str(error)
    return out, 0, 0, ""


def as_volumes(fake: FakeVolumes) -> Volumes:
    """Let mypy check that the fake still fits the Protocol."""
    return fake


@dataclass
class Ground:
    """A project with volumes of its own, and what was said."""

    means: Means
    volumes: FakeVolumes
    said: list[str]

    @property
    def exports(self) -> Path:
        return self.means.settings.state_dir / "volumes"


def ground(root: Path) -> Ground:
    """Lay a project whose images are there."""
    settings = project(root)
    fake, said = FakeVolumes(), list[str]()
    engine = FakeEngine(images={tag_of(root, RECIPES["builder"]): "sha256:1"})
    means = Means(settings=settings, say=said.append, engine=engine, volumes=fake, now=lambda: NOW)
    return Ground(means=means, volumes=fake, said=said)
