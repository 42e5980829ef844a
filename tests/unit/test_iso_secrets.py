"""The values of the services' secrets are found in whatever a build made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from synos_tasks.errors import SecretFound
from synos_tasks.iso import secrets

SECRETS = {"redis": "3f786850e387550f", "nats": "89e6c98d92887913"}


@pytest.mark.parametrize(
    "around", [b"%s", b"x" * 2**20 + b"%s\n", b"\0\xff%s\0"], ids=["alone", "end", "binary"]
)
def test_a_value_is_found_wherever_it_stands(tmp_path: Path, around: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(around % SECRETS["nats"].encode())
    with pytest.raises(SecretFound) as caught:
        secrets.refuse([path], SECRETS, "overlay")
    assert "nats" in caught.value.what
    assert caught.value.where == str(path)
    assert SECRETS["nats"] not in str(caught.value)


def test_what_holds_none_is_let_through_whatever_it_is(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "part").write_text(SECRETS["nats"][:-1])
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    secrets.refuse(tmp_path.iterdir(), SECRETS, "overlay")
