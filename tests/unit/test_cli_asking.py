"""A question to a person, and words that a verb hands on as they were typed."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synos_tasks import console
from synos_tasks.cli import after_dashes
from synos_tasks.services.tasks import agreement


class Terminal(io.StringIO):
    """Somebody sits there, or nobody does."""

    def __init__(self, text: str = "", *, there: bool = True) -> None:
        super().__init__(text)
        self.there = there

    def isatty(self) -> bool:
        return self.there


def ask(monkeypatch: pytest.MonkeyPatch, answer: str, *, stdin: bool = True, stderr: bool = True) -> Terminal:
    shown = Terminal(there=stderr)
    monkeypatch.setattr(sys, "stdin", Terminal(answer, there=stdin))
    monkeypatch.setattr(sys, "stderr", shown)
    return shown


@pytest.mark.parametrize("answer", ["y\n", "Y\n", "yes\n", " YES \n", "y"])
def test_yes_agrees(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    shown = ask(monkeypatch, answer)
    assert console.agreed("Remove it?")
    assert shown.getvalue() == "Remove it? [y/N] "


@pytest.mark.parametrize("answer", ["", "\n", "n\n", "no\n", "yep\n", "j\n", "ye s\n", "\ny\n"])
def test_anything_else_does_not(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    ask(monkeypatch, answer)
    assert not console.agreed("Remove it?")


@pytest.mark.parametrize(("stdin", "stderr"), [(False, True), (True, False), (False, False)])
def test_without_a_terminal_nobody_is_asked(
    monkeypatch: pytest.MonkeyPatch, stdin: bool, stderr: bool
) -> None:
    shown = ask(monkeypatch, "y\n", stdin=stdin, stderr=stderr)
    assert not console.agreed("Remove it?")
    assert shown.getvalue() == ""


def test_yes_beforehand_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = ask(monkeypatch, "n\n")
    assert agreement(yes=True)("Remove it?")
    assert shown.getvalue() == ""
    assert not agreement(yes=False)("Remove it?")


@given(st.lists(st.text().filter(lambda word: word != "--")), st.lists(st.text()))
def test_words_after_dashes_are_handed_on_as_they_are(before: list[str], after: list[str]) -> None:
    assert after_dashes([*before, "--", *after]) == after
    assert after_dashes(before) == []
