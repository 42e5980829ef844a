"""Debian packages as files: what they say of themselves. See deb(5)."""

from __future__ import annotations

import gzip
import io
import lzma
import subprocess
import tarfile
import zlib
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAGIC = b"!<arch>\n"
OPEN: dict[str, Any] = {".xz": lzma.open, ".gz": gzip.open}
MOST_BYTES = 2**28
"""Of what is read of a package into memory: a small file may unpack to terabytes."""
DAMAGE = (lzma.LZMAError, EOFError, tarfile.TarError, zlib.error, gzip.BadGzipFile, StopIteration,
          subprocess.CalledProcessError)  # fmt: skip


def control(path: Path) -> str:
    """Return the control stanza of a package; raises ValueError when the file is no package."""
    try:
        with path.open("rb") as stream:
            for name, start, length in members(stream):
                kind = name.removeprefix("control.tar")
                if kind in OPEN:
                    stream.seek(start)
                    packed = io.BytesIO(stream.read(min(length, MOST_BYTES)))
                    return _control_file(OPEN[kind](packed).read(MOST_BYTES))
        return subprocess.run(
            ["dpkg-deb", "--field", path], check=True, capture_output=True, text=True
        ).stdout
    except DAMAGE as error:
        raise ValueError(f"a damaged Debian package: {error}") from error


def _control_file(archive: bytes) -> str:
    """Return ./control of a tar archive, which some builders name without the dot."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        name = next(name for name in ("./control", "control") if name in opened.getnames())
        found = opened.extractfile(name)
        return found.read().decode() if found else ""


def fields(stanza: str) -> dict[str, str]:
    """Return the one-line fields of a stanza."""
    return dict(
        line.split(": ", 1) for line in stanza.split("\n") if ": " in line and not line.startswith(" ")
    )


def members(stream: IO[bytes]) -> Iterator[tuple[str, int, int]]:
    """Yield name, place and length in bytes of the members of an ar archive; raises ValueError when it is none."""
    stream.seek(0)
    if stream.read(len(MAGIC)) != MAGIC:
        raise ValueError("not a Debian package")
    place = len(MAGIC)
    while header := stream.read(60):
        if len(header) < 60 or header[58:] != b"`\n" or not header[48:58].strip().isdigit():
            raise ValueError("a damaged Debian package")
        start, length = place + 60, int(header[48:58])
        yield header[:16].decode().rstrip(" /"), start, length
        place = start + length + length % 2
        stream.seek(place)
