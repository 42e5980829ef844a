"""Who made an entry of the remote store: Ed25519 keys as OpenSSH has them, signatures in DSSE envelopes.

See https://github.com/secure-systems-lab/dsse/blob/master/protocol.md.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)

from synos_tasks.errors import SettingsError, writing
from synos_tasks.iso.scratch import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from synos_tasks.settings import Settings

PAYLOAD = "application/vnd.synos.store-entry+json"
GENERATE = "ssh-keygen -t ed25519 -N '' -f FILE makes a key; FILE.pub is its public half"


def keys_path(settings: Settings) -> Path:
    """Return the file of trusted keys: one of OpenSSH's public keys on a line, as in authorized_keys."""
    return settings.project.build_data / "store.keys"


def trusted_keys(settings: Settings) -> dict[str, Ed25519PublicKey]:
    """Return the trusted keys by fingerprint; raises SettingsError with the line of a mistake."""
    path = keys_path(settings)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError("the trusted keys cannot be read", where=str(path), why=str(error)) from error
    found = [
        public_key(line, f"{path}:{number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    return {fingerprint(key): key for key in found}


def trust(settings: Settings, text: str) -> tuple[str, bool]:
    """Add a public key, or the key in a file, to those that are trusted; return its fingerprint, and whether it is new.

    Raises SettingsError, OutputNotWritable.
    """
    given = text.strip()
    if not given.startswith("ssh-"):
        try:
            given = Path(text).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise SettingsError("there is no such key", where=text, why=str(error), hint=GENERATE) from error
    name = fingerprint(public_key(given, text))
    if name in trusted_keys(settings):
        return name, False
    path = keys_path(settings)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    with writing("the key cannot be added", path):
        write_whole(path, f"{before.rstrip()}\n{given}\n".lstrip())
    return name, True


def public_key(text: str, where: str) -> Ed25519PublicKey:
    """Read a public key, which is one line; raises SettingsError."""
    try:
        key = load_ssh_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        what = "that is a private key" if "PRIVATE KEY" in text else "that is no public key of OpenSSH"
        raise SettingsError(what, where=where[:200], why=str(error), hint=GENERATE) from error
    if not isinstance(key, Ed25519PublicKey):
        raise SettingsError("the key is not an Ed25519 key", where=where[:200], hint=GENERATE)
    if len(text.splitlines()) > 1:  # each further one would be trusted too
        raise SettingsError("there is more than one line", where=where[:200], hint="add the keys one by one")
    return key


def signing_key(settings: Settings) -> Ed25519PrivateKey:
    """Read the private key that the settings name; raises SettingsError."""
    if not settings.build.store_signing_key:
        hint = f"name the private key's file in synos.build.store_signing_key; {GENERATE}"
        raise SettingsError("there is no key to sign with", where="synos.build.store_signing_key", hint=hint)
    path = settings.project.root / Path(settings.build.store_signing_key).expanduser()
    try:
        key = load_ssh_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        what = "the signing key cannot be read"
        raise SettingsError(what, where=str(path), why=str(error), hint=GENERATE) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError("the signing key is not an Ed25519 key", where=str(path), hint=GENERATE)
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return a key's fingerprint as `ssh-keygen -l` prints it."""
    blob = base64.b64decode(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])
    return f"SHA256:{base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip('=')}"


def sign(payload: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return a payload in an envelope with its signature."""
    signature = base64.b64encode(key.sign(_signed(payload))).decode()
    keyid = fingerprint(key.public_key())
    return json.dumps(
        {
            "payloadType": PAYLOAD,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"keyid": keyid, "sig": signature}],
        }
    ).encode()


def verified(envelope: bytes, trusted: Mapping[str, Ed25519PublicKey]) -> bytes:
    """Return the payload of an envelope that one of the keys has signed; raises ValueError, which says why not."""
    try:
        fields = json.loads(envelope)
        payload = _decoded(fields["payload"])
        signatures = {str(one["keyid"]): _decoded(one["sig"]) for one in fields["signatures"]}
        whole = fields["payloadType"] == PAYLOAD
    except (ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise ValueError("it is no signed entry")
    for name in trusted.keys() & signatures.keys():
        try:
            trusted[name].verify(signatures[name], _signed(payload))
        except InvalidSignature:
            raise ValueError(f"the signature of {name} is wrong") from None
        return payload
    raise ValueError(f"it is signed by {', '.join(signatures) or 'nobody'}, which is not trusted")


def _decoded(text: str) -> bytes:
    """Decode base64 that has no second way to be written."""
    found = base64.b64decode(text, validate=True)
    if base64.b64encode(found).decode() != text:
        raise ValueError(text)
    return found


def _signed(payload: bytes) -> bytes:
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)
