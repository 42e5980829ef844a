"""Keys as `ssh-keygen -t ed25519 -N ''` makes them; a machine may lack that program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

if TYPE_CHECKING:
    from pathlib import Path


def new_key(path: Path) -> Ed25519PrivateKey:
    """Make a key; its public half gets the ending .pub."""
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.with_suffix(".pub").write_text(f"{public(key)} team\n")
    return key


def public(key: Ed25519PrivateKey) -> str:
    """Return the public half, as in authorized_keys."""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
