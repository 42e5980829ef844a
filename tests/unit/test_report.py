"""One build as one HTML file: well-formed, self-contained, right in its numbers, and readable in light and dark."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synos_tasks.build import report
from synos_tasks.errors import IsoNotFound, OutputNotWritable

NASTY = "<b>&\"'</svg><script>alert(1)</script>"
NO_CLOSING_TAG = ("meta", "!doctype")


def _stage(name: str, began: float, seconds: float, *, hit: bool = False) -> dict[str, Any]:
    return {"name": name, "key": "k", "hit": hit, "began": began, "seconds": seconds, "bytes": 4096}


def _package(name: str, size: int, *, fetched: int = 1000) -> dict[str, Any]:
    return {"name": name, "version": "1", "layer": "base", "bytes": fetched, "installed_bytes": size}


def _manifest(**fields: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "schema": "synos.manifest/1",
        "profile": "minimal",
        "suite": "bookworm",
        "architecture": "amd64",
        "release": False,
        "build_id": "0123456789ab",
        "key": "c" * 64,
        "sha256": "d" * 64,
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
    """Reads a page; every tag must be closed where it belongs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        """Each with the tag that it stands in."""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in NO_CLOSING_TAG:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), "an attribute stands twice"
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], data.strip()))

    def handle_comment(self, data: str) -> NoReturn:
        raise AssertionError(f"a comment: {data}")

    def unknown_decl(self, data: str) -> NoReturn:
        raise AssertionError(f"a declaration: {data}")

    def of(self, tag: str) -> list[str]:
        """Give the texts that stand in a tag."""
        return [text for where, text in self.texts if where == tag]

    def bars(self) -> list[tuple[str, float, float]]:
        """Give kind, begin and end of each bar, the ends in percent of its chart."""
        rects = [attrs for tag, attrs in self.tags if tag == "rect" and "x" in attrs]
        return [(a["class"], _percent(a["x"]), _percent(a["x"]) + _percent(a["width"])) for a in rects]


def _percent(text: str) -> float:
    assert text.endswith("%")
    return float(text[:-1])


def _page(name: str = "synos-minimal-0123456789ab.iso", **fields: Any) -> Page:  # noqa: ANN401
    return Page(report.page(_manifest(**fields), name))


def test_the_page_is_one_document() -> None:
    text = report.page(_manifest(), "a.iso")
    assert text.startswith('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">')
    tags = [tag for tag, _ in Page(text).tags]
    for once in ("html", "head", "body", "header", "h1", "main", "footer"):
        assert tags.count(once) == 1
    assert Page(text).of("title")[0] == "SynOS minimal: build 0123456789ab"
    assert Page(text).of("h1") == ["SynOS minimal"]
    assert Page(text).of("h2") == ["Stages", "What the medium holds", "Largest packages, installed"]


def test_nothing_is_fetched_from_anywhere() -> None:
    text = report.page(_manifest(), "a.iso").lower()
    for reference in (
        "http:",
        "https:",
        "//",
        "<link",
        "<script",
        "<img",
        "src=",
        "href=",
        "url(",
        "@import",
    ):
        assert reference not in text


def test_names_are_text_and_never_tags() -> None:
    page = _page(
        name=NASTY, profile=NASTY, suite=NASTY, architecture=NASTY, build_id=NASTY, key=NASTY, sha256=NASTY,
        stages=[_stage(NASTY, 0, 1)], packages=[_package(NASTY, 1)], bytes={"iso": 1, NASTY: 1},
    )  # fmt: skip
    assert not {tag for tag, _ in page.tags} & {"b", "script"}
    assert page.of("h1") == [f"SynOS {NASTY}"]
    assert page.of("span").count(NASTY) == 3
    assert page.of("code")[:4] == [NASTY] * 4


def test_the_numbers() -> None:
    page = _page()
    assert dict(zip(page.of("dt"), page.of("dd") + page.of("code"), strict=False)) == {
        "ISO": "213.1 MB",
        "Build time": "17.2 s",
        "Stages in store": "1 of 3",
        "Packages": "2",
        "File": "synos-minimal-0123456789ab.iso",
        "SHA-256": "d" * 64,
        "Build": "0123456789ab",
        "Key": "c" * 64,
    }
    assert "bookworm · amd64 · layers" in page.of("p")
    assert "bookworm · amd64 · release" in _page(release=True).of("p")
    assert any("take 416.5 MB unpacked and 2.0 kB\nto fetch" in text for text in page.of("p"))


