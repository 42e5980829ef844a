"""What every verb shares: Settings loaded once, options checked, errors turned into exit codes, --json, the three streams."""

from __future__ import annotations

import datetime as dt
import inspect
import os
import re
import signal
import sys
import traceback
from contextlib import contextmanager, nullcontext
from functools import cached_property, wraps
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec

from invoke.exceptions import Exit
from invoke.parser.argument import Argument
from invoke.tasks import Task, task

from synos_tasks import console
from synos_tasks.errors import (
    DoctorFound,
    EngineUnavailable,
    SynosError,
    WrongSystem,
    WrongUse,
    guess,
    refused_by_host,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

    from invoke.context import Context

    from synos_tasks.host import Check
    from synos_tasks.settings import Settings

P = ParamSpec("P")
COLOURS = {"ok": "32", "warn": "33", "fail": "1;31"}
PROJECT_ROOT = "project_root"
"""Key of Invoke's configuration with the folder of the project; see synos_tasks.collection()."""
INPUT_WORDS = frozenset({"-", "-x", "-X", "--pipe", "--file=-", "restore"})
"""Words with which a client reads standard input."""
UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
"""Seconds of each."""
AGE = re.compile(r"[0-9]{1,6}[mhdw]", re.ASCII)


class DryRun(Exception):
    """Ends a verb after it has said what it would do."""


def number(text: str) -> str:
    """Return what an option wants where the text is no whole number; '' where it is one."""
    return "" if re.fullmatch(r"[0-9]{1,9}", text) else "a whole number, as 30"


def lines_or_all(text: str) -> str:
    """Check a number of lines; see number()."""
    return "" if text == "all" else number(text) and "a number of lines, or all"


def since_when(text: str) -> str:
    """Check a moment as `docker logs` takes it: a duration, or a date; see number()."""
    if not text or re.fullmatch(r"([0-9]+[smh])+|[0-9]{8,}(\.[0-9]+)?", text):
        return ""
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        return "a duration, as 10m or 2h, or a date, as 2026-01-31 or 2026-01-31T12:00:00"
    return ""


def age(text: str) -> str:
    """Check an age, as seconds_of() reads it; see number()."""
    return "" if AGE.fullmatch(text.strip().lower()) else "an age, as 30m, 12h, 14d or 2w"


def seconds_of(text: str) -> float:
    """Return the seconds of an age() that was checked. Spaces around it and capitals are accepted."""
    text = text.strip().lower()
    return int(text[:-1]) * UNITS[text[-1]]


def one_of(*names: str) -> Callable[[str], str]:
    """Return the check of an option that has a few possible values; '' stands for its default."""
    return lambda text: "" if text in {"", *names} else guess(text, names)


class Option(Argument):
    """An option whose text is checked as soon as it is read: before any verb of the command line begins."""

    check: Callable[[str], str]
    verb: str

    def set_value(self, value: Any, cast: bool = True) -> None:  # noqa: ANN401
        """Set the value; raises Exit, which each of Invoke's programs understands, for a text of the wrong type."""
        if cast and (wanted := self.check(value)):
            what = f"--{self.names[0]} of {self.verb} is {value!r}"
            error = WrongUse(what, hint=wanted)
            raise Exit("\n".join(f"{label}: {text}" for label, text in error.lines()), code=2) from error
        super().set_value(value, cast)


class Verb(Task[Any]):
    """A task whose options have types."""

    full_name = ""
    words = False
    """Whether it takes words after ``--``."""
    types: Mapping[str, Callable[[str], str]] = {}
    example = ""

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        """Return the options as Invoke makes them, with their checks."""
        found: list[Argument] = super().get_arguments(ignore_unknown_help)
        for one in found:
            check = self.types.get(one.names[0], number if one.kind is int else None)
            if check is not None:
                vars(one).update(check=check, verb=self.full_name)
                one.__class__ = Option
        return found


class Command:
    """One running verb: its settings, and whether scripts or people listen."""

    def __init__(self, verb: str, context: Context, *, json: bool, stdin: bool = False) -> None:
        """Keep what was typed; ``rest`` is what came after ``--``."""
        self.verb, self.json, self.stdin, self.dry = verb, json, stdin, bool(context.config.run.dry)
        self.rest = after_dashes(sys.argv) if context.remainder else []
        self.root = Path(context.config.get(PROJECT_ROOT) or Path.cwd())
        self._values = _plain(context.config.get("synos") or {})

    @cached_property
    def settings(self) -> Settings:
        """Load the settings from Invoke's configuration; raises as settings.load() does."""
        from synos_tasks import settings  # noqa: PLC0415  (kept off `inv --list`)

        return settings.load(self.root, self._values, record=not self.dry)

    @property
    def name(self) -> str:
        """Name of the project in invoke.yaml, unchecked; '' where it has none."""
        return str(self._values.get("name", "")) if isinstance(self._values, dict) else ""

    def would(self, what: str, **fields: Any) -> None:  # noqa: ANN401
        """Say what --dry keeps from being done, and end the verb here; do nothing without --dry."""
        if self.dry:
            console.say(f"would {what}")
            self.result(fields)
            raise DryRun

    @property
    def reads_input(self) -> bool:
        """Whether standard input is the command's: it has no words, one of them or --stdin asks for it, or a person types."""
        asks = self.stdin or not self.rest or not INPUT_WORDS.isdisjoint(self.rest)
        return asks or (console.is_typed() and sys.stdout.isatty())

    @property
    def stream(self) -> IO[str]:
        """Where results go that a person asked for: standard output, which with --json is the object's alone."""
        return sys.stderr if self.json else sys.stdout

    def show(self, text: str) -> None:
        """Print a result that a person asked for."""
        (console.say if self.json else console.out)(text)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table that a person asked for."""
        console.table(title, columns, rows, self.stream)

    def result(self, fields: Mapping[str, Any]) -> None:
        """Print the verb's JSON object, when --json asked for it."""
        if self.json:
            console.print_json(self.verb, fields)

    def report(self, title: str, checks: Sequence[Check]) -> None:
        """Show checks as a table; where one failed, end with the code of DoctorFound."""
        statuses = [console.paint(check.status, COLOURS[check.status], self.stream) for check in checks]
        rows = [
            [check.name, status, check.detail, check.hint]
            for check, status in zip(checks, statuses, strict=True)
        ]
        self.table(title, ["check", "status", "found", "hint"], rows)
        fields = {"checks": [vars(check) for check in checks]}
        bad = [check for check in checks if check.status == "fail"]
        if not bad:
            self.result(fields)
            return
        what = f"{len(bad)} of the checks failed: {', '.join(check.name for check in bad)}"
        why = "\n".join(check.detail for check in bad)
        hint = "\n".join(dict.fromkeys(check.hint for check in bad))
        self.fail(DoctorFound(what, why=why, hint=hint), **fields)

    def fail(self, error: SynosError, **fields: Any) -> NoReturn:  # noqa: ANN401
        """End this verb with an error, as the function of this name."""
        fail(self.verb, error, json=self.json, **fields)


def fail(verb: str, error: SynosError, *, json: bool, **fields: Any) -> NoReturn:  # noqa: ANN401
    """End with an error: its four lines, its exit code, and with --json one object that has ``fields`` too."""
    console.show_error(error)
    try:
        if json:
            console.print_json(verb, {**fields, "error": error.to_json()})
    except SynosError as unwritten:
        console.show_error(unwritten)
    sys.exit(error.exit_code)


def after_dashes(argv: Sequence[str]) -> list[str]:
    """Return the words after ``--``, for a command that hands them on: Invoke joins them, and so loses their quotes."""
    return list(argv[argv.index("--") + 1 :]) if "--" in argv else []


_JSON, _STDIN = (
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=bool)
    for name in ("json", "stdin")
)


