"""Makes small Debian packages in memory, as dpkg-deb lays them out; see deb(5)."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import tarfile
from typing import TYPE_CHECKING, Any

from synos_tasks.iso.lock import Package

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

COMPRESS: Mapping[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".xz": lzma.compress,
    ".gz": lambda data: gzip.compress(data, mtime=0),
}


def stanza(name: str = "sudo", version: str = "1:1.9-1", architecture: str = "amd64") -> str:
    """What a package says of itself."""
    return (
        f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nInstalled-Size: 12\n"
        "Description: a package: for tests\n It has one: file.\n .\n Package: not this one\n"
    )


def tar(files: Mapping[str, bytes], mode: int = 0o644) -> bytes:
    """Give a tar archive of files; what ends with a slash is a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def ar(files: Mapping[str, bytes]) -> bytes:
    """Give an ar archive of files: each begins at an even place."""
    archive = b"!<arch>\n"
    for name, content in files.items():
        archive += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        archive += content + b"\n" * (len(content) % 2)
    return archive


def deb(control: str, compression: str = ".xz") -> bytes:
    """Give a package with one file."""
    compress = COMPRESS[compression]
    return ar(
        {
            "debian-binary": b"2.0\n",
            f"control.tar{compression}": compress(tar({"./md5sums": b"", "./control": control.encode()})),
            "data.tar.xz": lzma.compress(tar({"./usr/bin/x": b"#!/bin/sh\n"})),
        }
    )


def package(data: bytes, name: str = "sudo", **fields: Any) -> Package:  # noqa: ANN401
    """Give the line of a lock for a .deb that stanza() describes."""
    plain = {"version": "1:1.9-1", "architecture": "amd64", "layer": "base", "archive": "main"}
    plain["path"] = f"pool/main/{name[0]}/{name}/{name}_1.9-1_amd64.deb"
    return Package(
        **{"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), **plain, **fields}
    )
