"""`inv`, as the wheel and scripts/setup install it: see program.py."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from synos_tasks import console
from synos_tasks.errors import SynosError
from synos_tasks.program import Inv


class Patient(io.FileIO):
    """Standard error that loses what nobody can read: work goes on."""

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write all, or forget it."""
        try:
            return super().write(data)
        except OSError:
            return len(data)


def main() -> None:
    """Run `inv`. What it starts finds the commands of its virtual environment, `inv` above all."""
    if sys.prefix != sys.base_prefix:
        folders = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        os.environ["PATH"] = os.pathsep.join(folders)
    console.open_closed_streams()
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    raw = io.BufferedWriter(Patient(2, "w", closefd=False))  # type: ignore[type-var]
    sys.stderr = io.TextIOWrapper(raw, sys.stderr.encoding, errors="backslashreplace", line_buffering=True)
    try:
        Inv().run()
    finally:
        try:
            with console.writing_results():
                sys.stdout.flush()
        except SynosError as error:
            console.show_error(error)
            sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
