"""OpenPGP public keys (RFC 9580): fingerprints and when they expire. Signatures are verified by apt, not here."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ARMOR = re.compile(
    rb"^-----BEGIN PGP ([A-Z ]+)-----\s*?\n(.*?)^-----END PGP \1-----", re.MULTILINE | re.DOTALL
)
_PUBLIC, _SECRET, _SIGNATURE = 6, 5, 2
_OF_A_USER = range(0x10, 0x14)
_DIRECT = 0x1F
_CREATED, _EXPIRES, _ISSUER, _FINGERPRINT = 2, 9, 16, 33


@dataclass
class PublicKey:
    """A primary key. ``expires`` in seconds since 1970; None: never, or the key does not say."""

    fingerprint: str
    created: int
    expires: int | None = None
    stated: int = -1
    """When it said so."""


def read(data: bytes) -> tuple[str, list[PublicKey]]:
    """Return public keys as one armored text, and each of them. Raise ValueError for anything else."""
    raw = _unarmored(data)
    try:
        keys = _keys(raw)
    except IndexError as error:
        raise ValueError("it is cut") from error
    lines = [*textwrap.wrap(base64.b64encode(raw).decode(), 64), f"={base64.b64encode(_crc24(raw)).decode()}"]
    name = "PGP PUBLIC KEY BLOCK"
    return "\n".join([f"-----BEGIN {name}-----", "", *lines, f"-----END {name}-----", ""]), keys


def _keys(raw: bytes) -> list[PublicKey]:
    keys: list[PublicKey] = []
    for tag, body in _packets(raw):
        if tag == _SECRET:
            raise ValueError("it is a secret key")
        if tag == _PUBLIC:
            keys.append(_key(body))
        elif not keys:
            raise ValueError("it is no public key")
        elif tag == _SIGNATURE and body[0] in {4, 6}:
            _note_expiry(keys[-1], body)
    if not keys:
        raise ValueError("there is no key in it")
    return keys


def _unarmored(data: bytes) -> bytes:
    blocks = _ARMOR.findall(data.replace(b"\r\n", b"\n"))
    if not blocks:
        return data
    if any(b"PRIVATE" in name for name, _ in blocks):
        raise ValueError("it is a secret key")
    try:
        # without headers, and without the checksum at the end
        parts = [re.sub(rb"^(?:[\w-]+: .*|=[\w+/]{4})$", b"", body, flags=re.MULTILINE) for _, body in blocks]
        return b"".join(base64.b64decode(re.sub(rb"\s", b"", part), validate=True) for part in parts)
    except binascii.Error as error:
        raise ValueError(f"its armor is damaged: {error}") from error


def _crc24(data: bytes) -> bytes:
    """Return the checksum that older programs want at the end of an armor."""
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc = (crc << 1) ^ (0x1864CFB if crc & 0x800000 else 0)
    return crc.to_bytes(3)


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each packet."""
    while data:
        head, new = data[0], bool(data[0] & 0x40)
        if not head & 0x80:
            raise ValueError("it is no OpenPGP")
        if new:
            length, start = _length(data[1:7])
            start += 1
        else:
            size = (1, 2, 4)[head & 3] if head & 3 < 3 else 0
            length, start = int.from_bytes(data[1 : 1 + size]) if size else len(data) - 1, 1 + size
        if start + length > len(data) or not length:
            raise ValueError("it is cut")
        yield head & 0x3F if new else (head & 0x3C) >> 2, data[start : start + length]
        data = data[start + length :]


def _length(data: bytes) -> tuple[int, int]:
    """Return a length as packets and subpackets of signatures have it, and how many bytes it took."""
    first = data[0] if data else 0
    if first < 192:
        return first, 1
    if first < 224:
        return ((first - 192) << 8) + int.from_bytes(data[1:2]) + 192, 2
    if first < 255:
        raise ValueError("it has partial lengths, as no key has")
    return int.from_bytes(data[1:5]), 5


def _key(body: bytes) -> PublicKey:
    if body[0] == 4:
        digest = hashlib.sha1(b"\x99" + len(body).to_bytes(2) + body, usedforsecurity=False)
    elif body[0] == 6:
        digest = hashlib.sha256(b"\x9b" + len(body).to_bytes(4) + body)
    else:
        raise ValueError(f"it is of version {body[0]}, which apt does not trust")
    return PublicKey(digest.hexdigest().upper(), int.from_bytes(body[1:5]))


def _note_expiry(key: PublicKey, body: bytes) -> None:
    """Note what the newest signature of a key on itself says; signatures of others say nothing of it."""
    size = 2 if body[0] == 4 else 4
    hashed = int.from_bytes(body[4 : 4 + size])
    found = dict(_subpackets(body[4 + size : 4 + size + hashed]))
    rest = body[4 + size + hashed :]
    issuers = found | dict(_subpackets(rest[size : size + int.from_bytes(rest[:size])]))
    own = key.fingerprint in issuers.get(_FINGERPRINT, b"").hex().upper() or (
        _ISSUER in issuers and issuers[_ISSUER].hex().upper() == key.fingerprint[24:40]
    )
    created = int.from_bytes(found.get(_CREATED, b""))
    tells = body[1] in _OF_A_USER or (body[1] == _DIRECT and _EXPIRES in found)
    if own and tells and created > key.stated:
        seconds = int.from_bytes(found.get(_EXPIRES, b""))
        key.expires, key.stated = key.created + seconds if seconds else None, created


def _subpackets(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        length, start = _length(data[:6])
        if not length or start + length > len(data):
            raise ValueError("it is cut")
        yield data[start] & 0x7F, data[start + 1 : start + length]
        data = data[start + length :]
