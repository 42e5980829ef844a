"""What a .deb says of itself is read from the file, or is an error."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks.iso import deb
from tests.unit import deb_files

READABLE = sorted(deb.OPEN)


NO_DPKG = mock.Mock(side_effect=subprocess.CalledProcessError(2, ["dpkg-deb"]))


def control_of(path: Path, data: bytes) -> str | None:
    """None when the package is damaged."""
    path.write_bytes(data)
    try:
        return deb.control(path)
    except ValueError:
        return None


def test_dpkg_reads_what_we_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 0, stdout="Package: sudo\n")
    monkeypatch.setattr(subprocess, "run", mock.Mock(return_value=done))
    path = tmp_path / "x.deb"
    path.write_bytes(deb_files.ar({"debian-binary": b"2.0\n", "control.tar.zst": b"?", "data.tar.xz": b""}))
    assert deb.control(path) == "Package: sudo\n"


@pytest.mark.parametrize("compression", READABLE)
def test_a_small_package_does_not_unpack_to_terabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    monkeypatch.setattr(deb, "MOST_BYTES", 2**16)
    whole = deb_files.deb(deb_files.stanza() + " x" * 2**20, compression)
    assert len(whole) < 2**15
    assert control_of(tmp_path / "x.deb", whole) is None


@pytest.mark.parametrize("compression", READABLE)
def test_a_cut_package_tells_nothing_or_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    monkeypatch.setattr(subprocess, "run", NO_DPKG)
    stanza = deb_files.stanza()
    data = deb_files.deb(stanza, compression)
    _, start, size = list(deb.members(io.BytesIO(data)))[1]
    # every length there is, from nothing on: that is quicker than to draw some
    told = [control_of(tmp_path / "x.deb", data[:length]) for length in range(len(data))]
    whole = [stanza] * (len(data) - start - size)
    assert told == [None] * (start + size) + whole


@pytest.mark.parametrize("compression", READABLE)
def test_a_changed_package_tells_nothing_or_the_truth(
    tmp_path_factory: pytest.TempPathFactory, compression: str
) -> None:
    stanza = deb_files.stanza()
    data = deb_files.deb(stanza, compression)
    path = tmp_path_factory.mktemp("changed") / "x.deb"

    @given(st.integers(0, len(data) - 1), st.integers(1, 255))
    def change(place: int, flip: int) -> None:
        changed = data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
        assert control_of(path, changed) in {None, stanza}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "run", NO_DPKG)
        change()


WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1)


@given(st.dictionaries(WORDS, WORDS, max_size=5))
def test_fields_come_back(wanted: dict[str, str]) -> None:
    text = "Empty:\n" + "".join(f"{name}: {value}\n continued: {value}\n" for name, value in wanted.items())
    assert deb.fields(text) == wanted
