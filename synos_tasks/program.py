"""The one entry point round Invoke: wrong use, configuration files, streams, the list of verbs and their help."""

from __future__ import annotations

import os
import re
import sys
import traceback
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import invoke.config
from invoke.collection import Collection
from invoke.env import Environment
from invoke.exceptions import AmbiguousEnvVar, CollectionNotFound, Exit, ParseError
from invoke.loader import FilesystemLoader
from invoke.program import Program
from invoke.util import helpline

from synos_tasks import cli, console
from synos_tasks.errors import ProjectMissing, SettingsError, SynosError, WrongUse, slip_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from os import PathLike

    from invoke.parser.context import ParserContext

BEFORE_A_PROJECT = ("init", "new-id")


class Variables(Environment):
    """Variables of the environment, as settings."""

    def _path_set(self, key_path: Sequence[str], value: str) -> None:
        try:
            super()._path_set(key_path, value)
        except Exception:  # noqa: BLE001  (the type's own, or Invoke's)
            name = (self._prefix or "") + self._to_env_var(key_path)
            hint = "unset it, or give it a value that invoke.yaml could have"
            raise SettingsError(f"variable {name} is {value!r}", where="environment", hint=hint) from None


class Config(invoke.config.Config):
    """Invoke's configuration, whose mistakes are errors with a file and a line."""

    def _load_yaml(self, path: PathLike[Any]) -> Any:  # noqa: ANN401
        return _checked(super()._load_yaml, path)

    _load_yml = _load_yaml

    def _load_json(self, path: PathLike[Any]) -> Any:  # noqa: ANN401
        return _checked(super()._load_json, path)

    def _load_py(self, path: str) -> dict[str, Any]:
        return _checked(super()._load_py, path)

    def load_runtime(self, merge: bool = True) -> None:
        """Load the file of --config, which must be there and of a known kind."""
        path = self._runtime_path
        if path is not None and not (os.access(path, os.R_OK) and path.endswith(self._file_suffixes)):
            hint = "a file that is there, and ends in .yaml or .json"
            raise SettingsError("the file of --config cannot be read", where=str(path), hint=hint)
        super().load_runtime(merge)

    def load_shell_env(self) -> None:
        """Load the variables of the environment, as Invoke does."""
        self.merge()
        try:
            self._set(_env=Variables(config=self._config, prefix=self._env_prefix).load())
        # a name that is a number, or two settings of one variable
        except (TypeError, AmbiguousEnvVar) as error:
            raise SettingsError(
                "the settings' names are no variables", where=self._files(), why=str(error)
            ) from None
        self.merge()

    def merge(self) -> None:
        """Merge all levels, as Invoke does."""
        try:
            super().merge()
        except invoke.config.AmbiguousMergeError:
            what = "a setting is a mapping in one place, and a value in another"
            raise SettingsError(what, where=self._files()) from None

    def _files(self) -> str:
        found = (getattr(self, f"_{kind}_path", None) for kind in ("system", "user", "project", "runtime"))
        return ", ".join(filter(None, found))


def _checked(load: Callable[[Any], Any], path: PathLike[Any] | str) -> dict[str, Any]:
    """Read a configuration file; raises SettingsError with its line."""
    try:
        found = load(path)
    except FileNotFoundError:
        raise
    except PermissionError as error:
        if not os.access(Path(path).parent, os.X_OK):  # the home of another user, as with `sudo -u`
            raise FileNotFoundError(2, "not found", str(path)) from None
        raise SettingsError(
            "a configuration file cannot be read", where=str(path), why=str(error.strerror)
        ) from None
    except Exception as error:  # noqa: BLE001  (each parser has its own)
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else getattr(error, "lineno", None)
        why = str(getattr(error, "problem", "") or error)
        where = f"{path}:{line}" if line else str(path)
        raise SettingsError("a configuration file cannot be read", where=where, why=why) from None
    if not isinstance(found, dict | None):
        what = f"a configuration file is a {type(found).__name__}, not settings with names"
        raise SettingsError(what, where=f"{path}:1", hint="the first line is as in `synos:`")
    return found or {}


