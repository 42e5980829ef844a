"""What every verb shares: Settings loaded once, errors turned into exit codes, --json."""

from __future__ import annotations

import functools
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from invoke.tasks import task

from synos_tasks import console, settings
from synos_tasks.errors import SynosError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

    from invoke.context import Context

    from synos_tasks.settings import Settings

P = ParamSpec("P")
ROOT = Path(__file__).resolve().parent.parent


class Command:
    """One running verb: its settings, and whether scripts or people listen."""

    def __init__(self, verb: str, context: Context, *, json: bool) -> None:
        """Load the settings from Invoke's configuration; raises SettingsError."""
        self.verb, self.json, self.dry = verb, json, bool(context.config.run.dry)
        self.rest = after_dashes(sys.argv) if context.remainder else []
        self.settings: Settings = settings.load(ROOT, _plain(context.config.get("synos") or {}))

    def would(self, what: str, **fields: Any) -> None:  # noqa: ANN401
        """Say what --dry keeps from being done."""
        console.say(f"would {what}")
        self.result(fields)

    def result(self, fields: Mapping[str, Any]) -> None:
        """Print the verb's JSON object, when --json asked for it."""
        if self.json:
            console.print_json(self.verb, fields)


def after_dashes(argv: Sequence[str]) -> list[str]:
    """Give the words after ``--``, for a command that hands them on: Invoke joins them, and so loses their quotes."""
    return list(argv[argv.index("--") + 1 :]) if "--" in argv else []


def verb(name: str, **options: Any) -> Callable[[Callable[Concatenate[Command, P], None]], Any]:  # noqa: ANN401
    """Make an Invoke task named ``name`` of a function whose first parameter is the Command.

    The one place where a command ends early: a SynosError becomes four lines and its exit code,
    Ctrl-C and SIGTERM become 130.
    """

    def decorate(function: Callable[Concatenate[Command, P], None]) -> Any:  # noqa: ANN401
        @functools.wraps(function)
        def body(context: Context, /, *args: P.args, **kwargs: P.kwargs) -> None:
            as_json = bool(kwargs.get("json", False))
            # SIGINT too: a command in the background of a script starts with it ignored, and must end all the same
            _on_interrupt(_interrupt)
            try:
                function(Command(name, context, json=as_json), *args, **kwargs)
            except SynosError as error:
                _fail(error, name, as_json=as_json)
            except KeyboardInterrupt:
                console.say("interrupted: no process of this command is left running")
                if as_json:
                    interrupted = {"kind": "Interrupted", "exit_code": 130, "error": "interrupted"}
                    console.print_json(name, {"error": interrupted})
                sys.exit(130)
            except Exception:  # noqa: BLE001  (a person gets a sentence; the traceback goes to a file)
                _unexpected(name, as_json=as_json)

        return task(name=name.rpartition(".")[2], **options)(body)

    return decorate


def _on_interrupt(action: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, action)


def _interrupt(_signal: int, _frame: object) -> None:
    _on_interrupt(
        signal.SIG_IGN
    )  # an impatient second one must not cut short the tidying up, which has its own limit
    raise KeyboardInterrupt


def _fail(error: SynosError, verb_name: str, *, as_json: bool) -> None:
    console.show_error(error)
    if as_json:
        console.print_json(verb_name, {"error": error.to_json()})
    sys.exit(error.exit_code)


def _unexpected(verb_name: str, *, as_json: bool) -> None:
    log = ROOT / ".synos" / "logs" / "crash.log"
    text = traceback.format_exc()
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(text)
    except OSError:
        console.say(text)
    last = text.strip().splitlines()[-1]
    error = SynosError(f"unexpected: {last}", where=str(log), hint="this is a bug: please report it")
    _fail(error, verb_name, as_json=as_json)


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Turn Invoke's DataProxy into plain dictionaries."""
    if hasattr(value, "items"):
        return dict(_pairs(value))
    return value


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    for key, item in value.items():
        yield key, _plain(item)
