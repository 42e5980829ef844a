"""A daemon.json, in which ``builder.gc`` alone is ever changed."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synos_tasks.errors import OutputNotWritable, SettingsError
from synos_tasks.iso.scratch import sync, write_whole

INDENT = "    "
_INDENT = re.compile(r'^([ \t]+)"', re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class DaemonFile:
    """What was read. ``path`` is no link; ``text`` is None where there is no such file."""

    path: Path
    text: str | None
    content: dict[str, Any]

    @property
    def gc(self) -> Any:  # noqa: ANN401
        """What it says of garbage collection; None for nothing."""
        builder = self._builder()
        return builder.get(_key(builder, "gc"))

    def with_gc(self, policy: dict[str, Any]) -> str:
        """Give the file's text with another policy, and all else as it is."""
        builder = self._builder()
        content = {**self.content, "builder": {**builder, _key(builder, "gc"): policy}}
        indent = _INDENT.search(self.text or "")
        return json.dumps(content, indent=indent[1] if indent else INDENT, ensure_ascii=False) + "\n"

    def refuse_unwritable(self) -> None:
        """Raise OutputNotWritable where this user cannot write the file."""
        folder = self.path.parent
        while not folder.exists():
            folder = folder.parent
        if not os.access(folder, os.W_OK):
            raise _closed("cannot be written", self.path, f"{folder} is not this user's to write")

    def write(self, text: str) -> Path | None:
        """Write the file whole, with a copy of the one before beside it; gives that one's path, None where there was none.

        Raises SettingsError where somebody changed it since it was read, OutputNotWritable where it cannot be.
        """
        if read(self.path).text != self.text:
            raise SettingsError(
                "the configuration was changed meanwhile: nothing was written",
                where=str(self.path),
                hint="run the command again: it shows what is there now",
            )
        copy = self.path.with_name(f"{self.path.name}.before-{time.strftime('%Y%m%dT%H%M%S')}")
        try:
            mode = 0o644
            if self.text is not None:
                shutil.copy2(self.path, copy)
                mode = self.path.stat().st_mode & 0o777
            write_whole(self.path, text, mode)
            sync(self.path)
            sync(self.path.parent)
        except OSError as error:
            raise _closed("cannot be written", self.path, error.strerror or str(error)) from error
        return None if self.text is None else copy

    def _builder(self) -> dict[str, Any]:
        builder = self.content.get("builder", {})
        if not isinstance(builder, dict):
            raise _wrong("has a builder that is no object", self.path)
        return builder


def read(path: Path) -> DaemonFile:
    """Read a daemon.json; one that is missing or empty says nothing. Raises SettingsError where it is not JSON."""
    path = path.resolve()  # or a link would be taken away, and not the file that it names be written
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, object_pairs_hook=_object) if text.strip() else {}
    except FileNotFoundError:
        return DaemonFile(path=path, text=None, content={})
    except OSError as error:
        raise _closed("cannot be read", path, error.strerror or str(error)) from error
    except ValueError as error:
        raise _wrong("is not JSON", path, str(error)) from error
    if not isinstance(content, dict):
        raise _wrong("is no JSON object", path)
    return DaemonFile(path=path, text=text, content=content)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"one of {', '.join(found)} is there twice")
    return found


def _key(builder: dict[str, Any], name: str) -> str:
    """Give the name under which something is there: to dockerd, GC is gc."""
    return next((key for key in builder if key.lower() == name), name)


def _wrong(what: str, path: Path, why: str = "") -> SettingsError:
    return SettingsError(
        f"the engine's configuration {what}: nothing was written",
        where=str(path),
        why=why,
        hint="mend it first: an engine would not start with it",
    )


def _closed(what: str, path: Path, why: str) -> OutputNotWritable:
    inv = Path(sys.executable).parent / "inv"
    return OutputNotWritable(
        f"the engine's configuration {what}",
        where=str(path),
        why=why,
        hint=f"sudo {inv} maint.gc-policy --write",
    )
