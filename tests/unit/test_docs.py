"""Documents name files and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from synos_tasks.iso import profile as profiles

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("docker/**/*.md")]
    if not any(part.startswith(".") for part in page.relative_to(ROOT).parts)
)
TESTS = "\n".join(path.read_text() for path in ROOT.glob("tests/**/*.py"))


def missing_links(page: Path, text: str) -> list[str]:
    """Return the links of a page to files that are not there."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", text)
    return [link for link in links if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    assert missing_links(page, "[x](nowhere.md)") == ["nowhere.md"]
    assert missing_links(page, page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tests_that_prove_a_promise_exist(page: Path) -> None:
    text = page.read_text()
    named = re.findall(r"`(test_\w+)`", text)
    assert [name for name in named if f"def {name}(" not in TESTS] == []
    files = re.findall(r"`((?:unit|integration|e2e)/test_\w+\.py)`", text)
    assert [name for name in files if not (ROOT / "tests" / name).is_file()] == []


def test_modules_that_the_architecture_names_exist() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    named = re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", text)
    places = (ROOT, ROOT / "synos_tasks")
    assert [name for name in named if not any((place / name).is_file() for place in places)] == []


GUIDE = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs/your-own-distribution.md").read_text(), re.M | re.S)


@pytest.mark.parametrize("block", GUIDE, ids=lambda block: block.partition(":")[0])
def test_what_the_guide_writes_into_a_profile_is_right(tmp_path: Path, block: str) -> None:
    (tmp_path / "kiosk.yaml").write_text(block)
    assert profiles.load(tmp_path, "kiosk")