class Loader(FilesystemLoader):
    """Find tasks.py in a folder or above, also below folders that this user cannot list."""

    def find(self, name: str) -> ModuleSpec | None:
        """Return where the module of this name is; raises CollectionNotFound or ProjectMissing."""
        try:
            start = Path(self.start).absolute()
        except FileNotFoundError:
            raise ProjectMissing("the current folder was removed", hint="cd to one that is there") from None
        for folder in (start, *start.parents):
            for file, inside in (
                (folder / f"{name}.py", None),
                (folder / name / "__init__.py", [str(folder / name)]),
            ):
                if os.access(file, os.R_OK):
                    return spec_from_file_location(name, file, submodule_search_locations=inside)
        raise CollectionNotFound(name=name, start=str(start))


class Inv(Program):
    """Invoke's program with one way to end; the verbs that make a project need none."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401
        super().__init__(
            name="SynOS tasks",
            binary="inv[oke]",
            binary_names=["inv", "invoke"],
            config_class=Config,
            loader_class=Loader,
            **options,
        )

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:  # noqa: A002, ARG002
        """Run the verbs of a command line; SystemExit has the exit code where it is not 0."""
        self.normalize_argv(argv)
        try:
            with console.writing_results():  # of Invoke itself: help and lists
                self.create_config()
                self.parse_core(self.argv)
                self.parse_collection()
                self.parse_tasks()
                self.parse_cleanup()
                self.update_config()
                self.execute()
        except SynosError as error:
            self._fail(error)
        except ParseError as error:
            self._fail(self._wrong_use(str(error), error.context))
        except Exit as ended:
            if isinstance(ended.__cause__, SynosError):
                self._fail(ended.__cause__)
            if ended.message:
                self._fail(self._wrong_use(ended.message, None))
            sys.exit(ended.code)
        except KeyboardInterrupt:
            sys.exit(130)
        except Exception:  # noqa: BLE001  (a person gets a sentence; the traceback goes to a file)
            self._fail(cli.unexpected(getattr(self.config, "_project_prefix", None)))

    def parse_core_args(self) -> None:
        """Parse Invoke's own options; those that take a number refuse others."""
        try:
            super().parse_core_args()
        except ValueError as error:
            word = str(error).rpartition(": ")[2]
            raise WrongUse(f"an option of inv needs a whole number, not {word}", hint="inv --help") from None

    def print_version(self) -> None:
        """Print both versions."""
        from synos_tasks import __version__  # noqa: PLC0415

        print(f"{self.name} {__version__} (Invoke {invoke.__version__})")

    def load_collection(self) -> None:
        """Load tasks.py of this folder or one above, or else the verbs that make a project of this one."""
        wanted = self.core.unparsed[0] if self.core.unparsed else self.args.help.value
        if wanted not in BEFORE_A_PROJECT:
            try:
                super().load_collection()
            except Exit:
                if wanted:
                    what = f"there is no project in {Path.cwd()} or above"
                    raise ProjectMissing(what, hint="`inv init` makes one of this folder") from None
            except SynosError:
                raise
            except Exception as error:
                raise _broken(error) from error
            else:
                return
        from synos_tasks.root.init import init, new_id  # noqa: PLC0415

        # init needs no setting, and must not stumble over a file that it will not overwrite
        if wanted != "init":
            self.config.set_project_location(str(Path.cwd()))
            self.config.load_project()
        self.collection = Collection(init, new_id)

    def parse_tasks(self) -> None:
        """Parse the verbs and their options, and refuse words that none of them takes."""
        super().parse_tasks()
        for one in self.tasks:
            if option := _taken_for_argument(one):
                raise ParseError(f"No idea what {option!r} is!", one)
        verbs = [self.collection[one.name] for one in self.tasks]
        if cli.after_dashes(self.argv) and verbs and not any(getattr(one, "words", True) for one in verbs):
            what = f"{self.tasks[-1].name} takes no words after --"
            raise WrongUse(what, hint=f"inv --help {self.tasks[-1].name}")

    def execute(self) -> None:
        """Run the verbs; where one fails, name those that are not run."""
        try:
            super().execute()
        except SystemExit as ended:
            names = [str(one.name) for one in self.tasks]
            done = {name: self.collection[name].times_called for name in names}
            left = [name for at, name in enumerate(names) if names[:at].count(name) >= done[name]]
            if ended.code != console.NOBODY_READS and left[1:]:
                console.say(f"not run, as {left[0]} failed: {', '.join(left[1:])}")
            raise

    def _fail(self, error: SynosError) -> None:
        words = self.argv[1 : self.argv.index("--") if "--" in self.argv else None]
        verb = next((word for word in words if not word.startswith("-")), "inv")
        cli.fail(verb, error, json="--json" in words)

    def _wrong_use(self, message: str, context: ParserContext | None) -> WrongUse:
        """Return the error for what Invoke's parser says."""
        verb = context.name if context and context.name else ""
        if option := _taken_for_argument(context):
            message = f"No idea what {option!r} is!"
        found = re.fullmatch(r"No idea what ['\"](.*)['\"] is!", message, re.DOTALL)
        if not found:
            return self._incomplete(message, verb, context)
        word, options = found[1], f"inv --help {verb}".rstrip()
        known = list(self.parser.contexts)
        what = (
            f"{verb} takes no argument {word!r}, and no verb is called so"
            if verb
            else f"there is no verb {word!r}"
        )
        hint = options if verb else "inv --list shows all verbs"
        if word.startswith("-"):
            known = [name for name in (context or self.initial_context).flag_names() if name.startswith("--")]
            what, hint = f"{verb or 'inv'} has no option {word}", f"{options} shows those that there are"
        elif any(one.startswith(f"{word}.") for one in known):
            hint = f"inv --list {word} shows the verbs of {word}"
        if meant := slip_of(word, known):
            hint = f"did you mean {meant!r}?"
        elif verb and getattr(self.collection[verb], "words", False):
            hint = f"words for {verb.rpartition('.')[2]} go after --: inv {verb} -- {word} …"
        return WrongUse(what, hint=hint)

    def _incomplete(self, message: str, verb: str, context: ParserContext | None) -> WrongUse:
        if context and context.missing_positional_args:
            names = [str(one.name).upper() for one in context.missing_positional_args]
            return WrongUse(f"{verb} needs {' and '.join(names)}", hint=f"inv {verb} {' '.join(names)}")
        if found := re.search(r"<Argument: (\S+?)[ >]", message):
            message = f"--{found[1]} of {verb or 'inv'} needs a value"
        return WrongUse(message.rstrip("!"), hint=f"inv --help {verb}".rstrip())

    def print_task_help(self, name: str) -> None:
        """Print what Invoke does, and an example."""
        super().print_task_help(name)
        task = self.collection[name]
        needs = [str(one.name).upper() for one in self.parser.contexts[name].positional_args]
        print(f"Example:\n  inv {name} {getattr(task, 'example', '') or ' '.join(needs)}".rstrip())

    def list_flat(self) -> None:
        """List the verbs group by group."""
        if self.list_root or self.list_depth:
            super().list_flat()
            return
        groups: dict[str, list[tuple[str, str | None]]] = {}
        for name, text in self._make_pairs(self.collection):
            groups.setdefault(name.rpartition(".")[0], []).append((name, text))
        for name, pairs in groups.items():
            about = helpline(self.collection.collections[name]) if name else "the project and this machine"
            print(f"{name or 'general'}: {about}" if about else name)
            self.print_columns(pairs)
        print("inv --help VERB explains a verb, with an example")


def _taken_for_argument(context: ParserContext | None) -> str:
    """Return the unknown option that Invoke has taken for a verb's argument, or ''."""
    given = [str(one.value) for one in context.positional_args] if context else []
    return next((value for value in given if value.startswith("-")), "")


def _broken(error: Exception) -> SynosError:
    """Return the error for a tasks.py that Python cannot load."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    file, line = (
        (error.filename, error.lineno) if isinstance(error, SyntaxError) else (at.filename, at.lineno)
    )
    return SynosError(
        "tasks.py cannot be loaded", where=f"{file}:{line}", why=f"{type(error).__name__}: {error}"
    )
