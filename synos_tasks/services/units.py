"""The systemd unit that has a stack started with the machine: its name and text. Writes nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from synos_tasks.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

STACK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)

# What systemd refuses in the path of a command, however it is quoted, and takes in an argument.
_UNSAFE = frozenset("\"'\\")
_THROUGH_SHELL = """/bin/sh -c 'exec "$$0" "$$@"'"""

_TEXT = """\
# Written by `inv services.enable`; edits are lost when it runs again.
[Unit]
Description=SynOS services, stack {stack}
{after}

[Service]
Type=oneshot
RemainAfterExit=yes
WorkingDirectory={root}
ExecStart={command} services.up --stack {stack}
ExecStop={command} services.down --stack {stack}
# images may have to be built
TimeoutStartSec=15min
# databases write all they hold before they end
TimeoutStopSec=5min
{retry}
[Install]
WantedBy={target}
"""
_SYSTEM = "Wants=docker.service network-online.target\nAfter=docker.service network-online.target"
# A user's manager knows no units of the system: docker.service is there with a rootless engine only. It may
# also start before the system's engine does; hence the further attempts.
_USER = """\
Wants=docker.service
After=docker.service
StartLimitIntervalSec=1h
StartLimitBurst=5"""
_RETRY = """\
# the machine's engine may start later than this user's units
Restart=on-failure
RestartSec=15s
"""


def unit_name(project_id: str, stack: str) -> str:
    """Give the unit's file name, which no other clone has; raises SettingsError for an impossible stack."""
    return f"{project_id}-{_checked_stack(stack)}.service"


def unit_text(root: Path, stack: str, inv: Path, user: str | None) -> str:
    """Give the text of the unit that starts a stack with the machine and stops it, with its data kept.

    ``root`` is the clone, ``inv`` its command; both absolute. With a ``user`` other than root it is a unit of
    that user's own manager, else one of the system. Raises SettingsError for paths that systemd cannot have:
    relative ones, and those with control characters or not in UTF-8.
    """
    own = user not in {None, "root"}
    return _TEXT.format(
        stack=_checked_stack(stack),
        root=working_directory(root),
        command=command(inv),
        after=_USER if own else _SYSTEM,
        retry=_RETRY if own else "",
        target="default.target" if own else "multi-user.target",
    )


def command(inv: Path) -> str:
    """Give the words of ExecStart= that start a command; arguments may follow.

    By systemd.syntax(7), "Quoting", and systemd.service(5), "Command lines". Raises SettingsError.
    """
    text = _checked(inv)
    if _UNSAFE.isdisjoint(text):
        # a dollar sign stays single: variables are not filled in where the command's own path stands
        return _quote(text)
    return f"{_THROUGH_SHELL} {_quote(text.replace('$', '$$'))}"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def working_directory(path: Path) -> str:
    r"""Give a path as WorkingDirectory= takes it: as it is, but for ``%``. Raises SettingsError.

    That setting knows neither quotes nor escapes. A space at its end would be cut off, and a backslash there
    continues the line, so that both get a slash behind them.
    """
    text = _checked(path).replace("%", "%%")
    return f"{text}/" if text[-1].isspace() or text[-1] == "\\" else text


def _checked(path: Path) -> str:
    text = str(path)
    why = ""
    if not path.is_absolute() or ".." in path.parts:
        why = "it is not an absolute path"
    elif any(_is_control(ord(character)) for character in text):
        why = "it has a control character"
    elif any(_is_no_text(ord(character)) for character in text):
        why = "it is not in UTF-8"
    if why:
        raise SettingsError(
            "no systemd unit can name this path",
            where=text if text.isprintable() else ascii(text),
            why=why,
            hint="move the project to a folder with a plain name",
        )
    return text


def _is_control(code: int) -> bool:
    return code < 0x20 or 0x7F <= code < 0xA0


def _is_no_text(code: int) -> bool:
    """Tell what systemd's unichar_is_valid() refuses: surrogates (bytes that are no UTF-8) and noncharacters."""
    return 0xD800 <= code <= 0xDFFF or 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE


def _checked_stack(stack: str) -> str:
    if not STACK.fullmatch(stack):
        raise SettingsError(
            f"no stack can be named {stack!r}",
            where="--stack",
            hint="letters, digits, . _ and -, at most 64; a letter or digit first",
        )
    return stack
