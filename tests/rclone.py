"""Real servers of HTTP and S3, by rclone."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.build_helpers import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

S3 = {"AWS_ACCESS_KEY_ID": "team", "AWS_SECRET_ACCESS_KEY": "of-the-tests", "AWS_REGION": "us-east-1"}
"""The login of s3()."""


@contextmanager
def serving(folder: Path, kind: str, *options: str, address: str = "127.0.0.1") -> Iterator[str]:
    """Serve a folder; yield the address."""
    log = folder.with_suffix(f".{kind}")
    program = str(Path(sys.executable).with_name("rclone"))
    argv = [program, "serve", kind, str(folder), f"--addr={address}:0", "--config=", *options]
    with log.open("w") as stream, subprocess.Popen(argv, stderr=stream, stdout=stream) as server:
        try:
            assert wait_until(lambda: f"{address}:" in log.read_text(), 20), log.read_text()
            [port] = re.findall(rf"{re.escape(address)}:(\d+)", log.read_text())[:1]
            yield f"http://{address}:{port}"
        finally:
            server.terminate()


@contextmanager
def s3(folder: Path, address: str = "127.0.0.1") -> Iterator[str]:
    """Serve the buckets in a folder to who signs with the keys of S3."""
    login = f"--auth-key={S3['AWS_ACCESS_KEY_ID']},{S3['AWS_SECRET_ACCESS_KEY']}"
    with serving(folder, "s3", login, address=address) as url:
        yield url