def test_each_row_has_a_name_and_a_value() -> None:
    spans = _page().of("span")
    rows = spans[spans.index("base") :]
    assert list(zip(rows[::2], rows[1::2], strict=True)) == [
        ("base", "13.1 s"),
        ("packages-minimal", "in store"),
        ("iso", "1.2 s"),
        ("00-base.squashfs", "160.0 MB"),
        ("initrd.img", "26.4 MB"),
        ("vmlinuz", "4.1 kB"),
        ("boot loaders and the rest", "26.7 MB"),
        ("linux-image-amd64", "410.3 MB"),
        ("sudo", "6.2 MB"),
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0.0 kB"), (4096, "4.1 kB"), (999_000, "999.0 kB"), (10**6, "1.0 MB"), (1_234_567_890, "1.2 GB")],
)
def test_sizes_are_told_in_units_that_fit(count: int, text: str) -> None:
    assert report.size(count) == text


def test_a_chart_says_in_words_what_it_shows() -> None:
    page = _page()
    _, *titles = page.of("title")
    assert titles == [
        "base: 13.1 s, from 0.0 s to 13.1 s",
        "packages-minimal: in store, from 11.5 s to 11.5 s",
        "iso: 1.2 s, from 16.0 s to 17.2 s",
        "Axis: seconds since the start",
        "00-base.squashfs: 160000000 bytes",
        "initrd.img: 26350000 bytes",
        "vmlinuz: 4096 bytes",
        "boot loaders and the rest: 26742352 bytes",
        "linux-image-amd64: 410300000 bytes",
        "sudo: 6200000 bytes",
    ]
    assert page.of("desc") == ["0 s, 5 s, 10 s, 15 s"]
    for tag, attributes in page.tags:
        # the two of the legend stand beside their words
        assert tag != "svg" or attributes in ({"role": "img"}, {"aria-hidden": "true"})


def test_bars_stand_where_their_stages_ran() -> None:
    page = Page(report.timeline([_stage("a", 0, 5), _stage("b", 5, 2.5), _stage("c", 5, 5, hit=True)], 10))
    assert page.bars() == [("made", 0, 50), ("made", 50, 75), ("stored", 50, 100)]


def test_bars_are_as_long_as_things_are_large() -> None:
    page = Page(report.bars([("a", 400), ("b", 100), ("c", 0)]))
    assert page.bars() == [("size", 0, 100), ("size", 0, 25), ("size", 0, report.LEAST_WIDTH)]


def test_a_short_stage_at_the_end_is_seen() -> None:
    page = Page(report.timeline([_stage("a", 0, 1000), _stage("b", 1000, 0.001)], 1000.001))
    assert page.bars()[1] == ("made", 100 - report.LEAST_WIDTH, 100)


@pytest.mark.parametrize(
    ("seconds", "labels"),
    [
        (0.1, ["0 s", "0.02 s", "0.04 s", "0.06 s", "0.08 s", "0.1 s"]),
        (2.6, ["0 s", "1 s", "2 s"]),
        (17.2, ["0 s", "5 s", "10 s", "15 s"]),
        (78.2, ["0 s", "20 s", "40 s", "60 s"]),
        (3600, ["0 s", "1000 s", "2000 s", "3000 s"]),
    ],
)
def test_the_axis_has_round_numbers(seconds: float, labels: list[str]) -> None:
    assert [label for _, label in report.ticks(seconds)] == labels
    page = Page(report.timeline([], seconds))
    assert page.of("text") == labels
    assert page.of("desc") == [", ".join(labels)]


@settings(derandomize=True)
@given(st.floats(0.1, 1e9))
def test_the_axis_ends_inside_its_chart(seconds: float) -> None:
    places = [place for place, _ in report.ticks(seconds)]
    assert 2 <= len(places) <= 6
    assert places == sorted(set(places))
    assert places[0] == 0
    assert places[-1] <= 100


NAMES = st.text(max_size=40)
SIZES = st.integers(0, 2**50)
SECONDS = st.floats(0, 1e6)
STAGES = st.lists(st.builds(_stage, NAMES, SECONDS, SECONDS, hit=st.booleans()), max_size=12)
PACKAGES = st.lists(st.builds(_package, NAMES, SIZES, fetched=SIZES), max_size=30)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(STAGES, PACKAGES, st.dictionaries(NAMES, SIZES, max_size=8), SIZES)
def test_any_build_is_a_page_whose_bars_are_inside(
    stages: list[dict[str, Any]], packages: list[dict[str, Any]], parts: dict[str, int], iso: int
) -> None:
    page = _page(stages=stages, packages=packages, bytes={**parts, "iso": iso})
    bars = page.bars()
    rest = iso > sum(size for name, size in parts.items() if name != "iso")
    shown = len(parts) - ("iso" in parts) + rest + min(len(packages), report.MOST_PACKAGES)
    assert [kind for kind, _, _ in bars] == [
        *("stored" if stage["hit"] else "made" for stage in stages),
        *["size"] * shown,
    ]
    for _, begin, end in bars:
        assert 0 <= begin < end < 100.001  # a sum of two numbers with two digits each