def verb(
    name: str,
    *,
    json: bool = True,
    stdin: bool = False,
    pipe: bool = False,
    words: bool = False,
    types: Mapping[str, Callable[[str], str]] | None = None,
    example: str = "",
    **options: Any,  # noqa: ANN401
) -> Callable[[Callable[Concatenate[Command, P], None]], Any]:
    """Make an Invoke task named ``name`` of a function whose first parameter is the Command.

    With ``json`` the verb gets the option --json: see Command.result(). With ``words`` it takes what comes after ``--``,
    and with ``stdin`` it may read standard input: see Command.reads_input. With ``pipe`` it always does, as a shell.
    All others find it empty, but for a terminal.
    ``types`` has the checks of options, whose names are as typed.
    """

    def decorate(function: Callable[Concatenate[Command, P], None]) -> Any:  # noqa: ANN401
        parameters = list(inspect.signature(function).parameters.values())
        own = {"json": "one JSON object on standard output"} if json else {}
        own |= {"stdin": "hand standard input on to the words after --"} if stdin else {}
        parameters += [*[_JSON] * json, *[_STDIN] * stdin]
        if own:
            options["help"] = {**own, **options.get("help", {})}

        @wraps(function)
        def body(context: Context, /, *args: P.args, **kwargs: P.kwargs) -> None:
            # SIGINT too: a command in the background of a script starts with it ignored, and must end all the same
            _on_interrupt(_interrupt)
            typed = {key: bool(kwargs.pop(key, False)) for key in own}
            command = Command(name, context, json=typed.get("json", False), stdin=typed.get("stdin", False))
            console.open_closed_streams()
            reads = command.reads_input if stdin else pipe or console.is_typed()
            with _ended(command), nullcontext() if reads else console.no_input():
                function(command, *args, **kwargs)

        # also spares Invoke, which asks twice, to work it out
        body.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        made = task(name=name.rpartition(".")[2], klass=Verb, **options)(body)
        made.full_name, made.words, made.types, made.example = name, words or stdin, types or {}, example
        return made

    return decorate


