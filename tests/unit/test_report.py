"""One build as one HTML file: well-formed, self-contained, right in its numbers, and readable."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synos_tasks.build import report
from synos_tasks.errors import IsoNotFound

NASTY = "<b>&\"'</svg><script>alert(1)</script>"
NO_CLOSING_TAG = ("meta", "!doctype")


def _stage(name: str, began: float, seconds: float, *, hit: bool = False) -> dict[str, Any]:
    return {"name": name, "key": "k", "hit": hit, "began": began, "seconds": seconds, "bytes": 4096}


def _package(name: str, size: int, *, fetched: int = 1000) -> dict[str, Any]:
    return {"name": name, "version": "1", "layer": "base", "bytes": fetched, "installed_bytes": size}


def _manifest(**fields: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "schema": "synos.manifest/1", "profile": "minimal", "suite": "bookworm", "architecture": "amd64",
        "release": False, "build_id": "0123456789ab", "key": "c" * 64, "sha256": "d" * 64,
        "bytes": {"00-base.squashfs": 160_000_000, "initrd.img": 26_350_000, "iso": 213_096_448, "vmlinuz": 4096},
        "stages": [
            _stage("base", 0, 13.094, hit=False),
            _stage("packages-minimal", 11.5, 0.02, hit=True),
            _stage("iso", 16, 1.1642),
        ],
        "packages": [_package("sudo", 6_200_000), _package("linux-image-amd64", 410_300_000)],
        **fields,
    }  # fmt: skip


class Page(HTMLParser):
    """Read a page; every tag must be closed where it belongs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        """Each with its tag."""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), "an attribute stands twice"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in NO_CLOSING_TAG:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], data.strip()))

    def handle_comment(self, data: str) -> NoReturn:
        raise AssertionError(f"a comment or a declaration: {data}")

    unknown_decl = handle_comment

    def of(self, tag: str) -> list[str]:
        return [text for where, text in self.texts if where == tag]

    def bars(self) -> list[tuple[str, float, float]]:
        """Return kind, begin and end of each bar, in percent of its chart."""
        found = []
        for attrs in (attrs for tag, attrs in self.tags if tag == "div"):
            begin, width = re.findall(r"([\d.]+)%", attrs["style"])
            found.append((attrs["class"], float(begin), float(begin) + float(width)))
        return found


def _page(name: str = "synos-minimal-0123456789ab.iso", **fields: Any) -> Page:  # noqa: ANN401
    return Page(report.page(_manifest(**fields), name))


def test_the_page_is_one_document_that_fetches_nothing() -> None:
    text = report.page(_manifest(), "a.iso")
    assert text.startswith('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">')
    tags = [tag for tag, _ in Page(text).tags]
    assert [tags.count(once) for once in ("html", "head", "body", "h1")] == [1] * 4
    assert Page(text).of("title") == ["SynOS minimal: build 0123456789ab"]
    assert "color-scheme: light dark" in text
    references = ("http:", "https:", "//", "<link", "<script", "<img", "src=", "href=", "url(", "@import")
    assert [reference for reference in references if reference in text.lower()] == []


def test_names_are_text_and_never_tags() -> None:
    page = _page(
        name=NASTY, profile=NASTY, suite=NASTY, architecture=NASTY, build_id=NASTY, key=NASTY, sha256=NASTY,
        stages=[_stage(NASTY, 0, 1)], packages=[_package(NASTY, 1)], bytes={"iso": 1, NASTY: 1},
    )  # fmt: skip
    assert not {tag for tag, _ in page.tags} & {"b", "script"}
    assert page.of("h1") == [f"SynOS {NASTY}"]
    assert page.of("th").count(NASTY) == 3
    assert page.of("td").count(NASTY) == 4


def test_the_numbers() -> None:
    page = _page()
    cells = page.of("td")
    assert set(cells) >= {
        "213.1 MB", "17.2 s", "1 of 3", "2: 2 kB to fetch, 416.5 MB unpacked", "bookworm, amd64, layers",
        "13.1 s", "in store", "1.2 s", "160.0 MB", "26.4 MB", "4 kB", "26.7 MB", "410.3 MB", "6.2 MB",
    }  # fmt: skip
    assert "boot loaders and the rest" in page.of("th")


def test_the_time_is_the_one_that_the_command_told() -> None:
    assert "606.8 s, of which stages 17.2 s" in _page(seconds=606.8).of("td")


NAMES = st.text(max_size=40)
SIZES = st.integers(0, 2**50)
SECONDS = st.floats(0, 1e6)
STAGES = st.lists(st.builds(_stage, NAMES, SECONDS, SECONDS, hit=st.booleans()), max_size=12)
PACKAGES = st.lists(st.builds(_package, NAMES, SIZES, fetched=SIZES), max_size=30)


@settings(deadline=None)
@given(STAGES, PACKAGES, st.dictionaries(NAMES, SIZES, max_size=8), SIZES)
def test_any_build_is_a_page_whose_bars_are_inside(
    stages: list[dict[str, Any]], packages: list[dict[str, Any]], parts: dict[str, int], iso: int
) -> None:
    bars = _page(stages=stages, packages=packages, bytes={**parts, "iso": iso}).bars()
    rest = iso > sum(size for name, size in parts.items() if name != "iso")
    shown = len(parts) - ("iso" in parts) + rest + min(len(packages), report.MOST_PACKAGES)
    kinds = ["stored" if stage["hit"] else "made" for stage in stages] + ["size"] * shown
    assert [kind for kind, _, _ in bars] == kinds
    for _, begin, end in bars:
        assert 0 <= begin < end < 100.02  # a sum of two numbers with two digits each


@pytest.fixture
def iso(tmp_path: Path) -> Path:
    """An ISO's place; the report needs its manifest alone."""
    path = tmp_path / "dist/synos-ü.iso"
    path.parent.mkdir()
    Path(f"{path}.manifest.json").write_text(json.dumps(_manifest()))
    return path


BROKEN: dict[str, Any] = {
    "missing": None,
    "empty": "",
    "half": '{"stages": [',
    "not UTF-8": b"\xff\xfe",
    "a number": 1,
    "without sizes": {**_manifest(), "bytes": {}},
    "no profile": _manifest(profile=None),
    "a stage without seconds": _manifest(stages=[{"name": "a", "hit": True, "began": 0}]),
    "a time without end": _manifest(seconds=float("inf")),
    "seconds of text": _manifest(stages=[{**_stage("a", 0, 0), "began": "1", "seconds": "2"}]),
    "seconds without end": _manifest(stages=[_stage("a", 0, float("inf"))]),
    "a package without a name": _manifest(packages=[{"bytes": 1, "installed_bytes": 1}]),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_damaged_manifest_is_told_and_nothing_is_written(
    iso: Path,
    content: Any,  # noqa: ANN401
) -> None:
    manifest = Path(f"{iso}.manifest.json")
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    manifest.write_bytes(text if isinstance(text, bytes) else text.encode())
    if content is None:
        manifest.unlink()
    with pytest.raises(IsoNotFound) as caught:
        report.write(iso, iso.with_name("report.html"))
    assert caught.value.what == "synos-ü.iso has no manifest that can be read"
    assert caught.value.where == str(manifest)
    assert caught.value.why
    if content == BROKEN["without sizes"]:
        assert caught.value.why == "there is no 'iso'", "a missing field is named"
    assert "inv build.iso" in caught.value.hint
    assert list(iso.parent.iterdir()) == ([] if content is None else [manifest])