@pytest.mark.parametrize("count", [0, 1, 20, 21, 300])
def test_the_largest_packages_come_first_and_the_rest_is_counted(count: int) -> None:
    packages = [_package(f"p{number:03}", number % 7) for number in range(count)]
    page = _page(packages=packages, bytes={"iso": 1}, stages=[])
    names = [text for text in page.of("span") if re.fullmatch(r"p\d\d\d", text)]
    assert names == sorted((p["name"] for p in packages), key=lambda n: (-(int(n[1:]) % 7), n))[:20]
    assert any(text.startswith(f"{min(20, count)} of {count} packages") for text in page.of("p"))


def test_a_build_of_nothing_has_a_page_too() -> None:
    page = _page(stages=[], packages=[], bytes={"iso": 0})
    assert page.bars() == []
    assert "0.0 s" in page.of("dd")


def _colours(style: str) -> dict[str, str]:
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", style))


def _schemes() -> tuple[dict[str, str], dict[str, str]]:
    light, dark = report.STYLE.split("@media (prefers-color-scheme: dark)")
    return _colours(light), _colours(dark)


def _luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 has it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, two: str) -> float:
    darker, lighter = sorted(_luminance(colour) for colour in (one, two))
    return (lighter + 0.05) / (darker + 0.05)


def test_both_colour_schemes_are_whole() -> None:
    light, dark = _schemes()
    assert "color-scheme: light dark" in report.STYLE
    used = set(re.findall(r"var\(--(\w+)\)", report.STYLE))
    assert set(light) == set(dark) == used
    assert all(light[name] != dark[name] for name in light)
    assert report.STYLE in report.page(_manifest(), "a.iso")


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_all_can_be_told_from_what_is_behind_it(scheme: int) -> None:
    colours = _schemes()[scheme]
    for text, behind in itertools.product(("ink", "soft"), ("paper", "panel")):
        assert _contrast(colours[text], colours[behind]) >= 4.5
    for bar in ("made", "stored", "size"):
        assert _contrast(colours[bar], colours["paper"]) >= 3


def test_phones_get_a_layout_of_their_own() -> None:
    assert "@media (max-width:" in report.STYLE
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in _page().tags


@pytest.fixture
def iso(tmp_path: Path) -> Path:
    """An ISO's place; the report needs its manifest alone."""
    path = tmp_path / "dist/synos-ü.iso"
    path.parent.mkdir()
    Path(f"{path}.manifest.json").write_text(json.dumps(_manifest()))
    return path


def test_the_report_is_written_where_it_was_asked_for(iso: Path, tmp_path: Path) -> None:
    target = tmp_path / "a/b/report.html"
    for _ in range(2):
        report.write(iso, target)
        assert target.read_text(encoding="utf-8") == report.page(_manifest(), "synos-ü.iso")


BROKEN: dict[str, Any] = {
    "empty": "",
    "half": '{"stages": [',
    "not UTF-8": b"\xff\xfe",
    "a list": [],
    "a number": 1,
    "nothing in it": {},
    "without sizes": {**_manifest(), "bytes": {}},
    "sizes of a list": _manifest(bytes=[1]),
    "a digest of a number": _manifest(sha256=5),
    "no profile": _manifest(profile=None),
    "a stage without seconds": _manifest(stages=[{"name": "a", "hit": True, "began": 0}]),
    "a stage of text": _manifest(stages=["a"]),
    "seconds of text": _manifest(stages=[{**_stage("a", 0, 0), "began": "1", "seconds": "2"}]),
    "seconds without end": _manifest(stages=[_stage("a", 0, float("inf"))]),
    "seconds of nothing": _manifest(stages=[_stage("a", 0, float("nan"))]),
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
    with pytest.raises(IsoNotFound) as caught:
        report.write(iso, iso.with_name("report.html"))
    assert caught.value.what == "synos-ü.iso has no manifest that can be read"
    assert caught.value.where == str(manifest)
    assert caught.value.why
    assert "inv build.iso" in caught.value.hint
    assert list(iso.parent.iterdir()) == [manifest]


def test_a_missing_field_is_named(iso: Path) -> None:
    Path(f"{iso}.manifest.json").write_text(json.dumps({**_manifest(), "bytes": {}}))
    with pytest.raises(IsoNotFound) as caught:
        report.write(iso, iso.with_name("report.html"))
    assert caught.value.why == "there is no 'iso'"


def test_without_a_manifest_there_is_no_report(tmp_path: Path) -> None:
    iso = tmp_path / "a.iso"
    iso.touch()
    with pytest.raises(IsoNotFound) as caught:
        report.write(iso, tmp_path / "report.html")
    assert caught.value.where == f"{iso}.manifest.json"
    assert list(tmp_path.iterdir()) == [iso]


@pytest.mark.parametrize("below", [".", "file/report.html"])
def test_a_target_that_cannot_be_written(iso: Path, tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputNotWritable) as caught:
        report.write(iso, tmp_path / below)
    assert caught.value.where == str(tmp_path / below)
    assert caught.value.why
    assert "--to" in caught.value.hint
