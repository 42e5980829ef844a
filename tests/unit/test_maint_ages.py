from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from synos_tasks.errors import SettingsError
from synos_tasks.maint.ages import UNITS, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("12h", 43200), ("14d", 1_209_600), ("2w", 1_209_600), ("0d", 0), (" 3D ", 259_200)],
)
def test_an_age_is_a_number_and_its_unit(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@given(st.integers(0, 999_999), st.sampled_from(sorted(UNITS)))
def test_every_number_with_every_unit_is_one(number: int, unit: str) -> None:
    assert seconds_of(f"{number}{unit}") == number * UNITS[unit]


def no_age(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,6}[mhdwMHDW]", text.strip()) is None


@given(st.text().filter(no_age))
@example("14")
@example("d")
@example("-1d")
@example("1.5h")
@example("1d2h")
@example("1 d")
@example("1000000d")
@example("٣d")
@example("1y")
@example("")
def test_anything_else_is_named_and_said_how(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        seconds_of(text)
    assert repr(text) in refused.value.what
    assert "14d" in refused.value.hint
