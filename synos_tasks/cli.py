"""What every verb shares: Settings loaded once, errors turned into exit codes, --json."""

from __future__ import annotations

import inspect
import os
import signal
import sys
import traceback
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec

from invoke.tasks import task

from synos_tasks import console
from synos_tasks.errors import DoctorFound, EngineUnavailable, SynosError, WrongSystem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType

    from invoke.context import Context

    from synos_tasks.host import Check
    from synos_tasks.settings import Settings

P = ParamSpec("P")
COLOURS = {"ok": "32", "warn": "33", "fail": "1;31"}
PROJECT_ROOT = "project_root"
"""Key of Invoke's configuration with the folder of the project; see synos_tasks.collection()."""


class DryRun(Exception):
    """Ends a verb after it has said what it would do."""


class Command:
    """One running verb: its settings, and whether scripts or people listen."""

    def __init__(self, verb: str, context: Context, *, json: bool) -> None:
        """Keep what was typed; ``rest`` is what came after ``--``."""
        self.verb, self.json, self.dry = verb, json, bool(context.config.run.dry)
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
        return str(self._values.get("name", ""))

    def would(self, what: str, **fields: Any) -> None:  # noqa: ANN401
        """Say what --dry keeps from being done, and end the verb here; do nothing without --dry."""
        if self.dry:
            console.say(f"would {what}")
            self.result(fields)
            raise DryRun

    def result(self, fields: Mapping[str, Any]) -> None:
        """Print the verb's JSON object, when --json asked for it."""
        if self.json:
            console.print_json(self.verb, fields)

    def report(self, title: str, checks: Sequence[Check]) -> None:
        """Show checks as a table; where one failed, end with the code of DoctorFound."""
        from dataclasses import asdict  # noqa: PLC0415

        rows = [
            [check.name, console.paint(check.status, COLOURS[check.status]), check.detail, check.hint]
            for check in checks
        ]
        console.table(title, ["check", "status", "found", "hint"], rows)
        fields = {"checks": [asdict(check) for check in checks]}
        bad = [check for check in checks if check.status == "fail"]
        if not bad:
            self.result(fields)
            return
        what = f"{len(bad)} of the checks failed: {', '.join(check.name for check in bad)}"
        why = "\n".join(check.detail for check in bad)
        hint = "\n".join(dict.fromkeys(check.hint for check in bad))
        self.fail(DoctorFound(what, why=why, hint=hint), **fields)

    def fail(self, error: SynosError, **fields: Any) -> NoReturn:  # noqa: ANN401
        """End with an error: its four lines, its exit code, and with --json one object that has ``fields`` too."""
        console.show_error(error)
        self.result({**fields, "error": error.to_json()})
        sys.exit(error.exit_code)


def after_dashes(argv: Sequence[str]) -> list[str]:
    """Return the words after ``--``, for a command that hands them on: Invoke joins them, and so loses their quotes."""
    return list(argv[argv.index("--") + 1 :]) if "--" in argv else []


_JSON = inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=bool)


def verb(
    name: str,
    *,
    json: bool = True,
    **options: Any,  # noqa: ANN401
) -> Callable[[Callable[Concatenate[Command, P], None]], Any]:
    """Make an Invoke task named ``name`` of a function whose first parameter is the Command.

    With ``json`` the verb gets the option --json: see Command.result(). The one place where a command ends early:
    a SynosError becomes four lines and its exit code, Ctrl-C and SIGTERM become 130.
    """

    def decorate(function: Callable[Concatenate[Command, P], None]) -> Any:  # noqa: ANN401
        parameters = list(inspect.signature(function).parameters.values())
        if json:
            parameters.append(_JSON)
            options["help"] = {"json": "one JSON object on standard output", **options.get("help", {})}

        @wraps(function)
        def body(context: Context, /, *args: P.args, **kwargs: P.kwargs) -> None:
            # SIGINT too: a command in the background of a script starts with it ignored, and must end all the same
            _on_interrupt(_interrupt)
            command = Command(name, context, json=bool(kwargs.pop("json", False)))
            try:
                function(command, *args, **kwargs)
            except DryRun:
                return
            except EngineUnavailable as error:
                command.fail(_missing_engine(error, name))
            except SynosError as error:
                command.fail(error)
            except KeyboardInterrupt:
                console.say("interrupted: no process of this command is left running")
                command.result({"error": {"kind": "Interrupted", "exit_code": 130, "error": "interrupted"}})
                sys.exit(130)
            except Exception:  # noqa: BLE001  (a person gets a sentence; the traceback goes to a file)
                _unexpected(command)

        # also spares Invoke, which asks twice, to work it out
        body.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return task(name=name.rpartition(".")[2], **options)(body)

    return decorate


def _on_interrupt(action: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, action)


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


def _unexpected(command: Command) -> None:
    from synos_tasks.project import STATE  # noqa: PLC0415

    log = command.root / STATE / "logs" / "crash.log"
    text = traceback.format_exc()
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(text)
    except OSError:
        console.say(text)
    last = text.strip().splitlines()[-1]
    command.fail(SynosError(f"unexpected: {last}", where=str(log), hint="this is a bug: please report it"))


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Turn Invoke's DataProxy into plain dictionaries."""
    if not hasattr(value, "items"):
        return value
    return {key: _plain(item) for key, item in value.items()}
