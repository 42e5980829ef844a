"""Public keys of repositories: what is one, its fingerprint and when it expires."""

from __future__ import annotations

import base64
import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.iso import openpgp

CREATED = 1_700_000_000
BODY = b"\x04" + CREATED.to_bytes(4) + b"\x16" + bytes(40)
FINGERPRINT = hashlib.sha1(b"\x99" + len(BODY).to_bytes(2) + BODY).hexdigest().upper()
DAY = 86_400


def _packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, len(body)]) + body


def _signature(made: int, lasts: int, issuer: str = FINGERPRINT, kind: int = 0x13) -> bytes:
    parts = {2: made.to_bytes(4), 9: lasts.to_bytes(4), 33: b"\x04" + bytes.fromhex(issuer)}
    hashed = b"".join(bytes([len(data) + 1, number]) + data for number, data in parts.items())
    return _packet(2, b"\x04" + bytes([kind, 22, 8]) + len(hashed).to_bytes(2) + hashed + bytes(4))


def key(lasts: int = 0, *more: bytes) -> bytes:
    """Return a key that lasts some seconds, with further packets; nobody has its secret, nor signed it."""
    return b"".join([_packet(6, BODY), _packet(13, b"nobody"), _signature(CREATED, lasts), *more])


def armored(data: bytes, kind: str = "PUBLIC KEY") -> str:
    text = base64.encodebytes(data).decode()
    return f"-----BEGIN PGP {kind} BLOCK-----\nComment: x\n\n{text}=abcd\n-----END PGP {kind} BLOCK-----\n"


@pytest.mark.parametrize(
    ("data", "expires"),
    [
        (key(), None),
        (key(DAY), CREATED + DAY),
        (key(DAY, _signature(CREATED + 9, 2 * DAY)), CREATED + 2 * DAY),
        (key(DAY, _signature(CREATED + 9, 0)), None),
        (key(DAY, _signature(CREATED - 9, 2 * DAY)), CREATED + DAY),
        (key(DAY, _signature(CREATED + 9, 2 * DAY, issuer="0" * 40)), CREATED + DAY),
        (key(DAY, _packet(14, BODY), _signature(CREATED + 9, 2 * DAY, kind=0x18)), CREATED + DAY),
    ],
    ids=["never", "once", "later", "no longer", "an older signature", "somebody else's", "a subkey's"],
)
def test_a_key_says_how_long_it_lasts(data: bytes, expires: int | None) -> None:
    for given_as in (data, armored(data).encode(), armored(data).replace("\n", "\r\n").encode()):
        text, (found,) = openpgp.read(given_as)
        assert (found.fingerprint, found.expires) == (FINGERPRINT, expires)
        assert openpgp.read(text.encode())[0] == text
    assert [one.fingerprint for one in openpgp.read(data * 2)[1]] == [FINGERPRINT] * 2


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no key"),
        (b"mQINBFi", "no OpenPGP"),
        (armored(key(), "PRIVATE KEY").encode(), "secret"),
        (_packet(5, BODY), "secret"),
        (_packet(2, b"\x04"), "no public key"),
        (_packet(6, b"\x03" + BODY), "version 3"),
        (armored(key()).replace("AAAA", "?", 1).encode(), "armor"),
    ],
)
def test_what_is_no_key_is_told(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        openpgp.read(data)


@given(st.one_of(st.binary(max_size=200), st.integers(0, len(key(DAY)) - 1).map(lambda end: key(DAY)[:end])))
def test_no_bytes_do_harm(data: bytes) -> None:
    began = time.monotonic()
    try:
        openpgp.read(data)
    except ValueError as error:
        assert str(error)  # noqa: PT017  (what a person reads)
    assert time.monotonic() - began < 1
