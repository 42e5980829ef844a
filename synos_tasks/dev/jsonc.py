"""JSON as editors write it: with comments, and commas before closing brackets (https://jsonc.org)."""

from __future__ import annotations

import json
import re
from typing import Any

# a string is one piece, so that what looks like a comment in it is none
_PIECES = re.compile(
    r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/|,(?=(?>\s|//[^\n]*+|/\*(?>.*?\*/))*+[\]}])', re.DOTALL
)


def loads(text: str) -> Any:  # noqa: ANN401
    """Read JSON with comments; raises ValueError with line and column of the file as it is."""
    return json.loads(_PIECES.sub(_blank, text))


def _blank(piece: re.Match[str]) -> str:
    """Give spaces in place of what plain JSON has not, so that lines and columns stay."""
    found = piece[0]
    return found if found.startswith('"') else re.sub(r"[^\n]", " ", found)