@contextmanager
def _ended(command: Command) -> Iterator[None]:
    """End a verb that raises: a SynosError becomes four lines and its exit code, Ctrl-C, SIGTERM and SIGHUP become 130."""
    try:
        yield
    except DryRun:
        return
    except SystemExit as ended:
        if ended.code:  # or else the next verb of the command line follows
            raise
    except EngineUnavailable as error:
        command.fail(_missing_engine(error, command.verb))
    except SynosError as error:
        command.fail(error)
    except KeyboardInterrupt:
        console.say("interrupted: no process of this command is left running")
        command.result({"error": {"kind": "Interrupted", "exit_code": 130, "error": "interrupted"}})
        sys.exit(130)
    except Exception as error:  # noqa: BLE001  (a person gets a sentence; the traceback goes to a file)
        refused = refused_by_host(error) if isinstance(error, OSError) else None
        command.fail(refused or unexpected(command.root))


def _on_interrupt(action: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    signal.signal(signal.SIGINT, action)
    signal.signal(signal.SIGTERM, action)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, action)


def _interrupt(_signal: int, _frame: object) -> None:
    # an impatient second one must not cut short the tidying up, which has its own limit
    _on_interrupt(signal.SIG_IGN)
    raise KeyboardInterrupt


def _missing_engine(error: EngineUnavailable, verb_name: str) -> SynosError:
    """Return the error for a missing engine; in a development container it names the right place."""
    container = os.environ.get("SYNOS_DEV_CONTAINER")
    if not container or os.environ.get("DOCKER_HOST"):
        return error
    from synos_tasks.project import launcher  # noqa: PLC0415

    return WrongSystem(
        f"inv {verb_name} needs the Docker Engine, and a development container has none",
        where=f"development container {container}",
        why="here code is edited and tested; ISOs are made by docker/build, and docker/services runs the services",
        hint=f"on the host: {launcher()} {verb_name}",
    )


def unexpected(root: Path | str | None) -> SynosError:
    """Return the error for the exception that is being handled, a bug; its traceback goes to a file of the project, if any."""
    from synos_tasks.project import STATE  # noqa: PLC0415

    text = traceback.format_exc()
    log = Path(root or os.devnull, STATE, "logs", "crash.log")
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(text)
    except OSError:
        import tempfile  # noqa: PLC0415  (slow to import)

        log = Path(tempfile.mkstemp(prefix="synos-crash-", suffix=".log")[1])
        log.write_text(text)
    last = text.strip().splitlines()[-1]
    return SynosError(f"unexpected: {last}", where=str(log), hint="this is a bug: please report it")


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Turn Invoke's DataProxy into plain dictionaries."""
    if not hasattr(value, "items"):
        return value
    return {key: _plain(item) for key, item in value.items()}
